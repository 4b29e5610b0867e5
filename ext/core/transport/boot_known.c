/* boot_known.c - what is known of a place where a guest may boot, over many waits. */
#include "transport/boot_known.h"

#include <string.h>

#define FIRMWARE (3 * VT_SEC)           /* after a reset: what is seen then may be the firmware's */

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
        k->alive = vt_later_of(now, k->reset + FIRMWARE);
}

void vt_known_forget(struct vt_known *k, vt_time now)
{
    int kept = 0;
    for (int i = 0; i < k->spent_count; i++)
        if (k->spent[i].at > now - VT_WINDOW)
            k->spent[kept++] = k->spent[i];
    k->spent_count = kept;
}

void vt_known_spend(struct vt_known *k, enum vt_sort sort, vt_time now)
{
    const int most = sizeof k->spent / sizeof *k->spent;
    vt_known_forget(k, now);
    if (k->spent_count == most)
        memmove(k->spent, k->spent + 1, (size_t)--k->spent_count * sizeof *k->spent);
    k->spent[k->spent_count++] = (struct vt_spent){now, sort};
}

void vt_known_refund(struct vt_known *k, vt_time at)
{
    for (int i = 0; i < k->spent_count; i++) {
        if (k->spent[i].at == at) {
            k->spent_count--;
            memmove(k->spent + i, k->spent + i + 1, (size_t)(k->spent_count - i) * sizeof *k->spent);
            return;
        }
    }
}

int vt_known_count(const struct vt_known *k, vt_time now, bool sure_only)
{
    int n = 0;
    for (int i = 0; i < k->spent_count; i++)
        n += k->spent[i].at > now - VT_WINDOW && (!sure_only || k->spent[i].sort == VT_SURE);
    return n;
}

int vt_known_spent(const struct vt_known *k, vt_time now)
{
    return vt_known_count(k, now, false);
}

vt_time vt_known_room(const struct vt_known *k, vt_time now, bool sure_only, int most)
{
    int surplus = vt_known_count(k, now, sure_only) - most;
    for (int i = 0; surplus >= 0 && i < k->spent_count; i++)
        if (k->spent[i].at > now - VT_WINDOW && (!sure_only || k->spent[i].sort == VT_SURE) && surplus-- == 0)
            return k->spent[i].at + VT_WINDOW;
    return VT_NEVER;
}

void vt_known_come_later(struct vt_known *k, vt_time now, vt_time ns)
{
    k->later = vt_later_of(k->later, now + ns);
}

void vt_known_dropped(struct vt_known *k, vt_time now)
{
    static const vt_time pauses[] = {250 * VT_MS, 500 * VT_MS, VT_SEC, 2 * VT_SEC, 4 * VT_SEC, 10 * VT_SEC};
    const int last = sizeof pauses / sizeof *pauses - 1;
    vt_known_spend(k, VT_FIRST, now);
    vt_known_come_later(k, now, pauses[k->drops < last ? k->drops : last]);
    k->later = vt_later_of(k->later, vt_known_room(k, now, false, VT_GUESSES));
    k->drops++;
}

void vt_known_let_in(struct vt_known *k)
{
    if (k->drops > 0)
        k->later = VT_NEVER;
    k->drops = 0;
}

bool vt_known_is_up(const struct vt_known *k, vt_time now)
{
    return k->up != VT_NEVER && now - k->up <= VT_UP_LASTS;
}

bool vt_known_is_alive(const struct vt_known *k, vt_time now)
{
    return k->alive != VT_NEVER && now >= k->alive;
}
