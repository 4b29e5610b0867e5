/* boot_plan_news.c - what a plan learns of what happened. */
#include "transport/boot_known.h"

#define HANG_UP_MAX (70 * VT_SEC)       /* older: it is user networking that gave up */
#define TOGETHER (20 * VT_MS)

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
        vt_known_spend(k, sort, now);
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
        vt_known_spend(p->known, t->sort, now);
    }
}

static void end_freely(struct vt_plan *p, int slot)
{
    struct vt_try *t = &p->tries[slot];
    if (t->sort != VT_CANARY && (p->known->forwarded || t->connected))
        vt_known_refund(p->known, t->since);
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
    k->up = vt_later_of(k->up, now);
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
        k->sure_at = vt_later_of(k->sure_at, t->since);
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
    if (sort == VT_CANARY && age < VT_CANARY_LIVES)
        promote(p, t->since);
    if (sort == VT_CANARY ? age < VT_CANARY_LIVES : age < HANG_UP_MAX)
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
    vt_known_come_later(k, now, pauses[k->later_count < last ? k->later_count : last]);
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
