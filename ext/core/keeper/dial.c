/* dial.c - the folder with the keepers' sockets: who is there, who is not, who may be.
 *
 * A keeper is looked for, started and connected to under a lock, and a keeper ends under
 * it: two that start at once agree on one, and none ends while somebody is on the way.
 */
#include "keeper/dial.h"

#include "keeper/server.h"
#include "keeper/wire.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFIX "keeper-"
#define LOCK_RETRY (10 * VT_MS)         /* a lock tells nobody that it is free */

static enum vt_rc failed(struct vt_err *e, const char *what, int sys)
{
    return vt_fail(e, VT_IO, VT_STAGE_CONNECT, sys, "keeper: %s: %s", what, strerror(sys));
}

/* "keeper-<version>-<namespaces>": a process must run where it was asked for, so there is
 * a keeper for each set of namespaces that a user is in. */
static void own_name(char out[64])
{
    static const char *const spaces[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};
    uint64_t hash = UINT64_C(14695981039346656037);     /* FNV-1a */
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        char path[64], text[64];
        snprintf(path, sizeof path, "/proc/self/ns/%s", spaces[i]);
        ssize_t n = readlink(path, text, sizeof text);
        for (ssize_t at = 0; at < n; at++)
            hash = (hash ^ (unsigned char)text[at]) * UINT64_C(1099511628211);
    }
    snprintf(out, 64, PREFIX "%d-%016llx", VT_KEEPER_VERSION, (unsigned long long)hash);
}

/* The folder, if it is this user's alone. */
static int open_folder(const char *path, struct vt_err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 077) == 0)
        return fd;
    int sys = fd < 0 ? errno : EPERM;
    if (fd >= 0)
        close(fd);
    failed(e, path, sys);
    return -1;
}

static enum vt_rc take_lock(int folder, struct vt_waiter *w, vt_time deadline, int *lock, struct vt_err *e)
{
    int fd = openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return failed(e, "lock", errno);
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int sys = errno;
        enum vt_rc rc = sys == EWOULDBLOCK ? vt_sleep(w, vt_sooner(deadline, LOCK_RETRY)) : VT_IO;
        if (rc == VT_TIMEOUT && !vt_expired(deadline))
            continue;
        close(fd);
        return rc == VT_IO ? failed(e, "lock", sys)
             : vt_fail(e, rc, VT_STAGE_CONNECT, 0, "keeper: another process starts it, and does not end");
    }
    *lock = fd;
    return VT_OK;
}

/* Through the descriptor: the folder's path may be longer than an address can be. */
static void address(struct sockaddr_un *a, int folder, const char *name)
{
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d/%s", folder, name);
}

/* A connection to a keeper of this user's, or -1 with errno. */
static int connect_to(int folder, const char *name)
{
    struct sockaddr_un a;
    struct ucred peer;
    socklen_t n = sizeof peer;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address(&a, folder, name);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0) {
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && peer.uid == geteuid())
            return fd;
        errno = EPERM;
    }
    int sys = errno;
    if (fd >= 0)
        close(fd);
    errno = sys;
    return -1;
}

static int listen_at(int folder, const char *name)
{
    struct sockaddr_un a;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    address(&a, folder, name);
    unlinkat(folder, name, 0);          /* of a keeper that was killed */
    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0
        && fchmodat(folder, name, 0600, 0) == 0 && listen(fd, 64) == 0)
        return fd;
    int sys = errno;
    if (fd >= 0)
        close(fd);
    errno = sys;
    return -1;
}

/* ---- the fork ---- */

static void close_others(int first)
{
    if (syscall(SYS_close_range, first, ~0U, 0) == 0)
        return;
    for (int fd = first; fd < (int)sysconf(_SC_OPEN_MAX); fd++)
        close(fd);
}

/* Becomes a process of its own: no terminal, no descriptors, no signals of its starter's. */
static void settle(int *listener, int *folder)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU};
    struct rlimit files;
    sigset_t none;
    for (int n = 1; n < NSIG; n++)
        signal(n, SIG_DFL);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int high_listener = fcntl(*listener, F_DUPFD_CLOEXEC, 10), high_folder = fcntl(*folder, F_DUPFD_CLOEXEC, 10);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    *listener = dup3(high_listener, 3, O_CLOEXEC);
    *folder = dup3(high_folder, 4, O_CLOEXEC);
    close_others(5);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;    /* for all sessions of the user; they have their own limits */
        setrlimit(RLIMIT_NOFILE, &files);
    }
    (void)!chdir("/");
    prctl(PR_SET_NAME, "virtvm-keeper");
}

/* Leaves a keeper running that is nobody's child. */
static int fork_keeper(int listener, int folder, const char *name)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);    /* no handler of the parent's in the child */
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        settle(&listener, &folder);
        vt_keeper_serve(listener, folder, name);
        _exit(0);
    }
    int sys = pid < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    errno = sys;
    return pid < 0 ? -1 : 0;
}

static int start_keeper(int folder, const char *name)
{
    int listener = listen_at(folder, name);
    int rc = listener < 0 ? -1 : fork_keeper(listener, folder, name);
    int sys = errno;
    if (listener >= 0)
        close(listener);
    errno = sys;
    return rc;
}

/* ---- dialling ---- */

static int connect_or_start(int folder)
{
    char name[64];
    own_name(name);
    int fd = connect_to(folder, name);
    if (fd < 0 && (errno == ENOENT || errno == ECONNREFUSED) && start_keeper(folder, name) == 0)
        fd = connect_to(folder, name);
    return fd;
}

enum vt_rc vt_keeper_dial(const char *path, struct vt_waiter *w, vt_time deadline, int *fd, struct vt_err *e)
{
    int lock = -1, folder = open_folder(path, e);
    if (folder < 0)
        return VT_IO;
    enum vt_rc rc = take_lock(folder, w, deadline, &lock, e);
    if (rc == VT_OK) {
        *fd = connect_or_start(folder);
        if (*fd < 0)
            rc = failed(e, "cannot be started", errno);
        close(lock);
    }
    close(folder);
    return rc;
}

static bool is_keeper(const char *name)
{
    char prefix[32];
    int n = snprintf(prefix, sizeof prefix, PREFIX "%d-", VT_KEEPER_VERSION);
    return strncmp(name, prefix, (size_t)n) == 0;
}

enum vt_rc vt_keeper_ask_all(const char *path, struct vt_waiter *w, vt_time deadline,
                             enum vt_rc (*ask)(void *ctx, int fd), void *ctx, struct vt_err *e)
{
    int lock = -1, folder = open_folder(path, e);
    if (folder < 0)
        return VT_IO;
    enum vt_rc rc = take_lock(folder, w, deadline, &lock, e);
    DIR *entries = rc == VT_OK ? fdopendir(dup(folder)) : NULL;
    struct dirent *entry;
    if (rc == VT_OK)
        rc = VT_CONNECT;
    while (rc == VT_CONNECT && entries != NULL && (entry = readdir(entries)) != NULL) {
        int fd = is_keeper(entry->d_name) ? connect_to(folder, entry->d_name) : -1;
        if (fd >= 0)
            rc = ask(ctx, fd);
    }
    if (entries != NULL)
        closedir(entries);
    if (lock >= 0)
        close(lock);
    close(folder);
    return rc;
}
