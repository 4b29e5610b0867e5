/* log_writer.h - writes a log in a thread of its own: a file system that is far away may hang,
 * and no signal and no deadline ends a write there.  Whoever has something to log waits a
 * moment for it at most, and once it was in vain not at all. */
#ifndef VT_LOG_WRITER_H
#define VT_LOG_WRITER_H

#include "base/buf.h"

#include <stdbool.h>

struct vt_log_writer;

/* NULL: there is no memory for it, or no thread. */
struct vt_log_writer *vt_log_writer_new(const char *path) VT_MUST_CHECK;

/* Has text written.  What does not fit, because the file system hangs, is left out, and a line
 * says so later. */
void vt_log_writer_put(struct vt_log_writer *w, const char *text, size_t n);

/* Whether the file turned out to be on this machine: then one may as well write oneself. */
bool vt_log_writer_is_needless(struct vt_log_writer *w);

/* Ends the thread, once it can; accepts NULL. */
void vt_log_writer_free(struct vt_log_writer *w);

/* Appends text to a log, in this thread.  VT_OK, or why not.  *is_here: whether the file is on
 * this machine, or there is none that could hang; it may be NULL. */
enum vt_rc vt_log_write(const char *path, const char *text, size_t n, bool *is_here);

#endif
