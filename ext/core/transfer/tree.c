/* tree.c - local files and folders. */
#include "transfer/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define LEFT_OUT (-1)               /* beside errno's values */
#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* ---- names ---- */

void vt_random_letters(char out[9])
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char random[8];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        memset(random, getpid() & 0xff, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        out[i] = digits[random[i] % 32];
    out[sizeof random] = '\0';
}

void vt_temp_name(const char *name, char out[256])
{
    char letters[9];
    vt_random_letters(letters);
    snprintf(out, 256, ".%.236s.vt-%s", name, letters);
}

static size_t without_slashes(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n;
}

enum vt_rc vt_path_split(const char *path, char **folder, char **name)
{
    size_t n = without_slashes(path), at = n;
    while (at > 0 && path[at - 1] != '/')
        at--;
    *name = strndup(path + at, n - at);
    *folder = at == 0 ? strdup(".") : strndup(path, at > 1 ? at - 1 : 1);
    if (*name != NULL && *folder != NULL)
        return VT_OK;
    free(*name);
    free(*folder);
    *name = *folder = NULL;
    return VT_NOMEM;
}

char *vt_path_name(const char *path)
{
    size_t n = without_slashes(path), at = n;
    while (at > 0 && path[at - 1] != '/')
        at--;
    bool dots = n - at <= 2 && strspn(path + at, ".") >= n - at;
    return strndup(path + at, dots ? 0 : n - at);
}

/* ---- below a folder ---- */

/* How large a tree is, a guest has decided. */
struct removal {
    struct vt_waiter *w;
    vt_time deadline;
    enum vt_rc ended;               /* by the waiter or the deadline; else VT_OK */
};

static bool remove_below(struct removal *r, int folder, const char *name, int depth);

static bool goes_on(struct removal *r)
{
    if (r->ended == VT_OK)
        r->ended = vt_wait_check(r->w, r->deadline);
    return r->ended == VT_OK;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool empty(struct removal *r, int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return false;
    }
    bool ok = true;
    struct dirent *d;
    (void)!fchmod(fd, 0700);        /* it may have got its own mode, which forbids this */
    while (errno = 0, (d = readdir(dir)) != NULL && goes_on(r))
        if (!is_dots(d->d_name))
            ok = remove_below(r, dirfd(dir), d->d_name, depth + 1) && ok;
    ok = ok && errno == 0 && r->ended == VT_OK;
    closedir(dir);
    return ok;
}

static bool remove_below(struct removal *r, int folder, const char *name, int depth)
{
    if (unlinkat(folder, name, 0) == 0)
        return true;
    if ((errno != EISDIR && errno != EPERM) || depth > 2 * VT_TREE_DEPTH)
        return errno == ENOENT;
    int fd = openat(folder, name, FOLDER_FLAGS);
    if (fd < 0 && errno == EACCES && fchmodat(folder, name, 0700, 0) == 0)
        fd = openat(folder, name, FOLDER_FLAGS);
    return fd >= 0 && empty(r, fd, depth) && unlinkat(folder, name, AT_REMOVEDIR) == 0;
}

enum vt_rc vt_tree_remove(int folder, const char *name, struct vt_waiter *w, vt_time deadline)
{
    struct removal r = {.w = w, .deadline = deadline};
    bool gone = goes_on(&r) && remove_below(&r, folder, name, 0);
    return gone ? VT_OK : r.ended != VT_OK ? r.ended : VT_IO;
}

/* ---- the target of a download ---- */

/* Where a link leads that leads to nothing: what is made there is made in its place.  Other
 * paths are as they were. */
static const char *end_of_links(const char *path, char end[4096])
{
    struct stat st;
    char to[4096];
    for (int i = 0; i < 40 && lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && stat(path, &st) < 0; i++) {
        ssize_t n = readlink(path, to, sizeof to - 1);
        const char *slash = strrchr(path, '/');
        if (n <= 0)
            return path;
        to[n] = '\0';
        size_t folder = to[0] == '/' || slash == NULL ? 0 : (size_t)(slash - path) + 1;
        if (folder + (size_t)n >= 4096)
            return path;
        memmove(end, path, folder); /* path may be end itself */
        memcpy(end + folder, to, (size_t)n + 1);
        path = end;
    }
    return path;
}

