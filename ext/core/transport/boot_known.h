/* boot_known.h - what the files of boot_plan.h share.  Each calls only those after it:
 *
 *     boot_plan          decides what is opened and closed, and when
 *     boot_plan_news     takes what happened
 *     boot_known         what is known of a place
 */
#ifndef VT_BOOT_KNOWN_H
#define VT_BOOT_KNOWN_H

#include "transport/boot_plan.h"

#define VT_UP_LASTS (1500 * VT_MS)         /* so long after its answer the kernel is taken to answer */
#define VT_CANARY_LIVES (3 * VT_SEC)       /* a starved guest answers late */

static inline vt_time vt_later_of(vt_time a, vt_time b)
{
    return a > b ? a : b;
}

/* Whether the guest's kernel answers, as far as is known; whether it has given a sign of life. */
bool vt_known_is_up(const struct vt_known *k, vt_time now);
bool vt_known_is_alive(const struct vt_known *k, vt_time now);

/* What has cost the server something, in the last VT_WINDOW: notes one, takes one back, drops old ones. */
void vt_known_spend(struct vt_known *k, enum vt_sort sort, vt_time now);
void vt_known_refund(struct vt_known *k, vt_time at);
void vt_known_forget(struct vt_known *k, vt_time now);
int vt_known_count(const struct vt_known *k, vt_time now, bool sure_only);
/* When there is room for one more: of all, or of the sure ones. */
vt_time vt_known_room(const struct vt_known *k, vt_time now, bool sure_only, int most);

/* The server wants to be left alone for so long. */
void vt_known_come_later(struct vt_known *k, vt_time now, vt_time ns);

#endif
