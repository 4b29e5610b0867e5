/* ssh_private.h - what the files of the SSH transport share.  Each calls only those after it:
 *
 *     ssh_login      the steps, in their order
 *     ssh_half       logins that ran out of time, for the next ones
 *     ssh_auth, ssh_kex, ssh_hostkey         one step each
 *     ssh_shell, ssh_exec                    what is done with a connection
 *     ssh_channel    channels
 *     ssh_error      failures in words
 *     ssh_io         the socket as libssh2 sees it, and the connection's end
 *     ssh_banner, ssh_memory                 what libssh2 allocates
 */
#ifndef VT_SSH_PRIVATE_H
#define VT_SSH_PRIVATE_H

#include "transport/ssh.h"
#include "transport/ssh_memory.h"

/* What libssh2 gets when it asks the socket for bytes. */
enum vt_recv {
    VT_RECV_NORMAL,
    VT_RECV_BLOCK,                  /* nothing yet: it sends without looking for answers */
    VT_RECV_FAIL,                   /* an error: it stops waiting for answers */
};

/* What authentication has been through, for a login that goes on with it: libssh2 must get the same
 * calls in the same order, the last of which is under way. */
#define VT_SSH_ANSWERS 8
struct vt_ssh_answers {
    struct { const char *method; char offered[128]; } list[VT_SSH_ANSWERS];
    int count;
    const char *pending;            /* method that the server has not answered */
    char note[160];                 /* why one was refused, if more is known */
};

/* The credentials of a login that is kept; wiped when it goes. */
struct vt_ssh_claim;

struct vt_ssh {
    LIBSSH2_SESSION *session;
    int fd;
    struct vt_ssh_info info;

    /* ssh_io.c */
    struct { char *data; size_t at, len, cap; } in;
    struct vt_buf out;
    size_t out_at;                  /* first byte of out that is not sent */
    size_t banner_sent;             /* bytes of libssh2's next ones that the peer has had */
    enum vt_recv recv_mode;
    bool send_closed;               /* not a byte goes over the socket any more */
    size_t read_budget;             /* bytes that libssh2 may still take in this round */
    bool over_budget;               /* it asked for more than that */
    bool would_block;               /* the socket had nothing, and was not waited for since */
    uint64_t received, taken;       /* bytes from the socket, and by libssh2 */
    uint64_t taken_at_wait;
    enum vt_rc ended;               /* VT_EOF or VT_IO once the socket has ended */
    int ended_sys;
    struct vt_ssh_memory memory;    /* libssh2's */
    char *methods;                  /* libssh2's own list of key exchange methods, until it is sent; or NULL */
    struct vt_buf *early;           /* collects what is received during the key exchange */
    bool disconnected;              /* by a message of the server's, with these words: */
    char said[96];
    bool halfway;                   /* what it was about is to be gone on with */
    bool is_shaken, is_in;          /* behind its key exchange; authenticated */
    bool resumed;                   /* taken over from an earlier login */
    vt_time since, heard, reached;  /* connected; see struct vt_half */
    uint64_t received_before;       /* by an earlier login */
    struct vt_ssh_claim *claim;     /* while it is kept, or NULL */
    struct vt_ssh_answers answers;
    LIBSSH2_CHANNEL *shell;         /* being started, or NULL */
    enum { VT_SHELL_NEW, VT_SHELL_ASKED, VT_SHELL_HAS_PTY } shell_stage;
    bool keeps_banners;             /* banners before authentication are being kept: */
    char banners[256];
    bool expired;                   /* a new password was asked for */

    LIBSSH2_KNOWNHOSTS *known, *revoked;    /* of the file's lines, if there is one */
    const char *password;           /* during keyboard-interactive only; borrowed */
};

/* ---- ssh_io.c: the socket and the memory, as libssh2 sees them ---- */

/* libssh2 never sees a full socket: its packets are queued whole, so that no half-sent
 * one can forbid the next call.  Nor does it see the socket's end: it can then still
 * give what it has received; vt_ssh_wait tells of the end. */
enum vt_rc vt_ssh_io_init(struct vt_ssh *ssh) VT_MUST_CHECK;  /* makes ssh->session */
void vt_ssh_io_fini(struct vt_ssh *ssh);                    /* frees it, closes fd */

