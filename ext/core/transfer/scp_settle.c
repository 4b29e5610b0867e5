/* scp_settle.c - an upload by scp's protocol: what the server's shell does for it.
 *
 * It looks at the target before; it gives files their names, some hundred at a time, and
 * folders theirs at the end; it removes what is temporary when the end came too early.
 */
#include "transfer/scp_put.h"

#include "base/ascii.h"
#include "transfer/scripts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 250                   /* files that get their names at once, */
#define BATCH_LEN (64 * 1024)       /* or so many bytes of names */
#define LEAVE_TIME (300 * VT_MS)

/* ---- items ---- */

void vt_scp_item_is(struct vt_scp_item *item, enum vt_scp_item_state state)
{
    if (item->state != VT_SCP_SPOILED)          /* from there it only goes */
        item->state = state;
}

void vt_scp_item_free(struct vt_scp_item *item)
{
    if (item == NULL)
        return;
    free(item->path);
    free(item->final);
    free(item->shown);
    free(item->to);
    free(item);
}

struct vt_scp_item *vt_scp_item_new(struct vt_scp_put *p, enum vt_scp_kind kind, const char *path,
                                    const char *final, const char *shown)
{
    struct vt_scp_item *item = calloc(1, sizeof *item);
    if (item == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    item->kind = kind;
    vt_sha256_init(&item->hash);
    item->path = vt_job_copy(&p->j, path);
    item->final = final != NULL ? vt_job_copy(&p->j, final) : NULL;
    item->shown = vt_job_copy(&p->j, shown);
    if (p->j.s.rc == VT_OK)
        return item;
    vt_scp_item_free(item);
    return NULL;
}

/* Files in the order in which they came, so that the last of a name wins; folders so that
 * what is inside comes first. */
void vt_scp_keep(struct vt_scp_put *p, struct vt_scp_item *item)
{
    item->next = NULL;
    if (item->kind == VT_SCP_A_FILE || item->kind == VT_SCP_A_LINK) {
        *p->files_end = item;
        p->files_end = &item->next;
        p->files_n++;
        p->files_len += 2 * strlen(item->path) + (item->to != NULL ? strlen(item->to) : 0);
    } else {
        item->next = p->folders;
        p->folders = item;
    }
}

/* ---- looking ---- */

char vt_scp_look(struct vt_scp_put *p, const char *path, char *parent, char **real)
{
    struct vt_sftp *s = &p->j.s;
    struct vt_script script;
    struct vt_buf out, err;
    char kind = '?';
    int status = 0;
    vt_script_init(&script);
    vt_buf_init(&out, 64 * 1024);
    vt_buf_init(&err, 64 * 1024);
    vt_script_look(&script, path);
    if (vt_shell_run(s, &script, &out, &err, &status) == VT_OK) {
        if (out.len >= 4 && strchr("dfso-", out.data[0]) != NULL && strchr("d-", out.data[1]) != NULL) {
            kind = out.data[0];
            *parent = out.data[1];
            *real = vt_job_copy(&p->j, out.data + 2);
        } else {
            vt_sftp_stop(s, VT_UNSUPPORTED, 0, "the server has neither SFTP nor a shell that scp could use");
        }
    }
    vt_script_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
    return kind;
}

void vt_scp_make_folders(struct vt_scp_put *p, const char *path)
{
    struct vt_script script;
    struct vt_buf out, err;
    int status = 0;
    vt_script_init(&script);
    vt_buf_init(&out, 64 * 1024);
    vt_buf_init(&err, 64 * 1024);
    vt_script_folders(&script, path);
    (void)!vt_shell_run(&p->j.s, &script, &out, &err, &status);
    vt_script_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
}

/* ---- names ---- */

static void add_file(const struct vt_scp_put *p, struct vt_script *x, const struct vt_scp_item *item, unsigned number)
{
    if (item->kind == VT_SCP_A_LINK) {
        vt_script_link(x, item->to, item->path, item->final, number);
        return;
    }
    if (p->target_is_special)
        return;
    if (item->state == VT_SCP_SPOILED) {
        if (!p->j.o->in_place || item->final != NULL)
            vt_script_remove(x, item->path);
        return;
    }
    const struct vt_transfer_options *o = p->j.o;
    bool gives = o->uid >= 0 && o->gid >= 0;
    if (gives)
        vt_script_owner(x, item->path, o->uid, o->gid, item->final != NULL, number);
    if (item->final != NULL)
        vt_script_file(x, item->path, item->final, item->size, item->mode,
                       o->mode >= 0 ? VT_FIT_OWN : gives ? VT_FIT_MODE : VT_FIT_ALL, number);
    else if (item->sets_mode)
        vt_script_mode(x, item->path, item->mode);
}

static void add_folder(struct vt_script *x, const struct vt_scp_item *item, unsigned number)
{
    if (item->state == VT_SCP_SPOILED && item->kind == VT_SCP_A_ROOT)
        vt_script_rm_folder(x, item->path);
    if (item->state == VT_SCP_SPOILED)
        return;
    if (item->kind == VT_SCP_FOLDER_MODE)
        vt_script_mode(x, item->path, item->mode);
    else
        vt_script_folder(x, item->path, item->final, item->kind == VT_SCP_A_ROOT, number);
}

static void mark_failed(struct vt_scp_put *p, struct vt_scp_item *list, unsigned number, const char *why)
{
    char text[160];
    vt_show(why, strcspn(why, "\n"), text, sizeof text);
    struct vt_scp_item *item = list;
    for (; item != NULL && number > 0; number--)
        item = item->next;
    if (item == NULL || item->state == VT_SCP_SPOILED)
        return;
    vt_job_fail(&p->j, item->shown, item->size, VT_REMOTE, 0,
                text[0] != '\0' ? text : "the server has another number of bytes");
    vt_scp_item_is(item, VT_SCP_SPOILED);
}

/* The script prints the numbers of what failed, a line each; returns what follows. */
static const char *take_failures(struct vt_scp_put *p, struct vt_scp_item *list, const char *at, const char *why)
{
    while (vt_is_digit(*at)) {
        char *end;
        mark_failed(p, list, (unsigned)strtoul(at, &end, 10), why);
        at = end + (*end == '\n');
    }
    return at;
}

static void name_all(struct vt_scp_put *p, struct vt_scp_item *list)
{
    struct vt_script script;
    struct vt_buf out, err;
    unsigned number = 0;
    int status = 0;
    vt_script_init(&script);
    vt_buf_init(&out, 64 * 1024);
    vt_buf_init(&err, 1024 * 1024);
    vt_script_names(&script);
    if (p->j.o->sync)
        vt_script_sync(&script);
    size_t empty = script.text.len;
    for (const struct vt_scp_item *item = list; item != NULL; item = item->next, number++) {
        if (item->kind == VT_SCP_A_FILE || item->kind == VT_SCP_A_LINK)
            add_file(p, &script, item, number);
        else
            add_folder(&script, item, number);
    }
    bool any = script.rc != VT_OK || script.text.len > empty || p->j.o->sync;
    if (p->j.o->sync)
        vt_script_sync(&script);        /* the names as well */
    vt_script_add(&script, "echo done\n");
    if (any && vt_shell_run(&p->j.s, &script, &out, &err, &status) == VT_OK && vt_buf_add(&err, "", 1) == VT_OK
        && strcmp(take_failures(p, list, out.data, err.data), "done\n") != 0)
        vt_sftp_stop(&p->j.s, VT_EOF, 0, "the server's shell ended before all had its name");
    vt_script_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
}

/* Sums of the files that are to get their names. */
static void verify(struct vt_scp_put *p)
{
    struct vt_check *list = NULL;
    for (struct vt_scp_item *item = p->files; item != NULL; item = item->next) {
        if (item->kind != VT_SCP_A_FILE || item->state == VT_SCP_SPOILED)
            continue;
        item->check.path = item->path;
        item->check.ctx = item;
        item->check.next = list;
        vt_sha256_end(&item->hash, item->check.sum);
        list = &item->check;
    }
    if (list == NULL || vt_verify(&p->j.s, list) != VT_OK)
        return;
    for (struct vt_check *check = list; check != NULL; check = check->next) {
        struct vt_scp_item *checked = check->ctx;
        if (check->is == VT_SAME)
            continue;
        vt_job_fail(&p->j, checked->shown, checked->size, VT_REMOTE, 0, vt_sameness_text(check->is));
        vt_scp_item_is(checked, VT_SCP_SPOILED);
    }
}

static void count(struct vt_scp_put *p)
{
    for (const struct vt_scp_item *item = p->files; item != NULL; item = item->next) {
        if (item->state == VT_SCP_SPOILED)
            continue;
        p->j.r->files += item->kind == VT_SCP_A_FILE;
        p->j.r->links += item->kind == VT_SCP_A_LINK;
    }
}

static void free_all(struct vt_scp_item **list)
{
    for (struct vt_scp_item *item = *list, *next; item != NULL; item = next) {
        next = item->next;
        vt_scp_item_free(item);
    }
    *list = NULL;
}

static void settle_files(struct vt_scp_put *p)
{
    if (p->files == NULL || p->j.s.rc != VT_OK)
        return;
    if (p->j.o->verify && !p->target_is_special)
        verify(p);
    if (p->j.s.rc == VT_OK)
        name_all(p, p->files);
    if (p->j.s.rc != VT_OK)
        return;                     /* they are needed for cleaning up */
    count(p);
    free_all(&p->files);
    p->files_end = &p->files;
    p->files_n = p->files_len = 0;
}

void vt_scp_settle_some(struct vt_scp_put *p)
{
    if (p->files_n < BATCH && p->files_len < BATCH_LEN)
        return;
    vt_scp_wait_answers(p);
    settle_files(p);
}

void vt_scp_settle(struct vt_scp_put *p)
{
    vt_scp_wait_answers(p);
    settle_files(p);
    if ((p->folders != NULL || p->j.o->sync) && p->j.s.rc == VT_OK)
        name_all(p, p->folders);
    if (p->j.s.rc == VT_OK)
        free_all(&p->folders);
}

/* ---- after the end ---- */

static bool is_temporary(const struct vt_scp_item *item)
{
    return item->state != VT_SCP_NEW && item->final != NULL
        && (item->kind == VT_SCP_A_FILE || item->kind == VT_SCP_A_ROOT);
}

/* Its scp may still make what it was told of last; in a file's bytes there are no names. */
static void let_go(struct vt_scp_put *p)
{
    vt_scp_forget(&p->c);
    if (!p->is_sending)
        vt_scp_finish(&p->c, vt_now() + LEAVE_TIME);
    p->j.s.rc = VT_OK;
    vt_scp_close(&p->c);
}

static bool any_temporary(const struct vt_scp_item *item)
{
    while (item != NULL && !is_temporary(item))
        item = item->next;
    return item != NULL;
}

/* What may have to be removed; a folder goes with all that is in it. */
static size_t temporaries(const struct vt_scp_put *p)
{
    size_t n = 0;
    for (const struct vt_scp_item *item = p->files; item != NULL; item = item->next)
        n += is_temporary(item);
    return any_temporary(p->folders) ? n + 1 + p->j.r->folders + p->j.r->files : n;
}

static void add_removals(const struct vt_scp_put *p, struct vt_script *x)
{
    size_t line = 0;
    for (const struct vt_scp_item *item = p->files; item != NULL; item = item->next)
        if (is_temporary(item))
            vt_script_rm(x, item->path, &line);
    for (const struct vt_scp_item *item = p->folders; item != NULL; item = item->next)
        if (is_temporary(item))
            vt_script_rm_folder(x, item->path);
    vt_script_gone(x);
    for (const struct vt_scp_item *item = p->files; item != NULL; item = item->next)
        if (is_temporary(item))
            vt_script_is_gone(x, item->path);
    for (const struct vt_scp_item *item = p->folders; item != NULL; item = item->next)
        if (is_temporary(item))
            vt_script_is_gone(x, item->path);
}

/* at: what the script printed of each, or NULL if it was not run. */
static void tell_left(struct vt_scp_put *p, const struct vt_scp_item *list, const char **at)
{
    for (const struct vt_scp_item *item = list; item != NULL; item = item->next) {
        if (!is_temporary(item))
            continue;
        if (*at == NULL || **at != '0')
            vt_job_left(&p->j, item->path);
        if (*at != NULL && **at != '\0')
            *at += 2;
    }
}

void vt_scp_clean_up(struct vt_scp_put *p)
{
    struct vt_script script;
    struct vt_buf out, err;
    int status = 1;
    size_t n = temporaries(p);
    bool alive = vt_job_revive_connection(&p->j, n);
    if (alive && p->c.channel != NULL)
        let_go(p);
    p->j.s.rc = VT_OK;
    vt_script_init(&script);
    vt_buf_init(&out, 1024 * 1024);
    vt_buf_init(&err, 1024 * 1024);
    add_removals(p, &script);
    if (n > 0 && !alive) {
        vt_scp_close(&p->c);
        alive = vt_job_reconnect(&p->j, n);
    }
    if (n > 0) {
        bool done = alive && vt_shell_run(&p->j.s, &script, &out, &err, &status) == VT_OK && status == 0;
        const char *at = done ? out.data : NULL;
        tell_left(p, p->files, &at);
        tell_left(p, p->folders, &at);
    }
    vt_script_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
}
