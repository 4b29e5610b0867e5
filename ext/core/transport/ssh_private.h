/* ssh_private.h - what the files of the SSH transport share. */
#ifndef VT_SSH_PRIVATE_H
#define VT_SSH_PRIVATE_H

#include "transport/ssh.h"

/* What libssh2 gets when it asks the socket for bytes. */
enum vt_ears {
    VT_EARS_OPEN,
    VT_EARS_SHUT,                   /* nothing yet: it sends without looking for answers */
    VT_EARS_GONE,                   /* an error: it stops waiting for answers */
};

struct vt_ssh {
    LIBSSH2_SESSION *session;
    int fd;
    struct vt_ssh_info info;

    /* ssh_link.c */
    struct { char *data; size_t at, len, cap; } in;
    struct vt_buf out;
    size_t out_at;                  /* first byte of out that is not sent */
    size_t said_already;            /* bytes of libssh2's next ones that the peer has had */
    enum vt_ears ears;
    bool mute;                      /* not a byte goes over the socket any more */
    size_t budget;                  /* bytes that libssh2 may still take in this round */
    bool starved;                   /* it asked for more than that */
    bool is_dry;                    /* the socket had nothing, and was not waited for since */
    uint64_t received, taken;       /* bytes from the socket, and by libssh2 */
    uint64_t taken_at_wait;
    enum vt_rc ended;               /* VT_EOF or VT_IO once the socket has ended */
    int ended_sys;
    struct block *blocks;           /* all memory that libssh2 holds, */
    size_t memory;                  /* and its size */
    struct vt_buf *early;           /* collects what is received during the key exchange */
    bool disconnected;              /* by a message of the server's, with these words: */
    char said[96];

    LIBSSH2_KNOWNHOSTS *known, *revoked;    /* of the file's lines, if there is one */
    bool authenticating;            /* secrets are about: freed memory is wiped */
    const char *password;           /* during keyboard-interactive only; borrowed */
};

/* ---- ssh_link.c: the socket and the memory, as libssh2 sees them ---- */

/* libssh2 never sees a full socket: its packets are queued whole, so that no half-sent
 * one can forbid the next call.  Nor does it see the socket's end: it can then still
 * give what it has received; vt_ssh_wait tells of the end. */
enum vt_rc vt_ssh_link(struct vt_ssh *ssh) VT_MUST_CHECK;      /* makes ssh->session */
void vt_ssh_unlink(struct vt_ssh *ssh);                        /* frees it, closes fd */

/* Takes over what was received before the connection was libssh2's.  Once, at first. */
void vt_ssh_prefill(struct vt_ssh *ssh, struct vt_buf *head);

/* Memory for what libssh2 will free. */
void *vt_ssh_alloc(struct vt_ssh *ssh, size_t n);

/* Sends what is queued, as far as that goes without blocking. */
void vt_ssh_flush(struct vt_ssh *ssh);

/* Lets libssh2 take bytes again; to be called before each pass of calls.  A socket that was
 * found dry is only asked again once it has been waited for (vt_ssh_pass). */
void vt_ssh_renew(struct vt_ssh *ssh);

/* Bytes are here that libssh2 has not had. */
bool vt_ssh_has_input(const struct vt_ssh *ssh);

/* Bytes are queued for the socket. */
bool vt_ssh_has_output(const struct vt_ssh *ssh);

/* ---- ssh.c ---- */

/* Says goodbye without blocking; from then on nothing is sent. */
void vt_ssh_bye(struct vt_ssh *ssh);

/* libssh2's error rc in words, into e; returns what it means at that stage: VT_EOF, VT_IO,
 * VT_NOMEM, VT_TIMEOUT, or else `otherwise`. */
enum vt_rc vt_ssh_failed(struct vt_ssh *ssh, int rc, enum vt_rc otherwise, enum vt_stage stage, struct vt_err *e);

/* The same for a wait that failed with rc; `waited_for` in words, for a timeout. */
enum vt_rc vt_ssh_stopped(struct vt_ssh *ssh, enum vt_rc rc, enum vt_stage stage, const char *waited_for,
                          struct vt_err *e);

/* One libssh2 call after another until it no longer returns EAGAIN: sets rc to its last
 * result; on a failed wait runs `return vt_ssh_stopped(...)` with that stage. */
#define VT_SSH_AWAIT(rc, call, ssh, w, deadline, stage, what, e)                            \
    while (((rc) = (call)) == LIBSSH2_ERROR_EAGAIN) {                                       \
        enum vt_rc vt_waited = vt_ssh_wait(ssh, w, deadline);                               \
        if (vt_waited != VT_OK)                                                             \
            return vt_ssh_stopped(ssh, vt_waited, stage, what, e);                          \
    }

/* ssh_kex.c: asks for methods of a kind in that order (names, commas between them); those
 * that this libssh2 does not know are left out.  If it knows none, its own order holds. */
void vt_ssh_prefer(LIBSSH2_SESSION *session, int kind, const char *names);

/* ssh_kex.c: why the key exchange failed, by what both sides offer; "" if that is not
 * why.  early: what the server sent, from its first byte on. */
void vt_ssh_explain_kex(struct vt_ssh *ssh, const struct vt_buf *early, char *text, size_t cap);

/* ssh_auth.c: lets the user in, by the methods that the options name. */
enum vt_rc vt_ssh_authenticate(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                               vt_time deadline, struct vt_err *e) VT_MUST_CHECK;

/* ssh_hostkey.c: asks for a key of a kind that known_hosts has; before the handshake. */
enum vt_rc vt_ssh_prefer_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_err *e) VT_MUST_CHECK;

/* ssh_hostkey.c: notes the fingerprint; verifies the key if known_hosts is given. */
enum vt_rc vt_ssh_check_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_err *e) VT_MUST_CHECK;

#endif
