/* sftp_get.c - downloads by SFTP: folders are listed and files fetched at the same time.
 *
 * A folder that is new here is made under a temporary name, and its files need none then;
 * below a folder that is there this holds for each outermost one that is new.
 */
#include "transfer/sftp_get.h"
#include "transfer/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARKED_MAX 32               /* files that wait for their checksums */
#define MEMORY_MAX (256 * 1024 * 1024)          /* of what a server lists */

void vt_get_queue_add(struct vt_get_queue *q, struct vt_download *d)
{
    d->next_queued = NULL;
    *q->end = d;
    q->end = &d->next_queued;
}

void vt_get_queue_drop(struct vt_get_queue *q)
{
    q->first = q->first->next_queued;
    if (q->first == NULL)
        q->end = &q->first;
}

bool vt_get_account(struct vt_sftp_get *g, size_t n)
{
    g->memory += n + 64;            /* what malloc adds */
    if (g->memory > MEMORY_MAX)
        vt_sftp_stop(&g->j.s, VT_TOOBIG, 0, "the server lists too many files and folders");
    return g->memory <= MEMORY_MAX;
}

void vt_get_account_back(struct vt_sftp_get *g, size_t n)
{
    g->memory -= n + 64;
}

static void on_closed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)op, (void)r;              /* a CLOSE after reading changes nothing */
    ((struct vt_sftp_get *)ctx)->asking--;
}

void vt_get_close_handle(struct vt_sftp_get *g, const char *handle, size_t n)
{
    g->asking++;
    vt_sftp_ask_handle(&g->j.s, VT_FXP_CLOSE, handle, n, on_closed, g);
}

/* ---- sources ---- */

static void on_root_real(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_folder *f = ctx;
    char real[4096];
    (void)op;
    vt_sftp_take_real(r, real);
    if (real[0] != '\0')
        f->real = vt_job_copy(&f->g->j, real);
}

/* The folder that a source of the same name fills. */
static struct vt_get_root *find_root(const struct vt_sftp_get *g, const char *name)
{
    struct vt_get_root *root = g->roots;
    while (root != NULL && (root->in != NULL || strcmp(root->name, name) != 0))
        root = root->next;
    return root;
}

static struct vt_get_root *begin_root(struct vt_sftp_get *g, const char *remote, const char *here)
{
    struct stat st;
    struct vt_get_root *root = find_root(g, here);
    if (root != NULL && !root->is_void) {
        root->is_shared = true;
        return root;
    }
    bool is_new = fstatat(g->into.fd, here, &st, AT_SYMLINK_NOFOLLOW) < 0;
    if (!is_new && !S_ISDIR(st.st_mode)) {
        vt_job_fail(&g->j, remote, 0, VT_INVALID, 0, S_ISLNK(st.st_mode) ? "a folder cannot replace a link"
                                                                         : "a folder cannot replace a file");
        return NULL;
    }
    root = vt_get_root_new(g, NULL, here, is_new);
    if (root == NULL && g->j.s.rc == VT_OK)
        vt_job_fail(&g->j, remote, 0, VT_IO, errno, strerror(errno));
    return root;
}

/* A folder among the sources.  name: here; "" for the contents into the target. */
static void begin_folder_source(struct vt_sftp_get *g, const char *remote, const char *name, const struct vt_attrs *a)
{
    struct vt_get_root *root = begin_root(g, remote, name[0] != '\0' ? name : ".");
    struct vt_folder *f = root == NULL ? NULL : vt_folder_new(g, NULL, root, remote, a);
    if (f == NULL)
        return;
    f->is_top = true;
    f->exists_already = root->temp == NULL || root->is_shared;
    /* Needed once links are found in it: asked before it is listed, and not waited for. */
    vt_sftp_ask(&g->j.s, VT_FXP_REALPATH, remote, on_root_real, f);
    if (g->j.s.rc == VT_OK) {
        g->j.r->folders += !f->exists_already;
        vt_folder_queue(f);
    }
}

