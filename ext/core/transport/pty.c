/* pty.c - local processes on pseudo-terminals. */
#include "transport/pty.h"

#include "base/ptree.h"
#include "base/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define EXEC_SLICE (20 * VT_MS)
#define PF_FORKNOEXEC 0x40          /* include/linux/sched.h */
#define LOOK_MS 2                   /* until the next look whether a process has ended */

struct pty {
    struct vt_transport base;
    int fd;
    int pid_fd;                     /* readable once the process has ended; -1: too old a kernel */
    int poll_fd;                    /* epoll over both; -1 without pid_fd */
    pid_t pid;
    bool hung_up;                   /* nobody has the tty open any more */
    bool writing;                   /* poll_fd looks for room, too */
    bool ended;
    pthread_mutex_t reaping;        /* guards the following: */
    bool gone, has_status, collected;
    int status;                     /* exit code, or minus the signal */
    int killers;                    /* who still needs the pid: the last one collects the child */
};

static const struct vt_transport_ops pty_ops;

static struct pty *of(struct vt_transport *t)
{
    return (struct pty *)t;
}

/* Once it has ended, and nobody needs its number. */
static void collect(struct pty *p)
{
    pid_t got;
    if (p->collected || p->killers > 0)
        return;
    do
        got = waitpid(p->pid, NULL, WNOHANG);
    while (got < 0 && errno == EINTR);
    p->collected = got == p->pid || (got < 0 && errno == ECHILD);
}

static bool has_ended(struct pty *p)
{
    siginfo_t info = {0};
    int rc;
    do
        rc = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 ? errno != ECHILD : info.si_pid != p->pid)
        return false;
    p->gone = true;
    p->has_status = rc == 0;
    p->collected = rc < 0;              /* by somebody else: the number may be another child's now */
    if (p->has_status)
        p->status = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return true;
}

/* Whether the child has ended: then it is collected.  One that somebody else has collected
 * already (a wait for any child, or SIGCHLD ignored) has ended with an unknown status. */
static bool reap(struct pty *p)
{
    pthread_mutex_lock(&p->reaping);
    bool gone = p->gone || has_ended(p);
    if (gone)
        collect(p);
    pthread_mutex_unlock(&p->reaping);
    return gone;
}

static void watch(struct pty *p, int op, uint32_t events)
{
    struct epoll_event event = {.events = events};
    if (p->poll_fd >= 0)
        epoll_ctl(p->poll_fd, op, p->fd, &event);
}

/* Nobody has the tty open.  The session ends with the process, which may well go on: a
 * daemon lets go of its terminal. */
static enum vt_rc hang_up(struct pty *p)
{
    if (!p->hung_up)
        watch(p, EPOLL_CTL_DEL, 0);
    p->hung_up = true;
    if (!reap(p) && p->poll_fd >= 0)
        return VT_AGAIN;
    p->ended = true;
    return VT_EOF;
}

static enum vt_rc pty_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    struct pty *p = of(t);
    for (bool last = false; !p->hung_up;) {
        ssize_t n = read(p->fd, data, cap);
        if (n > 0) {
            *got = (size_t)n;
            return VT_OK;
        }
        if (n == 0 || errno == EIO)
            break;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN) {
            p->ended = true;
            return vt_fail(&t->err, VT_IO, VT_STAGE_NONE, errno, "%s", strerror(errno));
        }
        if (last) {
            p->ended = true;            /* a background child has the tty: it has no session now */
            return VT_EOF;
        }
        if (!reap(p))
            return VT_AGAIN;
        last = true;                    /* what it wrote before it ended is there by now */
    }
    return hang_up(p);
}

static enum vt_rc pty_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    for (;;) {
        ssize_t some = write(of(t)->fd, data, n);
        if (some >= 0) {
            *put = (size_t)some;
            return some > 0 ? VT_OK : VT_AGAIN;
        }
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN)
            return VT_AGAIN;
        if (errno == EIO)
            return hang_up(of(t));
        return vt_fail(&t->err, VT_IO, VT_STAGE_NONE, errno, "%s", strerror(errno));
    }
}

static int pty_want(struct vt_transport *t, bool writing, short *events)
{
    struct pty *p = of(t);
    *events = (short)(POLLIN | (writing && p->poll_fd < 0 ? POLLOUT : 0));
    if (p->ended)
        return -1;
    if (p->poll_fd < 0)
        return p->fd;
    if (writing != p->writing && !p->hung_up)
        watch(p, EPOLL_CTL_MOD, EPOLLIN | (writing ? EPOLLOUT : 0u));
    p->writing = writing;
    return p->poll_fd;
}

static enum vt_rc pty_resize(struct vt_transport *t, unsigned rows, unsigned columns)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    if (ioctl(of(t)->fd, TIOCSWINSZ, &size) == 0)
        return VT_OK;
    return vt_fail(&t->err, VT_IO, VT_STAGE_NONE, errno, "%s", strerror(errno));
}

