/* boot_plan.c - when to open which connection to a guest that may still boot: the decisions. */
#include "transport/boot_known.h"

#include <stddef.h>

#define SURE_EVERY (200 * VT_MS)
#define SURE_MORE (6 * VT_SEC)          /* beside a silent one; then twice as long */
#define SURE_MAX 3                      /* silent ones, in a window */
#define CANARY_ALIVE (200 * VT_MS)
#define CANARY_BLIND (400 * VT_MS)
#define CANARY_SURE VT_SEC
#define CANARY_MAX 15
#define RING_SIZE 4
#define RING_EVERY (3 * VT_SEC)
#define RING_DESPITE (120 * VT_SEC)     /* a canary that is mute, and no sign of life */
#define FRESH_EVERY (250 * VT_MS)
#define FRESH_SPOKEN VT_SEC
#define SECOND_AFTER (10 * VT_SEC)      /* beside one that is silent */

/* After the sign, and then after each other.  Beside a canary they are for firewalls alone that mute
 * it: of a starved guest the console's sign comes many seconds before its network. */
#define BLINDS 4
static const vt_time blind_after[] = {300 * VT_MS, 700 * VT_MS, 1500 * VT_MS, 3500 * VT_MS};
static const vt_time blind_beside[] = {2 * VT_SEC, 4 * VT_SEC, 8 * VT_SEC, 16 * VT_SEC};

static vt_time sooner_of(vt_time a, vt_time b)
{
    return a < b ? a : b;
}

/* An instant and so much, for instants that may be VT_NEVER. */
static vt_time after(vt_time at, vt_time ns)
{
    return at == VT_NEVER ? VT_NEVER : at + ns;
}

/* ---- what this wait has ---- */

static int open_of(const struct vt_plan *p, enum vt_sort sort)
{
    int n = 0;
    for (int i = 0; i < VT_TRIES; i++)
        n += p->tries[i].open && p->tries[i].sort == sort;
    return n;
}

static int open_but_canaries(const struct vt_plan *p)
{
    int n = 0;
    for (int i = 0; i < VT_TRIES; i++)
        n += p->tries[i].open && p->tries[i].sort != VT_CANARY;
    return n;
}

/* The oldest open one for which `connected` is that, sort CANARY apart; NULL if there is none. */
static const struct vt_try *oldest(const struct vt_plan *p, bool connected, bool but_first)
{
    const struct vt_try *found = NULL;
    for (int i = 0; i < VT_TRIES; i++) {
        const struct vt_try *t = &p->tries[i];
        if (t->open && t->sort != VT_CANARY && t->connected == connected && !(but_first && t->sort == VT_FIRST)
            && (found == NULL || t->since < found->since))
            found = t;
    }
    return found;
}

static int count_connected(const struct vt_plan *p)
{
    int n = 0;
    for (int i = 0; i < VT_TRIES; i++)
        n += p->tries[i].open && p->tries[i].connected && p->tries[i].sort != VT_CANARY;
    return n;
}

/* One that has spoken is taken to be up still, until it is silent for long, or does not even accept. */
static bool is_trusted(const struct vt_plan *p, vt_time now)
{
    const struct vt_try *t = oldest(p, true, false), *pending = oldest(p, false, false);
    if (t != NULL)
        return p->known->spoken && now - t->since < SECOND_AFTER;
    return p->known->spoken && (pending == NULL || now - pending->since < RING_EVERY);
}

/* ---- when one of a sort is due: VT_FOREVER for not at all ---- */

/* One at once, whatever is known: a guest that is up answers it.  One is there at any time
 * but for those at which sure ones follow each other. */
static vt_time due_first(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    bool has_open = open_but_canaries(p) > 0, is_new = p->opened_count == 0;
    if ((has_open && p->owed == 0) || (!has_open && vt_known_is_up(k, now) && k->forwarded && !k->spoken))
        return VT_FOREVER;
    vt_time due = p->owed > 0 || is_new ? VT_NEVER : after(k->opened_at, RING_EVERY);
    return k->spoken && k->drops == 0 ? due : vt_later_of(due, vt_known_room(k, now, false, VT_GUESSES));
}

static vt_time due_canary(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    bool has_sure = open_of(p, VT_SURE) > 0;
    if (!k->has_canary || is_trusted(p, now) || open_of(p, VT_CANARY) >= CANARY_MAX)
        return VT_FOREVER;
    vt_time every = has_sure ? CANARY_SURE : vt_known_is_alive(k, now) ? CANARY_ALIVE : CANARY_BLIND;
    vt_time due = after(k->canary_at, every);
    return !has_sure && vt_known_is_up(k, now) ? vt_later_of(due, k->up + VT_UP_LASTS + 1) : due;
}

/* While the kernel answers: one at a time; a silent one is in the server's hands. */
static vt_time due_sure(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    int silent = vt_known_count(k, now, true);
    bool has_open = open_of(p, VT_SURE) > 0;
    if ((!vt_known_is_up(k, now) && !(has_open && !k->has_canary)) || (is_trusted(p, now) && open_but_canaries(p) > 0))
        return VT_FOREVER;
    vt_time due = after(k->sure_at, silent == 0 || !has_open ? SURE_EVERY : SURE_MORE << (silent - 1));
    return vt_later_of(vt_later_of(due, vt_known_room(k, now, true, SURE_MAX)), vt_known_room(k, now, false, VT_BUDGET));
}

static vt_time due_blind(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    if (k->alive == VT_NEVER || vt_known_is_up(k, now) || k->blinds >= BLINDS || is_trusted(p, now)
        || open_of(p, VT_SURE) > 0)
        return VT_FOREVER;
    vt_time from = k->blinds == 0 ? vt_later_of(k->alive, k->waiting) : k->blind_at;
    vt_time pause = (k->has_canary ? blind_beside : blind_after)[k->blinds];
    return vt_later_of(from + pause, vt_known_room(k, now, false, VT_GUESSES));
}

