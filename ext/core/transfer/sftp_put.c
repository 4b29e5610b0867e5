/* sftp_put.c - uploads by SFTP: sources walked, files begun, many in flight. */
#include "transfer/sftp_put.h"
#include "transfer/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX (1024 * 1024)     /* bytes of requests that are not sent */
#define PARKED_MAX 32               /* files that wait for their checksums */

/* The nearest that SFTP has. */
static uint32_t sftp_time(int64_t seconds)
{
    return seconds < 0 ? 0 : seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

struct vt_attrs vt_put_attrs(const struct vt_transfer_options *o, const struct stat *st)
{
    struct vt_attrs a = {.flags = VT_ATTR_MODE, .mode = st->st_mode & 07777};
    if (o->keep_times) {
        a.flags |= VT_ATTR_TIMES;
        a.atime = sftp_time(st->st_atime);
        a.mtime = sftp_time(st->st_mtime);
    }
    return a;
}

/* ---- files and links ---- */

/* Begins the upload of the open file, which it takes over. */
static void begin_upload(struct vt_sftp_put *p, struct vt_source *src, const char *path, bool in_place,
                         const char *shown)
{
    bool direct = p->target_is_special || (p->j.o->in_place && !in_place);
    struct vt_upload *u = vt_upload_new(p, path, in_place || direct, shown);
    if (u == NULL) {
        vt_source_close(src);
        return;
    }
    u->src = *src;
    u->is_direct = direct;
    u->direct_flags = p->target_is_special ? 0 : VT_FXF_CREAT | VT_FXF_TRUNC;
    p->j.total += (uint64_t)src->st.st_size;
    vt_upload_begin(u);
}

static void on_linked(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    (void)op;
    u->pending--;
    vt_upload_is(u, VT_UP_CLOSING);
    u->is_made = vt_sftp_ok(r);
    if (!u->is_made)
        vt_upload_refused(u, r);
    vt_upload_settle(u);
}

/* OpenSSH takes the two names the other way round than the draft says, and others do as
 * OpenSSH does. */
static void begin_link(struct vt_sftp_put *p, int folder_fd, const char *name, const char *path, bool in_place,
                       const char *shown)
{
    char to[4096];
    ssize_t n = readlinkat(folder_fd, name, to, sizeof to - 1);
    if (n < 0) {
        vt_job_fail(&p->j, shown, 0, VT_IO, errno, strerror(errno));
        return;
    }
    to[n] = '\0';
    struct vt_upload *u = vt_upload_new(p, path, in_place, shown);
    if (u == NULL)
        return;
    u->is_link = true;
    vt_upload_is(u, VT_UP_OPENING);
    (void)vt_upload_ask_old(u);
    struct vt_packet packet = vt_sftp_begin(&p->j.s, VT_FXP_SYMLINK, on_linked, u, 0, 0);
    vt_packet_text(&packet, to);
    vt_packet_text(&packet, u->path);
    vt_sftp_end(&p->j.s, &packet);
    u->pending++;
}

static void begin_file(struct vt_sftp_put *p, int folder_fd, const char *name, const char *path, bool in_place,
                       const char *shown)
{
    struct vt_source src;
    if (vt_source_open(&src, folder_fd, name))
        begin_upload(p, &src, path, in_place, shown);
    else
        vt_job_fail(&p->j, shown, 0, VT_IO, errno, vt_source_why(errno));
}

/* ---- walking ---- */

static void begin_entry(struct vt_sftp_put *p, const struct vt_entry *entry)
{
    if (entry->kind == VT_ENTRY_LEFT_OUT)
        (void)!vt_job_goes_on(&p->j);
    if (entry->kind == VT_ENTRY_LEFT_OUT || vt_put_is_below(entry->path, p->skipped))
        return;
    char *path = vt_put_path_of(p, entry->path), *shown = vt_job_join(&p->j, p->walking->shown, entry->path);
    bool in_place = vt_put_is_in_new(p);
    if (p->j.s.rc != VT_OK)
        ;                           /* no memory for the names */
    else if (entry->kind == VT_ENTRY_FAILED)
        vt_job_fail(&p->j, shown, 0, VT_IO, entry->sys, vt_source_why(entry->sys));
    else if (entry->kind == VT_ENTRY_FOLDER && in_place)
        (void)vt_put_make(p, path, NULL, &entry->st, shown);
    else if (entry->kind == VT_ENTRY_FOLDER)
        vt_put_merge(p, entry, path, shown);
    else if (entry->kind == VT_ENTRY_LINK)
        begin_link(p, entry->folder_fd, entry->name, path, in_place, shown);
    else
        begin_file(p, entry->folder_fd, entry->name, path, in_place, shown);
    free(path);
    free(shown);
}

/* ---- sources ---- */

static void step(struct vt_sftp_put *p);

/* Until nothing is in flight: what comes next has the name of something that was begun. */
void vt_put_drain(struct vt_sftp_put *p)
{
    while (p->j.s.rc == VT_OK && p->open > 0)
        step(p);
}

static struct vt_put_root *find_root(struct vt_sftp_put *p, const char *dest)
{
    struct vt_put_root *root = p->roots;
    while (root != NULL && strcmp(root->dest, dest) != 0)
        root = root->next;
    return root;
}

static struct vt_put_root *add_root(struct vt_sftp_put *p, const char *dest, const char *path, const char *source)
{
    struct vt_put_root *root = calloc(1, sizeof *root);
    if (root == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    root->next = p->roots;
    p->roots = root;
    root->dest = vt_job_copy(&p->j, dest);
    root->path = vt_job_copy(&p->j, path);
    root->shown = vt_job_copy(&p->j, source);
    return p->j.s.rc == VT_OK ? root : NULL;
}

/* The folder that a path is in gets a new name. */
static void touch_parent(struct vt_sftp_put *p, const char *path)
{
    char *folder = NULL, *name = NULL;
    if (!p->j.o->sync || p->target_is_special)
        return;
    if (vt_path_split(path, &folder, &name) == VT_OK)
        vt_put_touched(p, folder);
    else
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
    free(folder);
    free(name);
}

/* Fills the folder dest.  Several sources of one name go into one folder. */
static void begin_folder(struct vt_sftp_put *p, const char *source, const struct stat *st, const char *dest, bool is_new)
{
    int fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || vt_walk_begin(&p->walk, fd, !p->j.o->keep_links, &p->j.o->exclude) != VT_OK) {
        vt_job_fail(&p->j, source, 0, VT_IO, errno, strerror(errno));
        return;
    }
    const struct vt_put_root *earlier = find_root(p, dest);
    const struct vt_made *fresh = NULL;
    p->skipped[0] = '\0';
    p->is_repeated = earlier != NULL;
    if (earlier != NULL)
        vt_put_drain(p);
    else if (is_new) {
        touch_parent(p, dest);
        vt_put_map(p, "", fresh = vt_put_make_fresh(p, dest, st, source), true);
    } else {
        vt_put_touched(p, dest);
    }
    if (p->j.s.rc == VT_OK)
        p->walking = add_root(p, dest, earlier != NULL ? earlier->path : fresh != NULL ? fresh->path : dest, source);
}

/* Whether the folder that a source becomes is there. */
static void begin_folder_source(struct vt_sftp_put *p, const char *source, const struct stat *st, const char *dest,
                                bool is_target)
{
    struct vt_attrs a = {0};
    uint32_t status = VT_FX_OK;
    bool is_new = !p->target_exists;
    if (!is_target) {
        if (vt_remote_stat(&p->j.s, dest, true, &a, &status) != VT_OK)
            return;
        is_new = status != VT_FX_OK;
    }
    if (!is_new && (is_target ? !p->target_is_folder : (a.flags & VT_ATTR_MODE && !S_ISDIR(a.mode))))
        vt_job_fail(&p->j, source, 0, VT_INVALID, 0, "a folder cannot replace a file");
    else
        begin_folder(p, source, st, dest, is_new);
}

static bool is_on_its_way(const struct vt_sftp_put *p, const char *dest)
{
    for (const struct vt_upload *u = p->files; u != NULL; u = u->next)
        if (u->final != NULL && strcmp(u->final, dest) == 0)
            return true;
    return false;
}

static void begin_file_source(struct vt_sftp_put *p, const char *source, const struct stat *st, const char *dest)
{
    if (!p->target_is_folder && vt_plan_is_folder(p->target)) {
        vt_job_fail(&p->j, source, 0, VT_INVALID, 0, "the target folder is not there");
        return;
    }
    touch_parent(p, dest);
    if (is_on_its_way(p, dest))
        vt_put_drain(p);                   /* the last of a name wins */
    if (p->j.s.rc == VT_OK && S_ISLNK(st->st_mode))
        begin_link(p, AT_FDCWD, source, dest, false, source);
    else if (p->j.s.rc == VT_OK)
        begin_file(p, AT_FDCWD, source, dest, false, source);
}

static void begin_source(struct vt_sftp_put *p, const char *source)
{
    struct stat st;
    if ((p->j.o->keep_links ? lstat(source, &st) : stat(source, &st)) < 0) {
        vt_job_fail(&p->j, source, 0, VT_IO, errno, strerror(errno));
        return;
    }
    char *name = vt_path_name(source);
    if (name == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return;
    }
    bool is_target = !p->target_is_folder || name[0] == '\0';
    char *dest = is_target ? vt_job_copy(&p->j, p->target) : vt_job_join(&p->j, p->target, name);
    if (dest != NULL && S_ISDIR(st.st_mode))
        begin_folder_source(p, source, &st, dest, is_target);
    else if (dest != NULL)
        begin_file_source(p, source, &st, dest);
    free(name);
    free(dest);
}

static void end_walk(struct vt_sftp_put *p)
{
    vt_put_unmap(p);
    p->walking = NULL;
}

/* Begins the next file, folder or source.  False: there is none. */
static bool begin_next(struct vt_sftp_put *p)
{
    struct vt_entry entry;
    if (p->walking != NULL) {
        if (vt_walk_next(&p->walk, &entry))
            begin_entry(p, &entry);
        else
            end_walk(p);
        return true;
    }
    if (p->at == p->n)
        return false;
    begin_source(p, p->sources[p->at++]);
    return true;
}

/* ---- all of it ---- */

/* What is in flight moves on. */
static void step(struct vt_sftp_put *p)
{
    vt_upload_send(p);
    if (p->parked_n >= PARKED_MAX || (p->parked_n > 0 && p->parked_n == p->open))
        vt_upload_verify_parked(p);
    vt_upload_count_second(p);
    if (p->j.s.rc == VT_OK && vt_upload_waits_for_second(p) && p->j.s.outstanding == 0)
        vt_upload_wait_second(p);
    else if (p->j.s.rc == VT_OK && p->open > 0)
        (void)!vt_sftp_turn(&p->j.s);
}

static enum vt_rc run(struct vt_sftp_put *p)
{
    bool more = true;
    while (p->j.s.rc == VT_OK && (more || p->open > 0)) {
        vt_upload_send(p);
        while (more && p->j.s.rc == VT_OK && p->open < p->j.s.files_max && vt_sftp_queued(&p->j.s) < QUEUE_MAX)
            more = begin_next(p);
        step(p);
    }
    return p->j.s.rc;
}

static size_t leftovers(const struct vt_sftp_put *p)
{
    size_t n = 0;
    for (const struct vt_upload *u = p->files; u != NULL; u = u->next)
        n += u->final != NULL;
    bool any = false;               /* a new folder goes with all that is in it */
    for (const struct vt_made *m = p->made; m != NULL && !any; m = m->next)
        any = m->final != NULL && !m->is_named;
    return any ? n + 1 + p->j.r->folders + p->j.r->files : n;
}

/* The end came too early: what is temporary goes, if the server still listens. */
static void clean_up(struct vt_sftp_put *p)
{
    vt_upload_end_second(p);
    size_t n = leftovers(p);
    bool alive = vt_job_revive(&p->j, n), gone;
    if (!alive && n > 0 && vt_job_reconnect(&p->j, n))
        alive = vt_sftp_open(&p->j.s) == VT_OK;
    if (p->files != NULL && p->files->shown != NULL)
        vt_job_stopped_at(&p->j, p->files->shown, p->files->done);
    vt_upload_clean(p, alive);
    for (struct vt_made *m = p->made; m != NULL; m = m->next) {
        if (m->final == NULL || m->is_named || m->path == NULL)
            continue;
        if (!alive || vt_remote_remove(&p->j.s, m->path, &gone) != VT_OK || !gone)
            vt_job_left(&p->j, m->path);
    }
}

/* A link is written through, as scp does: its end is replaced or made, not the link. */
static void follow_target(struct vt_sftp_put *p)
{
    struct vt_attrs a = {0};
    struct vt_buf real;
    uint32_t status = VT_FX_OK;
    size_t n = strlen(p->target);
    if (n > 0 && p->target[n - 1] == '/')
        return;
    vt_buf_init(&real, 8192);
    if (vt_remote_stat(&p->j.s, p->target, false, &a, &status) == VT_OK && status == VT_FX_OK
        && a.flags & VT_ATTR_MODE && S_ISLNK(a.mode)
        && vt_remote_real(&p->j.s, p->target, &real, &status) == VT_OK && status == VT_FX_OK) {
        free(p->target);
        p->target = vt_job_copy(&p->j, real.data);
    }
    vt_buf_fini(&real);
}

/* Makes the folders above the target; and the target itself if it can be nothing but a folder. */
static void make_parents(struct vt_sftp_put *p)
{
    bool is_folder = p->n > 1 || vt_plan_is_folder(p->target);
    char *path = vt_job_copy(&p->j, p->target);
    for (char *at = path != NULL ? path + 1 : NULL; at != NULL && *at != '\0'; at++) {
        uint32_t status = VT_FX_OK;
        bool at_end = at[1] == '\0';
        if (at[0] != '/' && !(at_end && is_folder))
            continue;
        char was = at[0];
        if (was == '/')
            *at = '\0';
        /* It is there already, or what follows fails. */
        if (vt_remote_make_folder(&p->j.s, path, &status) == VT_OK && status == VT_FX_OK)
            touch_parent(p, path);
        *at = was;
    }
    p->target_exists = p->target_is_folder = is_folder;
    free(path);
}

static enum vt_rc look_at_target(struct vt_sftp_put *p, const char *target)
{
    struct vt_attrs a = {0};
    struct vt_buf path;
    uint32_t status = VT_FX_OK;
    vt_buf_init(&path, 8192);
    if (vt_remote_expand(&p->j.s, target, &path) == VT_OK
        && (p->target = vt_job_copy(&p->j, path.data)) != NULL
        && vt_remote_stat(&p->j.s, p->target, true, &a, &status) == VT_OK) {
        p->target_exists = status == VT_FX_OK;
        p->target_is_folder = p->target_exists && a.flags & VT_ATTR_MODE && S_ISDIR(a.mode);
        p->target_is_special = p->target_exists && a.flags & VT_ATTR_MODE && !S_ISDIR(a.mode)
            && !S_ISREG(a.mode);
        if (p->target_is_special && !S_ISCHR(a.mode) && !S_ISBLK(a.mode))
            vt_sftp_stop(&p->j.s, VT_INVALID, 0, "the target is no file, folder or device");
        if (!p->target_is_folder)
            follow_target(p);
        if (p->target_is_folder && p->j.o->is_name)
            vt_sftp_stop(&p->j.s, VT_INVALID, 0, "the target is a folder");
        if (!p->target_exists && p->j.o->parents)
            make_parents(p);
        if (p->n > 1 && !p->target_is_folder)
            vt_sftp_stop(&p->j.s, VT_INVALID, 0, "several sources need a folder as target");
    }
    vt_buf_fini(&path);
    return p->j.s.rc;
}

static void put_fini(struct vt_sftp_put *p)
{
    vt_walk_end(&p->walk);
    end_walk(p);
    while (p->files != NULL)
        vt_upload_free(p->files);
    for (struct vt_put_root *root = p->roots, *next; root != NULL; root = next) {
        next = root->next;
        free(root->dest);
        free(root->path);
        free(root->shown);
        free(root);
    }
    vt_put_free_folders(p);
    free(p->target);
    vt_job_fini(&p->j);
    free(p);
}

enum vt_rc vt_sftp_put(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                       const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transfer_result *r, struct vt_err *e)
{
    struct vt_sftp_put *p = calloc(1, sizeof *p);
    if (p == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    p->sources = sources;
    p->n = n;
    p->sending_end = &p->sending;
    if (vt_job_begin(&p->j, ssh, o, w, deadline, r, e) == VT_OK && look_at_target(p, target) == VT_OK
        && run(p) == VT_OK)
        vt_put_end_folders(p);
    enum vt_rc rc = vt_job_end(&p->j);
    if (p->j.s.rc != VT_OK)
        clean_up(p);
    put_fini(p);
    return rc;
}