/* Without a pid_fd nothing tells that it has ended, and waiting for it would have no end. */
static bool wait_exit(struct pty *p, int ms)
{
    struct pollfd fd = {.fd = p->pid_fd, .events = POLLIN};
    vt_time until = vt_now() + ms * VT_MS;
    while (p->pid_fd >= 0 && poll(&fd, 1, vt_poll_ms(until)) < 0 && errno == EINTR)
        ;
    while (p->pid_fd < 0 && !reap(p) && vt_now() < until)
        poll(NULL, 0, LOOK_MS);
    return reap(p);
}

static bool pty_status(struct vt_transport *t, int *status)
{
    if (!reap(of(t)))
        wait_exit(of(t), 50);           /* the tty is closed a moment before the process ends */
    *status = of(t)->status;
    return of(t)->has_status;
}

static pid_t pty_pid(struct vt_transport *t)
{
    return of(t)->pid;
}

/* By any thread: until the child is collected nobody else has its number.  Looking for its
 * descendants takes a while, so the lock is not held meanwhile: a thread that kills again and
 * again would keep it from the session. */
static enum vt_rc pty_kill(struct vt_transport *t, int sig)
{
    struct pty *p = of(t);
    pthread_mutex_lock(&p->reaping);
    bool gone = p->gone;
    p->killers += !gone;
    pthread_mutex_unlock(&p->reaping);
    if (gone)
        return VT_EOF;
    enum vt_rc rc = vt_ptree_kill(p->pid, sig);
    pthread_mutex_lock(&p->reaping);
    p->killers--;
    if (p->gone)
        collect(p);
    pthread_mutex_unlock(&p->reaping);
    return rc;
}

static void pty_close(struct vt_transport *t)
{
    struct pty *p = of(t);
    if (!reap(p)) {
        vt_ptree_kill(p->pid, SIGKILL);
        kill(-p->pid, SIGKILL);         /* the foreground job of a shell that was gone already */
        wait_exit(p, 5000);
    }
    p->ended = true;
}

static void pty_fini(struct vt_transport *t, bool silent)
{
    struct pty *p = of(t);
    if (!silent)
        pty_close(t);
    if (p->poll_fd >= 0)
        close(p->poll_fd);
    if (p->pid_fd >= 0)
        close(p->pid_fd);
    close(p->fd);
    if (!silent)                        /* else it is a fork's copy, and may be locked */
        pthread_mutex_destroy(&p->reaping);
    free(p);
}

static const struct vt_transport_ops pty_ops = {
    .name = "pty", .echo = false, .crlf = false,
    .read = pty_read, .write = pty_write, .want = pty_want, .resize = pty_resize,
    .status = pty_status, .pid = pty_pid, .kill = pty_kill, .close = pty_close, .fini = pty_fini,
};

static void tty_setup(int fd, bool echo)
{
    struct termios tio;
    if (tcgetattr(fd, &tio) < 0)
        return;
    tio.c_oflag &= ~(tcflag_t)OPOST;
    tio.c_iflag &= ~(tcflag_t)(INLCR | ICRNL | IGNCR);
    if (echo)
        tio.c_lflag |= ECHO;
    else
        tio.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    tcsetattr(fd, TCSANOW, &tio);
}

/* Gives descriptors their numbers.  First all go above these, so that none takes the place
 * of another, the terminal or `tell` included. */
static void renumber(const struct vt_pty_options *o, int *slave, int *tell)
{
    int top = 2, moved[VT_PTY_PASS_MAX];
    for (int i = 0; i < o->pass_count; i++)
        top = o->pass_as[i] > top ? o->pass_as[i] : top;
    for (int i = 0; i < o->pass_count; i++)
        moved[i] = fcntl(o->pass_fds[i], F_DUPFD_CLOEXEC, top + 1);
    *slave = fcntl(*slave, F_DUPFD_CLOEXEC, top + 1);
    *tell = fcntl(*tell, F_DUPFD_CLOEXEC, top + 1);
    for (int i = 0; i < o->pass_count; i++)
        dup2(moved[i], o->pass_as[i]);
}

static void pass(const struct vt_pty_options *o, int *slave, int *tell)
{
    if (o->pass_as != NULL) {
        renumber(o, slave, tell);
        return;
    }
    for (int i = 0; i < o->pass_count; i++)
        fcntl(o->pass_fds[i], F_SETFD, 0);      /* close-on-exec off, here alone */
}

