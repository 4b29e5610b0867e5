/* ssh.c - an SSH connection: socket, key exchange, life and death. */
#include "transport/ssh_private.h"

#include "transport/connect.h"
#include "transport/lookahead.h"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EARLY_MAX (16 * 1024)       /* bytes of the key exchange kept to explain a failure */

/* What is cheap here and there comes first.
 * Its ciphers run 16 bytes at a time: counter mode costs least. */
#define CIPHERS "aes128-ctr,aes192-ctr,aes256-ctr,chacha20-poly1305@openssh.com," \
                "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-cbc,aes256-cbc,3des-cbc"
#define MACS "hmac-sha2-256,hmac-sha2-256-etm@openssh.com,hmac-sha2-512," \
             "hmac-sha2-512-etm@openssh.com,hmac-sha1,hmac-sha1-etm@openssh.com"

static const struct { int method; const char *names; } preferences[] = {
    {LIBSSH2_METHOD_CRYPT_CS, CIPHERS},
    {LIBSSH2_METHOD_CRYPT_SC, CIPHERS},
    {LIBSSH2_METHOD_MAC_CS, MACS},
    {LIBSSH2_METHOD_MAC_SC, MACS},
};

/* libssh2 1.11: by default it gives up waiting after 60 s by itself. */
extern void libssh2_session_set_read_timeout(LIBSSH2_SESSION *, long) __attribute__((weak));

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_rc;

static void library_init(void)
{
    library_rc = libssh2_init(0);
}

enum vt_rc vt_ssh_library_init(void)
{
    pthread_once(&library_once, library_init);
    return library_rc == 0 ? VT_OK : VT_NOMEM;
}

/* ---- life ---- */

static void set_preferences(LIBSSH2_SESSION *session, bool compress)
{
    for (size_t i = 0; i < sizeof preferences / sizeof *preferences; i++)
        vt_ssh_prefer(session, preferences[i].method, preferences[i].names);
    if (compress)
        libssh2_session_flag(session, LIBSSH2_FLAG_COMPRESS, 1);
    if (libssh2_session_set_read_timeout != NULL)
        libssh2_session_set_read_timeout(session, LONG_MAX / 2);   /* the deadline is ours */
}

static struct vt_ssh *ssh_new(const struct vt_ssh_options *o)
{
    struct vt_ssh *ssh = calloc(1, sizeof *ssh);
    if (ssh == NULL)
        return NULL;
    if (vt_ssh_library_init() != VT_OK || vt_ssh_link(ssh) != VT_OK) {
        free(ssh);
        return NULL;
    }
    set_preferences(ssh->session, o->compress);
    return ssh;
}

void vt_ssh_free(struct vt_ssh *ssh, bool silent)
{
    if (ssh == NULL)
        return;
    if (silent)
        ssh->mute = true;
    vt_ssh_bye(ssh);
    vt_ssh_unlink(ssh);
    free(ssh);
}

void vt_ssh_bye(struct vt_ssh *ssh)
{
    if (ssh->fd < 0 || ssh->mute)
        return;
    ssh->ears = VT_EARS_GONE;
    libssh2_session_disconnect(ssh->session, "closed");
    vt_ssh_flush(ssh);
    ssh->mute = true;
}

/* ---- failures in words ---- */

enum vt_rc vt_ssh_stopped(struct vt_ssh *ssh, enum vt_rc rc, enum vt_stage stage, const char *waited_for,
                          struct vt_err *e)
{
    int sys = rc == VT_IO ? ssh->ended_sys : 0;
    if (rc == VT_EOF)
        return vt_fail(e, rc, stage, 0, "the server closed the connection%s%s",
                       ssh->said[0] != '\0' ? ": " : "", ssh->said);
    if (rc == VT_IO)
        return vt_fail(e, rc, stage, sys, "the connection broke: %s", strerror(sys));
    if (rc == VT_TIMEOUT && waited_for != NULL)
        return vt_fail(e, rc, stage, 0, "no answer to the %s", waited_for);
    return vt_fail(e, rc, stage, 0, NULL);
}

static enum vt_rc meaning(int rc, enum vt_rc otherwise)
{
    switch (rc) {
    case LIBSSH2_ERROR_SOCKET_DISCONNECT:
    case LIBSSH2_ERROR_SOCKET_RECV:
    case LIBSSH2_ERROR_SOCKET_SEND: return VT_EOF;
    case LIBSSH2_ERROR_ALLOC: return VT_NOMEM;
    case LIBSSH2_ERROR_TIMEOUT: return VT_TIMEOUT;
    default: return otherwise;
    }
}

enum vt_rc vt_ssh_failed(struct vt_ssh *ssh, int rc, enum vt_rc otherwise, enum vt_stage stage, struct vt_err *e)
{
    char *text = NULL;
    libssh2_session_last_error(ssh->session, &text, NULL, 0);
    enum vt_rc means = meaning(rc, otherwise);
    if (means == VT_EOF)
        vt_ssh_stopped(ssh, ssh->ended != VT_OK ? means = ssh->ended : VT_EOF, stage, NULL, e);
    else
        vt_fail(e, means, stage, 0, "%s", text != NULL ? text : "");
    if (e != NULL)
        e->lib = rc;
    return means;
}

/* ---- logging in ---- */

/* What libssh2 says of a failed exchange is general: adds what both sides offered, and who
 * they are. */
