/* scp.h - the channel to an scp on the server, and the shell there for what scp can't do. */
#ifndef VT_SCP_H
#define VT_SCP_H

#include "transfer/sftp.h"

struct vt_scp {
    struct vt_sftp *s;              /* its connection, deadline and end; never its packets */
    LIBSSH2_CHANNEL *channel;
    struct vt_buf out, in;
    size_t out_at, in_at;
    struct vt_buf said;             /* standard error, its beginning */
    bool at_end;                    /* the command has ended its output */
};

/* Starts the command.  All return s->rc. */
enum vt_rc vt_scp_open(struct vt_scp *c, struct vt_sftp *s, const char *command) VT_MUST_CHECK;
void vt_scp_close(struct vt_scp *c);            /* accepts zeroed */

void vt_scp_send(struct vt_scp *c, const void *data, size_t n);
size_t vt_scp_queued(const struct vt_scp *c);

/* Sends and receives once, waiting if nothing moved. */
enum vt_rc vt_scp_turn(struct vt_scp *c) VT_MUST_CHECK;

/* Drops what is queued and not sent. */
void vt_scp_forget(struct vt_scp *c);

/* Says that no more will come, and waits until the command has ended, or the deadline. */
void vt_scp_finish(struct vt_scp *c, vt_time deadline);

/* The command's complaint as text; what if it made none. */
void vt_scp_complaint(const struct vt_scp *c, const char *what, char *text, size_t cap);

/* ---- shell text ---- */

/* Appends the text as one word; of a path "~" and "~user" stay alive, and it never looks
 * like an option; of a pattern "*", "?" and "[...]" stay alive, too. */
void vt_shell_word(struct vt_sftp *s, struct vt_buf *b, const char *text);
void vt_shell_path(struct vt_sftp *s, struct vt_buf *b, const char *path);
void vt_shell_pattern(struct vt_sftp *s, struct vt_buf *b, const char *path);
bool vt_shell_is_pattern(const char *path);
void vt_shell_addf(struct vt_sftp *s, struct vt_buf *b, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Runs a script in the server's sh.  *status: its exit code; VT_UNSUPPORTED if it is not
 * even started. */
enum vt_rc vt_shell_run(struct vt_sftp *s, const struct vt_buf *script, struct vt_buf *out,
                        struct vt_buf *err, int *status) VT_MUST_CHECK;

#endif
