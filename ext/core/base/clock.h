/* clock.h - deadlines: absolute instants of the monotonic clock, in nanoseconds.
 *
 * Seconds are turned into a deadline once, at the edge; everything below passes
 * the deadline on, so that a chain of waits ends when it should.
 */
#ifndef VT_CLOCK_H
#define VT_CLOCK_H

#include <stdint.h>

typedef int64_t vt_time;

#define VT_FOREVER INT64_MAX
#define VT_MS INT64_C(1000000)
#define VT_SEC INT64_C(1000000000)

vt_time vt_now(void);

/* now + seconds; VT_FOREVER for a number too large, or negative infinity of
 * waiting for none at all: a negative or NaN timeout is an expired one. */
vt_time vt_deadline(double seconds);

/* Seconds as a span; VT_FOREVER for a number too large, 0 for a negative one and NaN. */
vt_time vt_span(double seconds);

/* The earlier of the deadline and now + ns. */
vt_time vt_sooner(vt_time deadline, vt_time ns);

/* For poll(2): -1 waits for ever, 0 is expired; rounded up, never early. */
int vt_poll_ms(vt_time deadline);

static inline int vt_expired(vt_time deadline)
{
    return deadline != VT_FOREVER && vt_now() >= deadline;
}

#endif
