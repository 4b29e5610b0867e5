/* sftp_folders.c - the folders of an upload by SFTP: made, filled, and named at the end.
 *
 * The server answers in order, so a folder's MKDIR and the OPENs in it may follow each
 * other without waiting.  A folder that is new on the server is made under a temporary
 * name, and its files need none then; below a folder that is there this holds for each
 * outermost one that is new.
 */
#include "transfer/sftp_put.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX (1024 * 1024)     /* bytes of requests that are not sent */

/* ---- made ---- */

static void on_folder_made(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_made *m = ctx;
    (void)op;
    m->p->open--;
    m->failed = !vt_sftp_ok(r);
    if (m->failed)
        vt_job_refused(&m->p->j, m->shown, 0, r);
    else
        m->p->j.r->folders++;
}

/* Makes a folder that is not there.  final: its name in the end, if another than path. */
struct vt_made *vt_put_make(struct vt_sftp_put *p, const char *path, const char *final, const struct stat *st,
                                   const char *shown)
{
    struct vt_made *m = calloc(1, sizeof *m);
    if (m == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    *m = (struct vt_made){.next = p->made, .p = p, .path = vt_job_copy(&p->j, path),
                          .final = final != NULL ? vt_job_copy(&p->j, final) : NULL,
                          .shown = vt_job_copy(&p->j, shown), .st = *st};
    p->made = m;
    if (p->j.s.rc != VT_OK)
        return NULL;
    struct vt_attrs a = {.flags = VT_ATTR_MODE, .mode = 0700};
    struct vt_packet packet = vt_sftp_begin(&p->j.s, VT_FXP_MKDIR, on_folder_made, m, 0, 0);
    vt_packet_text(&packet, path);
    vt_packet_attrs(&packet, &a);
    vt_sftp_end(&p->j.s, &packet);
    p->open++;
    return m;
}

/* A new folder that is to be called path: made under a temporary name. */
const struct vt_made *vt_put_make_fresh(struct vt_sftp_put *p, const char *path, const struct stat *st,
                                        const char *shown)
{
    char *temp = vt_put_temp_path(p, path);
    const struct vt_made *m = temp != NULL ? vt_put_make(p, temp, path, st, shown) : NULL;
    free(temp);
    return m;
}

/* ---- where things go ---- */

/* What is below the folder at `at` goes into one that has a temporary name. */
void vt_put_map(struct vt_sftp_put *p, const char *at, const struct vt_made *made, bool is_new)
{
    char *copy = made != NULL ? vt_job_copy(&p->j, at) : NULL;
    if (copy != NULL)
        p->maps[p->maps_n++] = (struct vt_put_map){copy, made, is_new};
}

static void pop_map(struct vt_sftp_put *p)
{
    free(p->maps[--p->maps_n].at);
}

void vt_put_unmap(struct vt_sftp_put *p)
{
    while (p->maps_n > 0)
        pop_map(p);
}

/* Whether the path is below a folder; both are below the walk's top. */
bool vt_put_is_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && path[n] == '/';
}

/* The path on the server of what the walk has found. */
char *vt_put_path_of(struct vt_sftp_put *p, const char *path)
{
    while (p->maps_n > 0 && p->maps[p->maps_n - 1].at[0] != '\0' && !vt_put_is_below(path, p->maps[p->maps_n - 1].at))
        pop_map(p);
    if (p->maps_n == 0)
        return vt_job_join(&p->j, p->walking->path, path);
    size_t n = strlen(p->maps[p->maps_n - 1].at);
    return vt_job_join(&p->j, p->maps[p->maps_n - 1].made->path, path + (n > 0 ? n + 1 : 0));
}

bool vt_put_is_in_new(const struct vt_sftp_put *p)
{
    return p->maps_n > 0 && p->maps[p->maps_n - 1].is_new;
}

/* A folder that a source before made, and that has no name so far. */
static const struct vt_made *find_made(const struct vt_sftp_put *p, const char *final)
{
    for (const struct vt_made *m = p->made; m != NULL && p->is_repeated; m = m->next)
        if (m->final != NULL && strcmp(m->final, final) == 0)
            return m;
    return NULL;
}

/* A folder below one that was there. */
void vt_put_merge(struct vt_sftp_put *p, const struct vt_entry *entry, const char *path, const char *shown)
{
    struct vt_attrs a = {0};
    uint32_t status = VT_FX_OK;
    const struct vt_made *earlier = find_made(p, path);
    if (earlier != NULL) {
        vt_put_map(p, entry->path, earlier, false);
        return;
    }
    if (vt_remote_stat(&p->j.s, path, true, &a, &status) != VT_OK)
        return;
    if (status != VT_FX_OK) {
        vt_put_map(p, entry->path, vt_put_make_fresh(p, path, &entry->st, shown), true);
    } else if (a.flags & VT_ATTR_MODE && !S_ISDIR(a.mode)) {
        vt_job_fail(&p->j, shown, 0, VT_INVALID, 0, "a folder cannot replace a file");
        memcpy(p->skipped, entry->path, strlen(entry->path) + 1);
    } else {
        vt_put_touched(p, path);
    }
}

/* ---- the end ---- */

static void on_folder_set(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)op, (void)r;              /* a file system without modes is no failure */
    ((struct vt_sftp_put *)ctx)->open--;
}

static void on_folder_named(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_made *m = ctx;
    (void)op;
    m->p->open--;
    m->is_named = vt_sftp_ok(r);
    if (!m->is_named)
        vt_job_refused(&m->p->j, m->shown, 0, r);
}

