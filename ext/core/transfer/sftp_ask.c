/* sftp_ask.c - questions to an SFTP server, one at a time. */
#include "transfer/sftp_ask.h"

#include "base/ascii.h"

#include <stdlib.h>
#include <string.h>

#define EMPTY_MAX 1000              /* answers without a name, one after the other */

/* ---- asking ---- */

static void take_names(struct vt_question *q, struct vt_cursor c)
{
    uint32_t n = vt_take_u32(&c);
    q->empty_answers = n == 0 ? q->empty_answers + 1 : 0;
    if (q->empty_answers > EMPTY_MAX)
        vt_sftp_stop(q->s, VT_PROTO, 0, "the SFTP server lists nothing, and no end");
    for (; n > 0 && !c.bad; n--) {
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
    struct vt_question *q = ctx;
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

static enum vt_rc finish(struct vt_question *q)
{
    while (q->s->rc == VT_OK && !q->done)
        (void)!vt_sftp_turn(q->s);
    for (uint32_t i = 0; !q->done && i < q->s->op_count; i++)
        if (q->s->ops[i].fn != NULL && q->s->ops[i].ctx == q)
            q->s->ops[i].fn = not_asked;        /* the question lives on this stack */
    return q->s->rc;
}

static enum vt_rc ask(struct vt_question *q, enum vt_fxp type, const char *path)
{
    vt_sftp_ask(q->s, type, path, on_answer, q);
    return finish(q);
}

enum vt_rc vt_remote_stat(struct vt_sftp *s, const char *path, bool follow, struct vt_attrs *a,
                          uint32_t *status)
{
    struct vt_question q = {.s = s};
    enum vt_rc rc = ask(&q, follow ? VT_FXP_STAT : VT_FXP_LSTAT, path);
    *a = q.attrs;
    *status = q.status;
    return rc;
}

enum vt_rc vt_remote_make_folder(struct vt_sftp *s, const char *path, uint32_t *status)
{
    struct vt_question q = {.s = s};
    struct vt_attrs a = {.flags = 0};
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_MKDIR, on_answer, &q, 0, 0);
    vt_packet_text(&p, path);
    vt_packet_attrs(&p, &a);
    vt_sftp_end(s, &p);
    enum vt_rc rc = finish(&q);
    *status = q.status;
    return rc;
}

enum vt_rc vt_remote_real(struct vt_sftp *s, const char *path, struct vt_buf *out, uint32_t *status)
{
    struct vt_question q = {.s = s, .text = out};
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

/* OpenSSH's server for Windows tells its folder as /C:/Users/name. */
static bool is_windows(struct vt_sftp *s)
{
    struct vt_buf real;
    uint32_t status = VT_FX_OK;
    vt_buf_init(&real, 8192);
    bool ok = vt_remote_real(s, ".", &real, &status) == VT_OK && status == VT_FX_OK && real.len > 4;
    bool is = ok && real.data[0] == '/' && vt_lower(real.data[1]) >= 'a' && vt_lower(real.data[1]) <= 'z' && real.data[2] == ':'
        && (real.data[3] == '/' || real.data[3] == '\\');
    vt_buf_fini(&real);
    return is;
}

/* A path of Windows', for its server: with the slashes that SFTP has. */
static void turn_slashes(struct vt_sftp *s, char *path)
{
    if (strchr(path, '\\') == NULL || !is_windows(s))
        return;                     /* elsewhere it is a letter like others */
    for (; *path != '\0'; path++)
        if (*path == '\\')
            *path = '/';
}

static enum vt_rc expand_home(struct vt_sftp *s, const char *path, struct vt_buf *out);

enum vt_rc vt_remote_expand(struct vt_sftp *s, const char *path, struct vt_buf *out)
{
    char *copy = strdup(path);
    if (copy == NULL) {
        vt_sftp_stop(s, VT_NOMEM, 0, NULL);
        return s->rc;
    }
    turn_slashes(s, copy);
    if (s->rc == VT_OK)
        (void)!expand_home(s, copy, out);
    free(copy);
    return s->rc;
}

static enum vt_rc expand_home(struct vt_sftp *s, const char *path, struct vt_buf *out)
{
    if (path[0] == '\0' || strcmp(path, "~") == 0 || strcmp(path, "~/") == 0)
        return set_text(s, out, ".");
    if (strncmp(path, "~/", 2) == 0) {
        path += 2 + strspn(path + 2, "/");
        return set_text(s, out, *path != '\0' ? path : ".");
    }
    if (path[0] != '~' || !s->has_expand_path)
        return set_text(s, out, path);
    struct vt_question q = {.s = s, .text = out};
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

enum vt_rc vt_remote_read_folder(struct vt_question *q, const char *path)
{
    struct vt_buf handle;
    struct vt_question opening = {.s = q->s, .text = &handle}, closing = {.s = q->s};
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
