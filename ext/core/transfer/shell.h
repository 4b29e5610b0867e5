/* shell.h - text for the server's shell: quoted, guarded against being cut, and run.
 *
 * A script goes to the standard input of the server's sh, which runs what it has read: what
 * is cut by a lost connection or an interrupt would be run up to the cut, in the middle of
 * a name perhaps.  So all of it is one compound command, which is a syntax error until
 * its last line is there.
 */
#ifndef VT_SHELL_H
#define VT_SHELL_H

#include "transfer/sftp.h"

struct vt_script {
    struct vt_buf text;
    enum vt_rc rc;                  /* the first failure, of memory or by size; sticks */
};

void vt_script_init(struct vt_script *x);
void vt_script_fini(struct vt_script *x);       /* accepts zeroed */

/* Appends text as it is. */
void vt_script_add(struct vt_script *x, const char *text);
void vt_script_addf(struct vt_script *x, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends the text as one word; a path so that it never looks like an option. */
void vt_script_word(struct vt_script *x, const char *text);
void vt_script_path(struct vt_script *x, const char *path);
/* The same, where "~" and "~user" stay alive; and of a pattern "*", "?" and "[...]", too. */
void vt_script_home_path(struct vt_script *x, const char *path);
void vt_script_pattern(struct vt_script *x, const char *path);
bool vt_is_pattern(const char *path);

/* A line that nobody else prints: what comes before it is a start-up file's. */
#define VT_MARK_SIZE 32
void vt_script_mark(char mark[VT_MARK_SIZE]);

/* What is sent: the whole script or, if it is cut, a syntax error.  Appended to out. */
enum vt_rc vt_script_guard(const struct vt_script *x, const char *mark, struct vt_buf *out) VT_MUST_CHECK;

/* Runs the script in the server's sh.  *status: its exit code; out: what it printed, and a
 * NUL behind that.  VT_UNSUPPORTED if there is no such shell.  Returns s->rc. */
enum vt_rc vt_shell_run(struct vt_sftp *s, const struct vt_script *script, struct vt_buf *out, struct vt_buf *err,
                        int *status) VT_MUST_CHECK;

#endif