/* A folder gets its mode, then its name.  What is inside has got both: it was made later. */
static void end_folder(struct vt_made *m)
{
    struct vt_sftp_put *p = m->p;
    struct vt_attrs a = vt_put_attrs(p->j.o, &m->st);
    if (m->failed)
        return;
    struct vt_packet packet = vt_sftp_begin(&p->j.s, VT_FXP_SETSTAT, on_folder_set, p, 0, 0);
    vt_packet_text(&packet, m->path);
    vt_packet_attrs(&packet, &a);
    vt_sftp_end(&p->j.s, &packet);
    p->open++;
    if (m->final == NULL)
        return;
    vt_sftp_rename_new(&p->j.s, m->path, m->final, on_folder_named, m);
    p->open++;
}

/* ---- on the disk ---- */

void vt_put_touched(struct vt_sftp_put *p, const char *path)
{
    if (!p->j.o->sync || (p->touched != NULL && strcmp(p->touched->path, path) == 0))
        return;
    struct vt_put_sync *y = calloc(1, sizeof *y);
    char *copy = y != NULL ? vt_job_copy(&p->j, path) : NULL;
    if (copy == NULL) {
        free(y);
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return;
    }
    *y = (struct vt_put_sync){.next = p->touched, .p = p, .path = copy};
    p->touched = y;
}

static void on_sync_closed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)op, (void)r;
    ((struct vt_put_sync *)ctx)->p->open--;
}

static void on_folder_synced(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_put_sync *y = ctx;
    (void)op;
    y->p->open--;
    if (!vt_sftp_ok(r))
        vt_job_refused(&y->p->j, y->path, 0, r);
}

/* To OpenSSH a folder can be opened as a file that is read. */
static void on_folder_opened(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_put_sync *y = ctx;
    struct vt_sftp *s = &y->p->j.s;
    struct vt_cursor c = r->body;
    struct vt_span handle = r->type == VT_FXP_HANDLE ? vt_take_bytes(&c) : (struct vt_span){0};
    (void)op;
    y->p->open--;
    if (r->type == VT_FXP_STATUS || !vt_sftp_is(s, r, VT_FXP_HANDLE)) {
        vt_job_refused(&y->p->j, y->path, 0, r);
        return;
    }
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_EXTENDED, on_folder_synced, y, 0, 0);
    vt_packet_text(&p, "fsync@openssh.com");
    vt_packet_bytes(&p, handle.p, handle.n);
    vt_sftp_end(s, &p);
    vt_sftp_ask_handle(s, VT_FXP_CLOSE, handle.p, handle.n, on_sync_closed, y);
    y->p->open += 2;
}

static void sync_folder(struct vt_put_sync *y)
{
    struct vt_sftp *s = &y->p->j.s;
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_OPEN, on_folder_opened, y, 0, 0);
    vt_packet_text(&p, y->path);
    vt_packet_u32(&p, VT_FXF_READ);
    vt_packet_u32(&p, 0);           /* no attributes */
    vt_sftp_end(s, &p);
    y->p->open++;
    while (s->rc == VT_OK && y->p->open >= s->files_max)
        (void)!vt_sftp_turn(s);
}

/* New folders before they get their modes, which may forbid it, and their names; those that were
 * there when all names are in them. */
static void sync_made(struct vt_sftp_put *p)
{
    bool wanted = p->j.o->sync && p->j.s.has_fsync;
    for (struct vt_made *m = p->made; m != NULL && wanted && p->j.s.rc == VT_OK; m = m->next) {
        if (m->failed)
            continue;
        m->sync = (struct vt_put_sync){.p = p, .path = m->path};
        sync_folder(&m->sync);
    }
    vt_put_drain(p);
}

static void sync_touched(struct vt_sftp_put *p)
{
    if (p->touched != NULL && !p->j.s.has_fsync)
        return;                     /* each file has failed for that */
    for (struct vt_put_sync *y = p->touched; y != NULL && p->j.s.rc == VT_OK; y = y->next)
        sync_folder(y);
    vt_put_drain(p);
}

/* ---- all of them ---- */

/* All at once, as the server works in order.  A folder that can't get its name is removed. */
void vt_put_end_folders(struct vt_sftp_put *p)
{
    sync_made(p);
    for (struct vt_made *m = p->made; m != NULL && p->j.s.rc == VT_OK; m = m->next) {
        end_folder(m);
        if (vt_sftp_queued(&p->j.s) >= QUEUE_MAX)
            (void)!vt_sftp_turn(&p->j.s);
    }
    vt_put_drain(p);
    for (struct vt_made *m = p->made; m != NULL && p->j.s.rc == VT_OK; m = m->next) {
        bool gone = true;
        if (m->final == NULL || m->failed || m->is_named)
            continue;
        if (vt_remote_remove(&p->j.s, m->path, &gone) == VT_OK && !gone)
            vt_job_left(&p->j, m->path);
        m->is_named = p->j.s.rc == VT_OK;       /* it is no longer ours */
    }
    sync_touched(p);
}

void vt_put_free_folders(struct vt_sftp_put *p)
{
    for (struct vt_made *m = p->made, *next; m != NULL; m = next) {
        next = m->next;
        free(m->path);
        free(m->final);
        free(m->shown);
        free(m);
    }
    for (struct vt_put_sync *y = p->touched, *next; y != NULL; y = next) {
        next = y->next;
        free(y->path);
        free(y);
    }
}
