/* quick.h - a world without waiting: the monotonic clock stands still until somebody waits,
 * and a peer in this very thread has its turn whenever that happens. */
#ifndef QUICK_H
#define QUICK_H

#include <stdbool.h>

/* Lets the peer read what was sent to it and answer; whether it did anything.  NULL: there is
 * none, and each wait for a descriptor that is not ready lasts until its end, at once. */
typedef bool (*quick_step_fn)(void *ctx);

/* Begins at second 1000.  poll() and clock_gettime() are replaced by the linker (--wrap). */
void quick_begin(quick_step_fn step, void *ctx);
void quick_end(void);

/* Seconds that have "passed" since quick_begin. */
double quick_elapsed(void);

#endif
