/* sftp_list.c - a download's folders: OPENDIR, READDIRs until the end, CLOSE.
 *
 * Folders come first, since they feed the rest.  What the guest names is checked, and made
 * only below folders that are opened part by part without following links (tree.h).
 */
#include "transfer/sftp_get.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_AHEAD 2                /* READDIRs in flight for a folder */
#define EMPTY_MAX 1000              /* answers without a name, one after the other */
#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* ---- folders here ---- */

/* Opens the folder in one that is open. */
static int open_in(const struct vt_folder *f, int in)
{
    const char *name = !f->is_top ? f->name : f->root->temp != NULL ? f->root->temp : f->root->name;
    return openat(in, name, FOLDER_FLAGS);
}

int vt_folder_use(struct vt_folder *f)
{
    if (f->users == 0) {
        struct vt_folder *parent = f->is_top ? f->root->in : f->parent;
        int in = parent != NULL ? vt_folder_use(parent) : f->g->into.fd;
        f->fd = in < 0 ? -1 : open_in(f, in);
        int sys = errno;
        if (parent != NULL && in >= 0)
            vt_folder_unuse(parent);
        errno = sys;
        if (f->fd < 0)
            return -1;
    }
    f->users++;
    return f->fd;
}

void vt_folder_unuse(struct vt_folder *f)
{
    if (--f->users == 0) {
        close(f->fd);
        f->fd = -1;
    }
}

/* ---- paths there ---- */

char *vt_folder_path(struct vt_folder *f)
{
    if (f->parent == NULL)
        return vt_job_copy(&f->g->j, f->name);
    char *parent = vt_folder_path(f->parent);
    char *path = parent != NULL ? vt_job_join(&f->g->j, parent, f->name) : NULL;
    free(parent);
    return path;
}

static void fail(struct vt_folder *f, const char *name, enum vt_rc rc, int sys, const char *text)
{
    char *folder = vt_folder_path(f), *path = folder != NULL ? vt_job_join(&f->g->j, folder, name) : NULL;
    vt_job_fail(&f->g->j, path != NULL ? path : name, 0, rc, sys, text);
    free(folder);
    free(path);
}

static void refused(struct vt_folder *f, const struct vt_sftp_reply *r)
{
    char *path = vt_folder_path(f);
    vt_job_refused(&f->g->j, path != NULL ? path : f->name, 0, r);
    free(path);
}

/* The path without links, malloc'ed; NULL: nobody knows it. */
static char *real_path(struct vt_folder *f)
{
    if (f->real != NULL || f->parent == NULL)
        return f->real != NULL ? vt_job_copy(&f->g->j, f->real) : NULL;
    char *parent = real_path(f->parent);
    char *path = parent != NULL ? vt_job_join(&f->g->j, parent, f->name) : NULL;
    free(parent);
    return path;
}

/* A link that leads back to a folder in which it lies. */
static bool is_loop(struct vt_folder *parent, const char *real)
{
    bool is = false;
    for (struct vt_folder *f = parent; f != NULL && !is; f = f->parent) {
        char *path = real_path(f);
        is = path != NULL && strcmp(path, real) == 0;
        free(path);
    }
    return is;
}

/* ---- new ones ---- */

