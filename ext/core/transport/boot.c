/* boot.c - connecting to a guest that may still boot: who waits at a place, from joining it to leaving it. */
#include "transport/boot_wait.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TALK_MAX (2 * VT_SEC)           /* lines may stand before the version string (RFC 4253, 4.2) */

/* ---- one turn ---- */

/* Which slots' sockets are to be looked at; how many. */
static int list_fds(const struct vt_boot *b, struct pollfd *fds, int *slots)
{
    int n = 0;
    for (int i = 0; i < VT_TRIES; i++) {
        const struct vt_try *t = &b->open->plan.tries[i];
        if (!t->open)
            continue;
        fds[n] = (struct pollfd){.fd = b->open->list[i].fd, .events = t->connected ? POLLIN : POLLOUT};
        slots[n++] = i;
    }
    return n;
}

static enum vt_rc take_events(struct vt_boot *b, const struct pollfd *fds, const int *slots, int n)
{
    enum vt_rc rc = VT_OK;
    for (int i = 0; rc == VT_OK && b->winner < 0 && i < n; i++)
        if (fds[i].revents != 0)
            rc = vt_boot_event(b, slots[i]);
    return rc;
}

/* A version string's first bytes, and nothing else: a starved guest may pause there, too. */
static bool is_beginning(const struct vt_buf *head)
{
    return head->len < 4 && memcmp(head->data, "SSH-", head->len) == 0;
}

/* Ends those that began to talk and then fell silent. */
static enum vt_rc end_talks(struct vt_boot *b, vt_time *next)
{
    enum vt_rc rc = VT_OK;
    for (int i = 0; rc == VT_OK && i < VT_TRIES; i++) {
        const struct vt_conn *c = &b->open->list[i];
        if (!b->open->plan.tries[i].open || c->head.len == 0 || is_beginning(&c->head))
            continue;
        if (vt_expired(c->heard + TALK_MAX))
            rc = vt_boot_other_text(b, i);
        else if (c->heard + TALK_MAX < *next)
            *next = c->heard + TALK_MAX;
    }
    return rc;
}

/* Does what is due; *next: when to look again (real time). */
static enum vt_rc follow_plan(struct vt_boot *b, vt_time *next)
{
    *next = b->deadline;
    enum vt_rc rc = end_talks(b, next);
    for (int steps = 0; rc == VT_OK; steps++) {
        if (steps == 2 * VT_TRIES) {        /* events, signals and the deadline have a turn */
            *next = vt_now();
            return VT_OK;
        }
        struct vt_step step = vt_plan_next(&b->open->plan, vt_boot_now(b));
        if (step.move == VT_MOVE_CLOSE) {
            vt_conns_drop(b->open, step.slot);
        } else if (step.move == VT_MOVE_OPEN) {
            rc = vt_boot_open(b, step.sort);
        } else {
            vt_time at = vt_places_real(b->all, step.until);
            *next = at < *next ? at : *next;
            return VT_OK;
        }
    }
    return rc;
}

