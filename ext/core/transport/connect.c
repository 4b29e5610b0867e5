/* connect.c - one connection, over a host's addresses: Happy Eyeballs (RFC 8305).
 *
 * All tries are kept in a table of slots.  Until some address has accepted, the addresses have
 * their turns, the next one as soon as one fails or after a fifth of a second; then that
 * address is the only one.
 */
#include "transport/connect.h"

#include "transport/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SLOTS 5
#define STAGGER (200 * VT_MS)       /* between connections */
#define OTHER_TALK (2 * VT_SEC)     /* lines may stand before the version string (RFC 4253, 4.2) */
#define HEAD_MAX (16 * 1024)

enum state { FREE, CONNECTING, SILENT, TALKING };

struct slot {
    enum state state;
    int fd;
    int address;                    /* index */
    vt_time since;                  /* opened; of TALKING: last byte received */
    size_t greeted;                 /* bytes */
    struct vt_buf head;
};

struct race {
    struct vt_addresses hosts;
    struct slot slots[SLOTS];
    struct vt_waiter *w;
    vt_time deadline, last_open;
    const char *greeting;           /* for SSH: then the peer's is waited for; else NULL */
    int next;                       /* address whose turn it is */
    int good;                       /* index of an address that has accepted, or -1 */
    int tries;
    int sys;                        /* errno of the last connection that failed */
    struct slot *winner;
    struct vt_err *e;
};

/* ---- slots ---- */

static void drop(struct slot *s)
{
    if (s->state != FREE)
        close(s->fd);
    s->state = FREE;
    vt_buf_fini(&s->head);
}

static int open_count(const struct race *r)
{
    int n = 0;
    for (int i = 0; i < SLOTS; i++)
        n += r->slots[i].state != FREE;
    return n;
}

static struct slot *free_slot(struct race *r)
{
    for (int i = 0; i < SLOTS; i++)
        if (r->slots[i].state == FREE)
            return &r->slots[i];
    return NULL;
}

static enum vt_rc no_way(struct race *r)
{
    return vt_fail(r->e, VT_CONNECT, VT_STAGE_CONNECT, r->sys, "%s", strerror(r->sys));
}

/* ---- opening ---- */

int vt_connect_start(const struct sockaddr *to, socklen_t len)
{
    int one = 1, fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, to, len) == 0 || errno == EINPROGRESS || errno == EINTR)
        return fd;
    int sys = errno;
    close(fd);
    errno = sys;
    return -1;
}

static int whose_turn(struct race *r)
{
    if (r->good >= 0)
        return r->good;
    int turn = r->next % r->hosts.count;
    r->next++;
    return turn;
}

static void open_one(struct race *r, struct slot *s)
{
    s->address = whose_turn(r);
    s->since = r->last_open = vt_now();
    s->fd = vt_connect_start((const struct sockaddr *)&r->hosts.list[s->address], r->hosts.len[s->address]);
    r->tries++;
    if (s->fd < 0) {
        r->sys = errno;
        return;
    }
    s->state = CONNECTING;
    s->greeted = 0;
    vt_buf_init(&s->head, HEAD_MAX);
}

/* Addresses are left that have not had their turn. */
static bool has_untried(const struct race *r)
{
    return r->good < 0 && r->next < r->hosts.count;
}

/* When the next connection is to be opened. */
static vt_time next_open(const struct race *r)
{
    if (r->tries == 0 || (open_count(r) == 0 && has_untried(r)))
        return 0;
    return has_untried(r) ? r->last_open + STAGGER : VT_FOREVER;
}

/* Opens what is due.  VT_CONNECT when nothing is left to wait for. */
static enum vt_rc open_due(struct race *r)
{
    for (;;) {
        struct slot *s = free_slot(r);
        if (s == NULL && has_untried(r))
            drop(s = &r->slots[r->next % SLOTS]);       /* no answer: another's turn */
        if (s == NULL || vt_now() < next_open(r))
            return VT_OK;
        open_one(r, s);
        if (open_count(r) == 0 && !has_untried(r))
            return no_way(r);
    }
}

/* ---- what happens on them ---- */

bool vt_has_version(const struct vt_buf *b)
{
    return (b->len >= 4 && memcmp(b->data, "SSH-", 4) == 0)
        || (b->len >= 5 && memmem(b->data, b->len, "\nSSH-", 5) != NULL);
}

static enum vt_rc not_ssh(struct race *r, const struct slot *s)
{
    char shown[160];
    vt_show(s->head.data, s->head.len < 100 ? s->head.len : 100, shown, sizeof shown);
    return vt_fail(r->e, VT_BANNER, VT_STAGE_BANNER, 0, "the peer is no SSH server, it said: %s", shown);
}

static enum vt_rc on_hang_up(struct race *r, struct slot *s, int sys)
{
    if (s->state == TALKING)
        return not_ssh(r, s);
    drop(s);
    if (sys == ECONNRESET && r->greeting != NULL)
        sys = 0;                    /* what a close becomes if the greeting was not read */
    return vt_fail(r->e, sys == 0 ? VT_BANNER : VT_CONNECT, VT_STAGE_BANNER, sys,
                   sys == 0 ? "the peer closed the connection without a word"
                            : "the peer reset the connection without a word");
}

/* A failure shows when the peer's own greeting is read; a fresh socket has room for it. */
static void greet(const struct race *r, struct slot *s)
{
    ssize_t n = send(s->fd, r->greeting, strlen(r->greeting), MSG_NOSIGNAL | MSG_DONTWAIT);
    s->greeted = n > 0 ? (size_t)n : 0;
}