/* What a source is has come; d->name is its name here. */
static void begin_source(struct vt_download *d)
{
    struct vt_sftp_get *g = d->g;
    bool has_mode = d->attrs.flags & VT_ATTR_MODE;
    d->is_link = has_mode && S_ISLNK(d->attrs.mode) && g->j.o->keep_links;      /* else it was followed */
    if (has_mode && S_ISDIR(d->attrs.mode)) {
        begin_folder_source(g, d->remote, d->name, &d->attrs);
    } else if (has_mode && !S_ISREG(d->attrs.mode) && !d->is_link) {
        vt_download_failed(d, EMEDIUMTYPE);
    } else if (d->name[0] == '\0' || (g->into.name != NULL && vt_plan_is_folder(g->target))) {
        vt_job_fail(&g->j, d->remote, 0, VT_INVALID, 0, "the target folder is not there");
    } else {
        vt_download_queue(d);
        return;
    }
    vt_download_free(d);
}

static void on_source_known(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_download *d = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    d->g->asking--;
    if (r->type == VT_FXP_ATTRS)
        d->attrs = vt_take_attrs(&c);
    else
        vt_download_refused(d, r);
}

static struct vt_download *ask_source(struct vt_sftp_get *g, const char *remote)
{
    char *name = g->into.name != NULL ? vt_job_copy(&g->j, g->into.name) : vt_path_name(remote);
    struct vt_download *d = name != NULL ? vt_download_new(g, NULL, name, remote) : NULL;
    if (name == NULL)
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
    free(name);
    if (d == NULL)
        return NULL;
    g->asking++;
    vt_sftp_ask(&g->j.s, g->j.o->keep_links ? VT_FXP_LSTAT : VT_FXP_STAT, remote, on_source_known, d);
    return d;
}

/* The sources' names, patterns made into what they stand for. */
static void expand(struct vt_sftp_get *g, const char *source, struct vt_names *names)
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

static int by_name(const void *a, const void *b)
{
    const struct vt_download *x = *(struct vt_download *const *)a, *y = *(struct vt_download *const *)b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : strcmp(x->remote, y->remote);
}

static void run(struct vt_sftp_get *g);
static void end_folders(struct vt_sftp_get *g, bool all);

/* Of several sources of one name, the later ones begin when the earlier ones are there. */
static void mark_repeats(struct vt_download **list, size_t n)
{
    struct vt_download **sorted = calloc(n + 1, sizeof *sorted);
    if (sorted == NULL)
        return;
    memcpy(sorted, list, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 0; i + 1 < n; i++)
        if (strcmp(sorted[i]->name, sorted[i + 1]->name) == 0)
            sorted[i]->is_repeat = sorted[i + 1]->is_repeat = true;
    free(sorted);
}

/* What is begun is done, and has its name. */
static void finish_begun(struct vt_sftp_get *g)
{
    run(g);
    end_folders(g, true);
}

/* What is in a folder whose contents are asked for may have any source's name: it is alone. */
static bool is_contents(const struct vt_download *d)
{
    return d->name[0] == '\0' && !d->failed;
}

static void begin_known(struct vt_sftp_get *g, struct vt_download **list, size_t n)
{
    mark_repeats(list, n);
    for (size_t i = 0; i < n && g->j.s.rc == VT_OK; i++) {
        bool alone = list[i]->is_repeat || (is_contents(list[i]) && i + 1 < n);
        if (i > 0 && is_contents(list[i]))
            finish_begun(g);
        if (list[i]->failed)
            vt_download_free(list[i]);
        else
            begin_source(list[i]);
        if (!alone)
            continue;
        run(g);
        end_folders(g, false);
    }
}

static void begin_sources(struct vt_sftp_get *g, const char *const *sources, size_t n)
{
    struct vt_names names = {0};
    for (size_t i = 0; i < n && g->j.s.rc == VT_OK; i++)
        expand(g, sources[i], &names);
    if (names.n > 1 && g->into.name != NULL)
        vt_sftp_stop(&g->j.s, VT_INVALID, 0, "several sources need a folder as target");
    struct vt_download **list = calloc(names.n + 1, sizeof *list);
    if (list == NULL)
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
    for (size_t i = 0; i < names.n && g->j.s.rc == VT_OK; i++)
        list[i] = ask_source(g, names.list[i]);
    while (g->j.s.rc == VT_OK && g->asking > 0)
        (void)!vt_sftp_turn(&g->j.s);
    if (g->j.s.rc == VT_OK)
        begin_known(g, list, names.n);
    vt_names_fini(&names);
    free(list);
}

