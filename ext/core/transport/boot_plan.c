/* boot_plan.c - when to open which connection to a guest that may still boot. */
#include "transport/boot_plan.h"

#include <string.h>

#define UP_LASTS (1500 * VT_MS)         /* so long after its answer the kernel is taken to answer */
#define HANG_UP_MAX (70 * VT_SEC)       /* older: it is user networking that gave up */
#define SURE_EVERY (200 * VT_MS)
#define SURE_MORE (6 * VT_SEC)          /* beside a silent one; then twice as long */
#define SURE_MAX 3                      /* silent ones, in a window */
#define CANARY_LIVES (3 * VT_SEC)       /* a starved guest answers late */
#define CANARY_ALIVE (200 * VT_MS)
#define CANARY_BLIND (400 * VT_MS)
#define CANARY_SURE VT_SEC
#define CANARY_MAX 15
#define TOGETHER (20 * VT_MS)
#define RING_SIZE 4
#define RING_EVERY (3 * VT_SEC)
#define RING_DESPITE (120 * VT_SEC)     /* a canary that is mute, and no sign of life */
#define FIRMWARE (3 * VT_SEC)           /* after a reset: what is seen then may be the firmware's */
#define FRESH_EVERY (250 * VT_MS)
#define FRESH_SPOKEN VT_SEC
#define SECOND_AFTER (10 * VT_SEC)      /* beside one that is silent */

/* After the sign, and then after each other.  Beside a canary they are for firewalls alone that mute
 * it: of a starved guest the console's sign comes many seconds before its network. */
#define BLINDS 4
static const vt_time blind_after[] = {300 * VT_MS, 700 * VT_MS, 1500 * VT_MS, 3500 * VT_MS};
static const vt_time blind_beside[] = {2 * VT_SEC, 4 * VT_SEC, 8 * VT_SEC, 16 * VT_SEC};

static vt_time later_of(vt_time a, vt_time b)
{
    return a > b ? a : b;
}

static vt_time sooner_of(vt_time a, vt_time b)
{
    return a < b ? a : b;
}

/* An instant and so much, for instants that may be VT_NEVER. */
static vt_time after(vt_time at, vt_time ns)
{
    return at == VT_NEVER ? VT_NEVER : at + ns;
}

/* ---- what is known of a place ---- */

void vt_known_init(struct vt_known *k, bool forwarded, bool has_canary, vt_time now)
{
    *k = (struct vt_known){.forwarded = forwarded, .has_canary = has_canary, .waiting = VT_NEVER, .waited = VT_NEVER};
    vt_known_reset(k, now, false);
}

void vt_known_reset(struct vt_known *k, vt_time now, bool is_up)
{
    k->spoken = is_up;
    k->reset = now;
    k->up = k->alive = k->sure_at = k->blind_at = k->canary_at = k->opened_at = k->later = VT_NEVER;
    k->waiting = k->waiting == VT_NEVER ? VT_NEVER : now;
    k->later_count = k->drops = k->hang_ups = k->blinds = 0;
    for (int i = 0; i < k->spent_count; i++)
        if (k->spent[i].sort == VT_SURE)
            k->spent[i].sort = VT_RING;
}

void vt_known_alive(struct vt_known *k, vt_time now)
{
    if (k->alive == VT_NEVER)
        k->alive = later_of(now, k->reset + FIRMWARE);
}

static void forget_old(struct vt_known *k, vt_time now)
{
    int kept = 0;
    for (int i = 0; i < k->spent_count; i++)
        if (k->spent[i].at > now - VT_WINDOW)
            k->spent[kept++] = k->spent[i];
    k->spent_count = kept;
}

static void spend(struct vt_known *k, enum vt_sort sort, vt_time now)
{
    const int most = sizeof k->spent / sizeof *k->spent;
    forget_old(k, now);
    if (k->spent_count == most)
        memmove(k->spent, k->spent + 1, (size_t)--k->spent_count * sizeof *k->spent);
    k->spent[k->spent_count++] = (struct vt_spent){now, sort};
}

