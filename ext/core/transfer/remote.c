/* remote.c - questions to an SFTP server, one at a time. */
#include "transfer/remote.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_LIMIT 8192
#define DEPTH_MAX 128
#define NAMES_MAX 1000000           /* in one folder */

struct question {
    struct vt_sftp *s;
    bool done;
    uint32_t status;
    struct vt_attrs attrs;
    struct vt_buf *text;            /* of a NAME answer, or of a HANDLE */
    void (*entry)(void *ctx, struct vt_span name, const struct vt_attrs *a);
    void *ctx;
};

/* ---- asking ---- */

static void take_names(struct question *q, struct vt_cursor c)
{
    for (uint32_t n = vt_take_u32(&c); n > 0 && !c.bad; n--) {
        struct vt_span name = vt_take_bytes(&c);
        (void)vt_take_bytes(&c);    /* a line as of ls: for people */
        struct vt_attrs a = vt_take_attrs(&c);
        if (c.bad)
            break;
        if (q->entry != NULL)
            q->entry(q->ctx, name, &a);
        else if (q->text != NULL && q->text->len == 0 && vt_buf_add(q->text, name.p, name.n) != VT_OK)
            vt_sftp_stop(q->s, VT_NOMEM, 0, NULL);
    }
    if (c.bad)
        vt_sftp_stop(q->s, VT_PROTO, 0, "the SFTP server sent damaged names");
}

static void on_answer(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct question *q = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    q->done = true;
    q->status = r->status;
    if (r->type == VT_FXP_ATTRS) {
        q->attrs = vt_take_attrs(&c);
    } else if (r->type == VT_FXP_NAME || r->type == VT_FXP_EXTENDED_REPLY) {
        take_names(q, c);
    } else if (r->type == VT_FXP_HANDLE && q->text != NULL) {
        struct vt_span handle = vt_take_bytes(&c);
        if (vt_buf_add(q->text, handle.p, handle.n) != VT_OK)
            vt_sftp_stop(q->s, VT_NOMEM, 0, NULL);
    } else if (r->type != VT_FXP_STATUS) {
        (void)vt_sftp_is(q->s, r, VT_FXP_STATUS);
    }
}

/* For answers that change nothing: what could not be removed shows later. */
static void not_asked(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)ctx, (void)op, (void)r;
}

static enum vt_rc finish(struct question *q)
{
    while (q->s->rc == VT_OK && !q->done)
        (void)!vt_sftp_turn(q->s);
    for (uint32_t i = 0; !q->done && i < q->s->op_count; i++)
        if (q->s->ops[i].fn != NULL && q->s->ops[i].ctx == q)
            q->s->ops[i].fn = not_asked;        /* the question lives on this stack */
    return q->s->rc;
}

static enum vt_rc ask(struct question *q, enum vt_fxp type, const char *path)
{
    vt_sftp_ask(q->s, type, path, on_answer, q);
    return finish(q);
}

enum vt_rc vt_remote_stat(struct vt_sftp *s, const char *path, bool follow, struct vt_attrs *a,
                          uint32_t *status)
{
    struct question q = {.s = s};
    enum vt_rc rc = ask(&q, follow ? VT_FXP_STAT : VT_FXP_LSTAT, path);
    *a = q.attrs;
    *status = q.status;
    return rc;
}

enum vt_rc vt_remote_real(struct vt_sftp *s, const char *path, struct vt_buf *out, uint32_t *status)
{
    struct question q = {.s = s, .text = out};
    vt_buf_clear(out);
    enum vt_rc rc = ask(&q, VT_FXP_REALPATH, path);
    *status = q.status;
    if (rc == VT_OK && q.status == VT_FX_OK && vt_buf_add(out, "", 1) != VT_OK)
        vt_sftp_stop(s, VT_NOMEM, 0, NULL);
    return s->rc;
}

/* ---- paths ---- */

enum vt_rc vt_path_join(struct vt_buf *path, const char *folder, const char *name)
{
    size_t n = strlen(folder);
    vt_buf_clear(path);
    enum vt_rc rc = VT_OK;
    if (strcmp(folder, ".") != 0 || name[0] == '\0') {
        rc = vt_buf_add(path, folder, n);
        if (rc == VT_OK && n > 0 && folder[n - 1] != '/' && name[0] != '\0')
            rc = vt_buf_add(path, "/", 1);
    }
    return rc == VT_OK ? vt_buf_add(path, name, strlen(name) + 1) : rc;
}