/* ---- all of it ---- */

/* Folders may not take all that may be open, or no file would ever be done. */
static unsigned listing_max(const struct vt_sftp_get *g)
{
    unsigned quarter = g->j.s.files_max / 4;
    return quarter > 0 ? quarter : 1;
}

static void begin_folders(struct vt_sftp_get *g)
{
    while (g->waiting != NULL && g->listing < listing_max(g) && g->queue_len < VT_GET_QUEUE_MAX && g->j.s.rc == VT_OK) {
        struct vt_folder *f = g->waiting;
        g->waiting = f->next_waiting;
        if (g->waiting == NULL)
            g->waiting_end = &g->waiting;
        vt_folder_list(f);
    }
    while (g->paused != NULL && g->queue_len < VT_GET_QUEUE_MAX / 2 && g->j.s.rc == VT_OK) {
        struct vt_folder *f = g->paused;
        g->paused = f->next_waiting;
        vt_folder_list_on(f);
    }
}

static void begin_downloads(struct vt_sftp_get *g)
{
    unsigned most = g->j.s.files_max - (g->j.s.files_max > 1 ? listing_max(g) : 0);
    while (g->queued.first != NULL && g->open < most && g->j.s.rc == VT_OK) {
        struct vt_download *d = g->queued.first;
        vt_get_queue_drop(&g->queued);
        g->queue_len--;
        vt_download_begin(d);
    }
}

static bool is_busy(const struct vt_sftp_get *g)
{
    return g->open > 0 || g->listing > 0 || g->asking > 0;
}

static void run(struct vt_sftp_get *g)
{
    do {
        begin_folders(g);
        begin_downloads(g);
        vt_download_read(g);
        if (g->parked_n >= PARKED_MAX || (g->parked_n > 0 && g->parked_n == g->open && g->listing + g->asking == 0))
            vt_download_verify_parked(g);
        if (is_busy(g) && g->j.s.rc == VT_OK)
            (void)!vt_sftp_turn(&g->j.s);
    } while (g->j.s.rc == VT_OK && (is_busy(g) || g->queued.first != NULL || g->waiting != NULL));
}

/* The deepest come first, as they were found last: a mode may forbid what follows. */
static void set_folders(struct vt_sftp_get *g, bool all)
{
    for (struct vt_folder *f = g->folders; f != NULL && vt_job_goes_on(&g->j); f = f->next) {
        const struct vt_attrs *a = &f->attrs;
        struct timespec times[2] = {{.tv_sec = a->atime}, {.tv_sec = a->mtime}};
        int fd = f->exists_already || f->is_set || (f->root->in == NULL && !all) ? -1 : vt_folder_use(f);
        if (fd < 0)
            continue;
        if (g->j.o->sync && fsync(fd) < 0)
            vt_job_fail(&g->j, f->name, 0, VT_IO, errno, strerror(errno));
        (void)fchmod(fd, (a->flags & VT_ATTR_MODE ? a->mode & 0777 : 0755) & ~g->mask);
        if (g->j.o->keep_times && a->flags & VT_ATTR_TIMES)
            (void)futimens(fd, times);
        vt_folder_unuse(f);
        f->is_set = true;
    }
}

static void name_root(struct vt_sftp_get *g, struct vt_get_root *root)
{
    int fd = root->in != NULL ? vt_folder_use(root->in) : g->into.fd;
    if (fd >= 0 && vt_rename_new(fd, root->temp, root->name)) {
        free(root->temp);
        root->temp = NULL;
    } else {
        vt_job_fail(&g->j, root->name, 0, VT_IO, errno, strerror(errno));
    }
    if (root->in != NULL && fd >= 0)
        vt_folder_unuse(root->in);
}

/* New folders get their names; those in folders that were there first, or alone. */
static void end_folders(struct vt_sftp_get *g, bool all)
{
    set_folders(g, all);
    for (struct vt_get_root *root = g->roots; root != NULL && vt_job_goes_on(&g->j); root = root->next) {
        if (root->temp == NULL || root->is_void || (root->in == NULL && !all))
            continue;
        name_root(g, root);
    }
}

