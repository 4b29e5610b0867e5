/* store.c - received bytes: a window in memory, older ones in an unlinked file. */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void vt_store_init(struct vt_store *s, size_t bound)
{
    *s = (struct vt_store){.lock = PTHREAD_MUTEX_INITIALIZER, .bound = bound, .fd = -1};
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

static int pwrite_all(int fd, const char *data, size_t n, uint64_t at)
{
    while (n > 0) {
        ssize_t put = pwrite(fd, data, n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return -1;
        data += put;
        n -= (size_t)put;
        at += (uint64_t)put;
    }
    return 0;
}

/* Moves the window's n oldest bytes to the file, or forgets them (and all before). */
static void spill(struct vt_store *s, size_t n)
{
    uint64_t at = s->total - s->len;
    if (s->fd < 0) {
        s->fd = spill_open();
        s->file_base = at;
    }
    if (s->fd < 0 || pwrite_all(s->fd, s->mem, n, at - s->file_base) < 0) {
        if (s->fd >= 0 && ftruncate(s->fd, 0) == 0)
            s->file_base = at + n;
        s->first = at + n;
    }
    memmove(s->mem, s->mem + n, s->len - n);
    s->len -= n;
}

static enum vt_rc make_room(struct vt_store *s, size_t n)
{
    if (s->len + n > s->bound && s->len > s->bound / 2)
        spill(s, s->len - s->bound / 2);
    size_t need = s->len + n;
    if (need > s->cap) {
        size_t cap = s->cap < 4096 ? 4096 : s->cap;
        while (cap < need)
            cap *= 2;
        char *mem = realloc(s->mem, cap);
        if (mem == NULL)
            return VT_NOMEM;
        s->mem = mem;
        s->cap = cap;
    }
    return VT_OK;
}

enum vt_rc vt_store_room(struct vt_store *s, size_t n, char **at)
{
    pthread_mutex_lock(&s->lock);
    enum vt_rc rc = make_room(s, n);
    pthread_mutex_unlock(&s->lock);
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

/* For a reader, to whom all but the lock is constant. */
static pthread_mutex_t *lock_of(const struct vt_store *s)
{
    return &((struct vt_store *)s)->lock;
}

void vt_store_range(const struct vt_store *s, uint64_t *first, uint64_t *total)
{
    pthread_mutex_lock(lock_of(s));
    *first = s->first;
    *total = s->total;
    pthread_mutex_unlock(lock_of(s));
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
        ssize_t got = pread(s->fd, data, n, (off_t)(offset - s->file_base));
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
    pthread_mutex_lock(lock_of(s));
    enum vt_rc rc = read_at(s, offset, data, n);
    pthread_mutex_unlock(lock_of(s));
    return rc;
}