enum vt_rc vt_target_open(struct vt_target *t, const char *path)
{
    struct stat st;
    char *folder = NULL, *real = NULL;
    *t = (struct vt_target){.fd = -1};
    if (path[0] == '\0')
        path = ".";
    char end[4096];
    path = end_of_links(path, end);
    t->exists = stat(path, &st) == 0;
    if (t->exists && S_ISDIR(st.st_mode)) {
        t->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return t->fd < 0 ? VT_IO : VT_OK;
    }
    t->is_special = t->exists && !S_ISREG(st.st_mode);
    if (t->is_special && !S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
        return VT_INVALID;
    if (t->exists)
        real = realpath(path, NULL);
    enum vt_rc rc = vt_path_split(real != NULL ? real : path, &folder, &t->name);
    if (rc == VT_OK && (t->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        rc = VT_IO;
    int sys = errno;
    free(folder);
    free(real);
    errno = sys;
    return rc;
}

void vt_target_close(struct vt_target *t)
{
    if (t->fd >= 0)
        close(t->fd);
    free(t->name);
    *t = (struct vt_target){.fd = -1};
}

bool vt_rename_new(int folder, const char *from, const char *to)
{
    struct stat st;
    if (renameat2(folder, from, folder, to, RENAME_NOREPLACE) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    if (fstatat(folder, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return false;
    }
    return renameat(folder, from, folder, to) == 0;
}

bool vt_write_all(int fd, const void *data, size_t n, uint64_t at, bool is_stream)
{
    const char *p = data;
    while (n > 0) {
        ssize_t put = is_stream ? write(fd, p, n) : pwrite(fd, p, n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        p += put;
        n -= (size_t)put;
        at += (uint64_t)put;
    }
    return true;
}

/* ---- walking ---- */

static bool enter(struct vt_walk *walk, int fd)
{
    struct stat st;
    DIR *dir = fstat(fd, &st) == 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int sys = errno;
        close(fd);
        errno = sys;
        return false;
    }
    walk->level[walk->depth].dir = dir;
    walk->level[walk->depth].dev = st.st_dev;
    walk->level[walk->depth].ino = st.st_ino;
    walk->level[walk->depth].path_len = walk->path_len;
    walk->depth++;
    return true;
}

static void leave(struct vt_walk *walk)
{
    closedir(walk->level[--walk->depth].dir);
}

enum vt_rc vt_walk_begin(struct vt_walk *walk, int fd, bool follow, const struct vt_exclude *exclude)
{
    walk->exclude = exclude;
    walk->depth = 0;
    walk->follow = follow;
    walk->path_len = 0;
    walk->path[0] = '\0';
    return enter(walk, fd) ? VT_OK : VT_IO;
}

void vt_walk_end(struct vt_walk *walk)
{
    while (walk->depth > 0)
        leave(walk);
}

/* A link that leads to a folder in which it lies. */
static bool is_loop(const struct vt_walk *walk, const struct stat *st)
{
    for (int i = 0; i < walk->depth; i++)
        if (walk->level[i].dev == st->st_dev && walk->level[i].ino == st->st_ino)
            return true;
    return false;
}

static bool is_excluded(const struct vt_walk *walk, bool is_folder)
{
    return walk->exclude != NULL && vt_is_excluded(walk->exclude, walk->path, is_folder);
}

/* Looks at the entry and, if it is a folder, opens it: what follows is in it.  A file needs no
 * look: whoever opens it has one. */
static int look(struct vt_walk *walk, struct vt_entry *e, unsigned char type)
{
    if (type == DT_REG) {
        e->kind = VT_ENTRY_FILE;
        return 0;
    }
    int flags = walk->follow ? 0 : AT_SYMLINK_NOFOLLOW;
    if (fstatat(e->folder_fd, e->name, &e->st, flags) < 0)
        return errno;
    if (S_ISREG(e->st.st_mode)) {
        e->kind = VT_ENTRY_FILE;
        return 0;
    }
    if (S_ISLNK(e->st.st_mode)) {
        e->kind = VT_ENTRY_LINK;
        return 0;
    }
    if (!S_ISDIR(e->st.st_mode))
        return EMEDIUMTYPE;
    if (is_excluded(walk, true))
        return LEFT_OUT;
    if (is_loop(walk, &e->st))
        return ELOOP;
    if (walk->depth == VT_TREE_DEPTH)
        return ENAMETOOLONG;
    int fd = openat(e->folder_fd, e->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (walk->follow ? 0 : O_NOFOLLOW));
    if (fd < 0 || !enter(walk, fd))
        return errno;
    e->kind = VT_ENTRY_FOLDER;
    return 0;
}

/* Puts the name behind the path of the folder that is being read. */
static bool set_path(struct vt_walk *walk, const char *name)
{
    size_t at = walk->level[walk->depth - 1].path_len, n = strlen(name);
    if (at + n + 2 > sizeof walk->path)
        return false;
    if (at > 0)
        walk->path[at++] = '/';
    memcpy(walk->path + at, name, n + 1);
    walk->path_len = at + n;
    return true;
}

/* The folder that was read is at its end; or, with errno, it can't be read on: what is
 * missing of it is an entry that failed, under the folder's own name. */
static bool end_folder(struct vt_walk *walk, struct vt_entry *entry)
{
    int sys = errno;
    walk->path_len = walk->level[walk->depth - 1].path_len;
    walk->path[walk->path_len] = '\0';
    leave(walk);
    if (sys == 0)
        return false;
    *entry = (struct vt_entry){.kind = VT_ENTRY_FAILED, .path = walk->path, .name = walk->path,
                                   .folder_fd = -1, .sys = sys};
    return true;
}

bool vt_walk_next(struct vt_walk *walk, struct vt_entry *entry)
{
    while (walk->depth > 0) {
        DIR *dir = walk->level[walk->depth - 1].dir;
        errno = 0;
        struct dirent *d = readdir(dir);
        if (d == NULL) {
            if (end_folder(walk, entry))
                return true;
            continue;
        }
        if (is_dots(d->d_name))
            continue;
        *entry = (struct vt_entry){.path = walk->path, .name = d->d_name, .folder_fd = dirfd(dir)};
        bool fits = set_path(walk, d->d_name);
        entry->sys = !fits ? ENAMETOOLONG : is_excluded(walk, false) ? LEFT_OUT : look(walk, entry, d->d_type);
        if (entry->sys != 0)
            entry->kind = entry->sys == LEFT_OUT ? VT_ENTRY_LEFT_OUT : VT_ENTRY_FAILED;
        return true;
    }
    return false;
}
