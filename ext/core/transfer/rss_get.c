/* rss_get.c - downloads from a Windows guest: what the server names is made below the
 * target, by descriptors of folders that are held open.
 *
 * A file in a folder that was there before is written under a temporary name beside its
 * place and renamed at its end.  A folder that is new has a temporary name itself, so what
 * is in it needs none.  If the target was no folder, one file or folder becomes it, and only
 * when the server says that this was all: the second would have no place.
 */
#include "transfer/rss_private.h"
#include "transfer/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct level {
    int fd;
    size_t path_len;                /* of the path up to this folder */
};

/* What has a temporary name, and is to get its own. */
struct pending {
    int depth;                      /* of the level that it is in; -1: nothing is pending */
    char temp[256], name[256];
};

struct get {
    struct vt_rss *c;
    struct vt_buf path;             /* local, of what is being received; with a NUL behind it */
    struct level level[VT_TREE_DEPTH + 1];
    int depth;                      /* index of the folder that the server is in */
    char *rename_to;                /* what the target is called if it is no folder, or NULL */
    unsigned tops;                  /* files and folders in the target itself */
    struct pending folder, file;
    int fd;                         /* of the file that is being received, or -1 */
    uint64_t entries;
};

static void fail_here(struct get *g, int sys)
{
    vt_rss_fail_at(g->c, sys, g->path.data);
}

static bool set_path(struct get *g, const char *name)
{
    g->path.len = g->level[g->depth].path_len;
    if (g->depth == 0 && g->rename_to != NULL)
        name = g->rename_to;
    if (vt_buf_addf(&g->path, "/%s", name) == VT_OK)
        return true;
    vt_rss_fail_at(g->c, ENAMETOOLONG, name);
    return false;
}

/* ---- temporary names ---- */

/* Whether the folder that the server is in is part of a new one. */
static bool is_in_new(const struct get *g)
{
    return g->folder.depth >= 0 && g->depth > g->folder.depth;
}

static void set_pending(struct get *g, struct pending *p, const char *name)
{
    p->depth = g->depth;
    snprintf(p->name, sizeof p->name, "%.255s", name);
    vt_temp_name(name, p->temp);
}

static void publish(struct get *g, struct pending *p, bool is_folder)
{
    if (p->depth < 0 || g->c->rc != VT_OK)
        return;
    int fd = g->level[p->depth].fd;
    bool ok = is_folder ? vt_rename_new(fd, p->temp, p->name) : renameat(fd, p->temp, fd, p->name) == 0;
    if (!ok)
        fail_here(g, errno);
    else
        p->depth = -1;
}

/* ---- files ---- */

/* What may be replaced by a file.  *mode: of the file that is there. */
static bool can_replace(struct get *g, const char *name, mode_t *mode)
{
    struct stat st;
    if (fstatat(g->level[g->depth].fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno != ENOENT)
            fail_here(g, errno);
        return errno == ENOENT;
    }
    if (S_ISREG(st.st_mode))
        *mode = st.st_mode & 0777;
    else if (!S_ISLNK(st.st_mode))
        fail_here(g, S_ISDIR(st.st_mode) ? EISDIR : EMEDIUMTYPE);
    return g->c->rc == VT_OK;
}