static void explain(struct vt_ssh *ssh, const struct vt_buf *early, struct vt_err *e)
{
    char said[sizeof e->text], why[sizeof e->text] = "";
    memcpy(said, e->text, sizeof said);
    vt_ssh_explain_kex(ssh, early, why, sizeof why);
    snprintf(e->text, sizeof e->text, "%.170s (server %.40s, libssh2 %.12s)", why[0] != '\0' ? why : said,
             ssh->info.banner, libssh2_version(0));
}

static int shake_once(struct vt_ssh *ssh)
{
    struct vt_lookahead scope;
    vt_lookahead_enter(&scope);
    int rc = libssh2_session_handshake(ssh->session, ssh->fd);
    vt_lookahead_leave(&scope);
    return rc;
}

static enum vt_rc shake(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline, struct vt_err *e)
{
    int rc;
    VT_SSH_AWAIT(rc, shake_once(ssh), ssh, w, deadline, VT_STAGE_KEX,
                 "key exchange", e);
    return rc == 0 ? VT_OK : vt_ssh_failed(ssh, rc, VT_KEX, VT_STAGE_KEX, e);
}

static enum vt_rc handshake(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline, struct vt_err *e)
{
    struct vt_buf early;
    vt_buf_init(&early, EARLY_MAX);
    ssh->early = vt_buf_add(&early, ssh->in.data, ssh->in.len) == VT_OK ? &early : NULL;
    enum vt_rc rc = shake(ssh, w, deadline, e);
    ssh->early = NULL;
    const char *banner = libssh2_session_banner_get(ssh->session);
    if (banner != NULL)
        vt_show(banner, strlen(banner), ssh->info.banner, sizeof ssh->info.banner);
    if (rc == VT_KEX)
        explain(ssh, &early, e);
    if (rc != VT_OK) {
        /* Once more with the socket gone: libssh2 frees what a broken-off exchange holds. */
        ssh->ears = VT_EARS_GONE;
        ssh->mute = true;
        (void)libssh2_session_handshake(ssh->session, ssh->fd);
    }
    vt_buf_fini(&early);
    return rc;
}

static void keep_alive(int fd, int seconds)
{
    int one = 1, count = 3;
    unsigned patience_ms = (unsigned)seconds * (unsigned)(count + 1) * 1000;
    if (seconds <= 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    /* While something sent is not acknowledged nothing is asked: this bounds it then. */
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof patience_ms);
}

/* The version string goes out as soon as there is a connection, which saves a round trip;
 * libssh2 sends the same one by its own first call, and that is swallowed. */
static enum vt_rc greet_and_connect(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                                    vt_time deadline, struct vt_connected *c, struct vt_err *e)
{
    char greeting[64];
    int n = snprintf(greeting, sizeof greeting, "SSH-2.0-libssh2_%.40s", libssh2_version(0));
    if (libssh2_session_banner_set(ssh->session, greeting) != 0)
        return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
    memcpy(greeting + n, "\r\n", 3);
    enum vt_rc rc = vt_connect_ssh(o->host, o->port, greeting, o->hedge, w, deadline, c, e);
    ssh->said_already = c->greeted;
    return rc;
}

static enum vt_rc log_in_once(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                              vt_time deadline, struct vt_err *e)
{
    struct vt_connected c = {.fd = -1};
    enum vt_rc rc = greet_and_connect(ssh, o, w, deadline, &c, e);
    ssh->info.tries += c.tries;
    if (rc != VT_OK)
        return rc;
    ssh->fd = c.fd;
    vt_ssh_prefill(ssh, &c.head);
    memcpy(ssh->info.address, c.address, sizeof c.address);
    keep_alive(ssh->fd, o->keepalive_s);
    if ((rc = vt_ssh_prefer_hostkey(ssh, o, e)) != VT_OK)
        return rc;
    if ((rc = handshake(ssh, w, deadline, e)) != VT_OK)
        return rc;
    if ((rc = vt_ssh_check_hostkey(ssh, o, e)) != VT_OK)
        return rc;
    return vt_ssh_authenticate(ssh, o, w, deadline, e);
}

/* A server that comes up may greet and then drop the connection: with hedge that is
 * tried again, like one that is silent. */
static bool is_worth_again(const struct vt_ssh_options *o, enum vt_rc rc, const struct vt_err *e, vt_time deadline)
{
    return o->hedge && (rc == VT_EOF || rc == VT_IO) && !vt_expired(deadline)
        && (e->stage == VT_STAGE_KEX || e->stage == VT_STAGE_AUTH);
}

enum vt_rc vt_ssh_login(const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                        struct vt_ssh **out, struct vt_err *e)
{
    int tries = 0;
    struct vt_err mine = {0};
    for (;;) {
        struct vt_ssh *ssh = ssh_new(o);
        if (ssh == NULL)
            return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
        enum vt_rc rc = log_in_once(ssh, o, w, deadline, &mine);
        tries = ssh->info.tries += tries;
        if (rc == VT_OK) {
            *out = ssh;
            return VT_OK;
        }
        vt_ssh_free(ssh, false);
        bool again = is_worth_again(o, rc, &mine, deadline);
        if (again && vt_sleep(w, vt_sooner(deadline, 250 * VT_MS)) == VT_TIMEOUT)
            continue;
        if (e != NULL)
            *e = mine;
        return rc;
    }
}

/* ---- accessors ---- */

const struct vt_ssh_info *vt_ssh_info(const struct vt_ssh *ssh)
{
    return &ssh->info;
}

LIBSSH2_SESSION *vt_ssh_raw(struct vt_ssh *ssh)
{
    return ssh->session;
}

int vt_ssh_fd(const struct vt_ssh *ssh)
{
    return ssh->fd;
}

uint64_t vt_ssh_received(const struct vt_ssh *ssh)
{
    return ssh->received;
}
