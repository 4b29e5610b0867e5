/* Deadlines of the monotonic clock. */
#include "base/clock.h"

#include "check.h"

#include <limits.h>
#include <math.h>

static void test_now_never_goes_back(void)
{
    vt_time last = vt_now();
    for (int i = 0; i < 1000; i++) {
        vt_time now = vt_now();
        CHECK(now >= last);
        last = now;
    }
}

static void test_deadline_is_now_plus_seconds(void)
{
    vt_time before = vt_now(), deadline = vt_deadline(1.5), after = vt_now();
    CHECK(deadline >= before + 1500 * VT_MS);
    CHECK(deadline <= after + 1500 * VT_MS);
}

static void test_deadline_of_nothing_is_expired(void)
{
    CHECK(vt_expired(vt_deadline(0)));
    CHECK(vt_expired(vt_deadline(-3)));
    CHECK(vt_expired(vt_deadline(-INFINITY)));
    CHECK(vt_expired(vt_deadline(NAN)));
}

static void test_deadline_past_the_clock_is_for_ever(void)
{
    CHECK_INT(vt_deadline(INFINITY), VT_FOREVER);
    CHECK_INT(vt_deadline(1e300), VT_FOREVER);
    CHECK_INT(vt_deadline(9.3e9), VT_FOREVER);
    CHECK(vt_deadline(1e9) < VT_FOREVER);
    CHECK(!vt_expired(VT_FOREVER));
}

static void test_sooner_takes_the_earlier(void)
{
    vt_time far = vt_deadline(60), near = vt_deadline(0);
    CHECK_INT(vt_sooner(near, 10 * VT_SEC), near);
    CHECK(vt_sooner(far, VT_SEC) < far);
    CHECK(vt_sooner(VT_FOREVER, VT_SEC) <= vt_now() + VT_SEC);
}

static void test_poll_ms_of_forever_and_of_the_past(void)
{
    CHECK_INT(vt_poll_ms(VT_FOREVER), -1);
    CHECK_INT(vt_poll_ms(vt_now() - 1), 0);
    CHECK_INT(vt_poll_ms(vt_deadline(1e7)), INT_MAX);
}

static void test_poll_ms_rounds_up(void)
{
    vt_time deadline = vt_now() + 50 * VT_SEC;
    int ms = vt_poll_ms(deadline);
    CHECK(ms >= 1 && ms <= 50000);
    CHECK(vt_now() + ms * VT_MS >= deadline);       /* never early */
}

static void test_poll_ms_of_the_last_nanoseconds_is_not_zero(void)
{
    for (int i = 0; i < 100; i++) {
        vt_time deadline = vt_now() + VT_MS / 2;
        int ms = vt_poll_ms(deadline);
        CHECK(ms == 1 || vt_expired(deadline));     /* 0 would spin */
    }
}

CHECK_MAIN(
    TEST(test_now_never_goes_back),
    TEST(test_deadline_is_now_plus_seconds),
    TEST(test_deadline_of_nothing_is_expired),
    TEST(test_deadline_past_the_clock_is_for_ever),
    TEST(test_sooner_takes_the_earlier),
    TEST(test_poll_ms_of_forever_and_of_the_past),
    TEST(test_poll_ms_rounds_up),
    TEST(test_poll_ms_of_the_last_nanoseconds_is_not_zero))
