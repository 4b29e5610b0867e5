/* inject.c - local faults, to be preloaded: the n-th call of a function on a file below a
 * folder fails with an errno; or each of them takes its time.
 *
 * Driven from Python by ctypes: inject_arm, inject_slow, inject_seen.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char armed_name[32], armed_below[4096];
static atomic_long armed_at = -1, seen;
static int armed_errno;
static atomic_int slow_ms;

/* The n-th call of the function from now on (0: the next one) that has to do with something
 * below the folder fails.  n < 0: none; they are counted all the same. */
void inject_arm(const char *name, const char *below, long n, int error)
{
    armed_at = -1;
    snprintf(armed_name, sizeof armed_name, "%s", name);
    snprintf(armed_below, sizeof armed_below, "%s", below);
    armed_errno = error;
    seen = 0;
    armed_at = n;
}

/* Each call that is counted takes so many milliseconds from now on. */
void inject_slow(int ms)
{
    slow_ms = ms;
}

long inject_seen(void)
{
    return seen;
}

static int is_below(int fd, const char *name)
{
    char link[64], path[4096];
    if (name != NULL && name[0] == '/') {
        return strncmp(name, armed_below, strlen(armed_below)) == 0;
    }
    if (fd == AT_FDCWD)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return 0;
    path[n] = '\0';
    return strncmp(path, armed_below, strlen(armed_below)) == 0;
}

static int fails(const char *name, int fd, const char *path)
{
    int before = errno;
    if (armed_below[0] == '\0' || strcmp(name, armed_name) != 0 || !is_below(fd, path)) {
        errno = before;
        return 0;
    }
    long at = seen++;
    if (slow_ms > 0)
        usleep((useconds_t)slow_ms * 1000);
    errno = at == armed_at ? armed_errno : before;
    return at == armed_at;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAULTY(type, name, params, args, fd, path, failure) \
    type name params \
    { \
        REAL(name); \
        if (fails(#name, fd, path)) \
            return failure; \
        return real args; \
    }

FAULTY(struct dirent *, readdir, (DIR *d), (d), dirfd(d), NULL, NULL)
FAULTY(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n), fd, NULL, -1)
FAULTY(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n), fd, NULL, -1)
FAULTY(ssize_t, pread, (int fd, void *b, size_t n, off_t at), (fd, b, n, at), fd, NULL, -1)
FAULTY(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at), fd, NULL, -1)
FAULTY(int, ftruncate, (int fd, off_t n), (fd, n), fd, NULL, -1)
FAULTY(int, fsync, (int fd), (fd), fd, NULL, -1)
FAULTY(int, fchmod, (int fd, mode_t m), (fd, m), fd, NULL, -1)
FAULTY(int, mkdirat, (int fd, const char *p, mode_t m), (fd, p, m), fd, p, -1)
FAULTY(int, unlinkat, (int fd, const char *p, int f), (fd, p, f), fd, p, -1)
FAULTY(int, symlinkat, (const char *to, int fd, const char *p), (to, fd, p), fd, p, -1)
FAULTY(int, renameat, (int a, const char *p, int b, const char *q), (a, p, b, q), a, p, -1)
FAULTY(int, renameat2, (int a, const char *p, int b, const char *q, unsigned f), (a, p, b, q, f), a, p, -1)

/* A descriptor whose close fails is closed all the same. */
int close(int fd)
{
    REAL(close);
    int failed = fails("close", fd, NULL), error = errno;
    int rc = real(fd);
    if (failed) {
        errno = error;
        return -1;
    }
    return rc;
}

int openat(int fd, const char *path, int flags, ...)
{
    REAL(openat);
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return fails("openat", fd, path) ? -1 : real(fd, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    REAL(open);
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    return fails("open", AT_FDCWD, path) ? -1 : real(path, flags, mode);
}
