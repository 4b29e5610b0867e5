/* scp.h - the channel to an scp on the server. */
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

#endif
