/* sftp_place.c - an upload's file after its last byte: its name, or away.
 *
 * Where the server's rename replaces, one RENAME does it.  Elsewhere the old file is renamed
 * aside and the new one into its place, both asked at once; then the old one is removed, or
 * comes back.  It is never removed before the new one has its name.
 */
#include "transfer/sftp_put.h"
#include "transfer/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- uploads ---- */

char *vt_put_temp_path(struct vt_sftp_put *p, const char *path)
{
    char *folder = NULL, *name = NULL, temp[256], *joined = NULL;
    if (vt_path_split(path, &folder, &name) == VT_OK) {
        vt_temp_name(name, temp);
        joined = vt_job_join(&p->j, folder, temp);
    } else {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
    }
    free(folder);
    free(name);
    return joined;
}

struct vt_upload *vt_upload_new(struct vt_sftp_put *p, const char *path, bool in_place, const char *shown)
{
    struct vt_upload *u = calloc(1, sizeof *u);
    if (u == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    u->p = p;
    u->src.fd = -1;
    u->link = &p->files;
    u->next = p->files;
    if (u->next != NULL)
        u->next->link = &u->next;
    p->files = u;
    p->open++;
    u->shown = vt_job_copy(&p->j, shown);
    vt_sha256_init(&u->hash);
    u->path = in_place ? vt_job_copy(&p->j, path) : vt_put_temp_path(p, path);
    u->final = in_place ? NULL : vt_job_copy(&p->j, path);
    return p->j.s.rc == VT_OK ? u : NULL;
}

void vt_upload_free(struct vt_upload *u)
{
    *u->link = u->next;
    if (u->next != NULL)
        u->next->link = u->link;
    u->p->open--;
    vt_source_close(&u->src);
    free(u->path);
    free(u->final);
    free(u->aside);
    free(u->shown);
    free(u);
}

void vt_upload_is(struct vt_upload *u, enum vt_upload_state state)
{
    u->state = state;
}

void vt_upload_refused(struct vt_upload *u, const struct vt_sftp_reply *r)
{
    if (!u->failed)
        vt_job_refused(&u->p->j, u->shown, u->done, r);
    u->failed = true;
}

void vt_upload_failed(struct vt_upload *u, enum vt_rc rc, int sys, const char *text)
{
    if (!u->failed)
        vt_job_fail(&u->p->j, u->shown, u->done, rc, sys, text);
    u->failed = true;
}

static void on_removed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    (void)op;
    if (!vt_sftp_ok(r) && r->status != VT_FX_NO_SUCH_FILE)
        vt_job_left(&u->p->j, u->path);
    vt_upload_free(u);
}

/* Ends a file that failed; nothing of it is left. */
void vt_upload_give_up(struct vt_upload *u)
{
    if (!u->is_made || u->is_direct) {
        vt_upload_free(u);
        return;
    }
    vt_upload_is(u, VT_UP_REMOVING);
    vt_sftp_ask(&u->p->j.s, VT_FXP_REMOVE, u->path, on_removed, u);
}

/* ---- what has the name ---- */

/* Times that prove nothing are as good as none: what they are of is replaced. */
static void distrust_time(struct vt_upload *u)
{
    if (!vt_plan_is_sure_time(u->old.mtime) || !vt_plan_is_sure_time(u->src.st.st_mtime))
        u->old.flags &= ~(uint32_t)VT_ATTR_TIMES;
}

static void on_old(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    u->pending--;
    if (r->type == VT_FXP_ATTRS) {
        u->old = vt_take_attrs(&c);
        distrust_time(u);
        u->is_old = true;
        if (u->final != NULL && u->old.flags & VT_ATTR_MODE && S_ISDIR(u->old.mode))
            vt_upload_failed(u, VT_INVALID, 0, "a folder is in the way");
    }
    if (u->state == VT_UP_COMPARING)
        vt_upload_compared(u);
    else
        vt_upload_settle(u);
}

