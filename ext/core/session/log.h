/* log.h - a session's log: each line of output with the time of its arrival.
 *
 * The file is opened for each batch of lines and closed again: a thousand sessions
 * cost no descriptors.  A log that can't be written, or is no plain file, is given up
 * silently: it must never disturb the session; nor must a file system that hangs, see
 * log_writer.h.  Past VT_LOG_MAX bytes a last line says so.
 */
#ifndef VT_LOG_H
#define VT_LOG_H

#include "base/buf.h"
#include "session/log_writer.h"

#include <stdint.h>
#include <time.h>

#define VT_LOG_MAX ((uint64_t)1 << 30)

struct vt_log {
    char *path;
    struct vt_buf line;         /* the unfinished last line */
    struct vt_buf batch;        /* finished lines, with their times */
    struct vt_log_writer *writer;       /* NULL: not needed, or not yet */
    bool is_here;               /* the file is on this machine */
    uint64_t written, max;      /* bytes so far, and at most */
    time_t stamped;             /* second of `stamp` */
    char stamp[32];
};

/* VT_NOMEM.  Makes nothing on disk yet. */
enum vt_rc vt_log_init(struct vt_log *l, const char *path) VT_MUST_CHECK;
void vt_log_fini(struct vt_log *l);             /* accepts zeroed; writes what is left */
void vt_log_forget(struct vt_log *l);           /* writes nothing any more */

/* The same in a fork's child, where the parent's threads are not. */
void vt_log_disown(struct vt_log *l);

/* Takes the next output.  Control characters but TAB are left out, and so are escape
 * sequences: a log is read by people. */
void vt_log_feed(struct vt_log *l, const char *data, size_t n);
void vt_log_break(struct vt_log *l);            /* ends the unfinished line, if any */
void vt_log_flush(struct vt_log *l);            /* writes finished lines to the file */

#endif
