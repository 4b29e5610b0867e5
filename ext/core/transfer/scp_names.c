/* scp_names.c - a download by scp's protocol: which name is it that comes, and may it come? */
#include "transfer/scp_get.h"
#include "transfer/scripts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vt_scp_refuse(struct vt_scp_get *g, const char *text)
{
    vt_scp_send(&g->c, "\1", 1);
    vt_scp_send(&g->c, text, strlen(text));
    vt_scp_send(&g->c, "\n", 1);
}

/* An scp writes a line break in a name as \^J, and then other characters, too, as vis(3) does;
 * in place.  False: this is no such name. */
static bool decode_name(char *name)
{
    char *to = name;
    if (strstr(name, "\\^J") == NULL)
        return false;
    for (const char *p = name; *p != '\0'; ) {
        bool meta = p[0] == '\\' && p[1] == 'M';
        if (meta && p[2] == '-' && p[3] != '\0') {
            *to++ = (char)((unsigned char)p[3] | 0x80);
            p += 4;
        } else if (p[0] == '\\' && (p[1] == '^' || (meta && p[2] == '^')) && p[2 + meta] != '\0') {
            unsigned char c = (unsigned char)p[2 + meta];
            *to++ = (char)((c == '?' ? 0x7f : c & 0x1f) | (meta ? 0x80 : 0));
            p += 3 + meta;
        } else if (p[0] == '\\' && p[1] == '\\') {
            *to++ = '\\';
            p += 2;
        } else {
            *to++ = *p++;
        }
    }
    *to = '\0';
    return true;
}

/* Runs a script; out: what it printed, for the caller to free.  False: it failed. */
bool vt_scp_ask_shell(struct vt_scp_get *g, struct vt_script *script, struct vt_buf *out, size_t most)
{
    struct vt_buf err;
    int status = 1;
    vt_buf_init(out, most);
    vt_buf_init(&err, 64 * 1024);
    bool ok = vt_shell_run(&g->j.s, script, out, &err, &status) == VT_OK && status == 0;
    vt_script_fini(script);
    vt_buf_fini(&err);
    return ok;
}

static bool is_there(struct vt_scp_get *g, const char *path)
{
    struct vt_script script;
    struct vt_buf out;
    vt_script_init(&script);
    vt_script_exists(&script, path);
    bool yes = vt_scp_ask_shell(g, &script, &out, 64 * 1024);
    vt_buf_fini(&out);
    return yes;
}

/* The name that the server meant.  Whether one with \^J is to be taken literally, only the
 * server knows. */
static char *true_name(struct vt_scp_get *g, const char *name)
{
    char *decoded = vt_job_copy(&g->j, name);
    if (g->depth == 0 || decoded == NULL || !decode_name(decoded))
        return decoded;
    char *path = vt_job_join(&g->j, g->level[g->depth].remote, decoded);
    bool meant = path != NULL && is_there(g, path);
    free(path);
    if (meant)
        return decoded;
    free(decoded);
    return vt_job_copy(&g->j, name);
}

static bool is_same_name(const char *came, const char *asked)
{
    char decoded[VT_SCP_LINE];
    snprintf(decoded, sizeof decoded, "%s", came);
    return strcmp(came, asked) == 0 || (decode_name(decoded) && strcmp(decoded, asked) == 0);
}

/* Finds which source it is that comes, in order: those before it have failed. */
static const struct vt_scp_source *find_source(struct vt_scp_get *g, bool is_folder)
{
    for (; g->at < g->end; g->at++) {
        const struct vt_scp_source *s = &g->sources[g->at];
        char *name = vt_path_name(s->path);
        bool dots = name != NULL && name[0] == '\0';
        bool same = name != NULL && (s->kind == 'd') == is_folder
            && (dots ? is_folder && strspn(g->parser.name, "./") == strlen(g->parser.name)
                     : is_same_name(g->parser.name, name));
        free(name);
        if (same)
            return &g->sources[g->at++];
    }
    vt_sftp_stop(&g->j.s, VT_PROTO, 0, "the server sent what nobody asked for");
    return NULL;
}

bool vt_scp_is_excluded(const struct vt_scp_get *g, const char *remote, bool is_folder)
{
    const char *source = g->depth > 0 ? g->level[1].remote : "";
    size_t n = strlen(source);
    while (n > 0 && source[n - 1] == '/')
        n--;
    return g->depth > 0 && strncmp(remote, source, n) == 0 && remote[n] == '/'
        && vt_is_excluded(&g->j.o->exclude, remote + n + strspn(remote + n, "/"), is_folder);
}

/* The name here of what comes ("": the target itself), and where it is there.  False: it
 * must not come; the server is told. */
bool vt_scp_take_name(struct vt_scp_get *g, bool is_folder, char **name, char **remote)
{
    if (g->depth == 0) {
        const struct vt_scp_source *s = find_source(g, is_folder);
        if (s == NULL)
            return false;
        *remote = vt_job_copy(&g->j, s->path);
        *name = g->into.name != NULL ? vt_job_copy(&g->j, g->into.name) : vt_path_name(s->path);
    } else if ((*name = true_name(g, g->parser.name)) != NULL) {
        *remote = vt_job_join(&g->j, g->level[g->depth].remote, *name);
    }
    if (g->j.s.rc != VT_OK || *name == NULL)
        return false;
    struct vt_span span = {(const unsigned char *)*name, strlen(*name)};
    if (g->depth > 0 && vt_name_is_safe(span) && vt_scp_is_excluded(g, *remote, is_folder)) {
        vt_scp_refuse(g, "left out");
        return false;
    }
    if ((g->depth == 0 && span.n == 0 && is_folder) || vt_name_is_safe(span))
        return true;
    vt_job_fail(&g->j, *remote, 0, VT_PROTO, 0, "the server names a file that could lie elsewhere");
    vt_scp_refuse(g, "unexpected name");
    return false;
}
