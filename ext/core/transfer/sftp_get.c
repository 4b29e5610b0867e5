/* sftp_get.c - downloads: folders are listed and files fetched at the same time.
 *
 * Folders come first, since they feed the rest.  Per folder: OPENDIR, READDIRs until its
 * end, CLOSE.  Per file: OPEN; on its handle READs, several in flight; CLOSE after the last
 * of them.  What the guest names is checked, and made only below folders that are opened
 * part by part without following links (tree.h).  A folder that is new here is made under
 * a temporary name, and its files need none then.
 */
#include "transfer/job.h"
#include "transfer/remote.h"
#include "transfer/tree.h"
#include "transfer/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX 20000             /* files known but not begun; then listing pauses */
#define FOLDERS_MAX 1000000
#define LIST_AHEAD 2                /* READDIRs in flight for a folder */
#define NO_END UINT64_MAX
#define PARKED_MAX 32               /* files that wait for their checksums */

struct get;

/* A folder that is filled, in the folder that the target names. */
struct root {
    struct root *next;
    char *name, *temp;              /* temp: its name until the end; NULL: it was there */
    char *shown;
    bool is_void;                   /* it could not even be listed */
};

struct folder {
    struct folder *next;            /* all of them, the last first */
    struct folder *next_waiting;    /* to be listed, or in a pause */
    struct get *g;
    struct folder *parent;
    struct root *root;
    char *remote, *shown;
    char *real;                     /* on the server, without links */
    char *path;                     /* below the root; "" for itself */
    int depth;
    int fd;                         /* open while somebody uses it, else -1 */
    unsigned users;
    struct vt_attrs attrs;
    bool exists_already, at_end;
    char handle[256];
    size_t handle_len;
    unsigned pending;
};

/* A file or link, from the moment it is known. */
struct download {
    struct download *next, **link;  /* all of them */
    struct download *next_queued;   /* to be begun; then: to be read on */
    struct get *g;
    struct folder *folder;          /* NULL: in the target's folder */
    char *remote, *shown;
    char *name, *temp;              /* temp NULL: made under its name */
    struct vt_attrs attrs;
    int fd;
    char handle[256];
    size_t handle_len;
    uint64_t asked, got;
    uint64_t end;                   /* where the file ends, as far as is known */
    unsigned pending;
    struct vt_check check;
    bool is_begun, uses_folder, is_made, is_reading, failed, is_link, is_direct, is_sized;
};

struct queue { struct download *first, **end; };

struct get {
    struct vt_job j;
    const char *target;
    struct vt_target into;
    struct root *roots;
    struct folder *folders, *waiting, **waiting_end, *paused;
    struct download *files;
    struct queue known, queued, reading;
    size_t queue_len, folder_count;
    unsigned open, listing;         /* files begun, folders being listed */
    struct vt_check *parked;        /* files that wait for their checksums */
    unsigned parked_n;
    unsigned asking;                /* other requests that are not answered */
    uint64_t in_flight;
};

static void queue_add(struct queue *q, struct download *d)
{
    d->next_queued = NULL;
    *q->end = d;
    q->end = &d->next_queued;
}

static void queue_drop_first(struct queue *q)
{
    q->first = q->first->next_queued;
    if (q->first == NULL)
        q->end = &q->first;
}

static const char *why(int sys)
{
    return sys == EMEDIUMTYPE ? "no regular file" : strerror(sys);
}

/* ---- folders here ---- */

