/* boot.c - connecting to a guest that may still boot: sockets for what the plan decides. */
#include "transport/boot_place.h"

#include "transport/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TALK_MAX (2 * VT_SEC)           /* lines may stand before the version string (RFC 4253, 4.2) */
#define HEAD_MAX (16 * 1024)
#define STEP_MAX (120 * VT_SEC)         /* of a login; OpenSSH gives all of it no longer (LoginGraceTime) */

struct boot {
    struct vt_places *all;
    struct vt_place *place;
    struct vt_boot_wait wait;           /* in the place's list */
    struct vt_conns *open;
    struct vt_addresses hosts;
    const char *greeting;
    struct vt_waiter *w;
    vt_time deadline;
    vt_time stale;                      /* real: when what is found now may have happened; 0: just now */
    int next, good;                     /* address whose turn it is; that has accepted, or -1 */
    bool failed[VT_ADDRESSES];          /* addresses that have refused, or can't be reached */
    int tries;
    int winner;                         /* slot, or -1 */
    struct vt_err *e;
};

static struct vt_known *known(const struct boot *b)
{
    return &b->place->known;
}

static vt_time plan_now(const struct boot *b)
{
    return vt_places_now(b->all);
}

/* ---- opening ---- */

static bool has_untried(const struct boot *b)
{
    return b->good < 0 && b->next < b->hosts.count;
}

/* One that has accepted and is silent may not be the guest's: the patient ones go to the others, too. */
static int whose_turn(struct boot *b, enum vt_sort sort)
{
    if (b->good < 0)
        return b->next++ % b->hosts.count;
    bool others = (sort == VT_RING || sort == VT_FRESH) && !known(b)->spoken;
    for (int i = 0; others && i < b->hosts.count; i++) {
        int turn = b->next++ % b->hosts.count;
        if (!b->failed[turn])
            return turn;
    }
    return b->good;
}

static int index_of(const struct boot *b, const struct vt_conn *c)
{
    for (int i = 0; i < b->hosts.count; i++)
        if (b->hosts.len[i] == c->address_len && memcmp(&b->hosts.list[i], &c->address, c->address_len) == 0)
            return i;
    return -1;
}

static void aim(struct boot *b, struct vt_conn *c, enum vt_sort sort)
{
    int turn = sort == VT_CANARY ? -1 : whose_turn(b, sort);
    *c = (struct vt_conn){.fd = -1};
    c->address = turn < 0 ? b->place->canary : b->hosts.list[turn];
    c->address_len = turn < 0 ? b->place->canary_len : b->hosts.len[turn];
    vt_buf_init(&c->head, HEAD_MAX);
}

/* The connection in the slot could not be made.  Another address may have its turn; else that
 * is an end, unless something has been accepted. */
static enum vt_rc on_failure(struct boot *b, int slot, int sys)
{
    bool is_canary = b->open->plan.tries[slot].sort == VT_CANARY, others = false;
    int address = index_of(b, &b->open->list[slot]);
    if (is_canary)
        return VT_OK;
    if (address >= 0)
        b->failed[address] = true;
    if (has_untried(b)) {
        b->open->plan.owed++;
        return VT_OK;
    }
    for (int i = 0; i < VT_TRIES; i++) {
        const struct vt_try *t = &b->open->plan.tries[i];
        others |= t->open && t->sort != VT_CANARY && (t->connected || b->hosts.count > 1);
    }
    return others ? VT_OK : vt_fail(b->e, VT_CONNECT, VT_STAGE_CONNECT, sys, "%s", strerror(sys));
}

static enum vt_rc open_one(struct boot *b, enum vt_sort sort)
{
    int slot = vt_plan_opened(&b->open->plan, sort, plan_now(b));
    if (slot < 0)
        return VT_OK;
    struct vt_conn *c = &b->open->list[slot];
    aim(b, c, sort);
    b->tries += sort != VT_CANARY;
    b->place->tries += sort != VT_CANARY;
    c->fd = vt_connect_start((const struct sockaddr *)&c->address, c->address_len);
    if (c->fd >= 0)
        return VT_OK;
    int sys = errno;
    vt_plan_failed(&b->open->plan, slot, sys == ECONNREFUSED, plan_now(b));
    return on_failure(b, slot, sys);
}

