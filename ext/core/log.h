/* log.h - a session's log: each line of output with the time of its arrival.
 *
 * The file is opened for each batch of lines and closed again: a thousand sessions
 * cost no descriptors.  A log that can't be written is given up silently: it must
 * never disturb the session.
 */
#ifndef VT_LOG_H
#define VT_LOG_H

#include "buf.h"

struct vt_log {
    char *path;
    struct vt_buf line;         /* the unfinished last line */
    struct vt_buf batch;        /* finished lines, with their times */
};

/* VT_NOMEM.  Makes nothing on disk yet. */
enum vt_rc vt_log_init(struct vt_log *l, const char *path) VT_MUST_CHECK;
void vt_log_fini(struct vt_log *l);             /* accepts zeroed; writes what is left */

/* Takes the next output.  Control characters but TAB are left out, and so are escape
 * sequences: a log is read by people. */
void vt_log_feed(struct vt_log *l, const char *data, size_t n);
void vt_log_break(struct vt_log *l);            /* ends the unfinished line, if any */
void vt_log_note(struct vt_log *l, const char *text);   /* a line of our own */
void vt_log_flush(struct vt_log *l);            /* writes finished lines to the file */

#endif
