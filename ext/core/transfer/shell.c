/* shell.c - text for the server's shell. */
#include "transfer/shell.h"

#include "transfer/sudo.h"
#include "transfer/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SCRIPT_MAX (16 * 1024 * 1024)
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._"

void vt_script_init(struct vt_script *x)
{
    *x = (struct vt_script){.rc = VT_OK};
    vt_buf_init(&x->text, SCRIPT_MAX);
}

void vt_script_fini(struct vt_script *x)
{
    vt_buf_fini(&x->text);
}

/* ---- words ---- */

static void add(struct vt_script *x, const char *text, size_t n)
{
    if (x->rc == VT_OK)
        x->rc = vt_buf_add(&x->text, text, n);
}

void vt_script_add(struct vt_script *x, const char *text)
{
    add(x, text, strlen(text));
}

void vt_script_addf(struct vt_script *x, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text)
        x->rc = x->rc == VT_OK ? VT_TOOBIG : x->rc;
    else
        add(x, text, (size_t)n);
}

static void quote(struct vt_script *x, const char *text, size_t n)
{
    add(x, "'", 1);
    for (const char *end = text + n; text < end; ) {
        size_t plain = strcspn(text, "'");
        plain = plain < (size_t)(end - text) ? plain : (size_t)(end - text);
        add(x, text, plain);
        text += plain;
        if (text < end) {
            add(x, "'\\''", 4);
            text++;
        }
    }
    add(x, "'", 1);
}

void vt_script_word(struct vt_script *x, const char *text)
{
    quote(x, text, strlen(text));
}

void vt_script_path(struct vt_script *x, const char *path)
{
    if (path[0] != '/')
        add(x, "./", 2);
    vt_script_word(x, path);
}

/* Length of a "~" or "~user" that begins the path; 0 if none does. */
static size_t tilde(const char *path)
{
    if (path[0] != '~')
        return 0;
    size_t n = 1 + strspn(path + 1, LETTERS "-");
    return path[n] == '\0' || path[n] == '/' ? n : 0;
}

static const char *begin_path(struct vt_script *x, const char *path)
{
    size_t n = tilde(path);
    if (n > 0) {
        n += path[n] == '/';
        add(x, path, n);
        return path + n;
    }
    if (path[0] != '/' && strncmp(path, "./", 2) != 0)
        add(x, "./", 2);
    return path;
}

void vt_script_home_path(struct vt_script *x, const char *path)
{
    path = begin_path(x, path);
    vt_script_word(x, path);
}

/* In a pattern's brackets a quoted "-" is no range: what is harmless stays unquoted. */
void vt_script_pattern(struct vt_script *x, const char *path)
{
    static const char alive[] = LETTERS "/-+,:@%=*?[]!^";
    path = begin_path(x, path);
    while (*path != '\0') {
        size_t n = strspn(path, alive);
        add(x, path, n);
        path += n;
        n = strcspn(path, alive);
        if (n > 0)
            quote(x, path, n);
        path += n;
    }
}

bool vt_is_pattern(const char *path)
{
    return strpbrk(path, "*?[") != NULL;
}

/* ---- all of it ---- */

void vt_script_mark(char mark[VT_MARK_SIZE])
{
    char random[9];
    vt_random_letters(random);
    snprintf(mark, VT_MARK_SIZE, "virtvm-%s", random);
}

enum vt_rc vt_script_guard(const struct vt_script *x, const char *mark, struct vt_buf *out)
{
    if (x->rc != VT_OK)
        return x->rc;
    enum vt_rc rc = vt_buf_addf(out, "{\necho %s\n", mark);
    if (rc == VT_OK)
        rc = vt_buf_add(out, x->text.data, x->text.len);
    return rc == VT_OK ? vt_buf_addf(out, "\n}\n") : rc;
}

/* Drops what came before the mark's line; without a mark, all. */
static void drop_before(struct vt_buf *out, const char *mark)
{
    char line[VT_MARK_SIZE + 1];
    size_t n = (size_t)snprintf(line, sizeof line, "%s\n", mark);
    const char *at = memmem(out->data, out->len, line, n);
    vt_buf_drop(out, at == NULL ? out->len : (size_t)(at - out->data) + n);
}

enum vt_rc vt_shell_run(struct vt_sftp *s, const struct vt_script *script, struct vt_buf *out, struct vt_buf *err,
                        int *status)
{
    struct vt_err e = {0};
    struct vt_buf text;
    char mark[VT_MARK_SIZE];
    *status = -1;
    if (s->rc != VT_OK)
        return s->rc;
    vt_script_mark(mark);
    vt_buf_init(&text, SCRIPT_MAX + 4096);
    enum vt_rc rc = vt_sudo_add_password(s, true, &text);
    size_t secret = text.len;
    if (rc == VT_OK)
        rc = vt_script_guard(script, mark, &text);
    struct vt_ssh_exec x = {.command = vt_sudo_sh(s), .input = text.data, .input_len = text.len, .out = out, .err = err};
    if (rc == VT_OK)
        rc = vt_ssh_exec_run(s->ssh, &x, s->w, s->deadline, &e);
    if (rc == VT_OK && out->len > 0)
        drop_before(out, mark);
    if (rc == VT_OK)
        rc = vt_buf_add(out, "", 1);
    if (rc != VT_OK)
        vt_sftp_stop(s, rc == VT_CHANNEL ? VT_UNSUPPORTED : rc, e.sys, e.text[0] != '\0' ? e.text : NULL);
    if (secret > 0)
        explicit_bzero(text.data, secret);
    vt_buf_fini(&text);
    *status = x.status;
    s->moved_at = vt_now();
    return s->rc;
}
