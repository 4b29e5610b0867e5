/* err.h - result codes, the stages of a session, and the detail beside a code. */
#ifndef VT_ERR_H
#define VT_ERR_H

#include <stddef.h>

#define VT_MUST_CHECK __attribute__((warn_unused_result))

/* What an operation came to.  err.c has a text for each. */
enum vt_rc {
    VT_OK = 0,
    VT_AGAIN,           /* would block: wait, then call again */
    VT_EOF,             /* the peer ended the stream */
    VT_TIMEOUT,         /* the deadline passed */
    VT_INTR,            /* the waiter's callback asked to stop (a signal) */
    VT_CLOSED,          /* closed on our side, by another thread perhaps */
    VT_NESTED,          /* the calling thread is inside already: its handler or callback calls */
    VT_NOMEM,
    VT_TOOBIG,          /* a bound was reached: see the operation's contract */
    VT_INVALID,         /* an argument that can't be served */
    VT_RESOLVE,         /* the host name has no address */
    VT_CONNECT,         /* refused, unreachable, reset before the banner: see sys */
    VT_BANNER,          /* connected, but no SSH banner came, or not one of SSH */
    VT_KEX,             /* the key exchange failed: see lib and text */
    VT_HOSTKEY,         /* the host key is not the one that known_hosts has */
    VT_AUTH,            /* authentication refused: see methods */
    VT_CHANNEL,         /* channel, pty, shell, exec or subsystem request refused */
    VT_PROTO,           /* the peer broke the protocol */
    VT_IO,              /* a local or socket error: see sys */
    VT_UNSUPPORTED,     /* this transport or server has no such thing */
    VT_REMOTE,          /* the server's own refusal: see lib and text */
    VT_LATER,           /* the server refuses us for now: too many connections or refused logins */
    VT_DENIED,          /* let in by password or key, and then sent away: an account that is locked... */
};

/* Where a session or transfer stood when it ended. */
enum vt_stage {
    VT_STAGE_NONE = 0,
    VT_STAGE_RESOLVE, VT_STAGE_CONNECT, VT_STAGE_BANNER, VT_STAGE_KEX,
    VT_STAGE_HOSTKEY, VT_STAGE_AUTH, VT_STAGE_CHANNEL, VT_STAGE_PROMPT,
    VT_STAGE_COMMAND, VT_STAGE_TRANSFER, VT_STAGE_CLOSE,
};

/* Detail of the last failure.  Plain data: copy it freely.  Holds no secrets. */
struct vt_err {
    enum vt_rc rc;
    enum vt_stage stage;
    int sys;                /* errno, or 0 */
    int lib;                /* libssh2's or the SFTP server's code, or 0 */
    char text[256];         /* what was seen, in words; may be empty */
    char methods[128];      /* authentication methods that the server offers */
    char said[256];         /* the server's own words before authentication, made printable */
};

const char *vt_rc_text(enum vt_rc rc);
const char *vt_rc_name(enum vt_rc rc);          /* "VT_OK", for tests and traces */
const char *vt_stage_name(enum vt_stage stage); /* "connect", ...; "" for NONE */

/* A peer's bytes as text that is fit for a message: what is not printable ASCII as \\xNN.
 * Cut to cap - 1 characters. */
void vt_show(const void *data, size_t n, char *out, size_t cap);

/* Records a failure and returns rc, so that callers can `return vt_fail(...)`.
 * e may be NULL.  stage NONE keeps the stage that e has.  format may be NULL. */
enum vt_rc vt_fail(struct vt_err *e, enum vt_rc rc, enum vt_stage stage, int sys,
                   const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
