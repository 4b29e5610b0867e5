/* dial.c - the folder with the keepers' sockets: who is there, who is not, who may be.
 *
 * A keeper is looked for, started and connected to under a lock, and a keeper ends under
 * it: two that start at once agree on one, and none ends while somebody is on the way.
 */
#include "keeper/dial.h"

#include "keeper/server.h"
#include "keeper/wire.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFIX "keeper-"
#define PROGRAM "virtvm-keeper"
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

/* ---- starting one ---- */

static const char is_here;

/* The program lies beside the library, or the program, that this code is in. */
static bool find_program(char *path, size_t cap)
{
    Dl_info info;
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    own[n > 0 ? n : 0] = '\0';
    bool loaded = dladdr(&is_here, &info) != 0 && info.dli_fname[0] == '/';
    const char *beside = loaded ? info.dli_fname : own;
    const char *slash = strrchr(beside, '/');
    int len = slash == NULL ? 0 : (int)(slash - beside);
    return snprintf(path, cap, "%.*s/" PROGRAM, len, beside) < (int)cap && access(path, X_OK) == 0;
}

/* In a fork's child, where little may be called: becomes the program.  All signals are blocked,
 * and stay so until it has reset them. */
static void run_program(const char *path, char *const argv[], char *const envp[], int listener, int folder)
{
    int high_listener = fcntl(listener, F_DUPFD_CLOEXEC, 10), high_folder = fcntl(folder, F_DUPFD_CLOEXEC, 10);
    if (dup2(high_listener, 3) == 3 && dup2(high_folder, 4) == 4)
        execve(path, argv, envp);
    _exit(127);
}

/* Leaves the program running as nobody's child.  0, or an errno. */
static int fork_program(const char *path, char *const argv[], char *const envp[], int listener, int folder)
{
    sigset_t all, before;
    int status = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);    /* no handler of ours in the child */
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        pid = fork();
        if (pid == 0)
            run_program(path, argv, envp, listener, folder);
        _exit(pid < 0 ? errno : 0);
    }
    int sys = pid < 0 ? errno : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : sys;
}

/* Of our environment it gets what it needs to know: where files go that have no name. */
static int start_program(int folder, const char *name, int listener, const struct stat *st)
{
    char path[PATH_MAX], folder_of_files[PATH_MAX], device[24], inode[24];
    const char *tmp = getenv("TMPDIR");
    char *const argv[] = {PROGRAM, (char *)name, device, inode, NULL};
    char *const envp[] = {tmp != NULL ? folder_of_files : NULL, NULL};
    if (!find_program(path, sizeof path))
        return ENOENT;
    snprintf(device, sizeof device, "%llu", (unsigned long long)st->st_dev);
    snprintf(inode, sizeof inode, "%llu", (unsigned long long)st->st_ino);
    if (tmp != NULL && snprintf(folder_of_files, sizeof folder_of_files, "TMPDIR=%s", tmp) >= PATH_MAX)
        return ENAMETOOLONG;
    return fork_program(path, argv, envp, listener, folder);
}

static enum vt_rc start_keeper(int folder, const char *name, struct vt_err *e)
{
    struct stat st;
    int listener = listen_at(folder, name), sys = listener < 0 ? errno : 0;
    if (sys == 0 && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        sys = errno;
    if (sys == 0 && (sys = start_program(folder, name, listener, &st)) != 0)
        unlinkat(folder, name, 0);
    if (listener >= 0)
        close(listener);
    return sys == 0 ? VT_OK : failed(e, "the program " PROGRAM " cannot be started", sys);
}

/* ---- dialling ---- */

/* Many may want one at once, and it may be busy: then there is no room to wait in, and we wait
 * here. */
static enum vt_rc connect_in_turn(int folder, const char *name, struct vt_waiter *w, vt_time deadline, int *fd)
{
    while ((*fd = connect_to(folder, name)) < 0 && errno == EAGAIN) {
        enum vt_rc rc = vt_sleep(w, vt_sooner(deadline, LOCK_RETRY));
        if (rc != VT_TIMEOUT || vt_expired(deadline))
            return rc;
    }
    return VT_OK;                       /* or errno */
}

static enum vt_rc connect_or_start(int folder, struct vt_waiter *w, vt_time deadline, int *fd, struct vt_err *e)
{
    char name[64];
    own_name(name);
    enum vt_rc turn = connect_in_turn(folder, name, w, deadline, fd);
    if (turn != VT_OK)
        return vt_fail(e, turn, VT_STAGE_CONNECT, 0, "keeper: it is busy, and takes nobody");
    if (*fd < 0 && (errno == ENOENT || errno == ECONNREFUSED)) {
        enum vt_rc rc = start_keeper(folder, name, e);
        if (rc != VT_OK)
            return rc;
        *fd = connect_to(folder, name);
    }
    return *fd >= 0 ? VT_OK : failed(e, "cannot be started", errno);
}

/* By name: a fork's child of another thread's may hold the descriptor, too. */
static void let_go(int lock)
{
    flock(lock, LOCK_UN);
    close(lock);
}

enum vt_rc vt_keeper_dial(const char *path, struct vt_waiter *w, vt_time deadline, int *fd, struct vt_err *e)
{
    int lock = -1, folder = open_folder(path, e);
    if (folder < 0)
        return VT_IO;
    enum vt_rc rc = take_lock(folder, w, deadline, &lock, e);
    if (rc == VT_OK) {
        rc = connect_or_start(folder, w, deadline, fd, e);
        let_go(lock);
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

/* A keeper that has a connection does not end, so nobody needs the lock while they answer. */
enum vt_rc vt_keeper_dial_all(const char *path, struct vt_waiter *w, vt_time deadline, int fds[VT_KEEPERS_MAX],
                              int *n, struct vt_err *e)
{
    int lock = -1, folder = open_folder(path, e);
    *n = 0;
    if (folder < 0)
        return VT_IO;
    enum vt_rc rc = take_lock(folder, w, deadline, &lock, e);
    DIR *entries = rc == VT_OK ? fdopendir(fcntl(folder, F_DUPFD_CLOEXEC, 0)) : NULL;
    struct dirent *entry;
    while (*n < VT_KEEPERS_MAX && entries != NULL && (entry = readdir(entries)) != NULL) {
        int fd = is_keeper(entry->d_name) ? connect_to(folder, entry->d_name) : -1;
        if (fd >= 0)
            fds[(*n)++] = fd;
    }
    if (entries != NULL)
        closedir(entries);
    if (lock >= 0)
        let_go(lock);
    close(folder);
    return rc;
}