/* The folder's descriptor, for as long as it has users; -1 and errno. */
static int folder_use(struct folder *f)
{
    if (f->users == 0) {
        const char *name = f->root->temp != NULL ? f->root->temp : f->root->name;
        int top = openat(f->g->into.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        f->fd = top < 0 ? -1 : vt_tree_open(top, f->path);
        int sys = errno;
        if (top >= 0)
            close(top);
        errno = sys;
        if (f->fd < 0)
            return -1;
    }
    f->users++;
    return f->fd;
}

static void folder_unuse(struct folder *f)
{
    if (--f->users == 0) {
        close(f->fd);
        f->fd = -1;
    }
}

static void set_times(int fd, const struct vt_attrs *a)
{
    struct timespec times[2] = {{.tv_sec = a->atime}, {.tv_sec = a->mtime}};
    if (a->flags & VT_ATTR_TIMES)
        (void)futimens(fd, times);
}

/* A guest's file is not to run as somebody else here: no set-id bits. */
static mode_t mode_of(const struct vt_attrs *a, mode_t otherwise)
{
    return a->flags & VT_ATTR_MODE ? a->mode & 0777 : otherwise;
}

/* ---- a file's life ---- */

static struct download *download_new(struct get *g, const char *remote, const char *shown)
{
    struct download *d = calloc(1, sizeof *d);
    if (d == NULL) {
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    d->g = g;
    d->fd = -1;
    d->end = NO_END;
    d->link = &g->files;
    d->next = g->files;
    if (d->next != NULL)
        d->next->link = &d->next;
    g->files = d;
    d->remote = vt_job_copy(&g->j, remote);
    d->shown = vt_job_copy(&g->j, shown);
    return g->j.s.rc == VT_OK ? d : NULL;
}

static int place_of(const struct download *d)
{
    return d->folder != NULL ? d->folder->fd : d->g->into.fd;
}

static const char *made_name(const struct download *d)
{
    return d->temp != NULL ? d->temp : d->name;
}

static void download_free(struct download *d)
{
    if (d->fd >= 0)
        close(d->fd);
    if (d->is_made && !d->is_direct && unlinkat(place_of(d), made_name(d), 0) < 0 && errno != ENOENT)
        vt_job_left(&d->g->j, made_name(d));
    if (d->uses_folder)
        folder_unuse(d->folder);
    if (d->is_begun)
        d->g->open--;
    *d->link = d->next;
    if (d->next != NULL)
        d->next->link = d->link;
    free(d->remote);
    free(d->shown);
    free(d->name);
    free(d->temp);
    free(d);
}

static void failed_here(struct download *d, int sys)
{
    if (!d->failed)
        vt_job_fail(&d->g->j, d->shown, d->got, VT_IO, sys, why(sys));
    d->failed = true;
}

static void refused(struct download *d, const struct vt_sftp_reply *r)
{
    if (!d->failed)
        vt_job_refused(&d->g->j, d->shown, d->got, r);
    d->failed = true;
}

static void on_closed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)op, (void)r;              /* a CLOSE after reading changes nothing */
    ((struct get *)ctx)->asking--;
}

static void close_handle(struct get *g, const char *handle, size_t n)
{
    g->asking++;
    vt_sftp_ask_handle(&g->j.s, VT_FXP_CLOSE, handle, n, on_closed, g);
}

/* Mode, times and the last word of the file system, which may be late with an error. */
static bool finish_file(struct download *d)
{
    bool ok = true;
    if (!d->is_direct && d->end != NO_END)
        ok = ftruncate(d->fd, (off_t)d->end) == 0;      /* what came from behind its end */
    if (ok && !d->is_direct)
        ok = fchmod(d->fd, mode_of(&d->attrs, 0644)) == 0 || errno == EPERM || errno == ENOTSUP;
    if (ok && !d->is_direct && d->g->j.o->keep_times)
        set_times(d->fd, &d->attrs);
    if (ok && !d->is_direct && d->g->j.o->verify)
        ok = vt_sum_of(d->fd, d->check.sum);
    int sys = errno, fd = d->fd;
    d->fd = -1;
    if (close(fd) < 0 && ok && errno != EINTR) {
        sys = errno;
        ok = false;
    }
    if (!ok)
        failed_here(d, sys);
    return ok;
}

static bool get_name(struct download *d)
{
    if (d->temp == NULL || d->is_direct)
        return true;
    if (renameat(place_of(d), d->temp, place_of(d), d->name) == 0)
        return true;
    failed_here(d, errno);
    return false;
}

/* Ends the download, with its file under its name or gone. */
static void conclude(struct download *d)
{
    struct get *g = d->g;
    if (!d->failed && get_name(d)) {
        *(d->is_link ? &g->j.r->links : &g->j.r->files) += 1;
        d->is_made = false;         /* and so is kept */
    }
    download_free(d);
}

static void park(struct download *d)
{
    d->check.path = d->remote;
    d->check.ctx = d;
    d->check.next = d->g->parked;
    d->g->parked = &d->check;
    d->g->parked_n++;
}

static void settle(struct download *d)
{
    struct get *g = d->g;
    if (d->handle_len > 0)
        close_handle(g, d->handle, d->handle_len);
    if (!d->failed && !d->is_link && finish_file(d) && g->j.o->verify && !d->is_direct)
        park(d);
    else
        conclude(d);
}

