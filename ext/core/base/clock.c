/* clock.c - the monotonic clock. */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

vt_time vt_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (vt_time)ts.tv_sec * VT_SEC + ts.tv_nsec;
}

vt_time vt_span(double seconds)
{
    if (!(seconds > 0))
        return 0;
    return seconds >= (double)VT_FOREVER / 1e9 ? VT_FOREVER : (vt_time)(seconds * 1e9);
}

/* now + ns, without overflow. */
static vt_time after(vt_time ns)
{
    vt_time now = vt_now();
    return ns >= VT_FOREVER - now ? VT_FOREVER : now + ns;
}

vt_time vt_deadline(double seconds)
{
    return after(vt_span(seconds));
}

vt_time vt_sooner(vt_time deadline, vt_time ns)
{
    vt_time soon = after(ns);
    return soon < deadline ? soon : deadline;
}

int vt_poll_ms(vt_time deadline)
{
    if (deadline == VT_FOREVER)
        return -1;
    vt_time left = deadline - vt_now();
    if (left <= 0)
        return 0;
    return left >= INT_MAX * VT_MS ? INT_MAX : (int)((left + VT_MS - 1) / VT_MS);
}
