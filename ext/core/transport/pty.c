/* pty.c - local processes on pseudo-terminals. */
#include "transport/pty.h"

#include "ptree.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct pty {
    struct vt_transport base;
    int fd;
    int pid_fd;                     /* readable once the process has ended; -1: too old a kernel */
    int poll_fd;                    /* epoll over both; -1 without pid_fd */
    pid_t pid;
    bool hung_up;                   /* nobody has the tty open any more */
    bool writing;                   /* poll_fd looks for room, too */
    bool ended, reaped, has_status;
    int status;                     /* exit code, or minus the signal */
};

static const struct vt_transport_ops pty_ops;

static struct pty *of(struct vt_transport *t)
{
    return (struct pty *)t;
}

/* Collects the child if it has ended.  One that somebody else has collected already (a
 * wait for any child, or SIGCHLD ignored) has ended with an unknown status. */
static bool reap(struct pty *p, int options)
{
    int status;
    pid_t got;
    if (p->reaped)
        return true;
    do
        got = waitpid(p->pid, &status, options);
    while (got < 0 && errno == EINTR);
    if (got != p->pid && !(got < 0 && errno == ECHILD))
        return false;
    p->reaped = true;
    p->has_status = got == p->pid;
    if (p->has_status)
        p->status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return true;
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
    if (!reap(p, WNOHANG) && p->poll_fd >= 0)
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
        if (!reap(p, WNOHANG))
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

static bool wait_exit(struct pty *p, int ms)
{
    struct pollfd fd = {.fd = p->pid_fd, .events = POLLIN};
    if (p->pid_fd >= 0)
        poll(&fd, 1, ms);
    return reap(p, p->pid_fd >= 0 ? WNOHANG : 0);
}

static bool pty_status(struct vt_transport *t, int *status)
{
    if (!reap(of(t), WNOHANG))
        wait_exit(of(t), 50);           /* the tty is closed a moment before the process ends */
    *status = of(t)->status;
    return of(t)->has_status;
}

static pid_t pty_pid(struct vt_transport *t)
{
    return of(t)->pid;
}

static enum vt_rc pty_kill(struct vt_transport *t, int sig)
{
    return of(t)->reaped ? VT_EOF : vt_ptree_kill(of(t)->pid, sig);
}

static void pty_close(struct vt_transport *t)
{
    struct pty *p = of(t);
    if (!reap(p, WNOHANG)) {
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
        *slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*slave >= 0)
        return fd;
    close(fd);
    return -1;
}

/* Forks and waits until exec has happened: 0, or its errno. */
static int start(const struct vt_pty_options *o, int slave, pid_t *pid)
{
    int tell[2], sys = 0;
    if (pipe2(tell, O_CLOEXEC) < 0)
        return errno;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);    /* no handler of the parent's in the child */
    *pid = fork();
    if (*pid == 0)
        child(o, slave, tell[1]);
    sys = *pid < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(tell[1]);
    if (*pid > 0) {
        ssize_t got;
        do
            got = read(tell[0], &sys, sizeof sys);
        while (got < 0 && errno == EINTR);
        if (got != sizeof sys)
            sys = 0;
        else
            waitpid(*pid, NULL, 0);
    }
    close(tell[0]);
    return sys;
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

enum vt_rc vt_pty_open(const struct vt_pty_options *o, struct vt_transport **out, struct vt_err *e)
{
    int slave = -1;
    if (o->pass_as != NULL && o->pass_count > VT_PTY_PASS_MAX)
        return vt_fail(e, VT_INVALID, VT_STAGE_CONNECT, 0, "too many descriptors to pass");
    struct pty *p = calloc(1, sizeof *p);
    if (p == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
    p->base.ops = &pty_ops;
    p->pid_fd = p->poll_fd = -1;
    p->fd = open_pair(&slave);
    int sys = p->fd < 0 ? errno : 0;
    if (sys == 0) {
        tty_setup(slave, o->echo);
        sys = start(o, slave, &p->pid);
        close(slave);
    }
    if (sys != 0) {
        if (p->fd >= 0)
            close(p->fd);
        free(p);
    } else if (vt_fd_setup(p->fd) == VT_OK && poll_both(p) == VT_OK) {
        *out = &p->base;
        return VT_OK;
    } else {
        sys = errno;
        pty_fini(&p->base, false);
    }
    return vt_fail(e, VT_IO, VT_STAGE_CONNECT, sys, "%s: %s", o->argv[0], strerror(sys));
}