/* Those that wait for their checksums get their names, or go. */
static void verify_parked(struct get *g)
{
    struct vt_check *list = g->parked;
    g->parked = NULL;
    g->parked_n = 0;
    if (vt_verify(&g->j.s, list) != VT_OK)
        return;
    for (struct vt_check *check = list, *next; check != NULL; check = next) {
        struct download *d = check->ctx;
        next = check->next;
        if (check->is != VT_SAME && !d->failed) {
            vt_job_fail(&g->j, d->shown, d->got, VT_REMOTE, 0, vt_sameness_text(check->is));
            d->failed = true;
        }
        conclude(d);
    }
}

/* ---- reading ---- */

static void on_read(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r);

static void ask_read(struct download *d, uint64_t at, uint32_t n)
{
    struct vt_sftp *s = &d->g->j.s;
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_READ, on_read, d, at, n);
    vt_packet_bytes(&p, d->handle, d->handle_len);
    vt_packet_u64(&p, at);
    vt_packet_u32(&p, n);
    vt_sftp_end(s, &p);
    d->pending++;
    d->g->in_flight += n;
}

static void take_data(struct download *d, const struct vt_sftp_op *op, struct vt_cursor c)
{
    struct vt_span data = vt_take_bytes(&c);
    if (c.bad || data.n == 0 || data.n > op->size) {
        vt_sftp_stop(&d->g->j.s, VT_PROTO, 0, "the SFTP server sent damaged data");
        return;
    }
    if (d->failed || op->offset >= d->end)
        return;
    if (!vt_write_all(d->fd, data.p, data.n, op->offset, d->is_direct)) {
        failed_here(d, errno);
        return;
    }
    d->got += data.n;
    vt_job_moved(&d->g->j, d->shown, data.n);
    if (!d->is_sized)
        d->asked = op->offset + data.n;
    else if (data.n < op->size)
        ask_read(d, op->offset + data.n, op->size - (uint32_t)data.n);
}

static bool has_asked_all(const struct download *d)
{
    return d->failed || d->asked >= d->end;
}

static void read_on(struct download *d)
{
    if (!d->is_reading)
        queue_add(&d->g->reading, d);
    d->is_reading = true;
}

static void on_read(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct download *d = ctx;
    d->pending--;
    d->g->in_flight -= op->size;
    if (r->type == VT_FXP_DATA)
        take_data(d, op, r->body);
    else if (r->type == VT_FXP_STATUS && r->status == VT_FX_EOF)
        d->end = op->offset < d->end ? op->offset : d->end;
    else
        refused(d, r);
    if (d->pending > 0 || d->is_reading)
        return;
    if (has_asked_all(d))
        settle(d);
    else
        read_on(d);
}

/* Asks for as much as may be in flight.  True: there is no more to ask for now. */
static bool ask_some(struct download *d)
{
    struct vt_sftp *s = &d->g->j.s;
    while (!has_asked_all(d) && s->rc == VT_OK) {
        if (d->g->in_flight >= s->in_flight_max)
            return false;
        uint64_t left = d->end - d->asked;
        uint32_t n = left < s->read_max ? (uint32_t)left : s->read_max;
        ask_read(d, d->asked, n);
        if (!d->is_sized)
            return true;            /* the answer tells whether there is more */
        d->asked += n;
    }
    return true;
}

static void read_files(struct get *g)
{
    while (g->reading.first != NULL && g->j.s.rc == VT_OK) {
        struct download *d = g->reading.first;
        if (!ask_some(d))
            return;
        queue_drop_first(&g->reading);
        d->is_reading = false;
        if (d->pending == 0)
            settle(d);              /* it failed meanwhile */
    }
}

/* ---- beginning ---- */

static bool make_file(struct download *d)
{
    int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY | (d->is_direct ? 0 : O_CREAT | O_EXCL | O_NOFOLLOW);
    if (d->g->j.o->verify && !d->is_direct)
        flags = (flags & ~O_ACCMODE) | O_RDWR;
    d->fd = openat(place_of(d), made_name(d), flags, 0600);
    if (d->fd < 0)
        failed_here(d, errno);
    else
        d->is_made = true;
    return d->fd >= 0;
}

static void on_opened(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct download *d = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    if (r->type == VT_FXP_STATUS) {
        refused(d, r);
        download_free(d);
        return;
    }
    if (!vt_sftp_is(&d->g->j.s, r, VT_FXP_HANDLE))
        return;
    struct vt_span handle = vt_take_bytes(&c);
    if (c.bad || handle.n == 0 || handle.n > sizeof d->handle) {
        vt_sftp_stop(&d->g->j.s, VT_PROTO, 0, "the SFTP server sent a damaged handle");
        return;
    }
    memcpy(d->handle, handle.p, handle.n);
    d->handle_len = handle.n;
    if (make_file(d))
        read_on(d);
    else
        settle(d);
}