static void take_news(struct vt_boot *b)
{
    uint64_t count;
    while (read(b->wait.wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    if (b->wait.was_reset)
        vt_plan_restart(&b->open->plan);
    b->wait.was_reset = false;
}

/* Waits without the lock, and takes what came.  VT_OK also when only the time has come. */
static enum vt_rc turn(struct vt_boot *b, vt_time until)
{
    struct pollfd fds[VT_TRIES + 1];
    int slots[VT_TRIES], n = list_fds(b, fds, slots);
    fds[n] = (struct pollfd){.fd = b->wait.wake_fd, .events = POLLIN};
    vt_places_unlock(b->all);
    enum vt_rc rc = vt_wait(b->w, fds, n + 1, until);
    vt_places_lock(b->all);
    if (rc == VT_TIMEOUT)
        return VT_OK;
    if (rc != VT_OK)
        return vt_fail(b->e, rc, b->good < 0 ? VT_STAGE_CONNECT : VT_STAGE_BANNER, 0, NULL);
    if (fds[n].revents != 0)
        take_news(b);
    return take_events(b, fds, slots, n);
}

/* ---- the end ---- */

/* Nothing is open, and nothing may be opened before the deadline. */
static bool is_hopeless(const struct vt_boot *b)
{
    for (int i = 0; i < VT_TRIES; i++)
        if (b->open->plan.tries[i].open)
            return false;
    const struct vt_known *k = &b->place->known;
    return b->place->why != VT_OK && k->later != VT_NEVER && vt_places_real(b->all, k->later) > b->deadline;
}

static enum vt_rc run(struct vt_boot *b)
{
    enum vt_rc rc = VT_OK;
    vt_time next;
    for (bool last = false; rc == VT_OK && b->winner < 0; ) {
        if (last || is_hopeless(b))
            return vt_boot_timed_out(b);
        last = vt_expired(b->deadline);         /* what is there already still counts */
        rc = follow_plan(b, &next);
        if (rc == VT_OK)
            rc = turn(b, next);
        b->stale = 0;
    }
    return rc;
}

static void take_winner(struct vt_boot *b, struct vt_connected *out)
{
    struct vt_conn *c = &b->open->list[b->winner];
    vt_plan_won(&b->open->plan, b->winner);
    b->place->why = VT_OK;
    out->fd = c->fd;
    out->head = c->head;
    out->greeted = c->greeted;
    if (getnameinfo((struct sockaddr *)&c->address, c->address_len, out->address, sizeof out->address, NULL, 0,
                    NI_NUMERICHOST) != 0)
        out->address[0] = '\0';
}

/* ---- joining a place and leaving it ---- */

static bool is_accepted(const struct vt_try *t)
{
    return t->open && t->connected && t->sort != VT_CANARY;
}

/* What was kept: its events are as old as that, but for a wait that follows at once. */
static enum vt_rc take_over(struct vt_boot *b)
{
    struct vt_conns *kept = b->place->kept;
    vt_time age = vt_boot_now(b) - b->place->kept_at;
    struct pollfd fds[VT_TRIES];
    int slots[VT_TRIES];
    if (kept == NULL)
        return VT_OK;
    vt_conns_move(b->open, kept);
    vt_conns_free(kept);
    b->place->kept = NULL;
    for (int i = 0; i < VT_TRIES; i++)
        if (is_accepted(&b->open->plan.tries[i]))
            b->good = vt_boot_index_of(b, &b->open->list[i]);
    b->stale = age > VT_SEC ? vt_places_real(b->all, b->place->kept_at) : 0;
    int n = list_fds(b, fds, slots);
    if (n == 0 || poll(fds, (nfds_t)n, 0) <= 0)
        return VT_OK;
    enum vt_rc rc = take_events(b, fds, slots, n);
    b->stale = 0;
    return rc;
}

static void keep(struct vt_boot *b)
{
    struct vt_place *place = b->place;
    if (place->kept == NULL) {
        place->kept = b->open;
        b->open = NULL;
    } else {
        vt_conns_move(place->kept, b->open);
    }
    place->kept_at = vt_boot_now(b);
}

static void unlist(struct vt_boot *b)
{
    struct vt_boot_wait **link = &b->place->waits;
    while (*link != NULL && *link != &b->wait)
        link = &(*link)->next;
    if (*link != NULL)
        *link = b->wait.next;
}

static bool is_loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

/* The place that somebody told of by one of the host's addresses: that address alone counts. */
static struct vt_place *find_by_address(struct vt_boot *b, int port)
{
    char text[64];
    for (int i = 0; i < b->hosts.count; i++) {
        if (getnameinfo((struct sockaddr *)&b->hosts.list[i], b->hosts.len[i], text, sizeof text, NULL, 0,
                        NI_NUMERICHOST) != 0)
            continue;
        struct vt_place *p = vt_place_find(b->all, text, port);
        if (p == NULL || !p->told)
            continue;
        b->hosts.list[0] = b->hosts.list[i];
        b->hosts.len[0] = b->hosts.len[i];
        b->hosts.count = 1;
        return p;
    }
    return NULL;
}

/* What comes after the connection is told by the host's name. */
static enum vt_rc join(struct vt_boot *b, const char *host, int port)
{
    b->place = find_by_address(b, port);
    if (b->place != NULL)
        snprintf(b->place->alias, sizeof b->place->alias, "%s", host);
    if (b->place == NULL)
        b->place = vt_place_find(b->all, host, port);
    if (b->place == NULL)
        b->place = vt_place_make(b->all, host, port, is_loopback(&b->hosts.list[0]));
    b->open = b->place != NULL ? vt_conns_new(b->place) : NULL;
    b->wait.wake_fd = b->open != NULL ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (b->wait.wake_fd < 0) {
        vt_conns_free(b->open);
        return vt_fail(b->e, b->open == NULL ? VT_NOMEM : VT_IO, VT_STAGE_CONNECT, errno, NULL);
    }
    b->wait.open = b->open;
    b->wait.next = b->place->waits;
    b->place->waits = &b->wait;
    vt_time since = b->place->known.waiting;
    vt_plan_begin(&b->open->plan, vt_boot_now(b));
    if (b->place->known.waiting != since)
        b->place->tries = b->place->hang_ups = 0;
    return VT_OK;
}

static void leave(struct vt_boot *b, enum vt_rc rc)
{
    vt_plan_end(&b->open->plan, vt_boot_now(b));
    unlist(b);
    if (rc != VT_OK && b->place->known.waiting != VT_NEVER)
        keep(b);
    vt_conns_free(b->open);
    close(b->wait.wake_fd);
    vt_place_news(b->place);            /* others may have room now */
}

static enum vt_rc wait_at(struct vt_boot *b, const char *host, int port, struct vt_connected *out)
{
    enum vt_rc rc = join(b, host, port);
    if (rc != VT_OK)
        return rc;
    rc = take_over(b);
    if (rc == VT_OK)
        rc = run(b);
    if (rc == VT_OK)
        take_winner(b, out);
    out->tries = b->tries > 0 ? b->tries : 1;       /* one that an earlier login opened */
    leave(b, rc);
    return rc;
}

enum vt_rc vt_boot_connect(struct vt_places *all, const char *host, int port, const char *greeting,
                           struct vt_waiter *w, vt_time deadline, struct vt_connected *out, struct vt_err *e)
{
    struct vt_boot b = {.all = all, .greeting = greeting, .w = w, .deadline = deadline, .good = -1, .winner = -1, .e = e};
    enum vt_rc rc = vt_resolve(host, port, w, deadline, &b.hosts, e);
    if (rc == VT_OK && b.hosts.count == 0)
        rc = vt_fail(e, VT_RESOLVE, VT_STAGE_RESOLVE, 0, "%s has no address", host);
    if (rc != VT_OK)
        return rc;
    vt_places_lock(all);
    rc = wait_at(&b, host, port, out);
    vt_places_unlock(all);
    return rc;
}