static void refund(struct vt_known *k, vt_time at)
{
    for (int i = 0; i < k->spent_count; i++) {
        if (k->spent[i].at == at) {
            k->spent_count--;
            memmove(k->spent + i, k->spent + i + 1, (size_t)(k->spent_count - i) * sizeof *k->spent);
            return;
        }
    }
}

static int count_spent(const struct vt_known *k, vt_time now, bool sure_only)
{
    int n = 0;
    for (int i = 0; i < k->spent_count; i++)
        n += k->spent[i].at > now - VT_WINDOW && (!sure_only || k->spent[i].sort == VT_SURE);
    return n;
}

int vt_known_spent(const struct vt_known *k, vt_time now)
{
    return count_spent(k, now, false);
}

/* When there is room for one more: of all, or of the sure ones. */
static vt_time room(const struct vt_known *k, vt_time now, bool sure_only, int most)
{
    int surplus = count_spent(k, now, sure_only) - most;
    for (int i = 0; surplus >= 0 && i < k->spent_count; i++)
        if (k->spent[i].at > now - VT_WINDOW && (!sure_only || k->spent[i].sort == VT_SURE) && surplus-- == 0)
            return k->spent[i].at + VT_WINDOW;
    return VT_NEVER;
}

static void come_later(struct vt_known *k, vt_time now, vt_time ns)
{
    k->later = later_of(k->later, now + ns);
}