static void on_link_read(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct download *d = ctx;
    struct vt_cursor c = r->body;
    char to[4096];
    (void)op;
    if (r->type == VT_FXP_STATUS) {
        refused(d, r);
    } else if (vt_sftp_is(&d->g->j.s, r, VT_FXP_NAME)) {
        uint32_t n = vt_take_u32(&c);
        struct vt_span text = vt_take_bytes(&c);
        bool ok = n == 1 && !c.bad && text.n > 0 && text.n < sizeof to && memchr(text.p, '\0', text.n) == NULL;
        if (ok) {
            memcpy(to, text.p, text.n);
            to[text.n] = '\0';
        }
        d->is_made = ok && symlinkat(to, place_of(d), made_name(d)) == 0;
        if (!d->is_made)
            failed_here(d, ok ? errno : EBADMSG);
    }
    settle(d);
}

/* Asks for the file.  Its folder stays open until it is done. */
static void begin_download(struct download *d)
{
    struct vt_sftp *s = &d->g->j.s;
    char temp[256];
    d->is_begun = true;
    d->g->open++;
    if (d->folder != NULL && folder_use(d->folder) < 0) {
        failed_here(d, errno);
        download_free(d);
        return;
    }
    d->uses_folder = d->folder != NULL;
    d->is_direct = d->folder == NULL && d->g->into.is_special;
    d->is_sized = d->attrs.flags & VT_ATTR_SIZE && d->attrs.size > 0 && !d->is_direct;
    d->end = d->is_sized ? d->attrs.size : NO_END;
    if (d->folder == NULL || d->folder->root->temp == NULL) {
        vt_temp_name(d->name, temp);
        d->temp = d->is_direct ? NULL : vt_job_copy(&d->g->j, temp);
    }
    if (d->is_link) {
        vt_sftp_ask(s, VT_FXP_READLINK, d->remote, on_link_read, d);
        return;
    }
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_OPEN, on_opened, d, 0, 0);
    vt_packet_text(&p, d->remote);
    vt_packet_u32(&p, VT_FXF_READ);
    vt_packet_u32(&p, 0);           /* no attributes */
    vt_sftp_end(s, &p);
}

static void queue_download(struct download *d)
{
    queue_add(&d->g->queued, d);
    d->g->queue_len++;
    if (d->attrs.flags & VT_ATTR_SIZE && !d->is_link)
        d->g->j.total += d->attrs.size;
}

/* ---- folders there ---- */

static bool is_loop(const struct folder *parent, const char *real)
{
    for (const struct folder *f = parent; f != NULL; f = f->parent)
        if (f->real != NULL && strcmp(f->real, real) == 0)
            return true;
    return false;
}

/* Makes the folder here; one that is there already will do, unless its parent is new. */
static int make_folder(struct folder *f, const char *name)
{
    struct stat st;
    int parent = folder_use(f->parent), sys = 0;
    if (parent < 0)
        return errno;
    if (mkdirat(parent, name, 0700) < 0) {
        sys = errno;
        f->exists_already = sys == EEXIST && f->root->temp == NULL
            && fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    }
    folder_unuse(f->parent);
    return f->exists_already ? 0 : sys;
}

static struct folder *folder_new(struct get *g, struct folder *parent, struct root *root, const char *remote,
                                 const char *shown, const struct vt_attrs *a)
{
    struct folder *f = calloc(1, sizeof *f);
    if (f == NULL || ++g->folder_count > FOLDERS_MAX) {
        vt_sftp_stop(&g->j.s, f == NULL ? VT_NOMEM : VT_TOOBIG, 0, f == NULL ? NULL : "too many folders");
        free(f);
        return NULL;
    }
    *f = (struct folder){.next = g->folders, .g = g, .parent = parent, .root = root, .fd = -1, .attrs = *a,
                         .depth = parent != NULL ? parent->depth + 1 : 0};
    g->folders = f;
    f->remote = vt_job_copy(&g->j, remote);
    f->shown = vt_job_copy(&g->j, shown);
    return g->j.s.rc == VT_OK ? f : NULL;
}

static void queue_folder(struct folder *f)
{
    f->next_waiting = NULL;
    *f->g->waiting_end = f;
    f->g->waiting_end = &f->next_waiting;
}