/* Takes over what was received before the connection was libssh2's.  Once, at first. */
void vt_ssh_prefill(struct vt_ssh *ssh, struct vt_buf *head);

/* Sends what is queued, as far as that goes without blocking. */
void vt_ssh_flush(struct vt_ssh *ssh);

/* Lets libssh2 take bytes again; to be called before each pass of calls.  A socket that was
 * found dry is only asked again once it has been waited for (vt_ssh_pass). */
void vt_ssh_renew(struct vt_ssh *ssh);

/* Bytes are here that libssh2 has not had. */
bool vt_ssh_has_input(const struct vt_ssh *ssh);

/* ssh_banner.c: a block that libssh2 frees; what the server says before authentication
 * (RFC 4252, 5.4) is kept in ssh->banners. */
void vt_ssh_note_banner(struct vt_ssh *ssh, const void *block);

/* Bytes are queued for the socket. */
bool vt_ssh_has_output(const struct vt_ssh *ssh);

/* Says goodbye without blocking; from then on nothing is sent. */
void vt_ssh_disconnect(struct vt_ssh *ssh);

/* ---- ssh_error.c ---- */

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

/* ssh_kex.c: what is asked for, by default. */
void vt_ssh_set_preferences(struct vt_ssh *ssh);

/* ssh_kex.c: our first offer is on its way.  libssh2 takes the flags in it for methods that a server may
 * choose, and 1.11.0 and 1.11.1 call a function of theirs then that is not there. */
void vt_ssh_offer_sent(struct vt_ssh *ssh, const char *packet, size_t n);

/* ssh_kex.c: the key exchange.  A failure says why, by what both sides offer.  ssh->halfway: the
 * next login can go on with it. */
enum vt_rc vt_ssh_handshake(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline, struct vt_err *e) VT_MUST_CHECK;

/* ssh_kex.c: lets go of an exchange.  One that was broken off (last is libssh2's EAGAIN) holds memory
 * that libssh2 only frees when it is called once more, with the socket gone.  One that failed by
 * itself has freed it: libssh2 would go on with that. */
void vt_ssh_abandon(struct vt_ssh *ssh, int last);

/* ssh_auth.c: lets the user in, by the methods that the options name. */
enum vt_rc vt_ssh_authenticate(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                               vt_time deadline, struct vt_err *e) VT_MUST_CHECK;

/* ssh_hostkey.c: asks for a key of a kind that known_hosts has; before the handshake. */
enum vt_rc vt_ssh_prefer_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                                 vt_time deadline, struct vt_err *e) VT_MUST_CHECK;

/* ssh_hostkey.c: notes the fingerprint; verifies the key if known_hosts is given. */
enum vt_rc vt_ssh_check_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_err *e) VT_MUST_CHECK;
/* Reads known_hosts anew, for a connection that has them already; verifies the key if it is there. */
enum vt_rc vt_ssh_recheck_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                                  vt_time deadline, struct vt_err *e) VT_MUST_CHECK;
void vt_ssh_forget_hosts(struct vt_ssh *ssh);

/* ---- ssh_half.c ---- */

/* An earlier one that o's login can go on with, or NULL. */
struct vt_ssh *vt_ssh_take_half(const struct vt_ssh_options *o);
/* Keeps it, or frees it where it can't be kept. */
void vt_ssh_keep_half(struct vt_ssh *ssh, const struct vt_ssh_options *o);
/* The login came one step further. */
void vt_ssh_reached(struct vt_ssh *ssh);

/* ---- ssh_channel.c ---- */

#define VT_SSH_WINDOW (4 * 1024 * 1024)         /* 20 MB of output must not wait for adjusts */
#define VT_SSH_PACKET 32768
#define VT_SSH_CLOSE_GRACE VT_SEC               /* between the end of output and the channel's close */

/* A channel on which nothing was asked for yet. */
enum vt_rc vt_ssh_open_channel(struct vt_ssh *ssh, unsigned window, struct vt_waiter *w, vt_time deadline,
                               LIBSSH2_CHANNEL **out, struct vt_err *e) VT_MUST_CHECK;

/* Once it is closed: whether the server has sent an exit status, if this libssh2 can tell. */
bool vt_ssh_has_status(LIBSSH2_CHANNEL *channel);

/* The name of the signal that ended the channel's process; false if none did. */
bool vt_ssh_exit_signal(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel, char *out, size_t cap);

#endif