/* In the child: async-signal-safe calls only.  Tells its errno through `tell`. */
static void child(const struct vt_pty_options *o, int slave, int tell)
{
    sigset_t none;
    for (int n = 1; n < NSIG; n++)
        signal(n, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    pass(o, &slave, &tell);
    if (o->prepare != NULL)
        o->prepare(o->prepare_ctx);
    if (ioctl(slave, TIOCSCTTY, 0) == 0 && dup2(slave, 0) >= 0 && dup2(slave, 1) >= 0
        && dup2(slave, 2) >= 0 && (o->cwd == NULL || chdir(o->cwd) == 0))
        execve(o->argv[0], (char *const *)o->argv, (char *const *)o->envp);
    int sys = errno;
    (void)!write(tell, &sys, sizeof sys);
    _exit(127);
}

static int open_pair(int *slave)
{
    char name[64];
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    *slave = -1;
    if (grantpt(fd) == 0 && unlockpt(fd) == 0 && ptsname_r(fd, name, sizeof name) == 0)
        do
            *slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        while (*slave < 0 && errno == EINTR);
    if (*slave >= 0)
        return fd;
    close(fd);
    return -1;
}

/* Whether the process has called exec: its flags, in /proc, say "forked, no exec" before. */
static bool has_execed(pid_t pid)
{
    char path[32], text[512];
    unsigned flags = PF_FORKNOEXEC;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *after = strrchr(text, ')');     /* the name may hold anything */
    return after != NULL && sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1
        && (flags & PF_FORKNOEXEC) == 0;
}

/* Waits until exec has happened, or *sys is why it has not.  The pipe's end tells, unless
 * another thread forks at this moment: then its child has the pipe, too, and keeps it. */
static enum vt_rc wait_exec(int tell, pid_t pid, struct vt_waiter *w, vt_time deadline, int *sys)
{
    struct pollfd fd = {.fd = tell, .events = POLLIN};
    for (;;) {
        vt_time slice = vt_sooner(deadline, EXEC_SLICE);
        enum vt_rc rc = vt_wait(w, &fd, 1, slice);
        if (rc == VT_OK) {
            ssize_t n;
            while ((n = read(tell, sys, sizeof *sys)) < 0 && errno == EINTR)
                ;
            if (n != sizeof *sys)
                *sys = 0;
            return VT_OK;
        }
        if (rc != VT_TIMEOUT)
            return rc;
        if (has_execed(pid))
            return VT_OK;
        if (slice >= deadline)
            return VT_TIMEOUT;
    }
}

static pid_t fork_quietly(const struct vt_pty_options *o, int slave, int tell)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);    /* no handler of the parent's in the child */
    pid_t pid = fork();
    if (pid == 0)
        child(o, slave, tell);
    int sys = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = sys;
    return pid;
}

/* Forks and waits until exec has happened; *sys is its errno, or 0. */
static enum vt_rc start(const struct vt_pty_options *o, int slave, struct vt_waiter *w, vt_time deadline,
                        pid_t *pid, int *sys)
{
    int tell[2];
    enum vt_rc rc = VT_OK;
    if (pipe2(tell, O_CLOEXEC) < 0) {
        *sys = errno;
        return VT_OK;
    }
    *pid = fork_quietly(o, slave, tell[1]);
    *sys = *pid < 0 ? errno : 0;
    close(tell[1]);
    if (*pid > 0)
        rc = wait_exec(tell[0], *pid, w, deadline, sys);
    close(tell[0]);
    if (*pid > 0 && (rc != VT_OK || *sys != 0)) {
        kill(*pid, SIGKILL);
        while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    return rc;
}

/* The descriptor that tells of output and of the process's end alike. */
static enum vt_rc poll_both(struct pty *p)
{
    struct epoll_event event = {.events = EPOLLIN};
    p->pid_fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (p->pid_fd < 0)
        return VT_OK;
    p->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->poll_fd < 0 || epoll_ctl(p->poll_fd, EPOLL_CTL_ADD, p->pid_fd, &event) < 0
        || epoll_ctl(p->poll_fd, EPOLL_CTL_ADD, p->fd, &event) < 0)
        return VT_IO;
    return VT_OK;
}

enum vt_rc vt_pty_open(const struct vt_pty_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transport **out, struct vt_err *e)
{
    int slave = -1;
    enum vt_rc rc = VT_OK;
    if (o->pass_as != NULL && o->pass_count > VT_PTY_PASS_MAX)
        return vt_fail(e, VT_INVALID, VT_STAGE_CONNECT, 0, "too many descriptors to pass");
    struct pty *p = calloc(1, sizeof *p);
    if (p == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
    p->base.ops = &pty_ops;
    pthread_mutex_init(&p->reaping, NULL);
    p->pid_fd = p->poll_fd = -1;
    p->fd = open_pair(&slave);
    int sys = p->fd < 0 ? errno : 0;
    if (sys == 0) {
        tty_setup(slave, o->echo);
        rc = start(o, slave, w, deadline, &p->pid, &sys);
        close(slave);
    }
    if (rc != VT_OK || sys != 0) {
        if (p->fd >= 0)
            close(p->fd);
        pthread_mutex_destroy(&p->reaping);
        free(p);
        if (rc != VT_OK)
            return vt_fail(e, rc, VT_STAGE_CONNECT, 0, "%s: %s", o->argv[0], vt_rc_text(rc));
    } else if (vt_fd_setup(p->fd) == VT_OK && poll_both(p) == VT_OK) {
        *out = &p->base;
        return VT_OK;
    } else {
        sys = errno;
        pty_fini(&p->base, false);
    }
    return vt_fail(e, VT_IO, VT_STAGE_CONNECT, sys, "%s: %s", o->argv[0], strerror(sys));
}