/* A folder in a folder, whose name is safe.  real: where a link leads to, or NULL. */
static void add_folder(struct folder *parent, const char *name, const char *remote, const char *shown,
                       const char *real, const struct vt_attrs *a)
{
    struct get *g = parent->g;
    char *here = real != NULL ? vt_job_copy(&g->j, real)
               : parent->real != NULL ? vt_job_join(&g->j, parent->real, name) : NULL;
    if (here != NULL && is_loop(parent, here)) {
        vt_job_fail(&g->j, shown, 0, VT_IO, ELOOP, "a link that leads back to a folder above it");
        free(here);
        return;
    }
    if (parent->depth + 1 >= VT_TREE_DEPTH) {
        vt_job_fail(&g->j, shown, 0, VT_TOOBIG, 0, "too deep");
        free(here);
        return;
    }
    struct folder *f = folder_new(g, parent, parent->root, remote, shown, a);
    if (f == NULL) {
        free(here);
        return;
    }
    f->real = here;
    f->path = parent->path[0] != '\0' ? vt_job_join(&g->j, parent->path, name) : vt_job_copy(&g->j, name);
    int sys = g->j.s.rc == VT_OK ? make_folder(f, name) : 0;
    if (sys != 0) {
        vt_job_fail(&g->j, shown, 0, VT_IO, sys, why(sys));
        f->exists_already = true;   /* not ours */
        return;
    }
    if (!f->exists_already)
        g->j.r->folders++;
    queue_folder(f);
}

/* ---- entries ---- */

/* The path in an answer to REALPATH, or "". */
static void take_real(const struct vt_sftp_reply *r, char real[4096])
{
    struct vt_cursor c = r->body;
    memset(real, 0, 4096);
    if (r->type != VT_FXP_NAME)
        return;
    (void)vt_take_u32(&c);
    struct vt_span text = vt_take_bytes(&c);
    if (!c.bad && text.n < 4096)
        memcpy(real, text.p, text.n);
}

static void on_link_real(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct download *d = ctx;
    char real[4096];
    (void)op;
    d->g->asking--;
    take_real(r, real);
    if (real[0] == '\0')
        vt_job_fail(&d->g->j, d->shown, 0, VT_REMOTE, 0, "the server does not tell where this link leads to");
    else
        add_folder(d->folder, d->name, d->remote, d->shown, real, &d->attrs);
    download_free(d);
}

/* A link was followed: to a folder, or a file. */
static void on_link_known(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct download *d = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    d->g->asking--;
    if (r->type != VT_FXP_ATTRS) {
        refused(d, r);
        download_free(d);
        return;
    }
    d->attrs = vt_take_attrs(&c);
    if (S_ISDIR(d->attrs.mode)) {
        d->g->asking++;
        vt_sftp_ask(&d->g->j.s, VT_FXP_REALPATH, d->remote, on_link_real, d);
    } else if (S_ISREG(d->attrs.mode)) {
        queue_download(d);
    } else {
        failed_here(d, EMEDIUMTYPE);
        download_free(d);
    }
}

static void add_file(struct folder *f, const char *name, const char *remote, const char *shown,
                     const struct vt_attrs *a)
{
    struct get *g = f->g;
    struct download *d = download_new(g, remote, shown);
    if (d == NULL)
        return;
    d->folder = f;
    d->attrs = *a;
    d->name = vt_job_copy(&g->j, name);
    bool is_known = a->flags & VT_ATTR_MODE && !S_ISLNK(a->mode);
    d->is_link = a->flags & VT_ATTR_MODE && S_ISLNK(a->mode) && g->j.o->keep_links;
    if (is_known || d->is_link) {
        queue_download(d);
        return;
    }
    g->asking++;
    vt_sftp_ask(&g->j.s, VT_FXP_STAT, remote, on_link_known, d);
}

static void take_entry(struct folder *f, struct vt_span span, const struct vt_attrs *a)
{
    struct get *g = f->g;
    char name[256];
    if (vt_span_is(span, ".") || vt_span_is(span, ".."))
        return;
    if (!vt_name_is_safe(span)) {
        vt_job_fail(&g->j, f->shown, 0, VT_PROTO, 0, "the server names a file that could lie elsewhere");
        return;
    }
    memcpy(name, span.p, span.n);
    name[span.n] = '\0';
    char *remote = vt_job_join(&g->j, f->remote, name), *shown = vt_job_join(&g->j, f->shown, name);
    bool has_mode = a->flags & VT_ATTR_MODE;
    if (g->j.s.rc == VT_OK) {
        if (has_mode && S_ISDIR(a->mode))
            add_folder(f, name, remote, shown, NULL, a);
        else if (has_mode && !S_ISREG(a->mode) && !S_ISLNK(a->mode))
            vt_job_fail(&g->j, shown, 0, VT_IO, 0, "no regular file");
        else
            add_file(f, name, remote, shown, a);
    }
    free(remote);
    free(shown);
}

