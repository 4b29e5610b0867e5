/* clock.c - the monotonic clock. */
#include "clock.h"

#include <limits.h>
#include <time.h>

vt_time vt_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (vt_time)ts.tv_sec * VT_SEC + ts.tv_nsec;
}

vt_time vt_deadline(double seconds)
{
    vt_time now = vt_now();
    if (!(seconds > 0))
        return now;
    if (seconds >= (double)(VT_FOREVER - now) / 1e9)
        return VT_FOREVER;
    return now + (vt_time)(seconds * 1e9);
}

vt_time vt_sooner(vt_time deadline, vt_time ns)
{
    vt_time soon = vt_now() + ns;
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