/* ---- what happens on a connection ---- */

static enum vt_rc on_hang_up(struct boot *b, int slot)
{
    vt_time when = b->stale != 0 ? b->stale * b->all->pace : plan_now(b);
    struct vt_conn *c = &b->open->list[slot];
    b->place->hang_ups += b->open->plan.tries[slot].sort != VT_CANARY;
    vt_plan_hung_up(&b->open->plan, slot, when);
    close(c->fd);
    vt_buf_fini(&c->head);
    return VT_OK;
}

/* In these words sshd sends away who comes too often; it has not even forked then. */
static bool is_refusal(const struct vt_buf *head)
{
    static const char *const said[] = {"Not allowed at this time", "Exceeded MaxStartups"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (memmem(head->data, head->len, said[i], strlen(said[i])) != NULL)
            return true;
    return false;
}

static enum vt_rc say_why(const struct vt_place *place, struct vt_err *e)
{
    if (place->why == VT_LATER)
        return vt_fail(e, VT_LATER, VT_STAGE_BANNER, 0,
                       "the server refuses us for now (too many connections or refused logins): %s", place->words);
    if (place->why == VT_BANNER)
        return vt_fail(e, VT_BANNER, VT_STAGE_BANNER, 0, "the peer is no SSH server, it said: %s", place->words);
    return vt_fail(e, place->why, place->stage, 0, "%s", place->words);
}

/* Text that is no banner costs the server nothing: it is asked again, each time later. */
static enum vt_rc on_other_text(struct boot *b, int slot)
{
    struct vt_conn *c = &b->open->list[slot];
    size_t n = c->head.len < 150 ? c->head.len : 150;
    bool refuses = is_refusal(&c->head);
    b->place->why = refuses ? VT_LATER : VT_BANNER;
    vt_show(c->head.data, n, b->place->words, sizeof b->place->words);
    vt_plan_later(&b->open->plan, slot, plan_now(b));
    close(c->fd);
    vt_buf_fini(&c->head);
    return refuses ? VT_OK : say_why(b->place, b->e);
}

/* A failure shows when the peer's own greeting is read; a fresh socket has room for it. */
static void greet(const struct boot *b, struct vt_conn *c)
{
    ssize_t n = send(c->fd, b->greeting, strlen(b->greeting), MSG_NOSIGNAL | MSG_DONTWAIT);
    c->greeted = n > 0 ? (size_t)n : 0;
}

static enum vt_rc on_connected(struct boot *b, int slot)
{
    struct vt_conn *c = &b->open->list[slot];
    bool is_canary = b->open->plan.tries[slot].sort == VT_CANARY;
    int sys = 0;
    socklen_t len = sizeof sys;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &len) < 0)
        sys = errno;
    if (sys != 0 && sys != ECONNRESET) {
        vt_time now = plan_now(b);
        close(c->fd);
        vt_plan_failed(&b->open->plan, slot, sys == ECONNREFUSED, now);
        return on_failure(b, slot, sys);
    }
    vt_plan_connected(&b->open->plan, slot, plan_now(b));
    if (!is_canary)
        b->good = index_of(b, c);
    if (sys == ECONNRESET)              /* refused is another error: this one had been accepted */
        return on_hang_up(b, slot);
    if (!is_canary)
        greet(b, c);
    return VT_OK;
}