static enum vt_rc set_text(struct vt_sftp *s, struct vt_buf *out, const char *text)
{
    vt_buf_clear(out);
    if (vt_buf_add(out, text, strlen(text) + 1) != VT_OK)
        vt_sftp_stop(s, VT_NOMEM, 0, NULL);
    return s->rc;
}

enum vt_rc vt_remote_expand(struct vt_sftp *s, const char *path, struct vt_buf *out)
{
    if (path[0] == '\0' || strcmp(path, "~") == 0 || strcmp(path, "~/") == 0)
        return set_text(s, out, ".");
    if (strncmp(path, "~/", 2) == 0) {
        path += 2 + strspn(path + 2, "/");
        return set_text(s, out, *path != '\0' ? path : ".");
    }
    if (path[0] != '~' || !s->has_expand_path)
        return set_text(s, out, path);
    struct question q = {.s = s, .text = out};
    vt_buf_clear(out);
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_EXTENDED, on_answer, &q, 0, 0);
    vt_packet_text(&p, "expand-path@openssh.com");
    vt_packet_text(&p, path);
    vt_sftp_end(s, &p);
    if (finish(&q) != VT_OK)
        return s->rc;
    if (q.status != VT_FX_OK || out->len == 0)
        return set_text(s, out, path);
    if (vt_buf_add(out, "", 1) != VT_OK)
        vt_sftp_stop(s, VT_NOMEM, 0, NULL);
    return s->rc;
}

/* ---- folders ---- */

void vt_names_fini(struct vt_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->list[i]);
    free(names->list);
    *names = (struct vt_names){0};
}

static bool names_add(struct vt_names *names, const char *text, size_t n)
{
    if (names->n == names->cap) {
        size_t cap = names->cap == 0 ? 16 : names->cap * 2;
        char **list = cap > NAMES_MAX ? NULL : realloc(names->list, cap * sizeof *list);
        if (list == NULL)
            return false;
        names->list = list;
        names->cap = cap;
    }
    char *copy = strndup(text, n);
    if (copy != NULL)
        names->list[names->n++] = copy;
    return copy != NULL;
}

/* Reads the folder, entry by entry; q has the function for them. */
static enum vt_rc read_folder(struct question *q, const char *path)
{
    struct vt_buf handle;
    struct question opening = {.s = q->s, .text = &handle}, closing = {.s = q->s};
    vt_buf_init(&handle, 256);
    if (ask(&opening, VT_FXP_OPENDIR, path) == VT_OK && (q->status = opening.status) == VT_FX_OK) {
        do {
            q->done = false;
            vt_sftp_ask_handle(q->s, VT_FXP_READDIR, handle.data, handle.len, on_answer, q);
        } while (finish(q) == VT_OK && q->status == VT_FX_OK);
        vt_sftp_ask_handle(q->s, VT_FXP_CLOSE, handle.data, handle.len, on_answer, &closing);
        (void)!finish(&closing);
    }
    vt_buf_fini(&handle);
    return q->s->rc;
}

struct matching { struct vt_sftp *s; const char *pattern; struct vt_names *names; };