struct vt_folder *vt_folder_new(struct vt_sftp_get *g, struct vt_folder *parent, struct vt_get_root *root,
                                const char *name, const struct vt_attrs *a)
{
    struct vt_folder *f = vt_get_account(g, sizeof *f + strlen(name)) ? calloc(1, sizeof *f) : NULL;
    if (f == NULL) {
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    *f = (struct vt_folder){.next = g->folders, .g = g, .parent = parent, .root = root, .fd = -1, .attrs = *a,
                            .depth = parent != NULL ? parent->depth + 1 : 0};
    g->folders = f;
    f->name = vt_job_copy(&g->j, name);
    return f->name != NULL ? f : NULL;
}

void vt_folder_free(struct vt_folder *f)
{
    free(f->name);
    free(f->real);
    free(f->handle);
    free(f);
}

/* in: NULL for the target's folder.  A new one is made at once, under a temporary name. */
struct vt_get_root *vt_get_root_new(struct vt_sftp_get *g, struct vt_folder *in, const char *name, bool is_new)
{
    char temp[256];
    struct vt_get_root *root = calloc(1, sizeof *root);
    if (root == NULL) {
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    root->next = g->roots;
    root->in = in;
    g->roots = root;
    root->name = vt_job_copy(&g->j, name);
    vt_temp_name(name, temp);
    int fd = in != NULL ? vt_folder_use(in) : g->into.fd;
    bool made = fd >= 0 && is_new && mkdirat(fd, temp, 0700) == 0;
    int sys = errno;
    if (in != NULL && fd >= 0)
        vt_folder_unuse(in);
    if (made)
        root->temp = vt_job_copy(&g->j, temp);
    errno = sys;
    return made || !is_new ? root : NULL;
}

/* Makes the folder here, or takes the one that is there; what is new in one that is there is a
 * root of its own.  False: errno. */
static bool make_folder(struct vt_folder *f)
{
    struct stat st;
    struct vt_folder *parent = f->parent;
    bool in_new = f->root->temp != NULL;
    int fd = vt_folder_use(parent), sys = 0;
    if (fd < 0)
        return false;
    bool is_there = fstatat(fd, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (is_there && (!S_ISDIR(st.st_mode) || (in_new && !f->root->is_shared)))
        sys = EEXIST;
    else if (!is_there && in_new && mkdirat(fd, f->name, 0700) < 0)
        sys = errno;
    vt_folder_unuse(parent);
    f->exists_already = is_there;
    errno = sys;
    if (sys != 0 || is_there || in_new)
        return sys == 0;
    f->root = vt_get_root_new(f->g, parent, f->name, true);
    f->is_top = f->root != NULL;
    return f->is_top;
}

void vt_folder_queue(struct vt_folder *f)
{
    f->next_waiting = NULL;
    *f->g->waiting_end = f;
    f->g->waiting_end = &f->next_waiting;
}

/* A folder in a folder, whose name is safe.  real: where a link leads to, which is taken over, or
 * NULL. */
static void add_folder(struct vt_folder *parent, const char *name, char *real, const struct vt_attrs *a)
{
    struct vt_sftp_get *g = parent->g;
    if (real != NULL && is_loop(parent, real)) {
        fail(parent, name, VT_IO, ELOOP, "a link that leads back to a folder above it");
        free(real);
        return;
    }
    if (parent->depth + 1 >= VT_TREE_DEPTH) {
        fail(parent, name, VT_TOOBIG, 0, "too deep");
        free(real);
        return;
    }
    struct vt_folder *f = vt_folder_new(g, parent, parent->root, name, a);
    if (f == NULL) {
        free(real);
        return;
    }
    f->real = real;
    if (!make_folder(f)) {
        fail(parent, name, VT_IO, errno, errno == EMEDIUMTYPE ? "no regular file" : strerror(errno));
        f->exists_already = true;   /* not ours */
        f->root = parent->root;
        return;
    }
    g->j.r->folders += !f->exists_already;
    vt_folder_queue(f);
}

/* ---- entries ---- */

/* Whether the folder's entry is left out, by its path below the source. */
static bool is_excluded(struct vt_folder *f, const char *name, bool is_folder)
{
    const struct vt_exclude *x = &f->g->j.o->exclude;
    char *path = x->n > 0 ? vt_job_copy(&f->g->j, name) : NULL;
    for (const struct vt_folder *in = f; in->parent != NULL && path != NULL; in = in->parent) {
        char *longer = vt_job_join(&f->g->j, in->name, path);
        free(path);
        path = longer;
    }
    bool is = path != NULL && vt_is_excluded(x, path, is_folder);
    free(path);
    return is;
}

static void on_link_real(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_download *d = ctx;
    char real[4096];
    (void)op;
    d->g->asking--;
    vt_sftp_take_real(r, real);
    if (real[0] == '\0')
        fail(d->folder, d->name, VT_REMOTE, 0, "the server does not tell where this link leads to");
    else
        add_folder(d->folder, d->name, vt_job_copy(&d->g->j, real), &d->attrs);
    vt_download_free(d);
}

/* A link was followed: to a folder, or a file. */
static void on_link_known(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_download *d = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    d->g->asking--;
    if (r->type != VT_FXP_ATTRS) {
        vt_download_refused(d, r);
        vt_download_free(d);
        return;
    }
    d->attrs = vt_take_attrs(&c);
    if (S_ISDIR(d->attrs.mode) && is_excluded(d->folder, d->name, true)) {
        vt_download_free(d);
    } else if (S_ISDIR(d->attrs.mode)) {
        d->g->asking++;
        vt_sftp_ask(&d->g->j.s, VT_FXP_REALPATH, d->remote, on_link_real, d);
    } else if (S_ISREG(d->attrs.mode)) {
        vt_download_queue(d);
    } else {
        vt_download_failed(d, EMEDIUMTYPE);
        vt_download_free(d);
    }
}

static void add_file(struct vt_folder *f, const char *name, const struct vt_attrs *a)
{
    struct vt_sftp_get *g = f->g;
    struct vt_download *d = vt_download_new(g, f, name, NULL);
    if (d == NULL)
        return;
    d->attrs = *a;
    bool is_known = a->flags & VT_ATTR_MODE && !S_ISLNK(a->mode);
    d->is_link = a->flags & VT_ATTR_MODE && S_ISLNK(a->mode) && g->j.o->keep_links;
    if (is_known || d->is_link) {
        vt_download_queue(d);
        return;
    }
    char *folder = vt_folder_path(f);
    d->remote = folder != NULL ? vt_job_join(&g->j, folder, name) : NULL;
    free(folder);
    if (d->remote == NULL)
        return;
    g->asking++;
    vt_sftp_ask(&g->j.s, VT_FXP_STAT, d->remote, on_link_known, d);
}

static void take_entry(struct vt_folder *f, struct vt_span span, const struct vt_attrs *a)
{
    char name[256];
    bool has_mode = a->flags & VT_ATTR_MODE;
    if (vt_span_is(span, ".") || vt_span_is(span, ".."))
        return;
    if (!vt_name_is_safe(span)) {
        fail(f, "", VT_PROTO, 0, "the server names a file that could lie elsewhere");
        return;
    }
    memcpy(name, span.p, span.n);
    name[span.n] = '\0';
    if (is_excluded(f, name, has_mode && S_ISDIR(a->mode)))
        return;
    if (has_mode && S_ISDIR(a->mode))
        add_folder(f, name, NULL, a);
    else if (has_mode && !S_ISREG(a->mode) && !S_ISLNK(a->mode))
        fail(f, name, VT_IO, 0, "no regular file");
    else
        add_file(f, name, a);
}

/* ---- listing ---- */

static void on_names(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r);

static void ask_names(struct vt_folder *f)
{
    f->pending++;
    vt_sftp_ask_handle(&f->g->j.s, VT_FXP_READDIR, f->handle, f->handle_len, on_names, f);
}

static void listed(struct vt_folder *f)
{
    vt_get_close_handle(f->g, f->handle, f->handle_len);
    f->g->listing--;
    free(f->handle);
    f->handle = NULL;
}

static void take_names(struct vt_folder *f, struct vt_cursor c)
{
    struct vt_sftp *s = &f->g->j.s;
    uint32_t n = vt_take_u32(&c);
    f->empty_answers = n == 0 ? f->empty_answers + 1 : 0;
    if (f->empty_answers > EMPTY_MAX)
        vt_sftp_stop(s, VT_PROTO, 0, "the SFTP server lists nothing, and no end");
    for (; n > 0 && !c.bad && s->rc == VT_OK; n--) {
        struct vt_span name = vt_take_bytes(&c);
        (void)vt_take_bytes(&c);    /* a line as of ls: for people */
        struct vt_attrs a = vt_take_attrs(&c);
        if (!c.bad)
            take_entry(f, name, &a);
    }
    if (c.bad)
        vt_sftp_stop(s, VT_PROTO, 0, "the SFTP server sent damaged names");
}

static void on_names(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_folder *f = ctx;
    (void)op;
    f->pending--;
    if (r->type == VT_FXP_NAME) {
        take_names(f, r->body);
    } else {
        if (r->type != VT_FXP_STATUS || r->status != VT_FX_EOF)
            refused(f, r);
        f->at_end = true;
    }
    if (f->at_end) {
        if (f->pending == 0)
            listed(f);
    } else if (f->g->queue_len + f->g->asking < VT_GET_QUEUE_MAX) {
        ask_names(f);
    } else if (f->pending == 0) {
        f->next_waiting = f->g->paused;
        f->g->paused = f;
    }
}

static void on_folder_opened(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_folder *f = ctx;
    struct vt_sftp *s = &f->g->j.s;
    struct vt_cursor c = r->body;
    (void)op;
    if (r->type == VT_FXP_STATUS) {
        refused(f, r);
        f->root->is_void |= f->is_top;
        f->g->listing--;
        return;
    }
    if (!vt_sftp_is(s, r, VT_FXP_HANDLE))
        return;
    struct vt_span handle = vt_take_bytes(&c);
    if (c.bad || handle.n == 0 || handle.n > 256) {
        vt_sftp_stop(s, VT_PROTO, 0, "the SFTP server sent a damaged handle");
        return;
    }
    f->handle = malloc(handle.n);
    if (f->handle == NULL) {
        vt_sftp_stop(s, VT_NOMEM, 0, NULL);
        return;
    }
    memcpy(f->handle, handle.p, handle.n);
    f->handle_len = handle.n;
    for (int i = 0; i < LIST_AHEAD; i++)
        ask_names(f);
}

void vt_folder_list(struct vt_folder *f)
{
    char *path = vt_folder_path(f);
    f->g->listing++;
    if (path != NULL)
        vt_sftp_ask(&f->g->j.s, VT_FXP_OPENDIR, path, on_folder_opened, f);
    free(path);
}

void vt_folder_list_on(struct vt_folder *f)
{
    ask_names(f);
}
