/* Local processes: when they end, and what ends with them. */
#include "base/ptree.h"
#include "base/syscalls.h"
#include "session/session.h"
#include "transport/pty.h"

#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static struct vt_session *session;
static struct vt_waiter w;

static void start(const char *command)
{
    const char *argv[] = {"/bin/sh", "-c", command, NULL}, *envp[] = {"PATH=/bin:/usr/bin", NULL};
    struct vt_pty_options o = {.argv = argv, .envp = envp};
    struct vt_transport *t = NULL;
    struct vt_err e = {0};
    CHECK_RC(vt_pty_open(&o, &w, vt_deadline(60), &t, &e), VT_OK);
    CHECK_RC(vt_session_new(t, 1 << 20, &session), VT_OK);
    CHECK_RC(vt_session_enter(session, &w, vt_deadline(60)), VT_OK);
}

static void end(void)
{
    vt_session_leave(session);
    vt_session_free(session);
}

static enum vt_rc read_all(double seconds)
{
    vt_time deadline = vt_deadline(seconds);
    enum vt_rc rc;
    do
        rc = vt_session_fill(session, &w, deadline, NULL);
    while (rc == VT_OK);
    return rc;
}

/* The number that the output begins with, once it has a line. */
static pid_t number(void)
{
    while (session->store.len == 0 || memchr(session->store.mem, '\n', session->store.len) == NULL)
        if (vt_session_fill(session, &w, vt_deadline(60), NULL) != VT_OK)
            return -1;
    return (pid_t)atol(session->store.mem);
}

/* Whether a process ends; a zombie, whoever has to collect it, has ended. */
static int gone(pid_t pid)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    for (vt_time deadline = vt_deadline(60); !vt_expired(deadline);) {
        FILE *f = fopen(path, "r");
        int runs = f != NULL && fgets(text, sizeof text, f) != NULL && strstr(text, ") Z") == NULL;
        if (f != NULL)
            fclose(f);
        if (!runs)
            return 1;
        CHECK_RC(vt_sleep(&w, vt_deadline(0.01)), VT_TIMEOUT);
    }
    return 0;
}

static void test_status_of_an_exit_and_of_a_signal(void)
{
    start("echo out; exit 3");
    CHECK_RC(read_all(60), VT_EOF);
    CHECK(session->has_status);
    CHECK_INT(session->status, 3);
    CHECK_MEM(session->store.mem, session->store.len, "out\n");
    end();
    start("kill -TERM $$");
    CHECK_RC(read_all(60), VT_EOF);
    CHECK_INT(session->status, -SIGTERM);
    end();
}

static void test_child_that_keeps_the_tty_does_not_delay_the_end(void)
{
    start("trap '' HUP; sleep 60 & echo $!; seq 10000 | tail -1");
    CHECK_RC(read_all(60), VT_EOF);
    CHECK_MEM(session->store.mem + session->store.len - 6, 6, "10000\n");
    pid_t left = number();
    CHECK_INT(kill(left, SIGKILL), 0);
    end();
}

/* Kernels before 5.3 have none; nor has valgrind. */
static bool has_pidfd(void)
{
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void test_process_without_a_tty_is_alive(void)
{
    if (!has_pidfd())
        return;                         /* the session ends with its tty, then */
    start("exec >/dev/null 2>&1 </dev/null; exec sleep 60");
    CHECK_RC(read_all(0.3), VT_TIMEOUT);
    CHECK_RC(session->t->ops->kill(session->t, SIGTERM), VT_OK);
    CHECK_RC(read_all(60), VT_EOF);
    CHECK_INT(session->status, -SIGTERM);
    end();
}

static void test_kill_reaches_all_descendants(void)
{
    start("sh -c 'setsid sleep 60 & echo $!; wait'; true");
    pid_t far = number();
    CHECK_INT(kill(far, 0), 0);
    CHECK_RC(session->t->ops->kill(session->t, SIGKILL), VT_OK);
    CHECK_RC(read_all(60), VT_EOF);
    CHECK_INT(session->status, -SIGKILL);
    CHECK(gone(far));
    CHECK_RC(session->t->ops->kill(session->t, SIGKILL), VT_EOF);
    end();
}

static void test_survivors_of_a_signal_go_on(void)
{
    start("trap '' TERM; echo $$; while :; do sleep 0.02; done");
    pid_t pid = number();
    CHECK_RC(vt_ptree_kill(pid, SIGTERM), VT_OK);
    CHECK_RC(read_all(0.3), VT_TIMEOUT);
    CHECK_RC(vt_ptree_kill(-5, SIGTERM), VT_IO);
    end();
    CHECK(kill(pid, 0) < 0 && errno == ESRCH);      /* closing the session killed it */
}

/* ---- signals without end, with a handler that cuts each call short ---- */

static void on_alarm(int sig)
{
    (void)sig;
}

static void alarms(long us)
{
    struct sigaction act = {.sa_handler = on_alarm};
    struct itimerval each = {.it_interval.tv_usec = us, .it_value.tv_usec = us};
    sigaction(SIGALRM, &act, NULL);
    CHECK_INT(setitimer(ITIMER_REAL, &each, NULL), 0);
}

static void test_signals_leave_no_child_behind(void)
{
    alarms(100);
    for (int i = 0; i < 50; i++) {
        start("exec head -c 50000000 /dev/zero | { read x; }");
        end();
    }
    alarms(0);
    CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_INT(errno, ECHILD);
}

static void test_signals_hide_no_failure_to_start(void)
{
    const char *argv[] = {"/proc/none", NULL}, *envp[] = {NULL};
    struct vt_pty_options o = {.argv = argv, .envp = envp};
    struct vt_transport *t = NULL;
    alarms(100);
    for (int i = 0; i < 200; i++) {
        struct vt_err e = {0};
        CHECK_RC(vt_pty_open(&o, &w, vt_deadline(60), &t, &e), VT_IO);
        CHECK_INT(e.sys, ENOENT);
    }
    alarms(0);
    CHECK_INT(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_INT(errno, ECHILD);
}

CHECK_MAIN(
    TEST(test_signals_leave_no_child_behind),
    TEST(test_signals_hide_no_failure_to_start),TEST(test_status_of_an_exit_and_of_a_signal),
           TEST(test_child_that_keeps_the_tty_does_not_delay_the_end),
           TEST(test_process_without_a_tty_is_alive), TEST(test_kill_reaches_all_descendants),
           TEST(test_survivors_of_a_signal_go_on))