/* The names, too, are on the disk then. */
static void sync_names(struct vt_sftp_get *g)
{
    for (struct vt_folder *f = g->folders; f != NULL && vt_job_goes_on(&g->j); f = f->next) {
        int fd = f->exists_already ? vt_folder_use(f) : -1;
        if (fd >= 0 && fsync(fd) < 0)
            vt_job_fail(&g->j, f->name, 0, VT_IO, errno, strerror(errno));
        if (fd >= 0)
            vt_folder_unuse(f);
    }
    if (fsync(g->into.fd) < 0)
        vt_job_fail(&g->j, g->target, 0, VT_IO, errno, strerror(errno));
}

static bool remove_root(struct vt_clean_up *c, struct vt_sftp_get *g, const struct vt_get_root *root)
{
    int fd = root->in != NULL ? vt_folder_use(root->in) : g->into.fd;
    bool gone = fd >= 0 && vt_clean_up_tree(c, fd, root->temp);
    if (root->in != NULL && fd >= 0)
        vt_folder_unuse(root->in);
    return gone;
}

static enum vt_rc remove_unfinished(struct vt_sftp_get *g, enum vt_rc rc)
{
    struct vt_clean_up c;
    vt_clean_up_begin(&c, g->j.s.w, g->j.s.rc);
    while (g->files != NULL)
        vt_download_free(g->files);
    for (struct vt_get_root *root = g->roots; root != NULL; root = root->next)
        if (root->temp != NULL && !(vt_clean_up_goes_on(&c) && remove_root(&c, g, root)))
            vt_job_left(&g->j, root->temp);
    return vt_job_cleaned(&g->j, &c, rc);
}

static enum vt_rc open_target(struct vt_sftp_get *g, const char *target)
{
    g->target = target;
    g->mask = vt_mask();
    enum vt_rc rc = vt_target_open(&g->into, target);
    if (rc == VT_INVALID)
        vt_sftp_stop(&g->j.s, rc, 0, "the target is no file, folder or device");
    else if (rc != VT_OK)
        vt_sftp_stop(&g->j.s, rc, errno, rc == VT_IO ? strerror(errno) : NULL);
    if (rc == VT_IO)
        vt_job_stopped_at(&g->j, target, 0);
    return g->j.s.rc;
}

static void get_fini(struct vt_sftp_get *g)
{
    for (struct vt_folder *f = g->folders, *next; f != NULL; f = next) {
        next = f->next;
        vt_folder_free(f);
    }
    for (struct vt_get_root *root = g->roots, *next; root != NULL; root = next) {
        next = root->next;
        free(root->name);
        free(root->temp);
        free(root);
    }
    vt_target_close(&g->into);
    vt_job_fini(&g->j);
    free(g);
}

static void tell_where(struct vt_sftp_get *g)
{
    for (struct vt_download *d = g->files; d != NULL; d = d->next)
        if (d->is_begun && d->remote != NULL)
            vt_job_stopped_at(&g->j, d->remote, d->got);
}

enum vt_rc vt_sftp_get(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                       const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transfer_result *r, struct vt_err *e)
{
    struct vt_sftp_get *g = calloc(1, sizeof *g);
    if (g == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    g->into.fd = -1;
    g->waiting_end = &g->waiting;
    g->queued.end = &g->queued.first;
    g->reading.end = &g->reading.first;
    if (vt_job_begin(&g->j, ssh, o, w, deadline, r, e) == VT_OK && open_target(g, target) == VT_OK) {
        begin_sources(g, sources, n);
        if (g->j.s.rc == VT_OK)
            run(g);
        if (g->j.s.rc == VT_OK)
            end_folders(g, true);
        if (o->sync && g->j.s.rc == VT_OK)
            sync_names(g);
    }
    enum vt_rc rc = vt_job_end(&g->j);
    if (g->j.s.rc != VT_OK)
        tell_where(g);
    rc = remove_unfinished(g, rc);
    get_fini(g);
    return rc;
}
