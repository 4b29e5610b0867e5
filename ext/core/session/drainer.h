/* drainer.h - the one thread that reads what nobody waits for, so that a chatty guest neither
 * blocks on a full window nor stalls on a full serial socket.
 *
 * It knows of a session only the watch that is embedded in it.  Locks: the drainer's list comes
 * first, a watch's mutex after it, always.
 */
#ifndef VT_DRAINER_H
#define VT_DRAINER_H

#include "base/clock.h"
#include "base/err.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vt_drainer;
struct vt_watch;

/* What the drainer asks of what it watches. */
struct vt_watch_ops {
    /* The descriptor, and the events (POLLIN, POLLOUT) that are to wake the drainer; -1: it has
     * ended.  Called by its owner, or under its mutex. */
    int (*want)(struct vt_watch *w, short *events);

    /* Makes it the drainer's.  false: somebody has it, or waits for it, and arms it on leaving. */
    bool (*take)(struct vt_watch *w);

    /* Reads what is there, without waiting; whether that is to be told.  Between take and leave. */
    bool (*read)(struct vt_watch *w);
    void (*leave)(struct vt_watch *w);
};

struct vt_watch {
    const struct vt_watch_ops *ops;     /* set by who embeds it, as is: */
    pthread_mutex_t *mutex;             /* guards drainer and fd */
    struct vt_drainer *drainer;
    int fd;                             /* its descriptor there */
    bool armed;                         /* the drainer watches it; its owner's */
    struct vt_watch *next, *prev;       /* in the drainer's list, by the drainer's mutex */
    _Atomic vt_time due;                /* when it is to be read, although nothing comes */
    atomic_bool news_due;               /* the drainer read something that wants to be told */
    uint64_t id;                        /* the binding's, untouched here */
};

struct vt_drainer {
    int epoll_fd, stop_fd;
    pthread_mutex_t mutex;          /* guards the list */
    struct vt_watch *watches;
    struct vt_watch *next_news;     /* whose news are asked for first; NULL: the list's begin */
    pid_t pid;
    atomic_bool stopping;
    _Atomic vt_time soonest;        /* when some watch is due; it may be none any more */
    vt_time (*idle)(void *ctx);     /* something else to be done now and then; when it is due again */
    void *idle_ctx;
};

/* Told after something was read that is to be told, or has ended; runs in the drainer's thread,
 * which has what is watched.  Its news are due by then. */
typedef void (*vt_drained_fn)(void *ctx, struct vt_watch *w);

/* Told after the drainer has left what `drained` was told of. */
typedef void (*vt_left_fn)(void *ctx);

/* Zeroed at first; after fini it may be made anew.  VT_IO with errno. */
enum vt_rc vt_drainer_init(struct vt_drainer *d) VT_MUST_CHECK;

/* After run has returned.  What it watched may still be in use, and may be closed by other threads
 * meanwhile: *d itself must outlive them. */
void vt_drainer_fini(struct vt_drainer *d);

/* Begins to watch, or takes it out (a session takes itself out when freed). */
enum vt_rc vt_drainer_add(struct vt_drainer *d, struct vt_watch *w) VT_MUST_CHECK;
void vt_drainer_remove(struct vt_watch *w);

/* The thread's body: returns after vt_drainer_stop.  drained and left may be NULL. */
void vt_drainer_run(struct vt_drainer *d, vt_drained_fn drained, vt_left_fn left, void *ctx);
void vt_drainer_stop(struct vt_drainer *d);

/* Has the thread ask d->idle, which is called at first, when it is due, and after this. */
void vt_drainer_poke(struct vt_drainer *d);

/* The ids of watches of which the drainer has read something since they were asked for last;
 * returns how many, at most max.  All have their turn, however many always have news. */
int vt_drainer_take_news(struct vt_drainer *d, uint64_t *ids, int max);

/* For its owner, who holds its mutex: when leaving, watch it again, until w->due at the latest;
 * when entering, watch it no more. */
void vt_watch_arm(struct vt_watch *w);
void vt_watch_disarm(struct vt_watch *w);

#endif
