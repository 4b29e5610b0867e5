/* ssh_login.c - from a host's name to a connection that has let us in: the order of the steps. */
#include "transport/ssh_private.h"

#include "transport/boot.h"
#include "transport/connect.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEPALIVE_MAX 32767         /* the kernel takes no more seconds */

static struct vt_ssh *ssh_new(void)
{
    struct vt_ssh *ssh = calloc(1, sizeof *ssh);
    if (ssh == NULL)
        return NULL;
    if (vt_ssh_library_init() != VT_OK || vt_ssh_io_init(ssh) != VT_OK) {
        free(ssh);
        return NULL;
    }
    ssh->memory.is_stranger = true;
    vt_ssh_set_preferences(ssh);
    return ssh;
}

static void keep_alive(int fd, int seconds)
{
    int one = 1, count = 3;
    if (seconds <= 0)
        return;
    if (seconds > KEEPALIVE_MAX)
        seconds = KEEPALIVE_MAX;
    unsigned patience_ms = (unsigned)seconds * (unsigned)(count + 1) * 1000;
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
    enum vt_rc rc = o->hedge ? vt_boot_connect(o->places, o->host, o->port, greeting, w, deadline, c, e)
                             : vt_connect_ssh(o->host, o->port, greeting, w, deadline, c, e);
    ssh->banner_sent = c->greeted;
    return rc;
}

static enum vt_rc connect_anew(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                               vt_time deadline, struct vt_err *e)
{
    struct vt_connected c = {.fd = -1};
    enum vt_rc rc = greet_and_connect(ssh, o, w, deadline, &c, e);
    ssh->info.tries += c.tries;
    if (rc != VT_OK)
        return rc;
    ssh->fd = c.fd;
    ssh->since = ssh->heard = ssh->reached = vt_now();
    vt_ssh_prefill(ssh, &c.head);
    memcpy(ssh->info.address, c.address, sizeof c.address);
    keep_alive(ssh->fd, o->keepalive_s);
    return vt_ssh_prefer_hostkey(ssh, o, w, deadline, e);
}

static enum vt_rc shake_hands(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                              vt_time deadline, struct vt_err *e)
{
    enum vt_rc rc = vt_ssh_handshake(ssh, w, deadline, e);
    if (rc == VT_OK)
        rc = vt_ssh_check_hostkey(ssh, o, e);
    if (rc != VT_OK)
        return rc;
    ssh->is_shaken = true;
    vt_ssh_reached(ssh);
    return VT_OK;
}

/* The file of known hosts may be another one by now. */
static enum vt_rc go_on(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                        struct vt_err *e)
{
    enum vt_rc rc = vt_ssh_recheck_hostkey(ssh, o, w, deadline, e);
    if (rc != VT_OK && !ssh->is_shaken)
        vt_ssh_abandon(ssh, LIBSSH2_ERROR_EAGAIN);
    return rc;
}

/* From where it stands. */
static enum vt_rc log_in_once(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                              vt_time deadline, struct vt_err *e)
{
    enum vt_rc rc = ssh->fd >= 0 ? go_on(ssh, o, w, deadline, e) : connect_anew(ssh, o, w, deadline, e);
    if (rc == VT_OK && !ssh->is_shaken)
        rc = shake_hands(ssh, o, w, deadline, e);
    if (rc != VT_OK || ssh->is_in)
        return rc;
    rc = vt_ssh_authenticate(ssh, o, w, deadline, e);
    ssh->is_in = rc == VT_OK;
    return rc;
}

struct tries {
    int count;                      /* connections opened */
    bool spoke;                     /* the last try came behind the banner */
};

/* One connection; *out is NULL unless it is in. */
static enum vt_rc try_once(const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                           struct tries *tries, struct vt_ssh **out, struct vt_err *e)
{
    struct vt_ssh *ssh = vt_ssh_take_half(o);
    *out = NULL;
    if (ssh == NULL && (ssh = ssh_new()) == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
    enum vt_rc rc = log_in_once(ssh, o, w, deadline, e);
    tries->count = ssh->info.tries += tries->count;
    tries->spoke = ssh->fd >= 0;
    if (rc == VT_OK) {
        *out = ssh;
        return VT_OK;
    }
    memcpy(e->said, ssh->banners, sizeof e->said);
    if (ssh->halfway && o->hedge && o->places != NULL) {
        vt_ssh_keep_half(ssh, o);
        return rc;
    }
    if (ssh->halfway && !ssh->is_shaken)
        vt_ssh_abandon(ssh, LIBSSH2_ERROR_EAGAIN);
    vt_ssh_disconnect(ssh);
    vt_ssh_io_fini(ssh);                 /* what the server said is heard now at the latest */
    memcpy(e->said, ssh->banners, sizeof e->said);
    free(ssh);
    return rc;
}

/* A server that comes up may greet and then drop the connection. */
static bool is_drop(enum vt_rc rc, const struct vt_err *e)
{
    return (rc == VT_EOF || rc == VT_IO) && (e->stage == VT_STAGE_KEX || e->stage == VT_STAGE_AUTH);
}

/* We ended it, without authentication: the server holds that against us like a drop, and whoever waits
 * asks again soon. */
static bool is_given_up(enum vt_rc rc)
{
    return rc == VT_KEX || rc == VT_HOSTKEY || rc == VT_PROTO;
}

/* Tries again after a drop, by the place's pace; if the time is up first, the drop is what it
 * ends with. */
static enum vt_rc keep_trying(const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                              struct vt_ssh **out, struct vt_err *e)
{
    int drops = 0;
    struct tries tries = {0};
    struct vt_err mine = {0}, drop = {0};
    for (;;) {
        enum vt_rc rc = try_once(o, w, deadline, &tries, out, &mine);
        if (rc == VT_OK)
            vt_boot_let_in(o->places, o->host, o->port);
        if (tries.spoke && (is_drop(rc, &mine) || is_given_up(rc)))
            vt_boot_dropped(o->places, o->host, o->port, &mine);
        if (!tries.spoke || !is_drop(rc, &mine)) {
            *e = rc == VT_TIMEOUT && drops > 0 ? drop : mine;
            return rc == VT_TIMEOUT && drops > 0 ? drop.rc : rc;
        }
        drop = mine;
        drops++;
        if (vt_expired(deadline)) {
            *e = mine;
            return rc;
        }
    }
}

enum vt_rc vt_ssh_login(const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                        struct vt_ssh **out, struct vt_err *e)
{
    struct tries tries = {0};
    struct vt_err unasked = {0};
    e = e != NULL ? e : &unasked;
    if (!o->hedge)
        return try_once(o, w, deadline, &tries, out, e);
    if (o->places != NULL)
        return keep_trying(o, w, deadline, out, e);
    struct vt_ssh_options mine = *o;
    mine.places = vt_places_new();
    if (mine.places == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
    enum vt_rc rc = keep_trying(&mine, w, deadline, out, e);
    vt_places_free(mine.places);
    return rc;
}

enum vt_rc vt_ssh_open(const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transport **out, struct vt_ssh_info *info, struct vt_err *e)
{
    struct vt_ssh_options mine = *o;
    mine.shell = true;
    for (;;) {
        struct vt_ssh *ssh;
        enum vt_rc rc = vt_ssh_login(&mine, w, deadline, &ssh, e);
        if (rc != VT_OK)
            return rc;
        bool resumed = ssh->resumed;
        if (info != NULL)
            *info = ssh->info;
        rc = vt_ssh_shell(ssh, &mine, w, deadline, out, e);
        if (!resumed || (rc != VT_EOF && rc != VT_IO) || vt_expired(deadline))
            return rc;
    }
}
