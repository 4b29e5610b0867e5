/* boot_plan.h - when to open which connection to a guest that may still boot: the decisions
 * alone, without a socket or a clock, so that hours of waiting can be tried in a moment.
 *
 * QEMU's user networking accepts for the guest at once.  What it has accepted reaches the
 * guest once that is up, closed by us or not: it asks the guest at 0, 6, 18, 30... s and
 * hangs up after 75.  So little is opened before the guest's kernel is known to answer, and
 * that is found out by a canary: a forwarded port on which nobody listens, where the kernel's
 * refusal becomes a hang-up.  docs/internals/boot.rst has the whole story.
 */
#ifndef VT_BOOT_PLAN_H
#define VT_BOOT_PLAN_H

#include "base/clock.h"

#include <stdbool.h>

#define VT_TRIES 26                 /* connections of one wait that are open at once */
#define VT_BUDGET 8                 /* given up without authentication, in any VT_WINDOW */
#define VT_GUESSES 6                /* of them on a guess: a sure one has room always */
#define VT_WINDOW (80 * VT_SEC)     /* user networking forgets a connection within that */
#define VT_KEEP (30 * VT_SEC)       /* so long the next wait finds what the one before had open */
#define VT_NEVER INT64_MIN

enum vt_sort {
    VT_FIRST,                       /* patient: kept until it ends by itself */
    VT_RING,                        /* patient ones 3 s apart, where nothing tells of the guest */
    VT_BLIND,                       /* after a sign of life, while the network does not answer */
    VT_SURE,                        /* while the guest's kernel answers */
    VT_FRESH,                       /* direct: replaces one whose SYN may be lost */
    VT_CANARY,
};

/* A connection that may have cost the server something. */
struct vt_spent {
    vt_time at;
    enum vt_sort sort;
};

/* What is known of a place, over many waits. */
struct vt_known {
    bool forwarded;                 /* something accepts for the guest; else a direct way */
    bool has_canary;
    bool spoken;                    /* gave a banner since its last reset */
    vt_time reset;                  /* instants, or VT_NEVER: */
    vt_time up;                     /* the guest's kernel answered, last */
    vt_time alive;                  /* first sign of life since the reset */
    vt_time waiting, waited;        /* somebody waits since; the last who waited left */
    vt_time sure_at, blind_at, canary_at, opened_at;    /* the last was opened; of all but canaries */
    vt_time later;                  /* asked us to come back: nothing is opened before */
    int later_count, drops, hang_ups, blinds;
    struct vt_spent spent[32];
    int spent_count;
};

/* One connection of a wait. */
struct vt_try {
    bool open, connected, talks;
    enum vt_sort sort;
    vt_time since;                  /* opened */
};

/* One wait.  Zeroed but for `known`, then vt_plan_begin. */
struct vt_plan {
    struct vt_known *known;
    struct vt_try tries[VT_TRIES];
    int opened_count;               /* but for canaries */
    int owed;                       /* patient ones that user networking has given up on */
};

enum vt_move { VT_MOVE_WAIT, VT_MOVE_OPEN, VT_MOVE_CLOSE };

/* What to do next: wait until `until`, open one of a sort, or close a slot. */
struct vt_step {
    enum vt_move move;
    enum vt_sort sort;
    int slot;
    vt_time until;
};

void vt_known_init(struct vt_known *k, bool forwarded, bool has_canary, vt_time now);
void vt_known_alive(struct vt_known *k, vt_time now);
void vt_known_reset(struct vt_known *k, vt_time now, bool is_up);
/* A banner came on a connection that then ended without authentication, whoever ended it. */
void vt_known_dropped(struct vt_known *k, vt_time now);
/* Somebody was let in. */
void vt_known_let_in(struct vt_known *k);
/* How many connections of the last 80 s may have cost the server something. */
int vt_known_spent(const struct vt_known *k, vt_time now);

void vt_plan_begin(struct vt_plan *p, vt_time now);
void vt_plan_end(struct vt_plan *p, vt_time now);
struct vt_step vt_plan_next(struct vt_plan *p, vt_time now);

/* What happened.  vt_plan_opened takes a slot: -1 if none is free. */
int vt_plan_opened(struct vt_plan *p, enum vt_sort sort, vt_time now);
int vt_plan_adopt(struct vt_plan *p, const struct vt_try *old);
void vt_plan_connected(struct vt_plan *p, int slot, vt_time now);
void vt_plan_failed(struct vt_plan *p, int slot, bool refused, vt_time now);    /* refused, unreachable */
void vt_plan_hung_up(struct vt_plan *p, int slot, vt_time now);                 /* without a byte */
void vt_plan_later(struct vt_plan *p, int slot, vt_time now);                   /* by a text that is no banner */
void vt_plan_won(struct vt_plan *p, int slot);
void vt_plan_close(struct vt_plan *p, int slot);
/* After a reset that came while this wait was on. */
void vt_plan_restart(struct vt_plan *p);

/* What is being waited for. */
enum vt_awaits {
    VT_AWAITS_LIFE, VT_AWAITS_NETWORK, VT_AWAITS_LISTENER, VT_AWAITS_BANNER, VT_AWAITS_ANSWER, VT_AWAITS_LEAVE,
};
enum vt_awaits vt_plan_awaits(const struct vt_plan *p, vt_time now);

#endif