static vt_time due_ring(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    bool has_blinds = vt_known_is_alive(k, now) && k->blinds < BLINDS;
    if (vt_known_is_up(k, now) || has_blinds || is_trusted(p, now) || open_of(p, VT_SURE) > 0
        || open_but_canaries(p) >= RING_SIZE)
        return VT_FOREVER;
    vt_time due = vt_later_of(after(k->opened_at, RING_EVERY), vt_known_room(k, now, false, VT_GUESSES));
    return k->has_canary ? vt_later_of(due, k->waiting + RING_DESPITE) : due;
}

/* Direct: what is not connected costs the server nothing. */
static vt_time due_fresh(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    int connected = count_connected(p);
    if (p->opened_count + open_but_canaries(p) == 0 || connected >= 2)
        return VT_FOREVER;
    vt_time pause = k->spoken ? FRESH_SPOKEN : FRESH_EVERY << (k->hang_ups < 2 ? k->hang_ups : 2);
    vt_time due = vt_later_of(after(k->opened_at, pause), vt_known_room(k, now, false, VT_BUDGET));
    return connected == 1 ? vt_later_of(due, oldest(p, true, false)->since + SECOND_AFTER) : due;
}

static vt_time due(const struct vt_plan *p, enum vt_sort sort, vt_time now)
{
    bool forwarded = p->known->forwarded;
    switch (sort) {
    case VT_FIRST: return due_first(p, now);
    case VT_CANARY: return forwarded ? due_canary(p, now) : VT_FOREVER;
    case VT_SURE: return forwarded ? due_sure(p, now) : VT_FOREVER;
    case VT_BLIND: return forwarded ? due_blind(p, now) : VT_FOREVER;
    case VT_RING: return forwarded ? due_ring(p, now) : VT_FOREVER;
    case VT_FRESH: return forwarded ? VT_FOREVER : due_fresh(p, now);
    }
    return VT_FOREVER;
}

/* ---- what to do ---- */

/* Until when a connection is kept. */
static vt_time end_of(const struct vt_plan *p, const struct vt_try *t)
{
    if (t->sort == VT_CANARY)
        return t->since + VT_CANARY_LIVES;
    if (p->known->forwarded || t->connected || t->sort == VT_FIRST)
        return VT_FOREVER;
    /* direct: beside the first one and the latest, none that is not connected */
    return oldest(p, false, true) == t && open_but_canaries(p) - count_connected(p) > 2 ? VT_NEVER : VT_FOREVER;
}

static struct vt_step next_close(const struct vt_plan *p, vt_time now)
{
    struct vt_step step = {.move = VT_MOVE_WAIT, .until = VT_FOREVER};
    for (int i = 0; i < VT_TRIES; i++) {
        vt_time end = p->tries[i].open ? end_of(p, &p->tries[i]) : VT_FOREVER;
        if (end <= now)
            return (struct vt_step){.move = VT_MOVE_CLOSE, .slot = i};
        step.until = sooner_of(step.until, end);
    }
    return step;
}

/* The sort that is due first. */
static struct vt_step next_open(const struct vt_plan *p, vt_time now)
{
    struct vt_step step = {.move = VT_MOVE_WAIT, .until = VT_FOREVER};
    for (enum vt_sort sort = VT_FIRST; sort <= VT_CANARY; sort++) {
        vt_time at = due(p, sort, now);
        if (at != VT_FOREVER && sort != VT_CANARY)
            at = vt_later_of(at, p->known->later);
        if (at < step.until) {
            step.until = at;
            step.sort = sort;
        }
    }
    if (step.until <= now)
        step.move = VT_MOVE_OPEN;
    return step;
}

/* What changes by itself, so that it is to be looked at again then. */
static vt_time next_change(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    const struct vt_try *t = oldest(p, true, false), *pending = oldest(p, false, false);
    vt_time at = VT_FOREVER;
    if (vt_known_is_up(k, now))
        at = k->up + VT_UP_LASTS + 1;
    if (k->alive != VT_NEVER && k->alive > now)
        at = sooner_of(at, k->alive);
    if (k->spoken && t != NULL && t->since + SECOND_AFTER > now)
        at = sooner_of(at, t->since + SECOND_AFTER);
    if (k->spoken && t == NULL && pending != NULL && pending->since + RING_EVERY > now)
        at = sooner_of(at, pending->since + RING_EVERY);
    return at;
}

struct vt_step vt_plan_next(struct vt_plan *p, vt_time now)
{
    vt_known_forget(p->known, now);
    struct vt_step close = next_close(p, now);
    if (close.move == VT_MOVE_CLOSE)
        return close;
    struct vt_step open = next_open(p, now);
    if (open.move == VT_MOVE_OPEN)
        return open;
    open.until = sooner_of(open.until, sooner_of(close.until, next_change(p, now)));
    return open;
}

/* ---- in words ---- */

enum vt_awaits vt_plan_awaits(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    if (k->later != VT_NEVER && now < k->later)
        return VT_AWAITS_LEAVE;
    if (open_of(p, VT_SURE) > 0 || k->spoken)
        return VT_AWAITS_BANNER;
    if (!k->forwarded && count_connected(p) > 0)
        return VT_AWAITS_BANNER;
    if (k->up != VT_NEVER && now - k->up <= 2 * VT_UP_LASTS)
        return VT_AWAITS_LISTENER;
    if (!k->forwarded)
        return VT_AWAITS_ANSWER;
    return vt_known_is_alive(k, now) ? VT_AWAITS_NETWORK : VT_AWAITS_LIFE;
}