static enum vt_rc on_connected(struct race *r, struct slot *s)
{
    int sys = 0;
    socklen_t len = sizeof sys;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &sys, &len) < 0)
        sys = errno;
    if (sys != 0 && sys != ECONNRESET) {
        r->sys = sys;
        drop(s);
        return open_count(r) > 0 || has_untried(r) ? VT_OK : no_way(r);
    }
    s->state = SILENT;
    r->good = s->address;
    if (sys == ECONNRESET)          /* refused is another error: this one had been accepted */
        return on_hang_up(r, s, sys);
    if (r->greeting != NULL)
        greet(r, s);
    else
        r->winner = s;
    return VT_OK;
}

static enum vt_rc on_readable(struct race *r, struct slot *s)
{
    enum vt_rc rc = vt_buf_reserve(&s->head, 1024);
    if (rc == VT_TOOBIG)
        return not_ssh(r, s);
    if (rc != VT_OK)
        return vt_fail(r->e, rc, VT_STAGE_BANNER, 0, NULL);
    ssize_t n = recv(s->fd, s->head.data + s->head.len, s->head.cap - s->head.len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return VT_OK;
    if (n <= 0)
        return on_hang_up(r, s, n == 0 ? 0 : errno);
    s->head.len += (size_t)n;
    s->state = TALKING;
    s->since = vt_now();
    if (vt_has_version(&s->head))
        r->winner = s;
    return VT_OK;
}

/* ---- the clock ---- */

static vt_time expiry(const struct slot *s)
{
    return s->state == TALKING ? s->since + OTHER_TALK : VT_FOREVER;
}

static enum vt_rc end_talks(struct race *r)
{
    vt_time now = vt_now();
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &r->slots[i];
        if (s->state != FREE && now >= expiry(s))
            return not_ssh(r, s);
    }
    return VT_OK;
}

static vt_time next_event(struct race *r)
{
    vt_time soon = free_slot(r) != NULL || has_untried(r) ? next_open(r) : VT_FOREVER;
    for (int i = 0; i < SLOTS; i++) {
        vt_time end = r->slots[i].state == FREE ? VT_FOREVER : expiry(&r->slots[i]);
        soon = end < soon ? end : soon;
    }
    return soon < r->deadline ? soon : r->deadline;
}

static enum vt_rc timed_out(struct race *r)
{
    if (r->good < 0)
        return vt_fail(r->e, VT_TIMEOUT, VT_STAGE_CONNECT, 0, "no answer to the connection");
    return vt_fail(r->e, VT_TIMEOUT, VT_STAGE_BANNER, 0, "connected, but no SSH banner came");
}

/* ---- the race ---- */

/* One wait and what it brings. */
static enum vt_rc turn(struct race *r)
{
    struct pollfd fds[SLOTS];
    struct slot *of[SLOTS];
    int n = 0;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &r->slots[i];
        if (s->state == FREE)
            continue;
        fds[n] = (struct pollfd){.fd = s->fd, .events = s->state == CONNECTING ? POLLOUT : POLLIN};
        of[n++] = s;
    }
    enum vt_rc rc = vt_wait(r->w, fds, n, next_event(r));
    if (rc == VT_TIMEOUT)
        return VT_OK;
    if (rc != VT_OK)
        return vt_fail(r->e, rc, r->good < 0 ? VT_STAGE_CONNECT : VT_STAGE_BANNER, 0, NULL);
    for (int i = 0; rc == VT_OK && r->winner == NULL && i < n; i++)
        if (fds[i].revents != 0)
            rc = of[i]->state == CONNECTING ? on_connected(r, of[i]) : on_readable(r, of[i]);
    return rc;
}

static enum vt_rc run(struct race *r)
{
    enum vt_rc rc = VT_OK;
    for (bool last = false; rc == VT_OK && r->winner == NULL; ) {
        if (last)
            return timed_out(r);
        last = vt_expired(r->deadline);         /* what is there already still counts */
        if ((rc = end_talks(r)) == VT_OK && (rc = open_due(r)) == VT_OK)
            rc = turn(r);
    }
    return rc;
}

static void take_winner(struct race *r, struct vt_connected *out)
{
    struct slot *s = r->winner;
    out->fd = s->fd;
    out->head = s->head;
    out->greeted = s->greeted;
    s->head = (struct vt_buf){0};
    s->state = FREE;
    if (getnameinfo((struct sockaddr *)&r->hosts.list[s->address], r->hosts.len[s->address], out->address,
                    sizeof out->address, NULL, 0, NI_NUMERICHOST) != 0)
        out->address[0] = '\0';
}

static enum vt_rc race(struct race *r, const char *host, int port, struct vt_connected *out)
{
    r->good = -1;
    enum vt_rc rc = vt_resolve(host, port, r->w, r->deadline, &r->hosts, r->e);
    if (rc == VT_OK && r->hosts.count == 0)
        rc = vt_fail(r->e, VT_RESOLVE, VT_STAGE_RESOLVE, 0, "%s has no address", host);
    if (rc == VT_OK)
        rc = run(r);
    if (rc == VT_OK)
        take_winner(r, out);
    out->tries = r->tries;
    for (int i = 0; i < SLOTS; i++)
        drop(&r->slots[i]);
    return rc;
}

enum vt_rc vt_connect(const char *host, int port, struct vt_waiter *w, vt_time deadline,
                      struct vt_connected *out, struct vt_err *e)
{
    struct race r = {.w = w, .deadline = deadline, .e = e};
    return race(&r, host, port, out);
}

enum vt_rc vt_connect_ssh(const char *host, int port, const char *greeting, struct vt_waiter *w, vt_time deadline,
                          struct vt_connected *out, struct vt_err *e)
{
    struct race r = {.w = w, .deadline = deadline, .e = e, .greeting = greeting};
    return race(&r, host, port, out);
}
