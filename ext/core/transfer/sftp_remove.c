/* sftp_remove.c - removing a tree on an SFTP server: many folders are listed at once, so that a
 * tree takes a few round trips and not a few for each folder. */
#include "transfer/sftp_ask.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_LIMIT 8192
#define DEPTH_MAX 128
#define MEMORY_MAX (64 * 1024 * 1024)       /* of folders that are known and not removed */
#define AT_ONCE 32
#define EMPTY_MAX 1000

struct removal;

struct node {
    struct node *next_waiting, *parent;         /* to be listed; the folder that it is in */
    struct node *next, **link;      /* all */
    struct removal *r;
    char *path, *handle;
    size_t handle_len;
    unsigned children, empty_answers;
    int depth;
    bool is_listed;
};

struct removal {
    struct vt_sftp *s;
    struct node *waiting, *all;
    size_t memory;
    unsigned listing, nodes;
};

static void not_asked(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)ctx, (void)op, (void)r;   /* what could not be removed shows later */
}

static void add_folder(struct removal *r, struct node *parent, const char *path)
{
    struct node *n = calloc(1, sizeof *n);
    char *copy = strdup(path);
    r->memory += sizeof *n + strlen(path) + 64;
    if (n == NULL || copy == NULL || r->memory > MEMORY_MAX) {
        vt_sftp_stop(r->s, n == NULL || copy == NULL ? VT_NOMEM : VT_TOOBIG, 0, NULL);
        free(n);
        free(copy);
        return;
    }
    *n = (struct node){.next_waiting = r->waiting, .parent = parent, .next = r->all, .link = &r->all, .r = r,
                       .path = copy, .depth = parent != NULL ? parent->depth + 1 : 0};
    if (n->next != NULL)
        n->next->link = &n->next;
    r->waiting = r->all = n;
    r->nodes++;
    if (parent != NULL)
        parent->children++;
}

static void free_node(struct node *n)
{
    n->r->memory -= sizeof *n + strlen(n->path) + 64;
    n->r->nodes--;
    *n->link = n->next;
    if (n->next != NULL)
        n->next->link = n->link;
    free(n->path);
    free(n->handle);
    free(n);
}

/* A folder whose folders are gone goes, and perhaps the one that it is in. */
static void settle(struct node *n)
{
    while (n != NULL && n->is_listed && n->children == 0) {
        struct node *parent = n->parent;
        vt_sftp_ask(n->r->s, VT_FXP_RMDIR, n->path, not_asked, NULL);
        free_node(n);
        if (parent != NULL)
            parent->children--;
        n = parent;
    }
}

static void end_listing(struct node *n)
{
    if (n->handle != NULL)
        vt_sftp_ask_handle(n->r->s, VT_FXP_CLOSE, n->handle, n->handle_len, not_asked, NULL);
    n->is_listed = true;
    n->r->listing--;
    settle(n);
}

static void remove_entry(struct node *n, struct vt_span name, const struct vt_attrs *a)
{
    struct vt_buf path;
    char text[256];
    if (!vt_name_is_safe(name))
        return;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    vt_buf_init(&path, PATH_LIMIT);
    if (vt_path_join(&path, n->path, text) != VT_OK)
        ;                           /* then the folder stays, and is told */
    else if (a->flags & VT_ATTR_MODE && S_ISDIR(a->mode) && n->depth < DEPTH_MAX)
        add_folder(n->r, n, path.data);
    else
        vt_sftp_ask(n->r->s, VT_FXP_REMOVE, path.data, not_asked, NULL);
    vt_buf_fini(&path);
}

static void on_names(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *reply);

static void list_on(struct node *n)
{
    vt_sftp_ask_handle(n->r->s, VT_FXP_READDIR, n->handle, n->handle_len, on_names, n);
}

static void on_names(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *reply)
{
    struct node *n = ctx;
    struct vt_cursor c = reply->body;
    (void)op;
    if (reply->type != VT_FXP_NAME) {
        end_listing(n);
        return;
    }
    uint32_t count = vt_take_u32(&c);
    n->empty_answers = count == 0 ? n->empty_answers + 1 : 0;
    for (; count > 0 && !c.bad && n->r->s->rc == VT_OK; count--) {
        struct vt_span name = vt_take_bytes(&c);
        (void)vt_take_bytes(&c);    /* a line as of ls: for people */
        struct vt_attrs a = vt_take_attrs(&c);
        if (!c.bad)
            remove_entry(n, name, &a);
    }
    if (c.bad || n->empty_answers > EMPTY_MAX)
        vt_sftp_stop(n->r->s, VT_PROTO, 0, "the SFTP server sent damaged names");
    list_on(n);
}

static void on_opened(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *reply)
{
    struct node *n = ctx;
    struct vt_cursor c = reply->body;
    struct vt_span handle = reply->type == VT_FXP_HANDLE ? vt_take_bytes(&c) : (struct vt_span){0};
    (void)op;
    n->handle = handle.n > 0 ? malloc(handle.n) : NULL;
    if (n->handle == NULL) {
        end_listing(n);
        return;
    }
    memcpy(n->handle, handle.p, handle.n);
    n->handle_len = handle.n;
    list_on(n);
}

static void list(struct node *n)
{
    struct vt_sftp *s = n->r->s;
    struct vt_attrs open_to_us = {.flags = VT_ATTR_MODE, .mode = 0700};
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_SETSTAT, not_asked, NULL, 0, 0);
    vt_packet_text(&p, n->path);    /* it may have got its own mode, which forbids this */
    vt_packet_attrs(&p, &open_to_us);
    vt_sftp_end(s, &p);
    n->r->listing++;
    vt_sftp_ask(s, VT_FXP_OPENDIR, n->path, on_opened, n);
}

static void run(struct removal *r)
{
    unsigned most = r->s->files_max < AT_ONCE ? r->s->files_max : AT_ONCE;
    while (r->nodes > 0 && r->s->rc == VT_OK) {
        while (r->waiting != NULL && r->listing < most) {
            struct node *n = r->waiting;
            r->waiting = n->next_waiting;
            list(n);
        }
        (void)!vt_sftp_turn(r->s);
    }
}

/* After an end: what is not removed is forgotten. */
static void forget(struct removal *r)
{
    for (uint32_t i = 0; i < r->s->op_count; i++)
        if (r->s->ops[i].fn == on_opened || r->s->ops[i].fn == on_names)
            r->s->ops[i].fn = not_asked;
    while (r->all != NULL)
        free_node(r->all);
}

static void remove_tree(struct vt_sftp *s, const char *path)
{
    struct removal r = {.s = s};
    add_folder(&r, NULL, path);
    run(&r);
    forget(&r);
}

enum vt_rc vt_remote_remove(struct vt_sftp *s, const char *path, bool *gone)
{
    struct vt_attrs a = {0};
    uint32_t status = VT_FX_OK;
    *gone = false;
    if (vt_remote_stat(s, path, false, &a, &status) != VT_OK)
        return s->rc;
    if (status == VT_FX_OK && a.flags & VT_ATTR_MODE && S_ISDIR(a.mode))
        remove_tree(s, path);
    else if (status == VT_FX_OK)
        vt_sftp_ask(s, VT_FXP_REMOVE, path, not_asked, NULL);
    if (s->rc == VT_OK && vt_remote_stat(s, path, false, &a, &status) == VT_OK)
        *gone = status == VT_FX_NO_SUCH_FILE;
    return s->rc;
}