/* Asked before OPEN, so that it is known without another round trip. */
bool vt_upload_ask_old(struct vt_upload *u)
{
    bool in_place = u->is_direct && !u->p->target_is_special;
    if (u->final == NULL && !in_place)
        return false;
    u->pending++;
    vt_sftp_ask(&u->p->j.s, in_place ? VT_FXP_STAT : VT_FXP_LSTAT, in_place ? u->path : u->final, on_old, u);
    return true;
}

/* ---- names ---- */

static void finished(struct vt_upload *u)
{
    *(u->is_link ? &u->p->j.r->links : &u->p->j.r->files) += 1;
    vt_upload_free(u);
}

static void on_tidied(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    (void)op;
    if (!vt_sftp_ok(r) && r->status != VT_FX_NO_SUCH_FILE) {
        vt_job_left(&u->p->j, u->aside);
        vt_upload_refused(u, r);
    }
    finished(u);
}

static void on_back(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    (void)op;
    if (!vt_sftp_ok(r))
        vt_job_left(&u->p->j, u->aside);
    vt_upload_give_up(u);
}

/* Both answers are there. */
static void replaced(struct vt_upload *u)
{
    struct vt_sftp *s = &u->p->j.s;
    if (u->pending > 0)
        return;
    if (u->is_in && !u->is_aside) {
        finished(u);                /* the old one had gone meanwhile */
    } else if (u->is_in) {
        vt_upload_is(u, VT_UP_TIDYING);
        vt_sftp_ask(s, VT_FXP_REMOVE, u->aside, on_tidied, u);
    } else if (u->is_aside) {
        vt_upload_is(u, VT_UP_BACK);
        vt_sftp_rename_new(s, u->aside, u->final, on_back, u);
    } else {
        vt_upload_give_up(u);
    }
}

static void on_aside(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    (void)op;
    u->pending--;
    u->is_aside = vt_sftp_ok(r);
    replaced(u);
}

static void on_in(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    (void)op;
    u->pending--;
    u->is_in = vt_sftp_ok(r);
    if (!u->is_in)
        vt_upload_refused(u, r);
    replaced(u);
}

static void replace(struct vt_upload *u)
{
    struct vt_sftp *s = &u->p->j.s;
    size_t n = strlen(u->path) + sizeof ".old";
    u->aside = malloc(n);
    if (u->aside == NULL) {
        vt_sftp_stop(s, VT_NOMEM, 0, NULL);
        return;
    }
    snprintf(u->aside, n, "%s.old", u->path);
    vt_upload_is(u, VT_UP_REPLACING);
    u->pending = 2;
    vt_sftp_rename_new(s, u->final, u->aside, on_aside, u);
    vt_sftp_rename_new(s, u->path, u->final, on_in, u);
}

static void on_named(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    (void)op;
    bool is_there = r->status == VT_FX_FAILURE || r->status == VT_FX_FILE_ALREADY_EXISTS;
    if (vt_sftp_ok(r)) {
        finished(u);
    } else if (is_there && !u->p->j.s.has_posix_rename && !u->is_old) {
        replace(u);                 /* something has come there, perhaps */
    } else {
        vt_upload_refused(u, r);
        vt_upload_give_up(u);
    }
}

static void name(struct vt_upload *u)
{
    if (u->is_old && !u->p->j.s.has_posix_rename) {
        replace(u);
        return;
    }
    vt_upload_is(u, VT_UP_NAMING);
    vt_sftp_rename(&u->p->j.s, u->path, u->final, on_named, u);
}

static void park(struct vt_upload *u)
{
    vt_upload_is(u, VT_UP_PARKED);
    u->check.path = u->path;
    u->check.ctx = u;
    u->check.next = u->p->parked;
    u->p->parked = &u->check;
    u->p->parked_n++;
    vt_sha256_end(&u->hash, u->check.sum);
}