static void begin_file(struct get *g, const char *name)
{
    mode_t mode = 0;
    const char *made = name;
    if (!is_in_new(g)) {
        if (!can_replace(g, name, &mode))
            return;
        set_pending(g, &g->file, name);
        made = g->file.temp;
    }
    g->fd = openat(g->level[g->depth].fd, made, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (g->fd < 0) {
        g->file.depth = -1;
        fail_here(g, errno);
    } else if (mode != 0) {
        (void)!fchmod(g->fd, mode);
    }
    vt_rss_tell_file(g->c, g->path.data);
}

static void write_all(struct get *g, const char *data, size_t n)
{
    struct vt_rss *c = g->c;
    c->r->bytes += n;
    if (c->o->bytes_max > 0 && c->r->bytes > c->o->bytes_max)
        vt_rss_fail(c, VT_TOOBIG, 0, "more than %llu bytes", (unsigned long long)c->o->bytes_max);
    while (n > 0 && c->rc == VT_OK) {
        ssize_t some = write(g->fd, data, n);
        if (some < 0 && errno != EINTR)
            fail_here(g, errno);
        if (some > 0) {
            data += some;
            n -= (size_t)some;
        }
    }
    vt_rss_tell_moved(c);
}

static void end_file(struct get *g)
{
    int fd = g->fd;
    g->fd = -1;
    if (close(fd) < 0)
        fail_here(g, errno);
    if (g->depth > 0 || g->rename_to == NULL)
        publish(g, &g->file, false);
    if (g->c->rc != VT_OK)
        return;
    g->c->r->path[0] = '\0';
    g->c->r->files++;
}

/* ---- folders ---- */

static void enter(struct get *g, int fd)
{
    if (fd < 0) {
        fail_here(g, errno);
        return;
    }
    g->depth++;
    g->level[g->depth] = (struct level){.fd = fd, .path_len = g->path.len};
    g->c->r->folders++;
}

static int open_folder(const struct get *g, const char *name)
{
    return openat(g->level[g->depth].fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* A folder that is there is merged into. */
static void begin_folder(struct get *g, const char *name)
{
    int here = g->level[g->depth].fd;
    int fd = open_folder(g, name);
    if (fd >= 0 || errno != ENOENT) {
        enter(g, fd);
        return;
    }
    bool is_first = !is_in_new(g);
    if (is_first) {
        set_pending(g, &g->folder, name);
        name = g->folder.temp;
    }
    if (mkdirat(here, name, 0777) == 0) {
        enter(g, open_folder(g, name));
        return;
    }
    if (is_first)
        g->folder.depth = -1;
    fail_here(g, errno);
}

static void leave(struct get *g)
{
    if (g->depth == 0) {
        vt_rss_unexpected(g->c);
        return;
    }
    g->path.len = g->level[g->depth].path_len;
    g->path.data[g->path.len] = '\0';
    close(g->level[g->depth--].fd);
    if (g->depth == g->folder.depth && (g->depth > 0 || g->rename_to == NULL))
        publish(g, &g->folder, true);
}

/* ---- what the server sends ---- */

static bool may_begin(struct get *g)
{
    struct vt_rss *c = g->c;
    const struct vt_rss_parser *p = &c->parser;
    char shown[120];
    vt_show(p->text, p->text_len, shown, sizeof shown);
    if (!vt_rss_name_is_safe(p->text, p->text_len))
        vt_rss_fail(c, VT_PROTO, 0, "the server sent a name that is none: '%s'", shown);
    else if (p->text_len > 255)
        vt_rss_fail_at(c, ENAMETOOLONG, shown);
    else if (c->o->entries_max > 0 && g->entries >= c->o->entries_max)
        vt_rss_fail(c, VT_TOOBIG, 0, "more than %llu files and folders", (unsigned long long)c->o->entries_max);
    else if (g->depth == VT_TREE_DEPTH)
        vt_rss_fail(c, VT_TOOBIG, 0, "folders in folders more than %d deep", VT_TREE_DEPTH);
    else if (g->depth == 0 && g->rename_to != NULL && g->tops > 0)
        vt_rss_fail(c, VT_INVALID, 0, "several things are to be received, and the target is no folder");
    g->entries++;
    g->tops += g->depth == 0;
    return c->rc == VT_OK && set_path(g, p->text);
}

static void on_entry(struct get *g, enum vt_rss_event event)
{
    if (!may_begin(g))
        return;
    const char *name = g->depth == 0 && g->rename_to != NULL ? g->rename_to : g->c->parser.text;
    if (event == VT_RSS_GOT_FILE)
        begin_file(g, name);
    else
        begin_folder(g, name);
}

static void on_done(struct get *g)
{
    if (g->depth > 0) {
        vt_rss_unexpected(g->c);
        return;
    }
    publish(g, &g->file, false);
    publish(g, &g->folder, true);
}

/* Events up to DONE. */
static void receive_tree(struct get *g)
{
    struct vt_rss *c = g->c;
    for (enum vt_rss_event event = VT_RSS_GOT_NOTHING; event != VT_RSS_GOT_DONE && c->rc == VT_OK; ) {
        switch (event = vt_rss_next(c)) {
        case VT_RSS_GOT_FILE:
        case VT_RSS_GOT_FOLDER: on_entry(g, event); break;
        case VT_RSS_GOT_DATA: write_all(g, c->parser.bytes, c->parser.n); break;
        case VT_RSS_GOT_FILE_END: end_file(g); break;
        case VT_RSS_GOT_LEAVE: leave(g); break;
        case VT_RSS_GOT_DONE: on_done(g); break;
        case VT_RSS_GOT_BAD: break;
        default: vt_rss_unexpected(c);
        }
    }
}

/* ---- the target ---- */

/* Opens the target if it is a folder, else the one that it is to be in. */
static void open_target(struct get *g, const char *target)
{
    char *folder = NULL, *name = NULL;
    const char *top = target;
    int fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        if (vt_path_split(target, &folder, &name) != VT_OK) {
            vt_rss_fail(g->c, VT_NOMEM, 0, "%s", vt_rc_text(VT_NOMEM));
            return;
        }
        top = folder;
        fd = strlen(name) > 255 ? (errno = ENAMETOOLONG, -1) : open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd < 0 || vt_buf_addf(&g->path, "%s", strcmp(top, "/") == 0 ? "" : top) != VT_OK) {
        vt_rss_fail_at(g->c, fd < 0 ? errno : ENAMETOOLONG, target);
    }
    g->level[0] = (struct level){.fd = fd, .path_len = g->path.len};
    g->rename_to = name;
    free(folder);
}

static void remove_pending(struct get *g, struct vt_clean_up *c, const struct pending *p)
{
    if (p->depth >= 0 && !vt_clean_up_tree(c, g->level[p->depth].fd, p->temp))
        vt_left_add(&g->c->r->left, p->temp);
}

/* Removes what is not to stay. */
static void clean_up(struct get *g)
{
    struct vt_clean_up c;
    vt_clean_up_begin(&c, g->c->w, g->c->rc);
    if (g->fd >= 0)
        close(g->fd);
    remove_pending(g, &c, &g->file);
    remove_pending(g, &c, &g->folder);
    if (c.ended != VT_OK)
        g->c->rc = vt_fail(g->c->e, c.ended, VT_STAGE_TRANSFER, 0, NULL);
    for (int i = 0; i <= g->depth; i++)
        if (g->level[i].fd >= 0)
            close(g->level[i].fd);
}

enum vt_rc vt_rss_get(struct vt_rss *c, const char *source, const char *target,
                      const struct vt_rss_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_rss_result *r, struct vt_err *e)
{
    struct get *g = calloc(1, sizeof *g);
    if (g == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    g->c = c;
    g->fd = g->level[0].fd = g->file.depth = g->folder.depth = -1;
    vt_buf_init(&g->path, 64 * 1024);
    vt_rss_begin(c, o, w, deadline, r, e);
    open_target(g, target);
    vt_rss_msg(c, VT_RSS_SET_PATH);
    vt_rss_text(c, source);
    if (vt_rss_flush(c) == VT_OK)
        receive_tree(g);
    clean_up(g);
    vt_buf_fini(&g->path);
    free(g->rename_to);
    free(g);
    return c->rc;
}