static enum vt_rc on_readable(struct boot *b, int slot)
{
    struct vt_conn *c = &b->open->list[slot];
    enum vt_rc rc = vt_buf_reserve(&c->head, 1024);
    if (rc == VT_TOOBIG)
        return on_other_text(b, slot);
    if (rc != VT_OK)
        return vt_fail(b->e, rc, VT_STAGE_BANNER, 0, NULL);
    ssize_t n = recv(c->fd, c->head.data + c->head.len, c->head.cap - c->head.len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return VT_OK;
    if (b->open->plan.tries[slot].sort == VT_CANARY)
        return on_hang_up(b, slot);     /* somebody listens there after all: the guest answers, too */
    if (n <= 0)
        return c->head.len > 0 ? on_other_text(b, slot) : on_hang_up(b, slot);
    c->head.len += (size_t)n;
    c->heard = vt_now();
    if (vt_has_version(&c->head))
        b->winner = slot;
    return VT_OK;
}

static enum vt_rc on_event(struct boot *b, int slot)
{
    return b->open->plan.tries[slot].connected ? on_readable(b, slot) : on_connected(b, slot);
}

/* ---- one turn ---- */

/* Which slots' sockets are to be looked at; how many. */
static int list_fds(const struct boot *b, struct pollfd *fds, int *slots)
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

static enum vt_rc take_events(struct boot *b, const struct pollfd *fds, const int *slots, int n)
{
    enum vt_rc rc = VT_OK;
    for (int i = 0; rc == VT_OK && b->winner < 0 && i < n; i++)
        if (fds[i].revents != 0)
            rc = on_event(b, slots[i]);
    return rc;
}

/* A version string's first bytes, and nothing else: a starved guest may pause there, too. */
static bool is_beginning(const struct vt_buf *head)
{
    return head->len < 4 && memcmp(head->data, "SSH-", head->len) == 0;
}

/* Ends those that began to talk and then fell silent. */
static enum vt_rc end_talks(struct boot *b, vt_time *next)
{
    enum vt_rc rc = VT_OK;
    for (int i = 0; rc == VT_OK && i < VT_TRIES; i++) {
        const struct vt_conn *c = &b->open->list[i];
        if (!b->open->plan.tries[i].open || c->head.len == 0 || is_beginning(&c->head))
            continue;
        if (vt_expired(c->heard + TALK_MAX))
            rc = on_other_text(b, i);
        else if (c->heard + TALK_MAX < *next)
            *next = c->heard + TALK_MAX;
    }
    return rc;
}

/* Does what is due; *next: when to look again (real time). */
static enum vt_rc follow_plan(struct boot *b, vt_time *next)
{
    *next = b->deadline;
    enum vt_rc rc = end_talks(b, next);
    for (int steps = 0; rc == VT_OK; steps++) {
        if (steps == 2 * VT_TRIES) {        /* events, signals and the deadline have a turn */
            *next = vt_now();
            return VT_OK;
        }
        struct vt_step step = vt_plan_next(&b->open->plan, plan_now(b));
        if (step.move == VT_MOVE_CLOSE) {
            vt_conns_drop(b->open, step.slot);
        } else if (step.move == VT_MOVE_OPEN) {
            rc = open_one(b, step.sort);
        } else {
            vt_time at = vt_places_real(b->all, step.until);
            *next = at < *next ? at : *next;
            return VT_OK;
        }
    }
    return rc;
}

static void take_news(struct boot *b)
{
    uint64_t count;
    while (read(b->wait.wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    if (b->wait.was_reset)
        vt_plan_restart(&b->open->plan);
    b->wait.was_reset = false;
}

/* Waits without the lock, and takes what came.  VT_OK also when only the time has come. */
static enum vt_rc turn(struct boot *b, vt_time until)
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

static double waited(const struct vt_place *place, vt_time now)
{
    vt_time since = place->known.waiting;
    return since == VT_NEVER ? 0 : (double)(now - since) / 1e9;
}

static void awaits_in_words(const struct vt_place *place, const struct vt_plan *plan, vt_time now, char *text,
                            size_t cap)
{
    static const char *const words[] = {
        [VT_AWAITS_LIFE] = "no sign of life yet",
        [VT_AWAITS_NETWORK] = "signs of life, but the network is not up yet",
        [VT_AWAITS_BANNER] = "connected, but no SSH banner came",
        [VT_AWAITS_ANSWER] = "no answer to the connection",
    };
    enum vt_awaits what = vt_plan_awaits(plan, now);
    if (what == VT_AWAITS_LIFE && !place->told)
        what = VT_AWAITS_BANNER;        /* nobody could give a sign */
    if (what == VT_AWAITS_LISTENER)
        snprintf(text, cap, "the network is up, nobody listens on port %d", place->guest_port);
    else if (what == VT_AWAITS_LEAVE)
        snprintf(text, cap, "refused for now: %.100s",
                 place->why == VT_LATER ? "too many connections" : place->words);
    else
        snprintf(text, cap, "%s", words[what]);
}

static enum vt_rc timed_out(struct boot *b)
{
    char words[160];
    vt_time now = plan_now(b);
    const struct vt_known *k = known(b);
    if (b->place->why != VT_OK && k->later != VT_NEVER && now <= k->later + VT_SEC)
        return say_why(b->place, b->e);
    awaits_in_words(b->place, &b->open->plan, now, words, sizeof words);
    return vt_fail(b->e, VT_TIMEOUT, b->good < 0 ? VT_STAGE_CONNECT : VT_STAGE_BANNER, 0,
                   "%s (%.0f s; connections: %d, closed by the peer: %d)", words, waited(b->place, now), b->place->tries,
                   b->place->hang_ups);
}

/* Nothing is open, and nothing may be opened before the deadline. */
static bool is_hopeless(const struct boot *b)
{
    for (int i = 0; i < VT_TRIES; i++)
        if (b->open->plan.tries[i].open)
            return false;
    const struct vt_known *k = known(b);
    return b->place->why != VT_OK && k->later != VT_NEVER && vt_places_real(b->all, k->later) > b->deadline;
}

static enum vt_rc run(struct boot *b)
{
    enum vt_rc rc = VT_OK;
    vt_time next;
    for (bool last = false; rc == VT_OK && b->winner < 0; ) {
        if (last || is_hopeless(b))
            return timed_out(b);
        last = vt_expired(b->deadline);         /* what is there already still counts */
        rc = follow_plan(b, &next);
        if (rc == VT_OK)
            rc = turn(b, next);
        b->stale = 0;
    }
    return rc;
}

static void take_winner(struct boot *b, struct vt_connected *out)
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
static enum vt_rc take_over(struct boot *b)
{
    struct vt_conns *kept = b->place->kept;
    vt_time age = plan_now(b) - b->place->kept_at;
    struct pollfd fds[VT_TRIES];
    int slots[VT_TRIES];
    if (kept == NULL)
        return VT_OK;
    vt_conns_move(b->open, kept);
    vt_conns_free(kept);
    b->place->kept = NULL;
    for (int i = 0; i < VT_TRIES; i++)
        if (is_accepted(&b->open->plan.tries[i]))
            b->good = index_of(b, &b->open->list[i]);
    b->stale = age > VT_SEC ? vt_places_real(b->all, b->place->kept_at) : 0;
    int n = list_fds(b, fds, slots);
    if (n == 0 || poll(fds, (nfds_t)n, 0) <= 0)
        return VT_OK;
    enum vt_rc rc = take_events(b, fds, slots, n);
    b->stale = 0;
    return rc;
}

static void keep(struct boot *b)
{
    struct vt_place *place = b->place;
    if (place->kept == NULL) {
        place->kept = b->open;
        b->open = NULL;
    } else {
        vt_conns_move(place->kept, b->open);
    }
    place->kept_at = plan_now(b);
}

static void unlist(struct boot *b)
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
static struct vt_place *find_by_address(struct boot *b, int port)
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
static enum vt_rc join(struct boot *b, const char *host, int port)
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
    vt_time since = known(b)->waiting;
    vt_plan_begin(&b->open->plan, plan_now(b));
    if (known(b)->waiting != since)
        b->place->tries = b->place->hang_ups = 0;
    return VT_OK;
}

static void leave(struct boot *b, enum vt_rc rc)
{
    vt_plan_end(&b->open->plan, plan_now(b));
    unlist(b);
    if (rc != VT_OK && known(b)->waiting != VT_NEVER)
        keep(b);
    vt_conns_free(b->open);
    close(b->wait.wake_fd);
    vt_place_news(b->place);            /* others may have room now */
}

static enum vt_rc wait_at(struct boot *b, const char *host, int port, struct vt_connected *out)
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
    struct boot b = {.all = all, .greeting = greeting, .w = w, .deadline = deadline, .good = -1, .winner = -1, .e = e};
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

/* One of a guest that was reset, of which nobody told, would be silent for ever.  Behind the key exchange a
 * server may be silent for long, too: it asks another one whether the password is right. */
static bool is_dead(const struct vt_places *all, const struct vt_place *p, const struct vt_half *half)
{
    vt_time now = vt_places_now(all), patience = half->is_shaken ? STEP_MAX : VT_KEEP;
    return half->since * all->pace < p->known.reset || now - half->heard * all->pace >= patience
        || now - half->reached * all->pace >= STEP_MAX;
}

void vt_boot_keep_half(struct vt_places *all, const char *host, int port, const struct vt_half *half)
{
    struct vt_half drop = *half;
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    if (p != NULL && !is_dead(all, p, half)) {
        drop = p->half_count == VT_HALVES ? vt_place_take_half(p, 0) : (struct vt_half){0};
        p->halves[p->half_count].half = *half;
        p->halves[p->half_count++].at = vt_places_now(all);
    }
    if (p != NULL && drop.what != NULL && drop.since * all->pace >= p->known.reset)
        vt_place_give_up(p, &drop, vt_places_now(all));
    vt_places_unlock(all);
    if (drop.what != NULL)
        drop.drop(drop.what);
}

void *vt_boot_take_half(struct vt_places *all, const char *host, int port, vt_fits_fn fits, const void *ctx)
{
    struct vt_half half = {0};
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    for (int i = 0; p != NULL && half.what == NULL && i < p->half_count; i++)
        if (fits(p->halves[i].half.what, ctx))
            half = vt_place_take_half(p, i);
    vt_places_unlock(all);
    return half.what;
}

bool vt_boot_is_current(struct vt_places *all, const char *host, int port, vt_time since)
{
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    bool is = p == NULL || since * all->pace >= p->known.reset;
    vt_places_unlock(all);
    return is;
}

void vt_boot_let_in(struct vt_places *all, const char *host, int port)
{
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    if (p != NULL) {
        vt_known_let_in(&p->known);
        vt_place_news(p);
    }
    vt_places_unlock(all);
}

void vt_boot_dropped(struct vt_places *all, const char *host, int port, const struct vt_err *e)
{
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    if (p != NULL) {
        vt_known_dropped(&p->known, vt_places_now(all));
        p->why = e->rc;
        p->stage = e->stage;
        snprintf(p->words, sizeof p->words, "%.190s", e->text);
    }
    vt_places_unlock(all);
}

bool vt_places_awaits(struct vt_places *all, const char *host, int port, char *words, size_t cap, double *seconds)
{
    vt_places_lock(all);
    struct vt_place *p = vt_place_find(all, host, port);
    struct vt_conns *open = p == NULL ? NULL : p->waits != NULL ? p->waits->open : p->kept;
    bool found = open != NULL && p->known.waiting != VT_NEVER;
    if (found) {
        vt_time now = vt_places_now(all);
        awaits_in_words(p, &open->plan, now, words, cap);
        *seconds = waited(p, now);
    }
    vt_places_unlock(all);
    return found;
}