void vt_upload_settle(struct vt_upload *u)
{
    bool verify = u->p->j.o->verify && !u->is_verified && !u->is_link && !u->is_direct;
    if (u->pending > 0 || u->state < VT_UP_CLOSING || u->p->j.s.rc != VT_OK)
        return;
    if (u->failed)
        vt_upload_give_up(u);
    else if (verify)
        park(u);
    else if (u->final != NULL)
        name(u);
    else
        finished(u);
}

/* Those that wait for their checksums go on, or away. */
void vt_upload_verify_parked(struct vt_sftp_put *p)
{
    struct vt_check *list = p->parked;
    p->parked = NULL;
    p->parked_n = 0;
    if (vt_verify(&p->j.s, list) != VT_OK)
        return;
    for (struct vt_check *check = list, *next; check != NULL; check = next) {
        struct vt_upload *u = check->ctx;
        next = check->next;
        u->is_verified = true;
        if (check->is != VT_SAME)
            vt_upload_failed(u, VT_REMOTE, 0, vt_sameness_text(check->is));
        vt_upload_settle(u);
    }
}

/* ---- after the end ---- */

static void ignore(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)ctx, (void)op, (void)r;
}

static void on_final_seen(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)op;
    ((struct vt_upload *)ctx)->is_in = r->type == VT_FXP_ATTRS;
}

static void on_cleaned(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)op;
    ((struct vt_upload *)ctx)->is_gone = vt_sftp_ok(r) || r->status == VT_FX_NO_SUCH_FILE;
}

static void on_aside_cleaned(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)op;
    ((struct vt_upload *)ctx)->is_tidy = vt_sftp_ok(r) || r->status == VT_FX_NO_SUCH_FILE;
}

static bool is_temporary(const struct vt_upload *u)
{
    return u->final != NULL && u->path != NULL && !u->is_direct && u->state != VT_UP_COMPARING;
}

static void answer_all(struct vt_sftp_put *p)
{
    while (p->j.s.outstanding > 0 && vt_sftp_turn(&p->j.s) == VT_OK)
        ;
}

/* Which of the two renames was done nobody knows: the old file comes back unless something,
 * it or the new one, has the name. */
static void bring_back(struct vt_sftp_put *p)
{
    for (struct vt_upload *u = p->files; u != NULL; u = u->next) {
        if (!is_temporary(u) || u->aside == NULL)
            continue;
        vt_sftp_rename_new(&p->j.s, u->aside, u->final, ignore, u);
        vt_sftp_ask(&p->j.s, VT_FXP_LSTAT, u->final, on_final_seen, u);
    }
    answer_all(p);
}

static void remove_all(struct vt_sftp_put *p)
{
    for (struct vt_upload *u = p->files; u != NULL; u = u->next) {
        if (!is_temporary(u))
            continue;
        vt_sftp_ask(&p->j.s, VT_FXP_REMOVE, u->path, on_cleaned, u);
        if (u->aside != NULL && u->is_in)
            vt_sftp_ask(&p->j.s, VT_FXP_REMOVE, u->aside, on_aside_cleaned, u);
    }
    answer_all(p);
}

void vt_upload_clean(struct vt_sftp_put *p, bool alive)
{
    for (struct vt_upload *u = p->files; u != NULL; u = u->next)
        u->is_in = u->is_gone = u->is_tidy = false;
    if (alive) {
        bring_back(p);
        remove_all(p);
        if (p->j.again != NULL)
            bring_back(p);          /* the server of the lost connection may have gone on */
    }
    for (struct vt_upload *u = p->files; u != NULL; u = u->next) {
        if (is_temporary(u) && u->aside != NULL && !u->is_tidy)
            vt_job_left(&p->j, u->aside);       /* perhaps the only one there is: told first */
        if (is_temporary(u) && !u->is_gone)
            vt_job_left(&p->j, u->path);
    }
}