static void match_entry(void *ctx, struct vt_span name, const struct vt_attrs *a)
{
    struct matching *m = ctx;
    char text[256];
    (void)a;
    if (!vt_name_is_safe(name))
        return;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (fnmatch(m->pattern, text, FNM_PERIOD) == 0 && !names_add(m->names, text, name.n))
        vt_sftp_stop(m->s, VT_NOMEM, 0, NULL);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_pattern(const char *text)
{
    return strpbrk(text, "*?[") != NULL;
}

static enum vt_rc glob_part(struct vt_sftp *s, const char *folder, const char *rest, struct vt_names *out,
                            int depth);

/* One part of the pattern is decided: on with the others, or it is a result. */
static enum vt_rc glob_next(struct vt_sftp *s, const char *folder, const char *name, const char *rest,
                            bool is_sure, struct vt_names *out, int depth)
{
    struct vt_buf path;
    struct vt_attrs a;
    uint32_t status = VT_FX_OK;
    vt_buf_init(&path, PATH_LIMIT);
    if (vt_path_join(&path, folder, name) != VT_OK) {
        vt_sftp_stop(s, VT_INVALID, 0, "a path is too long");
    } else if (*rest != '\0') {
        (void)!glob_part(s, path.data, rest, out, depth + 1);
    } else if (is_sure || (vt_remote_stat(s, path.data, false, &a, &status) == VT_OK && status == VT_FX_OK)) {
        if (!names_add(out, path.data, strlen(path.data)))
            vt_sftp_stop(s, VT_NOMEM, 0, NULL);
    }
    vt_buf_fini(&path);
    return s->rc;
}

static enum vt_rc glob_part(struct vt_sftp *s, const char *folder, const char *rest, struct vt_names *out,
                            int depth)
{
    char part[256];
    size_t n = strcspn(rest, "/");
    if (n >= sizeof part || depth > DEPTH_MAX)
        return VT_OK;               /* nothing has such a name */
    memcpy(part, rest, n);
    part[n] = '\0';
    rest += n;
    rest += strspn(rest, "/");
    if (!is_pattern(part))
        return glob_next(s, folder, part, rest, false, out, depth);
    struct vt_names names = {0};
    struct matching m = {s, part, &names};
    struct question q = {.s = s, .entry = match_entry, .ctx = &m};
    if (read_folder(&q, folder) == VT_OK && names.n > 0)
        qsort(names.list, names.n, sizeof *names.list, by_text);
    for (size_t i = 0; i < names.n && s->rc == VT_OK; i++)
        (void)!glob_next(s, folder, names.list[i], rest, true, out, depth);
    vt_names_fini(&names);
    return s->rc;
}

enum vt_rc vt_remote_glob(struct vt_sftp *s, const char *pattern, struct vt_names *out)
{
    struct vt_attrs a;
    uint32_t status = VT_FX_OK;
    if (is_pattern(pattern) && vt_remote_stat(s, pattern, false, &a, &status) != VT_OK)
        return s->rc;
    if (status == VT_FX_OK) {       /* a name, whatever is in it */
        if (!names_add(out, pattern, strlen(pattern)))
            vt_sftp_stop(s, VT_NOMEM, 0, NULL);
        return s->rc;
    }
    bool absolute = pattern[0] == '/';
    return glob_part(s, absolute ? "/" : ".", pattern + strspn(pattern, "/"), out, 0);
}

/* ---- removing ---- */

struct removal { struct vt_sftp *s; struct vt_names files, folders; };

static void sort_entry(void *ctx, struct vt_span name, const struct vt_attrs *a)
{
    struct removal *r = ctx;
    if (!vt_name_is_safe(name))
        return;
    bool is_folder = a->flags & VT_ATTR_MODE && S_ISDIR(a->mode);
    if (!names_add(is_folder ? &r->folders : &r->files, (const char *)name.p, name.n))
        vt_sftp_stop(r->s, VT_NOMEM, 0, NULL);
}

static enum vt_rc remove_folder(struct vt_sftp *s, const char *path, int depth);

static void remove_entries(struct vt_sftp *s, const char *folder, const struct removal *r, int depth)
{
    struct vt_buf path;
    vt_buf_init(&path, PATH_LIMIT);
    for (size_t i = 0; i < r->files.n && s->rc == VT_OK; i++) {
        if (vt_path_join(&path, folder, r->files.list[i]) == VT_OK)
            vt_sftp_ask(s, VT_FXP_REMOVE, path.data, not_asked, NULL);
        if (vt_sftp_queued(s) > 65536)
            (void)!vt_sftp_turn(s);
    }
    for (size_t i = 0; i < r->folders.n && s->rc == VT_OK; i++)
        if (vt_path_join(&path, folder, r->folders.list[i]) == VT_OK)
            (void)!remove_folder(s, path.data, depth + 1);
    vt_buf_fini(&path);
}

static enum vt_rc remove_folder(struct vt_sftp *s, const char *path, int depth)
{
    struct removal r = {.s = s};
    struct question q = {.s = s, .entry = sort_entry, .ctx = &r};
    if (depth <= DEPTH_MAX && read_folder(&q, path) == VT_OK) {
        remove_entries(s, path, &r, depth);
        vt_sftp_ask(s, VT_FXP_RMDIR, path, not_asked, NULL);
    }
    vt_names_fini(&r.files);
    vt_names_fini(&r.folders);
    return s->rc;
}

enum vt_rc vt_remote_remove(struct vt_sftp *s, const char *path, bool *gone)
{
    struct vt_attrs a = {0};
    uint32_t status = VT_FX_OK;
    *gone = false;
    if (vt_remote_stat(s, path, false, &a, &status) != VT_OK)
        return s->rc;
    if (status == VT_FX_OK && a.flags & VT_ATTR_MODE && S_ISDIR(a.mode))
        (void)!remove_folder(s, path, 0);
    else if (status == VT_FX_OK)
        vt_sftp_ask(s, VT_FXP_REMOVE, path, not_asked, NULL);
    if (s->rc == VT_OK && vt_remote_stat(s, path, false, &a, &status) == VT_OK)
        *gone = status == VT_FX_NO_SUCH_FILE;
    return s->rc;
}
