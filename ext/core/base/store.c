/* store.c - received bytes: a window in memory, older ones in an unlinked file. */
#include "base/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPY_SOME (1024 * 1024)         /* bytes that are read under the lock at a time */

void vt_store_init(struct vt_store *s, size_t bound)
{
    *s = (struct vt_store){.lock = PTHREAD_MUTEX_INITIALIZER, .pid = getpid(), .bound = bound, .fd = -1,
                           .file_max = VT_STORE_FILE_MAX};
}

void vt_store_fini(struct vt_store *s)
{
    free(s->mem);
    if (s->fd > 0)                  /* a zeroed store owns no descriptor */
        close(s->fd);
    *s = (struct vt_store){.fd = -1};
}

static int spill_open(void)
{
    const char *dir = getenv("TMPDIR");
    if (dir == NULL || dir[0] != '/')
        dir = "/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    char path[4096];                /* a file system without O_TMPFILE */
    size_t n = strlen(dir);
    if (n + sizeof "/virtvm-XXXXXX" > sizeof path)
        return -1;
    memcpy(path, dir, n);
    strcpy(path + n, "/virtvm-XXXXXX");
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

/* ---- the lock ---- */

/* For a reader, to whom all but the lock is constant; a writer is never a fork's child.  Whether
 * it is locked: not in a fork's child. */
static bool lock(const struct vt_store *s)
{
    bool ours = s->pid == getpid();
    if (ours)
        pthread_mutex_lock(&((struct vt_store *)s)->lock);
    return ours;
}

static void unlock(const struct vt_store *s, bool locked)
{
    if (locked)
        pthread_mutex_unlock(&((struct vt_store *)s)->lock);
}

/* ---- the file ---- */

/* How many of n bytes from offset on stand together in the ring. */
static size_t together(const struct vt_store *s, uint64_t offset, size_t n)
{
    uint64_t left = s->file_max - offset % s->file_max;
    return left < n ? (size_t)left : n;
}

static int write_file(const struct vt_store *s, const char *data, size_t n, uint64_t offset)
{
    while (n > 0) {
        ssize_t put = pwrite(s->fd, data, together(s, offset, n), (off_t)(offset % s->file_max));
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return -1;
        data += put;
        n -= (size_t)put;
        offset += (uint64_t)put;
    }
    return 0;
}

/* Forgets what is older than offset. */
static void forget_before(struct vt_store *s, uint64_t offset)
{
    pthread_mutex_lock(&s->lock);
    if (s->first < offset)
        s->first = offset;
    pthread_mutex_unlock(&s->lock);
}

/* Moves the window's n oldest bytes to the file, or forgets them (and all before).  Only the
 * writer changes the window: the file is written without the lock. */
static void spill(struct vt_store *s, size_t n)
{
    uint64_t at = s->total - s->len, end = at + n;
    if (s->fd < 0) {
        int fd = spill_open();
        pthread_mutex_lock(&s->lock);
        s->fd = fd;
        pthread_mutex_unlock(&s->lock);
    }
    if (end > s->file_max)
        forget_before(s, end - s->file_max);    /* their place is taken now */
    if (s->fd < 0 || write_file(s, s->mem, n, at) < 0) {
        forget_before(s, end);
        if (s->fd >= 0)
            (void)!ftruncate(s->fd, 0);
    }
    pthread_mutex_lock(&s->lock);
    memmove(s->mem, s->mem + n, s->len - n);
    s->len -= n;
    pthread_mutex_unlock(&s->lock);
}

/* The old block stays valid until the new one is in its place, for a fork's child. */
static enum vt_rc grow(struct vt_store *s, size_t need)
{
    size_t cap = s->cap < 4096 ? 4096 : s->cap;
    while (cap < need)
        cap *= 2;
    char *mem = malloc(cap), *old = s->mem;
    if (mem == NULL)
        return VT_NOMEM;
    memcpy(mem, old != NULL ? old : "", s->len);
    pthread_mutex_lock(&s->lock);
    s->mem = mem;
    s->cap = cap;
    pthread_mutex_unlock(&s->lock);
    free(old);
    return VT_OK;
}

static enum vt_rc make_room(struct vt_store *s, size_t n)
{
    if (s->len + n > s->bound && s->len > s->bound / 2)
        spill(s, s->len - s->bound / 2);
    return s->len + n > s->cap ? grow(s, s->len + n) : VT_OK;
}

void vt_store_shrink(struct vt_store *s)
{
    forget_before(s, s->total - s->len);
    pthread_mutex_lock(&s->lock);
    int fd = s->fd;
    s->fd = -1;
    pthread_mutex_unlock(&s->lock);
    if (fd >= 0)
        close(fd);
}

enum vt_rc vt_store_room(struct vt_store *s, size_t n, char **at)
{
    enum vt_rc rc = make_room(s, n);
    if (rc == VT_OK)
        *at = s->mem + s->len;
    return rc;
}

void vt_store_commit(struct vt_store *s, size_t n)
{
    pthread_mutex_lock(&s->lock);
    s->len += n;
    s->total += n;
    pthread_mutex_unlock(&s->lock);
}

void vt_store_range(const struct vt_store *s, uint64_t *first, uint64_t *total)
{
    bool locked = lock(s);
    *first = s->first;
    *total = s->total;
    unlock(s, locked);
}

const char *vt_store_window(const struct vt_store *s, uint64_t offset, uint64_t *from, size_t *n)
{
    uint64_t begin = s->total - s->len;
    if (offset < begin)
        offset = begin;
    if (offset > s->total)
        offset = s->total;
    *from = offset;
    *n = (size_t)(s->total - offset);
    return s->mem == NULL ? "" : s->mem + (s->len - *n);
}

static enum vt_rc read_file(const struct vt_store *s, uint64_t offset, char *data, size_t n)
{
    while (n > 0) {
        ssize_t got = pread(s->fd, data, together(s, offset, n), (off_t)(offset % s->file_max));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return VT_IO;
        data += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return VT_OK;
}

static enum vt_rc read_at(const struct vt_store *s, uint64_t offset, void *data, size_t n)
{
    if (offset < s->first || offset > s->total || n > s->total - offset)
        return VT_INVALID;
    uint64_t begin = s->total - s->len;
    char *to = data;
    if (offset < begin) {
        size_t old = begin - offset < n ? (size_t)(begin - offset) : n;
        enum vt_rc rc = read_file(s, offset, to, old);
        if (rc != VT_OK)
            return rc;
        to += old;
        offset += old;
        n -= old;
    }
    if (n > 0)
        memcpy(to, s->mem + (size_t)(offset - begin), n);
    return VT_OK;
}

enum vt_rc vt_store_read(const struct vt_store *s, uint64_t offset, void *data, size_t n)
{
    bool locked = lock(s);
    enum vt_rc rc = read_at(s, offset, data, n);
    unlock(s, locked);
    return rc;
}

/* Where to begin anew, with some distance to a writer that is faster. */
static uint64_t past_writer(const struct vt_store *s, uint64_t end)
{
    uint64_t first, total;
    vt_store_range(s, &first, &total);
    first += (total - first) / 16;
    return first < end ? first : end;
}

enum vt_rc vt_store_copy(const struct vt_store *s, uint64_t *begin, uint64_t end, char *data)
{
    for (uint64_t at = *begin; at < end;) {
        uint64_t n = end - at < COPY_SOME ? end - at : COPY_SOME;
        enum vt_rc rc = vt_store_read(s, at, data + (at - *begin), (size_t)n);
        if (rc == VT_INVALID)
            *begin = at = past_writer(s, end);
        else if (rc != VT_OK)
            return rc;
        else
            at += n;
    }
    return VT_OK;
}
