/* boot_wait.h - what the files of a wait for a guest that boots share.  Each calls only those after it:
 *
 *     boot           joins a place, waits and leaves
 *     boot_try       one connection
 *     boot_words     the end, in words
 *     boot_after     a login behind the banner
 *     boot_place     what is known of a place, and what is open there
 *     boot_plan, boot_plan_news, boot_known      when to open what
 */
#ifndef VT_BOOT_WAIT_H
#define VT_BOOT_WAIT_H

#include "transport/boot_place.h"
#include "transport/resolve.h"

/* One who waits. */
struct vt_boot {
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

static inline vt_time vt_boot_now(const struct vt_boot *b)
{
    return vt_places_now(b->all);
}

/* ---- boot_try.c ---- */

/* Opens one of a sort; VT_OK also if the plan has another way when it can't be made. */
enum vt_rc vt_boot_open(struct vt_boot *b, enum vt_sort sort);
/* Something has come on the slot's connection: b->winner is its slot once it has given a banner. */
enum vt_rc vt_boot_event(struct vt_boot *b, int slot);
/* The peer said what is no banner, or stopped halfway. */
enum vt_rc vt_boot_other_text(struct vt_boot *b, int slot);
/* Which of the host's addresses it is; -1: the canary's. */
int vt_boot_index_of(const struct vt_boot *b, const struct vt_conn *c);

/* ---- boot_words.c ---- */

/* Fails with why nothing is opened at the place for now. */
enum vt_rc vt_boot_say_why(const struct vt_place *place, struct vt_err *e);
/* Fails with what was still being waited for. */
enum vt_rc vt_boot_timed_out(struct vt_boot *b);

#endif
