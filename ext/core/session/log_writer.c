/* log_writer.c - a log on a file system that may hang. */
#include "session/log_writer.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PATIENCE (200 * VT_MS)          /* for a write */
#define WAITING_MAX (4 * 1024 * 1024)   /* bytes that wait for a file system which hangs */

struct vt_log_writer {
    char *path;
    pthread_mutex_t mutex;              /* of what follows */
    pthread_cond_t due, done;
    struct vt_buf waiting;
    uint64_t left_out;                  /* bytes, since something was written last */
    bool writing, late, over;
    bool is_here;
    int users;                          /* the log, and the thread: the last one frees it */
};

/* ---- the file ---- */

/* Magic numbers of statfs(2): file systems that have no server. */
static bool is_here(int fd)
{
    static const unsigned long local[] = {
        0xef53 /* ext */, 0x58465342 /* xfs */, 0x9123683e /* btrfs */, 0x01021994 /* tmpfs */,
        0x794c7630 /* overlay */, 0x858458f6 /* ramfs */, 0x2fc12fc1 /* zfs */, 0xf2f52010 /* f2fs */,
    };
    struct statfs st;
    bool found = false;
    for (size_t i = 0; fstatfs(fd, &st) == 0 && i < sizeof local / sizeof *local && !found; i++)
        found = (unsigned long)st.f_type == local[i];
    return found;
}

/* Folders for logs may be everybody's: a name there that is a link, of either kind, leads to
 * another's file, and a pipe that nobody reads must not stop us.  -1 for these. */
static int open_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK,
                  0666);
    struct stat st;
    if (fd < 0 || (fstat(fd, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_nlink <= 1)))
        return fd;
    close(fd);
    return -1;
}

enum vt_rc vt_log_write(const char *path, const char *text, size_t n, bool *here)
{
    enum vt_rc rc = VT_OK;
    int fd = open_file(path);
    if (here != NULL)
        *here = fd < 0 || is_here(fd);
    if (fd < 0)
        return VT_IO;
    while (n > 0 && rc == VT_OK) {
        ssize_t put = write(fd, text, n);
        if (put > 0) {
            text += put;
            n -= (size_t)put;
        } else if (put == 0 || errno != EINTR) {
            rc = VT_IO;
        }
    }
    close(fd);
    return rc;
}

/* ---- the thread ---- */

/* The mutex is held, and given back. */
static void leave(struct vt_log_writer *w)
{
    bool last = --w->users == 0;
    pthread_mutex_unlock(&w->mutex);
    if (!last)
        return;
    pthread_cond_destroy(&w->due);
    pthread_cond_destroy(&w->done);
    pthread_mutex_destroy(&w->mutex);
    vt_buf_fini(&w->waiting);
    free(w->path);
    free(w);
}

/* Takes what waits, the mutex held. */
static struct vt_buf take(struct vt_log_writer *w)
{
    char line[96];
    if (w->left_out > 0) {
        int n = snprintf(line, sizeof line, "virtvm: %llu bytes are left out here, the file took none\n",
                         (unsigned long long)w->left_out);
        if (vt_buf_add(&w->waiting, line, (size_t)n) == VT_OK)
            w->left_out = 0;
    }
    struct vt_buf taken = w->waiting;
    vt_buf_init(&w->waiting, WAITING_MAX);
    return taken;
}

static void *write_on(void *ctx)
{
    struct vt_log_writer *w = ctx;
    pthread_mutex_lock(&w->mutex);
    while (!w->over || w->waiting.len > 0) {
        if (w->waiting.len == 0) {
            pthread_cond_wait(&w->due, &w->mutex);
            continue;
        }
        bool here = false;
        struct vt_buf taken = take(w);
        w->writing = true;
        pthread_mutex_unlock(&w->mutex);
        (void)!vt_log_write(w->path, taken.data, taken.len, &here);
        vt_buf_fini(&taken);
        pthread_mutex_lock(&w->mutex);
        w->writing = false;
        w->is_here = here;
        pthread_cond_signal(&w->done);
    }
    leave(w);
    return NULL;
}

/* Signals are blocked in it: they are the waiter's. */
static int start(struct vt_log_writer *w)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int sys = pthread_create(&thread, NULL, write_on, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (sys == 0)
        pthread_detach(thread);
    return sys;
}

struct vt_log_writer *vt_log_writer_new(const char *path)
{
    struct vt_log_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->due, NULL);
    pthread_cond_init(&w->done, &attr);
    pthread_condattr_destroy(&attr);
    vt_buf_init(&w->waiting, WAITING_MAX);
    w->users = 2;
    w->path = strdup(path);
    if (w->path != NULL && start(w) == 0)
        return w;
    w->users = 1;
    pthread_mutex_lock(&w->mutex);
    leave(w);
    return NULL;
}

void vt_log_writer_put(struct vt_log_writer *w, const char *text, size_t n)
{
    vt_time until = vt_sooner(VT_FOREVER, PATIENCE);
    struct timespec ts = {.tv_sec = (time_t)(until / VT_SEC), .tv_nsec = (long)(until % VT_SEC)};
    int sys = 0;
    pthread_mutex_lock(&w->mutex);
    if (vt_buf_add(&w->waiting, text, n) != VT_OK)
        w->left_out += n;
    pthread_cond_signal(&w->due);
    while ((w->writing || w->waiting.len > 0) && !w->late && sys == 0)
        sys = pthread_cond_timedwait(&w->done, &w->mutex, &ts);
    w->late = w->writing || w->waiting.len > 0;
    pthread_mutex_unlock(&w->mutex);
}

bool vt_log_writer_is_needless(struct vt_log_writer *w)
{
    pthread_mutex_lock(&w->mutex);
    bool needless = w->is_here && !w->writing && w->waiting.len == 0;
    pthread_mutex_unlock(&w->mutex);
    return needless;
}

void vt_log_writer_free(struct vt_log_writer *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->mutex);
    w->over = true;
    pthread_cond_signal(&w->due);
    leave(w);
}
