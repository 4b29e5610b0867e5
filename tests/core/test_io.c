/* Waiting: events, deadlines, signals, wake descriptors. */
#include "base/io.h"

#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/time.h>
#include <unistd.h>

static int pipe_fds[2];

static void setup(void)
{
    CHECK_INT(pipe(pipe_fds), 0);
}

static void teardown(void)
{
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static int stop_now(void *ctx)
{
    ++*(int *)ctx;
    return 1;
}

static int go_on(void *ctx)
{
    ++*(int *)ctx;
    return 0;
}

static void on_alarm(int sig)
{
    (void)sig;
}

/* A SIGALRM each ms, since the first may come before the wait; the handler lets poll end with EINTR. */
static void alarm_in(int ms)
{
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {.it_value = {.tv_usec = ms * 1000}, .it_interval = {.tv_usec = ms * 1000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* The watchdog of check_main, which alarm_in took the timer from. */
static void alarm_back(void)
{
    alarm(CHECK_SECONDS);
    signal(SIGALRM, SIG_DFL);
}

static void test_event_is_reported(void)
{
    setup();
    struct vt_waiter w = {0};
    struct pollfd fd = {.fd = pipe_fds[0], .events = POLLIN};
    CHECK_INT(write(pipe_fds[1], "x", 1), 1);
    CHECK_RC(vt_wait(&w, &fd, 1, vt_deadline(60)), VT_OK);
    CHECK_INT(fd.revents, POLLIN);
    teardown();
}

static void test_event_wins_over_expired_deadline(void)
{
    setup();
    struct vt_waiter w = {0};
    struct pollfd fd = {.fd = pipe_fds[0], .events = POLLIN};
    CHECK_INT(write(pipe_fds[1], "x", 1), 1);
    CHECK_RC(vt_wait(&w, &fd, 1, vt_deadline(0)), VT_OK);
    teardown();
}

static void test_deadline_ends_the_wait_and_never_early(void)
{
    setup();
    struct vt_waiter w = {0};
    struct pollfd fd = {.fd = pipe_fds[0], .events = POLLIN};
    vt_time deadline = vt_deadline(0.03);
    CHECK_RC(vt_wait(&w, &fd, 1, deadline), VT_TIMEOUT);
    CHECK(vt_now() >= deadline);
    CHECK(vt_now() < deadline + 30 * VT_SEC);
    teardown();
}

static void test_sleep_lasts_until_the_deadline(void)
{
    struct vt_waiter w = {0};
    vt_time deadline = vt_deadline(0.02);
    CHECK_RC(vt_sleep(&w, deadline), VT_TIMEOUT);
    CHECK(vt_expired(deadline));
}

static void test_wake_descriptor_ends_the_wait_and_stays_readable(void)
{
    setup();
    struct vt_waiter w = {.has_wake = 1, .wake_fd = pipe_fds[0]};
    CHECK_INT(write(pipe_fds[1], "x", 1), 1);
    CHECK_RC(vt_sleep(&w, VT_FOREVER), VT_CLOSED);
    CHECK_RC(vt_sleep(&w, VT_FOREVER), VT_CLOSED);
    teardown();
}

static void test_signal_asks_the_waiter(void)
{
    int calls = 0;
    struct vt_waiter w = {.interrupted = stop_now, .ctx = &calls};
    alarm_in(20);
    CHECK_RC(vt_sleep(&w, vt_deadline(1000)), VT_INTR);
    CHECK_INT(calls, 1);
    alarm_back();
}

static void test_harmless_signal_does_not_shorten_the_wait(void)
{
    int calls = 0;
    struct vt_waiter w = {.interrupted = go_on, .ctx = &calls};
    vt_time deadline = vt_deadline(0.3);
    alarm_in(10);
    CHECK_RC(vt_sleep(&w, deadline), VT_TIMEOUT);
    CHECK(calls >= 1);
    CHECK(vt_now() >= deadline);
    alarm_back();
}

static void test_waiter_is_asked_every_slice(void)
{
    int calls = 0;
    struct vt_waiter w = {.interrupted = go_on, .ctx = &calls, .slice_ms = 5};
    CHECK_RC(vt_sleep(&w, vt_deadline(0.5)), VT_TIMEOUT);
    CHECK(calls >= 5 && calls <= 101);
}

static void *write_later(void *unused)
{
    struct vt_waiter w = {0};
    CHECK_RC(vt_sleep(&w, vt_deadline(0.03)), VT_TIMEOUT);
    CHECK_INT(write(pipe_fds[1], "x", 1), 1);
    return unused;
}

static void test_event_from_another_thread_ends_the_wait(void)
{
    setup();
    struct vt_waiter w = {0};
    struct pollfd fd = {.fd = pipe_fds[0], .events = POLLIN};
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, write_later, NULL), 0);
    enum vt_rc rc = vt_wait(&w, &fd, 1, vt_deadline(1000));
    pthread_join(thread, NULL);
    CHECK_RC(rc, VT_OK);
    teardown();
}

static void test_too_many_descriptors_are_refused(void)
{
    struct pollfd fds[33] = {0};
    struct vt_waiter w = {0};
    CHECK_RC(vt_wait(&w, fds, 33, vt_deadline(0)), VT_INVALID);
    CHECK_RC(vt_wait(&w, fds, -1, vt_deadline(0)), VT_INVALID);
}

static void test_fd_setup_sets_both_flags(void)
{
    setup();
    CHECK_RC(vt_fd_setup(pipe_fds[0]), VT_OK);
    CHECK(fcntl(pipe_fds[0], F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(pipe_fds[0], F_GETFD) & FD_CLOEXEC);
    CHECK(!(fcntl(pipe_fds[1], F_GETFD) & FD_CLOEXEC));
    teardown();
    CHECK_RC(vt_fd_setup(-1), VT_IO);
}

CHECK_MAIN(
    TEST(test_event_is_reported),
    TEST(test_event_wins_over_expired_deadline),
    TEST(test_deadline_ends_the_wait_and_never_early),
    TEST(test_sleep_lasts_until_the_deadline),
    TEST(test_wake_descriptor_ends_the_wait_and_stays_readable),
    TEST(test_signal_asks_the_waiter),
    TEST(test_harmless_signal_does_not_shorten_the_wait),
    TEST(test_waiter_is_asked_every_slice),
    TEST(test_event_from_another_thread_ends_the_wait),
    TEST(test_too_many_descriptors_are_refused),
    TEST(test_fd_setup_sets_both_flags))