void vt_known_dropped(struct vt_known *k, vt_time now)
{
    static const vt_time pauses[] = {250 * VT_MS, 500 * VT_MS, VT_SEC, 2 * VT_SEC, 4 * VT_SEC, 10 * VT_SEC};
    const int last = sizeof pauses / sizeof *pauses - 1;
    spend(k, VT_FIRST, now);
    come_later(k, now, pauses[k->drops < last ? k->drops : last]);
    k->later = later_of(k->later, room(k, now, false, VT_GUESSES));
    k->drops++;
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

static bool is_up(const struct vt_known *k, vt_time now)
{
    return k->up != VT_NEVER && now - k->up <= UP_LASTS;
}

static bool is_alive(const struct vt_known *k, vt_time now)
{
    return k->alive != VT_NEVER && now >= k->alive;
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
    if ((has_open && p->owed == 0) || (!has_open && is_up(k, now) && k->forwarded && !k->spoken))
        return VT_FOREVER;
    vt_time due = p->owed > 0 || is_new ? VT_NEVER : after(k->opened_at, RING_EVERY);
    return k->spoken && k->drops == 0 ? due : later_of(due, room(k, now, false, VT_GUESSES));
}

static vt_time due_canary(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    bool has_sure = open_of(p, VT_SURE) > 0;
    if (!k->has_canary || is_trusted(p, now) || open_of(p, VT_CANARY) >= CANARY_MAX)
        return VT_FOREVER;
    vt_time every = has_sure ? CANARY_SURE : is_alive(k, now) ? CANARY_ALIVE : CANARY_BLIND;
    vt_time due = after(k->canary_at, every);
    return !has_sure && is_up(k, now) ? later_of(due, k->up + UP_LASTS + 1) : due;
}

/* While the kernel answers: one at a time; a silent one is in the server's hands. */
static vt_time due_sure(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    int silent = count_spent(k, now, true);
    bool has_open = open_of(p, VT_SURE) > 0;
    if ((!is_up(k, now) && !(has_open && !k->has_canary)) || (is_trusted(p, now) && open_but_canaries(p) > 0))
        return VT_FOREVER;
    vt_time due = after(k->sure_at, silent == 0 || !has_open ? SURE_EVERY : SURE_MORE << (silent - 1));
    return later_of(later_of(due, room(k, now, true, SURE_MAX)), room(k, now, false, VT_BUDGET));
}

static vt_time due_blind(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    if (k->alive == VT_NEVER || is_up(k, now) || k->blinds >= BLINDS || is_trusted(p, now)
        || open_of(p, VT_SURE) > 0)
        return VT_FOREVER;
    vt_time from = k->blinds == 0 ? later_of(k->alive, k->waiting) : k->blind_at;
    vt_time pause = (k->has_canary ? blind_beside : blind_after)[k->blinds];
    return later_of(from + pause, room(k, now, false, VT_GUESSES));
}

static vt_time due_ring(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    bool has_blinds = is_alive(k, now) && k->blinds < BLINDS;
    if (is_up(k, now) || has_blinds || is_trusted(p, now) || open_of(p, VT_SURE) > 0
        || open_but_canaries(p) >= RING_SIZE)
        return VT_FOREVER;
    vt_time due = later_of(after(k->opened_at, RING_EVERY), room(k, now, false, VT_GUESSES));
    return k->has_canary ? later_of(due, k->waiting + RING_DESPITE) : due;
}

/* Direct: what is not connected costs the server nothing. */
static vt_time due_fresh(const struct vt_plan *p, vt_time now)
{
    const struct vt_known *k = p->known;
    int connected = count_connected(p);
    if (p->opened_count + open_but_canaries(p) == 0 || connected >= 2)
        return VT_FOREVER;
    vt_time pause = k->spoken ? FRESH_SPOKEN : FRESH_EVERY << (k->hang_ups < 2 ? k->hang_ups : 2);
    vt_time due = later_of(after(k->opened_at, pause), room(k, now, false, VT_BUDGET));
    return connected == 1 ? later_of(due, oldest(p, true, false)->since + SECOND_AFTER) : due;
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
        return t->since + CANARY_LIVES;
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
            at = later_of(at, p->known->later);
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
    if (is_up(k, now))
        at = k->up + UP_LASTS + 1;
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
    forget_old(p->known, now);
    struct vt_step close = next_close(p, now);
    if (close.move == VT_MOVE_CLOSE)
        return close;
    struct vt_step open = next_open(p, now);
    if (open.move == VT_MOVE_OPEN)
        return open;
    open.until = sooner_of(open.until, sooner_of(close.until, next_change(p, now)));
    return open;
}

/* ---- what happened ---- */

void vt_plan_begin(struct vt_plan *p, vt_time now)
{
    struct vt_known *k = p->known;
    if (k->waiting == VT_NEVER || (k->waited != VT_NEVER && now - k->waited > VT_KEEP))
        k->waiting = now;
}

void vt_plan_end(struct vt_plan *p, vt_time now)
{
    p->known->waited = now;
}

static int free_slot(const struct vt_plan *p)
{
    for (int i = 0; i < VT_TRIES; i++)
        if (!p->tries[i].open)
            return i;
    return -1;
}

static void note_opening(struct vt_plan *p, enum vt_sort sort, vt_time now)
{
    struct vt_known *k = p->known;
    if (sort == VT_CANARY) {
        k->canary_at = now;
        return;
    }
    k->opened_at = now;
    p->opened_count++;
    if (sort == VT_FIRST && p->owed > 0)
        p->owed--;
    if (sort == VT_SURE)
        k->sure_at = now;
    if (sort == VT_BLIND) {
        k->blind_at = now;
        k->blinds++;
    }
    if (k->forwarded)
        spend(k, sort, now);
}

int vt_plan_opened(struct vt_plan *p, enum vt_sort sort, vt_time now)
{
    int slot = free_slot(p);
    note_opening(p, sort, now);
    if (slot >= 0)
        p->tries[slot] = (struct vt_try){.open = true, .sort = sort, .since = now};
    return slot;
}

int vt_plan_adopt(struct vt_plan *p, const struct vt_try *old)
{
    int slot = free_slot(p);
    if (slot >= 0)
        p->tries[slot] = *old;
    return slot;
}

void vt_plan_connected(struct vt_plan *p, int slot, vt_time now)
{
    struct vt_try *t = &p->tries[slot];
    t->connected = true;
    if (!p->known->forwarded && t->sort != VT_CANARY) {
        t->since = now;
        spend(p->known, t->sort, now);
    }
}

static void end_freely(struct vt_plan *p, int slot)
{
    struct vt_try *t = &p->tries[slot];
    if (t->sort != VT_CANARY && (p->known->forwarded || t->connected))
        refund(p->known, t->since);
    t->open = false;
}

void vt_plan_failed(struct vt_plan *p, int slot, bool refused, vt_time now)
{
    end_freely(p, slot);
    if (refused && !p->known->forwarded)
        p->known->up = now;
}

static void seen_up(struct vt_known *k, vt_time now)
{
    k->up = later_of(k->up, now);
    if (k->has_canary && k->alive == VT_NEVER)
        k->alive = now;
}

/* What was opened with a canary that was answered at once, or after it, is a sure one as well. */
static void promote(struct vt_plan *p, vt_time since)
{
    struct vt_known *k = p->known;
    for (int i = 0; i < VT_TRIES; i++) {
        struct vt_try *t = &p->tries[i];
        if (!t->open || t->sort == VT_CANARY || t->since < since - TOGETHER)
            continue;
        t->sort = VT_SURE;
        k->sure_at = later_of(k->sure_at, t->since);
        for (int j = 0; j < k->spent_count; j++)
            if (k->spent[j].at == t->since)
                k->spent[j].sort = VT_SURE;
    }
}

void vt_plan_hung_up(struct vt_plan *p, int slot, vt_time now)
{
    struct vt_try *t = &p->tries[slot];
    vt_time age = now - t->since;
    enum vt_sort sort = t->sort;
    end_freely(p, slot);
    if (sort == VT_CANARY && age < CANARY_LIVES)
        promote(p, t->since);
    if (sort == VT_CANARY ? age < CANARY_LIVES : age < HANG_UP_MAX)
        seen_up(p->known, now);
    else if (sort != VT_CANARY && sort != VT_RING && p->known->forwarded)
        p->owed++;
    if (sort != VT_CANARY)
        p->known->hang_ups++;
}

void vt_plan_later(struct vt_plan *p, int slot, vt_time now)
{
    static const vt_time pauses[] = {VT_SEC, 2 * VT_SEC, 4 * VT_SEC, 5 * VT_SEC};
    const int last = sizeof pauses / sizeof *pauses - 1;
    struct vt_known *k = p->known;
    end_freely(p, slot);
    come_later(k, now, pauses[k->later_count < last ? k->later_count : last]);
    k->later_count++;
    k->opened_at = VT_NEVER;
}

void vt_plan_won(struct vt_plan *p, int slot)
{
    struct vt_known *k = p->known;
    end_freely(p, slot);
    k->spoken = true;
    k->waiting = VT_NEVER;
    k->later_count = k->hang_ups = 0;
    k->later = VT_NEVER;
}

void vt_known_let_in(struct vt_known *k)
{
    if (k->drops > 0)
        k->later = VT_NEVER;
    k->drops = 0;
}

void vt_plan_close(struct vt_plan *p, int slot)
{
    p->tries[slot].open = false;
}

void vt_plan_restart(struct vt_plan *p)
{
    for (int i = 0; i < VT_TRIES; i++)
        if (p->tries[i].sort != VT_CANARY && p->tries[i].sort != VT_FIRST)
            p->tries[i].sort = VT_RING;
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
    if (k->up != VT_NEVER && now - k->up <= 2 * UP_LASTS)
        return VT_AWAITS_LISTENER;
    if (!k->forwarded)
        return VT_AWAITS_ANSWER;
    return is_alive(k, now) ? VT_AWAITS_NETWORK : VT_AWAITS_LIFE;
}
