/* ssh.h - SSH over libssh2: connection, authentication, channels.
 *
 * libssh2 is always non-blocking here.  A connection has one owner and one thread
 * at a time.  Specified by RFC 4251-4254 and 4256.
 */
#ifndef VT_SSH_H
#define VT_SSH_H

#include "base/buf.h"
#include "transport/transport.h"

#include <libssh2.h>
#include <stdint.h>

struct vt_places;                   /* boot.h */

/* How to log in.  Strings are borrowed for the call only; NULL means not given. */
struct vt_ssh_options {
    const char *host;               /* name, IPv4 or IPv6 address (scope allowed) */
    int port;
    const char *user;
    const char *password;           /* NULL or "": no password methods (an empty
                                     * password is tried when auth names it) */
    const char *identity_file;      /* private key, tried first when given; a public one
                                     * names a key of the agent's, which alone is tried */
    const char *passphrase;         /* of a locked identity_file */
    const char *known_hosts;        /* verify against this file; NULL accepts any key */
    const char *auth;               /* methods in order, comma-separated, out of publickey,
                                     * agent, password, keyboard-interactive; NULL:
                                     * publickey if identity_file, then password, then
                                     * keyboard-interactive if the server offers it */
    bool hedge;                     /* the peer may still boot: wait for it, by boot.h */
    struct vt_places *places;       /* with hedge: what is known of places; NULL: nothing */
    bool shell;                     /* vt_ssh_shell follows: a login before may have come as far */
    int keepalive_s;                /* seconds of silence before the kernel asks whether the
                                     * peer is still there (then thrice), 0: it never does */
};

struct vt_ssh;                      /* a logged-in connection */

/* What the connection saw on its way; for diagnosis. */
struct vt_ssh_info {
    int tries;                      /* connections opened */
    char address[64];               /* numeric address reached */
    char banner[128];               /* the server's banner */
    char method[32];                /* that let us in */
    char hostkey[72];               /* "SHA256:..." */
};

/* Once per process; safe to call again and from any thread. */
enum vt_rc vt_ssh_library_init(void) VT_MUST_CHECK;

/* Version of the libssh2 in use, which may be newer than the one it was built with. */
const char *vt_ssh_library_version(void);

/* Connects and logs in.  Blocks until done or the deadline; *e says the stage that
 * failed: VT_RESOLVE, VT_CONNECT (sys: ECONNREFUSED, ...), VT_BANNER, VT_KEX,
 * VT_HOSTKEY, VT_AUTH (methods), VT_DENIED, VT_TIMEOUT (stage says in what), VT_INTR,
 * VT_CLOSED; with hedge VT_LATER.  e->said has the server's words before authentication.
 * With hedge and places a login that ran out of time behind the banner is kept: the next one of the
 * same credentials goes on with it, where it stands. */
enum vt_rc vt_ssh_login(const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                        struct vt_ssh **out, struct vt_err *e) VT_MUST_CHECK;
const struct vt_ssh_info *vt_ssh_info(const struct vt_ssh *ssh);

/* Opens a channel with a pty (no echo, no output processing, terminal "dumb", size
 * 0x0) and a shell, both requests in flight together, and hands the connection over
 * to the transport *out, which owns it from then on (also when this fails: it is freed, or
 * kept as vt_ssh_login keeps it.  o: what that was called with; NULL: it is not kept). */
enum vt_rc vt_ssh_shell(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                        struct vt_transport **out, struct vt_err *e) VT_MUST_CHECK;

/* Both, with o->shell.  A connection of an earlier login that breaks is tried anew, once.
 * info may be NULL. */
enum vt_rc vt_ssh_open(const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transport **out, struct vt_ssh_info *info, struct vt_err *e) VT_MUST_CHECK;
struct vt_ssh *vt_ssh_of(struct vt_transport *t);  /* NULL if t is not SSH */

/* One command on a channel of its own, beside the shell if there is one. */
struct vt_ssh_exec {
    const char *command;
    const char *input;              /* standard input, input_len bytes, then EOF */
    size_t input_len;
    struct vt_buf *out, *err;       /* VT_TOOBIG past their own limits, */
    size_t limit;                   /* or if both together are larger than this; 0: any */
    int status;                     /* exit code; -1 if none was sent (before libssh2 has
                                     * libssh2_channel_has_exit_status: 0) */
    char signal[16];                /* "TERM", ...; "" if none */
};
enum vt_rc vt_ssh_exec_run(struct vt_ssh *ssh, struct vt_ssh_exec *x, struct vt_waiter *w,
                           vt_time deadline, struct vt_err *e) VT_MUST_CHECK;

/* A channel running a subsystem ("sftp") or, with is_command, a command ("scp -t ..."):
 * raw libssh2 calls are then the caller's, with vt_ssh_wait between them. */
enum vt_rc vt_ssh_channel(struct vt_ssh *ssh, const char *what, bool is_command,
                          struct vt_waiter *w, vt_time deadline,
                          LIBSSH2_CHANNEL **out, struct vt_err *e) VT_MUST_CHECK;
/* After the end of its output: waits a while for the server's close.  dropbear (2022.83)
 * closes any channel that has no process yet when the process of another one ends, so the
 * next one is to be opened only then.  VT_OK, or what ended the wait (VT_TIMEOUT: so what). */
enum vt_rc vt_ssh_channel_settle(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel, struct vt_waiter *w,
                                 vt_time deadline) VT_MUST_CHECK;
/* Closes such a channel without waiting for the server's answer, and frees it. */
void vt_ssh_channel_free(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel);

/* Begins a pass of libssh2 calls: sends what is queued; the socket, once found dry, is
 * asked again.  (vt_ssh_wait does the same.) */
void vt_ssh_pass(struct vt_ssh *ssh);

/* Sends what is queued and waits until libssh2 may go on: after EAGAIN, or because the
 * queue is full.  VT_EOF, VT_IO once the connection has ended and all is read. */
enum vt_rc vt_ssh_wait(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline) VT_MUST_CHECK;

/* Enough is queued for the socket: wait before writing more to a channel. */
bool vt_ssh_is_full(const struct vt_ssh *ssh);

/* Bytes received from the socket so far: a pass of calls in which this did not move
 * may be followed by a poll, any other must be repeated first (a read may have
 * swallowed the window adjust that a write waits for). */
uint64_t vt_ssh_received(const struct vt_ssh *ssh);

/* Disconnects politely without blocking, unless silent; frees. */
void vt_ssh_free(struct vt_ssh *ssh, bool silent);

#endif