/* ---- listing ---- */

static void on_names(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r);

static void ask_names(struct folder *f)
{
    f->pending++;
    vt_sftp_ask_handle(&f->g->j.s, VT_FXP_READDIR, f->handle, f->handle_len, on_names, f);
}

static void listed(struct folder *f)
{
    close_handle(f->g, f->handle, f->handle_len);
    f->g->listing--;
}

static void take_names(struct folder *f, struct vt_cursor c)
{
    struct vt_sftp *s = &f->g->j.s;
    for (uint32_t n = vt_take_u32(&c); n > 0 && !c.bad && s->rc == VT_OK; n--) {
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
    struct folder *f = ctx;
    (void)op;
    f->pending--;
    if (r->type == VT_FXP_NAME) {
        take_names(f, r->body);
    } else {
        if (r->type != VT_FXP_STATUS || r->status != VT_FX_EOF)
            vt_job_refused(&f->g->j, f->shown, 0, r);
        f->at_end = true;
    }
    if (f->at_end) {
        if (f->pending == 0)
            listed(f);
    } else if (f->g->queue_len + f->g->asking < QUEUE_MAX) {
        ask_names(f);
    } else if (f->pending == 0) {
        f->next_waiting = f->g->paused;
        f->g->paused = f;
    }
}

static void on_folder_opened(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct folder *f = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    if (r->type == VT_FXP_STATUS) {
        vt_job_refused(&f->g->j, f->shown, 0, r);
        f->root->is_void |= f->parent == NULL;
        f->g->listing--;
        return;
    }
    if (!vt_sftp_is(&f->g->j.s, r, VT_FXP_HANDLE))
        return;
    struct vt_span handle = vt_take_bytes(&c);
    if (c.bad || handle.n > sizeof f->handle) {
        vt_sftp_stop(&f->g->j.s, VT_PROTO, 0, "the SFTP server sent a damaged handle");
        return;
    }
    memcpy(f->handle, handle.p, handle.n);
    f->handle_len = handle.n;
    for (int i = 0; i < LIST_AHEAD; i++)
        ask_names(f);
}

static void begin_folder(struct folder *f)
{
    f->g->listing++;
    vt_sftp_ask(&f->g->j.s, VT_FXP_OPENDIR, f->remote, on_folder_opened, f);
}

/* ---- sources ---- */

static struct root *add_root(struct get *g, const char *name, bool is_new, const char *shown)
{
    char temp[256];
    struct root *root = calloc(1, sizeof *root);
    if (root == NULL) {
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    root->next = g->roots;
    g->roots = root;
    root->name = vt_job_copy(&g->j, name);
    root->shown = vt_job_copy(&g->j, shown);
    vt_temp_name(name, temp);
    if (is_new && mkdirat(g->into.fd, temp, 0700) == 0)
        root->temp = vt_job_copy(&g->j, temp);
    else if (is_new) {
        vt_job_fail(&g->j, shown, 0, VT_IO, errno, strerror(errno));
        return NULL;
    }
    return g->j.s.rc == VT_OK ? root : NULL;
}

static void on_root_real(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct folder *f = ctx;
    char real[4096];
    (void)op;
    take_real(r, real);
    if (real[0] != '\0')
        f->real = vt_job_copy(&f->g->j, real);
}

/* A folder among the sources.  name: here; "" for the contents into the target. */
static void begin_root(struct get *g, const char *remote, const char *name, const struct vt_attrs *a)
{
    struct stat st;
    const char *here = name[0] != '\0' ? name : ".";
    bool is_new = fstatat(g->into.fd, here, &st, AT_SYMLINK_NOFOLLOW) < 0;
    if (!is_new && !S_ISDIR(st.st_mode)) {
        vt_job_fail(&g->j, remote, 0, VT_INVALID, 0, "a folder cannot replace a file");
        return;
    }
    struct root *root = add_root(g, here, is_new, remote);
    struct folder *f = root == NULL ? NULL : folder_new(g, NULL, root, remote, remote, a);
    if (f == NULL)
        return;
    f->path = vt_job_copy(&g->j, "");
    f->exists_already = !is_new;
    /* Needed once links are found in it: asked before it is listed, and not waited for. */
    vt_sftp_ask(&g->j.s, VT_FXP_REALPATH, remote, on_root_real, f);
    if (g->j.s.rc == VT_OK) {
        g->j.r->folders += is_new;
        queue_folder(f);
    }
}

static bool ends_with_slash(const char *path)
{
    size_t n = strlen(path);
    return n > 0 && path[n - 1] == '/';
}

/* What a source is has come; d->name is its name here. */
static void begin_source(struct download *d)
{
    struct get *g = d->g;
    bool has_mode = d->attrs.flags & VT_ATTR_MODE;
    if (has_mode && S_ISDIR(d->attrs.mode)) {
        begin_root(g, d->remote, d->name, &d->attrs);
    } else if (has_mode && !S_ISREG(d->attrs.mode) && !S_ISLNK(d->attrs.mode)) {
        failed_here(d, EMEDIUMTYPE);
    } else if (d->name[0] == '\0' || (g->into.name != NULL && ends_with_slash(g->target))) {
        vt_job_fail(&g->j, d->shown, 0, VT_INVALID, 0, "the target folder is not there");
    } else {
        d->is_link = has_mode && S_ISLNK(d->attrs.mode);
        queue_download(d);
        return;
    }
    download_free(d);
}

static void on_source_known(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct download *d = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    d->g->asking--;
    if (r->type == VT_FXP_ATTRS) {
        d->attrs = vt_take_attrs(&c);
        queue_add(&d->g->known, d); /* begun outside, where questions may be asked */
        return;
    }
    refused(d, r);
    download_free(d);
}

static void ask_source(struct get *g, const char *remote)
{
    struct download *d = download_new(g, remote, remote);
    if (d == NULL)
        return;
    d->name = g->into.name != NULL ? vt_job_copy(&g->j, g->into.name) : vt_path_name(remote);
    if (d->name == NULL) {
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
        return;
    }
    g->asking++;
    vt_sftp_ask(&g->j.s, g->j.o->keep_links ? VT_FXP_LSTAT : VT_FXP_STAT, remote, on_source_known, d);
}

/* The sources' names, patterns made into what they stand for. */
static void expand(struct get *g, const char *source, struct vt_names *names)
{
    struct vt_buf path;
    size_t before = names->n;
    vt_buf_init(&path, 8192);
    if (vt_remote_expand(&g->j.s, source, &path) == VT_OK && vt_remote_glob(&g->j.s, path.data, names) == VT_OK
        && names->n == before) {
        vt_job_fail(&g->j, source, 0, VT_REMOTE, 0, "no such file");
        if (g->j.r->failures == 1 && g->j.e != NULL)
            g->j.e->lib = VT_FX_NO_SUCH_FILE;
    }
    vt_buf_fini(&path);
}

static void wait_asked(struct get *g)
{
    while (g->j.s.rc == VT_OK && g->asking > 0)
        (void)!vt_sftp_turn(&g->j.s);
}

static void begin_sources(struct get *g, const char *const *sources, size_t n)
{
    struct vt_names names = {0};
    for (size_t i = 0; i < n && g->j.s.rc == VT_OK; i++)
        expand(g, sources[i], &names);
    if (names.n > 1 && g->into.name != NULL)
        vt_sftp_stop(&g->j.s, VT_INVALID, 0, "several sources need a folder as target");
    for (size_t i = 0; i < names.n && g->j.s.rc == VT_OK; i++)
        ask_source(g, names.list[i]);
    vt_names_fini(&names);
    wait_asked(g);
    while (g->known.first != NULL && g->j.s.rc == VT_OK) {
        struct download *d = g->known.first;
        queue_drop_first(&g->known);
        begin_source(d);
    }
}

/* ---- all of it ---- */

/* Folders may not take all that may be open, or no file would ever be done. */
static unsigned listing_max(const struct get *g)
{
    unsigned quarter = g->j.s.files_max / 4;
    return quarter > 0 ? quarter : 1;
}

static void begin_folders(struct get *g)
{
    while (g->waiting != NULL && g->listing < listing_max(g) && g->queue_len < QUEUE_MAX && g->j.s.rc == VT_OK) {
        struct folder *f = g->waiting;
        g->waiting = f->next_waiting;
        if (g->waiting == NULL)
            g->waiting_end = &g->waiting;
        begin_folder(f);
    }
    while (g->paused != NULL && g->queue_len < QUEUE_MAX / 2 && g->j.s.rc == VT_OK) {
        struct folder *f = g->paused;
        g->paused = f->next_waiting;
        ask_names(f);
    }
}

static void begin_downloads(struct get *g)
{
    unsigned most = g->j.s.files_max - (g->j.s.files_max > 1 ? listing_max(g) : 0);
    while (g->queued.first != NULL && g->open < most && g->j.s.rc == VT_OK) {
        struct download *d = g->queued.first;
        queue_drop_first(&g->queued);
        g->queue_len--;
        begin_download(d);
    }
}

static bool is_busy(const struct get *g)
{
    return g->open > 0 || g->listing > 0 || g->asking > 0;
}

static enum vt_rc run(struct get *g)
{
    do {
        begin_folders(g);
        begin_downloads(g);
        read_files(g);
        if (g->parked_n >= PARKED_MAX || (g->parked_n > 0 && g->parked_n == g->open && g->listing + g->asking == 0))
            verify_parked(g);
        if (is_busy(g) && g->j.s.rc == VT_OK)
            (void)!vt_sftp_turn(&g->j.s);
    } while (g->j.s.rc == VT_OK && (is_busy(g) || g->queued.first != NULL || g->waiting != NULL));
    return g->j.s.rc;
}

/* The deepest come first, as they were found last: a mode may forbid what follows. */
static void set_folders(struct get *g)
{
    for (struct folder *f = g->folders; f != NULL; f = f->next) {
        int fd = f->exists_already ? -1 : folder_use(f);
        if (fd < 0)
            continue;
        (void)fchmod(fd, mode_of(&f->attrs, 0755));
        if (g->j.o->keep_times)
            set_times(fd, &f->attrs);
        folder_unuse(f);
    }
}

/* New folders get their names. */
static void rename_roots(struct get *g)
{
    for (struct root *root = g->roots; root != NULL; root = root->next) {
        if (root->temp == NULL || root->is_void)
            continue;
        if (vt_rename_new(g->into.fd, root->temp, root->name)) {
            free(root->temp);
            root->temp = NULL;
        } else {
            vt_job_fail(&g->j, root->shown, 0, VT_IO, errno, strerror(errno));
        }
    }
}

static void remove_unfinished(struct get *g)
{
    while (g->files != NULL)
        download_free(g->files);
    for (struct root *root = g->roots; root != NULL; root = root->next)
        if (root->temp != NULL && !vt_tree_remove(g->into.fd, root->temp))
            vt_job_left(&g->j, root->temp);
}

static enum vt_rc open_target(struct get *g, const char *target)
{
    g->target = target;
    enum vt_rc rc = vt_target_open(&g->into, target);
    if (rc == VT_INVALID)
        vt_sftp_stop(&g->j.s, rc, 0, "the target is no file, folder or device");
    else if (rc != VT_OK)
        vt_sftp_stop(&g->j.s, rc, errno, rc == VT_IO ? strerror(errno) : NULL);
    if (rc == VT_IO)
        vt_job_stopped_at(&g->j, target, 0);
    return g->j.s.rc;
}

static void folders_free(struct get *g)
{
    for (struct folder *f = g->folders, *next; f != NULL; f = next) {
        next = f->next;
        free(f->remote);
        free(f->shown);
        free(f->real);
        free(f->path);
        free(f);
    }
    for (struct root *root = g->roots, *next; root != NULL; root = next) {
        next = root->next;
        free(root->name);
        free(root->temp);
        free(root->shown);
        free(root);
    }
}

static void get_fini(struct get *g)
{
    remove_unfinished(g);
    folders_free(g);
    vt_target_close(&g->into);
    vt_job_fini(&g->j);
    free(g);
}

static void tell_where(struct get *g)
{
    for (struct download *d = g->files; d != NULL; d = d->next)
        if (d->is_begun && d->shown != NULL)
            vt_job_stopped_at(&g->j, d->shown, d->got);
}

enum vt_rc vt_sftp_get(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                       const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transfer_result *r, struct vt_err *e)
{
    struct get *g = calloc(1, sizeof *g);
    if (g == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    g->into.fd = -1;
    g->waiting_end = &g->waiting;
    g->known.end = &g->known.first;
    g->queued.end = &g->queued.first;
    g->reading.end = &g->reading.first;
    if (vt_job_begin(&g->j, ssh, o, w, deadline, r, e) == VT_OK && open_target(g, target) == VT_OK) {
        begin_sources(g, sources, n);
        if (g->j.s.rc == VT_OK && run(g) == VT_OK) {
            set_folders(g);
            rename_roots(g);
            vt_job_told(&g->j);
        }
    }
    enum vt_rc rc = vt_job_result(&g->j);
    if (g->j.s.rc != VT_OK)
        tell_where(g);
    get_fini(g);
    return rc;
}
