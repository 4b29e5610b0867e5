/* boot_try.c - one connection to a guest that may still boot: opening it, and what happens on it. */
#include "transport/boot_wait.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define HEAD_MAX (16 * 1024)

/* ---- opening ---- */

static bool has_untried(const struct vt_boot *b)
{
    return b->good < 0 && b->next < b->hosts.count;
}

/* One that has accepted and is silent may not be the guest's: the patient ones go to the others, too. */
static int whose_turn(struct vt_boot *b, enum vt_sort sort)
{
    if (b->good < 0)
        return b->next++ % b->hosts.count;
    bool others = (sort == VT_RING || sort == VT_FRESH) && !b->place->known.spoken;
    for (int i = 0; others && i < b->hosts.count; i++) {
        int turn = b->next++ % b->hosts.count;
        if (!b->failed[turn])
            return turn;
    }
    return b->good;
}

int vt_boot_index_of(const struct vt_boot *b, const struct vt_conn *c)
{
    for (int i = 0; i < b->hosts.count; i++)
        if (b->hosts.len[i] == c->address_len && memcmp(&b->hosts.list[i], &c->address, c->address_len) == 0)
            return i;
    return -1;
}

static void aim(struct vt_boot *b, struct vt_conn *c, enum vt_sort sort)
{
    int turn = sort == VT_CANARY ? -1 : whose_turn(b, sort);
    *c = (struct vt_conn){.fd = -1};
    c->address = turn < 0 ? b->place->canary : b->hosts.list[turn];
    c->address_len = turn < 0 ? b->place->canary_len : b->hosts.len[turn];
    vt_buf_init(&c->head, HEAD_MAX);
}

/* The connection in the slot could not be made.  Another address may have its turn; else that
 * is an end, unless something has been accepted. */
static enum vt_rc on_failure(struct vt_boot *b, int slot, int sys)
{
    bool is_canary = b->open->plan.tries[slot].sort == VT_CANARY, others = false;
    int address = vt_boot_index_of(b, &b->open->list[slot]);
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

enum vt_rc vt_boot_open(struct vt_boot *b, enum vt_sort sort)
{
    int slot = vt_plan_opened(&b->open->plan, sort, vt_boot_now(b));
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
    vt_plan_failed(&b->open->plan, slot, sys == ECONNREFUSED, vt_boot_now(b));
    return on_failure(b, slot, sys);
}

/* ---- what happens on it ---- */

static enum vt_rc on_hang_up(struct vt_boot *b, int slot)
{
    vt_time when = b->stale != 0 ? b->stale * b->all->pace : vt_boot_now(b);
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

/* Text that is no banner costs the server nothing: it is asked again, each time later. */
enum vt_rc vt_boot_other_text(struct vt_boot *b, int slot)
{
    struct vt_conn *c = &b->open->list[slot];
    size_t n = c->head.len < 150 ? c->head.len : 150;
    bool refuses = is_refusal(&c->head);
    b->place->why = refuses ? VT_LATER : VT_BANNER;
    vt_show(c->head.data, n, b->place->words, sizeof b->place->words);
    vt_plan_later(&b->open->plan, slot, vt_boot_now(b));
    close(c->fd);
    vt_buf_fini(&c->head);
    return refuses ? VT_OK : vt_boot_say_why(b->place, b->e);
}

/* A failure shows when the peer's own greeting is read; a fresh socket has room for it. */
static void greet(const struct vt_boot *b, struct vt_conn *c)
{
    ssize_t n = send(c->fd, b->greeting, strlen(b->greeting), MSG_NOSIGNAL | MSG_DONTWAIT);
    c->greeted = n > 0 ? (size_t)n : 0;
}

static enum vt_rc on_connected(struct vt_boot *b, int slot)
{
    struct vt_conn *c = &b->open->list[slot];
    bool is_canary = b->open->plan.tries[slot].sort == VT_CANARY;
    int sys = 0;
    socklen_t len = sizeof sys;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &len) < 0)
        sys = errno;
    if (sys != 0 && sys != ECONNRESET) {
        vt_time now = vt_boot_now(b);
        close(c->fd);
        vt_plan_failed(&b->open->plan, slot, sys == ECONNREFUSED, now);
        return on_failure(b, slot, sys);
    }
    vt_plan_connected(&b->open->plan, slot, vt_boot_now(b));
    if (!is_canary)
        b->good = vt_boot_index_of(b, c);
    if (sys == ECONNRESET)              /* refused is another error: this one had been accepted */
        return on_hang_up(b, slot);
    if (!is_canary)
        greet(b, c);
    return VT_OK;
}

static enum vt_rc on_readable(struct vt_boot *b, int slot)
{
    struct vt_conn *c = &b->open->list[slot];
    enum vt_rc rc = vt_buf_reserve(&c->head, 1024);
    if (rc == VT_TOOBIG)
        return vt_boot_other_text(b, slot);
    if (rc != VT_OK)
        return vt_fail(b->e, rc, VT_STAGE_BANNER, 0, NULL);
    ssize_t n = recv(c->fd, c->head.data + c->head.len, c->head.cap - c->head.len, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return VT_OK;
    if (b->open->plan.tries[slot].sort == VT_CANARY)
        return on_hang_up(b, slot);     /* somebody listens there after all: the guest answers, too */
    if (n <= 0)
        return c->head.len > 0 ? vt_boot_other_text(b, slot) : on_hang_up(b, slot);
    c->head.len += (size_t)n;
    c->heard = vt_now();
    if (vt_has_version(&c->head))
        b->winner = slot;
    return VT_OK;
}

enum vt_rc vt_boot_event(struct vt_boot *b, int slot)
{
    return b->open->plan.tries[slot].connected ? on_readable(b, slot) : on_connected(b, slot);
}
