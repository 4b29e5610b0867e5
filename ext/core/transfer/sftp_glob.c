/* sftp_glob.c - patterns of an SFTP server's names. */
#include "transfer/sftp_ask.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#define PATH_LIMIT 8192
#define DEPTH_MAX 128
#define NAMES_MAX (64 * 1024 * 1024)        /* bytes of names in one folder */

/* ---- names ---- */

void vt_names_fini(struct vt_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->list[i]);
    free(names->list);
    *names = (struct vt_names){0};
}

static bool add_name(struct vt_sftp *s, struct vt_names *names, const char *text, size_t n)
{
    names->len += n + 32;           /* what malloc adds */
    if (names->len > NAMES_MAX) {
        vt_sftp_stop(s, VT_TOOBIG, 0, "the server lists too many names");
        return false;
    }
    if (names->n == names->cap) {
        size_t cap = names->cap == 0 ? 16 : names->cap * 2;
        char **list = realloc(names->list, cap * sizeof *list);
        if (list == NULL) {
            vt_sftp_stop(s, VT_NOMEM, 0, NULL);
            return false;
        }
        names->list = list;
        names->cap = cap;
    }
    char *copy = strndup(text, n);
    if (copy != NULL)
        names->list[names->n++] = copy;
    else
        vt_sftp_stop(s, VT_NOMEM, 0, NULL);
    return copy != NULL;
}

/* ---- patterns ---- */

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
    if (fnmatch(m->pattern, text, FNM_PERIOD) == 0)
        (void)!add_name(m->s, m->names, text, name.n);
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
        (void)!add_name(s, out, path.data, strlen(path.data));
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
    struct vt_question q = {.s = s, .entry = match_entry, .ctx = &m};
    if (vt_remote_read_folder(&q, folder) == VT_OK && names.n > 0)
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
        (void)!add_name(s, out, pattern, strlen(pattern));
        return s->rc;
    }
    bool absolute = pattern[0] == '/';
    return glob_part(s, absolute ? "/" : ".", pattern + strspn(pattern, "/"), out, 0);
}
