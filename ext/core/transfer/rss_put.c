/* rss_put.c - uploads to a Windows guest: a tree as it is walked, queued and sent without
 * waiting for anything but the one answer at its end. */
#include "transfer/rss_private.h"
#include "transfer/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct put {
    struct vt_rss *c;
    struct vt_buf path;             /* local, of what is being sent; with a NUL behind it */
    struct vt_walk walk;
};

/* ---- one file ---- */

/* Fills a chunk, so that only the file's end makes it short.  False: errno. */
static bool read_chunk(int fd, char *data, size_t *n)
{
    *n = 0;
    while (*n < VT_RSS_CHUNK) {
        ssize_t some = read(fd, data + *n, VT_RSS_CHUNK - *n);
        if (some == 0)
            return true;
        if (some < 0 && errno != EINTR)
            return false;
        if (some > 0)
            *n += (size_t)some;
    }
    return true;
}

static void send_chunks(struct put *p, int fd)
{
    struct vt_rss *c = p->c;
    size_t n = VT_RSS_CHUNK;
    while (n == VT_RSS_CHUNK && c->rc == VT_OK) {
        char *room = vt_rss_room(c);
        if (room == NULL)
            return;
        if (!read_chunk(fd, room, &n)) {
            vt_rss_fail_at(c, errno, p->path.data);
            return;
        }
        vt_rss_filled(c, n);
        c->r->bytes += n;
        vt_rss_tell_moved(c);
    }
}

/* A name that was a file's may be another thing by now: a FIFO must not block us. */
static int open_file(struct put *p, int folder, const char *name)
{
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    vt_rss_fail_at(p->c, fd < 0 ? errno : EMEDIUMTYPE, p->path.data);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* The file is opened before the server hears of it. */
static void send_file(struct put *p, int folder, const char *name)
{
    struct vt_rss *c = p->c;
    int fd = open_file(p, folder, name);
    if (fd < 0)
        return;
    vt_rss_tell_file(c, p->path.data);
    vt_rss_msg(c, VT_RSS_CREATE_FILE);
    vt_rss_text(c, strrchr(p->path.data, '/') + 1);
    send_chunks(p, fd);
    close(fd);
    if (c->rc != VT_OK)
        return;
    c->r->path[0] = '\0';
    c->r->files++;
}

/* ---- a tree ---- */

static void begin_folder(struct put *p)
{
    vt_rss_msg(p->c, VT_RSS_CREATE_DIR);
    vt_rss_text(p->c, strrchr(p->path.data, '/') + 1);
    if (p->c->rc == VT_OK)
        p->c->r->folders++;
}

static void leave_to(struct put *p, int *depth, int wanted)
{
    for (; *depth > wanted && p->c->rc == VT_OK; --*depth)
        vt_rss_msg(p->c, VT_RSS_LEAVE_DIR);
}

static bool set_path(struct put *p, size_t top_len, const char *below)
{
    p->path.len = top_len;
    if (vt_buf_addf(&p->path, "/%s", below) == VT_OK)
        return true;
    vt_rss_fail_at(p->c, ENAMETOOLONG, below);
    return false;
}

/* What is neither file nor folder, leads nowhere, or leads in a circle, is left out: the
 * protocol has nothing for it. */
static bool is_left_out(const struct vt_entry *e)
{
    return e->sys == EMEDIUMTYPE || e->sys == ELOOP || e->sys == ENOENT;
}

static void send_entry(struct put *p, const struct vt_entry *e)
{
    if (e->kind == VT_ENTRY_FILE)
        send_file(p, e->folder_fd, e->name);
    else if (e->kind == VT_ENTRY_FOLDER)
        begin_folder(p);
    else if (!is_left_out(e))
        vt_rss_fail_at(p->c, e->sys, p->path.data);
}

static void send_folder(struct put *p, int fd)
{
    struct vt_entry e;
    size_t top_len = p->path.len;
    int depth = 1;                  /* folders that the server is in */
    begin_folder(p);
    if (vt_walk_begin(&p->walk, fd, true, &p->c->o->exclude) != VT_OK) {
        vt_rss_fail_at(p->c, errno, p->path.data);
        return;
    }
    while (p->c->rc == VT_OK && vt_walk_next(&p->walk, &e)) {
        if (e.kind == VT_ENTRY_LEFT_OUT) {
            vt_rss_look_up(p->c);
            continue;
        }
        leave_to(p, &depth, p->walk.depth - (e.kind == VT_ENTRY_FOLDER));
        if (!set_path(p, top_len, e.path))
            break;
        send_entry(p, &e);
        depth += e.kind == VT_ENTRY_FOLDER;
    }
    leave_to(p, &depth, 0);
    vt_walk_end(&p->walk);
}

static void send_source(struct put *p, const char *source)
{
    struct stat st;
    p->path.len = 0;
    if (vt_buf_addf(&p->path, "%s", source) != VT_OK || source[0] != '/') {
        vt_rss_fail(p->c, VT_INVALID, 0, "no absolute path, or too long: %s", source);
        return;
    }
    int sys = stat(source, &st) < 0 ? errno : S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? 0 : EMEDIUMTYPE;
    if (sys != 0)
        vt_rss_fail_at(p->c, sys, source);      /* what is named is not left out */
    else if (S_ISREG(st.st_mode))
        send_file(p, AT_FDCWD, source);
    if (sys != 0 || !S_ISDIR(st.st_mode))
        return;
    int fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        vt_rss_fail_at(p->c, errno, source);
    else
        send_folder(p, fd);
}

static void finish(struct vt_rss *c)
{
    vt_rss_msg(c, VT_RSS_DONE);
    if (vt_rss_flush(c) != VT_OK)
        return;
    enum vt_rss_event event = vt_rss_next(c);
    if (event != VT_RSS_GOT_OK && event != VT_RSS_GOT_BAD)
        vt_rss_unexpected(c);
}

enum vt_rc vt_rss_put(struct vt_rss *c, const char *const *sources, size_t n, const char *target,
                      const struct vt_rss_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_rss_result *r, struct vt_err *e)
{
    struct put *p = calloc(1, sizeof *p);
    if (p == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    p->c = c;
    vt_buf_init(&p->path, 64 * 1024);
    vt_rss_begin(c, o, w, deadline, r, e);
    vt_rss_msg(c, VT_RSS_SET_PATH);
    vt_rss_text(c, target);
    for (size_t i = 0; i < n && c->rc == VT_OK; i++)
        send_source(p, sources[i]);
    finish(c);
    vt_buf_fini(&p->path);
    free(p);
    return c->rc;
}
