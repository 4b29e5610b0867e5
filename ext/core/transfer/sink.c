/* sink.c - the local side of a download. */
#include "transfer/sink.h"

#include "transfer/plan.h"
#include "transfer/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096

const char *vt_sink_made(const struct vt_sink *k)
{
    return k->temp[0] != '\0' ? k->temp : k->name;
}

/* umask() itself would change it for a moment, for all threads. */
mode_t vt_mask(void)
{
    char line[128];
    unsigned mask = 022;
    FILE *f = fopen("/proc/self/status", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Umask: %o", &mask) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return mask & 0777;
}

bool vt_sink_begin(struct vt_sink *k, int folder, const char *name, int how, mode_t in_place)
{
    int flags = O_CLOEXEC | O_NOCTTY | (how & VT_SINK_DIRECT ? O_WRONLY : O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
    *k = (struct vt_sink){.is_direct = (how & VT_SINK_DIRECT) != 0, .has_mode = how == VT_SINK_IN_PLACE};
    if (strlen(name) >= sizeof k->name) {
        errno = ENAMETOOLONG;
        return false;
    }
    strcpy(k->name, name);
    if (how == 0) {
        vt_temp_name(name, k->temp);
        k->is_old = fstatat(folder, name, &k->old, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(k->old.st_mode);
    }
    k->fd = openat(folder, vt_sink_made(k), flags, k->has_mode ? in_place & 0777 : 0600);
    k->state = k->fd < 0 ? VT_SINK_NONE : VT_SINK_OPEN;
    return k->fd >= 0;
}

static bool is_zero(const char *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

bool vt_sink_write(struct vt_sink *k, const void *data, size_t n, uint64_t at, bool sparse)
{
    const char *p = data;
    if (!sparse && at + n > k->top)
        k->top = at + n;
    if (!sparse || k->is_direct)
        return vt_write_all(k->fd, data, n, at, k->is_direct);
    while (n > 0) {
        size_t run = 0;
        while (run < n && !is_zero(p + run, n - run < BLOCK ? n - run : BLOCK))
            run += n - run < BLOCK ? n - run : BLOCK;
        if (run > 0 && !vt_write_all(k->fd, p, run, at, false))
            return false;
        if (run > 0 && at + run > k->top)
            k->top = at + run;
        size_t done = run > 0 ? run : n < BLOCK ? n : BLOCK;
        p += done;
        at += done;
        n -= done;
    }
    return true;
}

static bool set_mode(const struct vt_sink *k, const struct vt_sink_attrs *a)
{
    if (k->has_mode)
        return true;
    mode_t mode = k->is_old ? k->old.st_mode & 0777 : a->mode & 0777 & ~a->mask;
    if (k->is_old)
        (void)!fchown(k->fd, k->old.st_uid, k->old.st_gid);
    return fchmod(k->fd, mode) == 0 || errno == EPERM || errno == ENOTSUP;
}

bool vt_sink_resize(struct vt_sink *k, uint64_t size)
{
    if (k->is_direct || k->top == size)
        return true;
    k->top = size;
    return ftruncate(k->fd, (off_t)size) == 0;
}

bool vt_sink_end(struct vt_sink *k, uint64_t size, const struct vt_sink_attrs *a)
{
    bool ok = true;
    if (!k->is_direct) {
        struct timespec times[2] = {{.tv_sec = a->atime}, {.tv_sec = a->mtime}};
        ok = vt_sink_resize(k, size) && set_mode(k, a);
        if (ok && a->has_times)
            (void)futimens(k->fd, times);
        if (ok && a->sync)
            ok = fsync(k->fd) == 0;
    }
    int sys = errno, fd = k->fd;
    k->fd = -1;
    if (close(fd) < 0 && ok && errno != EINTR) {
        sys = errno;
        ok = false;
    }
    k->state = ok ? VT_SINK_WHOLE : VT_SINK_SPOILED;
    errno = sys;
    return ok;
}

bool vt_sink_name(struct vt_sink *k, int folder)
{
    bool ok = k->is_direct || k->temp[0] == '\0' || renameat(folder, k->temp, folder, k->name) == 0;
    k->state = ok ? VT_SINK_NONE : VT_SINK_SPOILED;
    return ok;
}

bool vt_sink_abort(struct vt_sink *k, int folder)
{
    if (k->state == VT_SINK_NONE)
        return true;
    if (k->state == VT_SINK_OPEN)
        close(k->fd);
    k->state = VT_SINK_NONE;
    return k->is_direct || unlinkat(folder, vt_sink_made(k), 0) == 0 || errno == ENOENT;
}

bool vt_sink_is_as_new(int folder, const char *name, uint64_t size, int64_t mtime)
{
    struct stat st;
    return size > 0 && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)
        && (uint64_t)st.st_size == size && st.st_mtime >= mtime && vt_plan_is_sure_time(st.st_mtime)
        && vt_plan_is_sure_time(mtime);
}
