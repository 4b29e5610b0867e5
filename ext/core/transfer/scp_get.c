/* scp_get.c - downloads by scp's own protocol, for servers without SFTP.
 *
 * The server's shell expands what is asked for; then one `scp -r -f` after another sends it,
 * as many names at a time as a command line holds.  What comes must be what was asked for,
 * by name and in order: below that, names are bare and every folder is held open, so that
 * nothing lands elsewhere.
 */
#include "transfer/job.h"
#include "transfer/scp.h"
#include "transfer/scp_wire.h"
#include "transfer/tree.h"
#include "transfer/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMAND_MAX (24 * 1024)
#define SOURCES_MAX (64 * 1024 * 1024)      /* of a pattern's names */

/* What was asked for. */
struct source { char kind; const char *path; };

struct times { bool are_known; int64_t mtime, atime; };

struct level {
    int fd;
    char *remote, *shown;
    unsigned mode;
    struct times times;
    bool exists_already;
};

struct get {
    struct vt_job j;
    struct vt_scp c;
    struct vt_scp_parser parser;
    struct vt_target into;
    const char *target;
    struct vt_buf names;            /* of all sources, as the shell told them */
    struct source *sources;
    size_t n, at, end;              /* the next that may come; the end of this command's */
    struct level level[VT_TREE_DEPTH + 1];
    int depth;                      /* folders open */
    char *root, *temp_root;         /* the outermost one's name and, if new, that until its end */
    struct times times;             /* of what comes next */
    /* The file that comes. */
    int fd;
    char *name, *temp, *shown, *remote;
    unsigned mode;
    struct times file_times;
    uint64_t size, got;
    bool failed;
    bool anything;                  /* the server's scp has said something sensible */
};

/* ---- answers ---- */

static void accept_it(struct get *g)
{
    vt_scp_send(&g->c, "", 1);
}

static void refuse(struct get *g, const char *text)
{
    vt_scp_send(&g->c, "\1", 1);
    vt_scp_send(&g->c, text, strlen(text));
    vt_scp_send(&g->c, "\n", 1);
}

/* ---- names ---- */

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

static bool is_there(struct get *g, const char *path)
{
    struct vt_buf script, out, err;
    int status = 1;
    vt_buf_init(&script, 64 * 1024);
    vt_buf_init(&out, 1024);
    vt_buf_init(&err, 64 * 1024);
    vt_shell_addf(&g->j.s, &script, "[ -e ");
    vt_shell_word(&g->j.s, &script, path);
    vt_shell_addf(&g->j.s, &script, " ]\n");
    bool yes = vt_shell_run(&g->j.s, &script, &out, &err, &status) == VT_OK && status == 0;
    vt_buf_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
    return yes;
}

/* The name that the server meant.  Whether one with \^J is to be taken literally, only the
 * server knows. */
static char *true_name(struct get *g, const char *name)
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
static const struct source *find_source(struct get *g, bool is_folder)
{
    for (; g->at < g->end; g->at++) {
        const struct source *s = &g->sources[g->at];
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

/* The name here of what comes ("": the target itself), and where it is there.  False: it
 * must not come; the server is told. */
static bool take_name(struct get *g, bool is_folder, char **name, char **remote, char **shown)
{
    if (g->depth == 0) {
        const struct source *s = find_source(g, is_folder);
        if (s == NULL)
            return false;
        *remote = vt_job_copy(&g->j, s->path);
        *shown = vt_job_copy(&g->j, s->path);
        *name = g->into.name != NULL ? vt_job_copy(&g->j, g->into.name) : vt_path_name(s->path);
    } else if ((*name = true_name(g, g->parser.name)) != NULL) {
        *remote = vt_job_join(&g->j, g->level[g->depth].remote, *name);
        *shown = vt_job_join(&g->j, g->level[g->depth].shown, *name);
    }
    if (g->j.s.rc != VT_OK || *name == NULL)
        return false;
    struct vt_span span = {(const unsigned char *)*name, strlen(*name)};
    if ((g->depth == 0 && span.n == 0 && is_folder) || vt_name_is_safe(span))
        return true;
    vt_job_fail(&g->j, *shown, 0, VT_PROTO, 0, "the server names a file that could lie elsewhere");
    refuse(g, "unexpected name");
    return false;
}

static void failed_here(struct get *g, int sys)
{
    if (!g->failed)
        vt_job_fail(&g->j, g->shown, g->got, VT_IO, sys, strerror(sys));
    g->failed = true;
}

static struct times take_times(struct get *g)
{
    struct times t = g->times;
    g->times.are_known = false;
    return t;
}

static void set_times(const struct get *g, int fd, const struct times *t)
{
    struct timespec times[2] = {{.tv_sec = t->atime}, {.tv_sec = t->mtime}};
    if (g->j.o->keep_times && t->are_known)
        (void)futimens(fd, times);
}

/* ---- folders ---- */

static int folder_fd(const struct get *g)
{
    return g->depth == 0 ? g->into.fd : g->level[g->depth].fd;
}

/* Makes the folder, or takes the one that is there.  The outermost one, if it is new, has
 * a temporary name until its end.  -1 and errno. */
static int open_folder(struct get *g, const char *name, bool *exists_already)
{
    char temp[256];
    struct stat st;
    int in = folder_fd(g);
    const char *here = name[0] != '\0' ? name : ".";
    bool is_there = fstatat(in, here, &st, AT_SYMLINK_NOFOLLOW) == 0;
    *exists_already = is_there;
    if (is_there && (!S_ISDIR(st.st_mode) || (g->depth > 0 && g->temp_root != NULL))) {
        errno = S_ISDIR(st.st_mode) ? EEXIST : ENOTDIR;
        return -1;
    }
    if (!is_there && g->depth == 0) {
        vt_temp_name(name, temp);
        here = temp;
    }
    if (!is_there && mkdirat(in, here, 0700) < 0)
        return -1;
    if (!is_there && g->depth == 0)
        g->temp_root = vt_job_copy(&g->j, temp);
    if (g->depth == 0)
        g->root = vt_job_copy(&g->j, name);
    return openat(in, here, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static void root_over(struct get *g)
{
    free(g->root);
    free(g->temp_root);
    g->root = g->temp_root = NULL;
}

static void enter(struct get *g)
{
    char *name = NULL, *remote = NULL, *shown = NULL;
    struct level level = {.mode = g->parser.mode, .times = take_times(g), .fd = -1};
    bool ok = take_name(g, true, &name, &remote, &shown);
    if (ok && g->depth == VT_TREE_DEPTH) {
        vt_job_fail(&g->j, shown, 0, VT_TOOBIG, 0, "too deep");
        refuse(g, "too deep");
    } else if (ok && (level.fd = open_folder(g, name, &level.exists_already)) < 0) {
        vt_job_fail(&g->j, shown, 0, errno == ENOTDIR ? VT_INVALID : VT_IO, errno,
                    errno == ENOTDIR ? "a folder cannot replace a file" : strerror(errno));
        refuse(g, "cannot make this folder");
    } else if (ok) {
        level.remote = remote;
        level.shown = shown;
        remote = shown = NULL;
        g->level[++g->depth] = level;
        g->j.r->folders += !level.exists_already;
        accept_it(g);
    }
    free(name);
    free(remote);
    free(shown);
}

static void level_close(struct level *level)
{
    if (level->fd >= 0)
        close(level->fd);
    free(level->remote);
    free(level->shown);
    *level = (struct level){.fd = -1};
}

static void leave(struct get *g)
{
    struct level *level = &g->level[g->depth];
    if (g->depth == 0) {
        vt_sftp_stop(&g->j.s, VT_PROTO, 0, "the server left a folder that it never entered");
        return;
    }
    if (!level->exists_already) {
        (void)fchmod(level->fd, level->mode & 0777);
        set_times(g, level->fd, &level->times);
    }
    g->depth--;
    if (g->depth == 0 && g->temp_root != NULL && !vt_rename_new(g->into.fd, g->temp_root, g->root)) {
        vt_job_fail(&g->j, level->shown, 0, VT_IO, errno, strerror(errno));
        (void)vt_tree_remove(g->into.fd, g->temp_root);
    }
    if (g->depth == 0)
        root_over(g);
    level_close(level);
    accept_it(g);
}

/* ---- files ---- */

/* False: it can't be made, errno. */
static bool make_file(struct get *g)
{
    char temp[256];
    bool direct = g->depth == 0 && g->into.is_special;
    if (!direct && (g->depth == 0 || g->temp_root == NULL)) {
        vt_temp_name(g->name, temp);
        g->temp = vt_job_copy(&g->j, temp);
    }
    int flags = O_CLOEXEC | O_NOCTTY | (direct ? O_WRONLY : O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
    g->fd = openat(folder_fd(g), g->temp != NULL ? g->temp : g->name, flags, 0600);
    return g->fd >= 0;
}

static void file_over(struct get *g)
{
    if (g->fd >= 0)
        close(g->fd);
    g->fd = -1;
    free(g->name);
    free(g->temp);
    free(g->shown);
    free(g->remote);
    g->name = g->temp = g->shown = g->remote = NULL;
}

static bool ends_with_slash(const char *path)
{
    size_t n = strlen(path);
    return n > 0 && path[n - 1] == '/';
}

static void begin_file(struct get *g)
{
    g->mode = g->parser.mode;
    g->size = g->parser.size;
    g->file_times = take_times(g);
    g->got = 0;
    g->failed = false;
    bool ok = take_name(g, false, &g->name, &g->remote, &g->shown);
    if (ok && g->depth == 0 && g->into.name != NULL && ends_with_slash(g->target)) {
        vt_job_fail(&g->j, g->shown, 0, VT_INVALID, 0, "the target folder is not there");
        refuse(g, "no such folder");
        ok = false;
    } else if (ok && !make_file(g)) {
        failed_here(g, errno);
        refuse(g, "cannot make this file");
        ok = false;
    }
    if (!ok) {
        file_over(g);
        return;
    }
    g->j.total += g->size;
    vt_scp_expect_data(&g->parser);
    accept_it(g);
}

static void take_data(struct get *g)
{
    bool direct = g->depth == 0 && g->into.is_special;
    if (!g->failed && !vt_write_all(g->fd, g->parser.data, g->parser.data_len, g->got, direct))
        failed_here(g, errno);
    if (!g->failed)
        vt_job_moved(&g->j, g->shown, g->parser.data_len);
    g->got += g->parser.data_len;
}

/* False: the file is not what the server has, which is told already. */
static bool is_verified(struct get *g)
{
    struct vt_check check = {.path = g->remote};
    if (!vt_sum_of(g->fd, check.sum)) {
        failed_here(g, errno);
        return false;
    }
    if (vt_verify(&g->j.s, &check) == VT_OK && check.is != VT_SAME) {
        vt_job_fail(&g->j, g->shown, g->got, VT_REMOTE, 0, vt_sameness_text(check.is));
        g->failed = true;
    }
    return g->j.s.rc == VT_OK && !g->failed;
}

/* Mode, times, and its name. */
static bool finish_file(struct get *g)
{
    if (g->depth == 0 && g->into.is_special)
        return true;
    if (g->j.o->verify && !is_verified(g)) {
        g->failed = true;
        return true;
    }
    if (fchmod(g->fd, g->mode & 0777) < 0 && errno != EPERM && errno != ENOTSUP)
        return false;
    set_times(g, g->fd, &g->file_times);
    int fd = g->fd;
    g->fd = -1;
    if (close(fd) < 0 && errno != EINTR)
        return false;
    return g->temp == NULL || renameat(folder_fd(g), g->temp, folder_fd(g), g->name) == 0;
}

static void unmake(struct get *g)
{
    const char *made = g->temp != NULL ? g->temp : g->name;
    if (made != NULL && !(g->depth == 0 && g->into.is_special) && unlinkat(folder_fd(g), made, 0) < 0
        && errno != ENOENT)
        vt_job_left(&g->j, made);
}

static void end_file(struct get *g, const char *said)
{
    char shown[160], text[200];
    if (said != NULL && !g->failed) {
        vt_show(said, strlen(said), shown, sizeof shown);
        snprintf(text, sizeof text, "the server said: %s", shown);
        vt_job_fail(&g->j, g->shown, g->got, VT_REMOTE, 0, text);
        g->failed = true;
    }
    if (!g->failed && !finish_file(g))
        failed_here(g, errno);
    if (g->failed)
        unmake(g);
    else
        g->j.r->files++;
    if (g->failed && said == NULL)
        refuse(g, "could not be written");
    else
        accept_it(g);
    file_over(g);
}

/* ---- what comes ---- */

/* "scp: NAME: WHY" */
static void take_complaint(struct get *g, char *said)
{
    char shown[160], text[200];
    if (strncmp(said, "scp: ", 5) == 0)
        said += 5;
    char *at = said, *why = NULL;
    while ((at = strstr(at, ": ")) != NULL)
        why = at++;
    if (why != NULL)
        *why = '\0';
    const char *name = why != NULL ? said : g->end > 0 ? g->sources[g->end - 1].path : "";
    const char *words = why != NULL ? why + 2 : said;
    vt_show(words, strlen(words), shown, sizeof shown);
    snprintf(text, sizeof text, "the server said: %s", shown);
    vt_job_fail(&g->j, name, 0, VT_REMOTE, 0, text);
}

static void nonsense(struct get *g)
{
    char shown[100], text[160];
    vt_show(g->parser.text, strlen(g->parser.text), shown, sizeof shown);
    snprintf(text, sizeof text, "the server's scp sent nonsense: %s", shown);
    vt_sftp_stop(&g->j.s, VT_PROTO, 0, text);
}

static void take(struct get *g, enum vt_scp_event event)
{
    g->anything |= event != VT_SCP_MORE && event != VT_SCP_BAD;
    switch (event) {
    case VT_SCP_MORE: break;
    case VT_SCP_FILE: begin_file(g); break;
    case VT_SCP_FOLDER: enter(g); break;
    case VT_SCP_LEAVE: leave(g); break;
    case VT_SCP_TIMES:
        g->times = (struct times){true, g->parser.mtime, g->parser.atime};
        accept_it(g);
        break;
    case VT_SCP_SAID: take_complaint(g, g->parser.line + 1); break;
    case VT_SCP_DATA: take_data(g); break;
    case VT_SCP_DONE: end_file(g, NULL); break;
    case VT_SCP_DONE_BADLY: end_file(g, g->parser.text); break;
    case VT_SCP_BAD: nonsense(g); break;
    }
}

static void take_all(struct get *g)
{
    const unsigned char *p = (const unsigned char *)g->c.in.data + g->c.in_at;
    size_t n = g->c.in.len - g->c.in_at;
    while (n > 0 && g->j.s.rc == VT_OK)
        take(g, vt_scp_feed(&g->parser, &p, &n));
    g->c.in_at = g->c.in.len - n;
}

static void ended(struct get *g)
{
    char text[200];
    if (g->j.s.rc != VT_OK)
        return;
    if (!g->anything) {
        vt_scp_complaint(&g->c, "the server has no scp that works", text, sizeof text);
        vt_sftp_stop(&g->j.s, VT_UNSUPPORTED, 0, text);
    } else if (g->depth > 0 || g->name != NULL) {
        vt_scp_complaint(&g->c, "the server's scp ended too early", text, sizeof text);
        vt_sftp_stop(&g->j.s, VT_EOF, 0, text);
    } else if (g->at < g->end && g->j.r->failures == 0) {
        vt_job_fail(&g->j, g->sources[g->at].path, 0, VT_REMOTE, 0, "the server did not send it");
    }
}

/* One scp on the server: the sources from g->at on, as many as fit. */
static void run(struct get *g)
{
    struct vt_buf command;
    vt_buf_init(&command, 2 * COMMAND_MAX + 64 * 1024);
    vt_shell_addf(&g->j.s, &command, "exec scp -r %s-f --", g->j.o->keep_times ? "-p " : "");
    for (g->end = g->at; g->end < g->n && command.len < COMMAND_MAX; g->end++) {
        vt_shell_addf(&g->j.s, &command, " ");
        vt_shell_word(&g->j.s, &command, g->sources[g->end].path);
    }
    if (vt_buf_add(&command, "", 1) != VT_OK)
        vt_sftp_stop(&g->j.s, VT_TOOBIG, 0, NULL);
    g->parser = (struct vt_scp_parser){0};
    g->anything = false;
    if (g->j.s.rc == VT_OK && vt_scp_open(&g->c, &g->j.s, command.data) == VT_OK) {
        accept_it(g);               /* we are ready */
        while (g->j.s.rc == VT_OK && !(g->c.at_end && g->c.in_at == g->c.in.len)) {
            (void)!vt_scp_turn(&g->c);
            take_all(g);
        }
        ended(g);
    }
    g->at = g->end;
    vt_buf_fini(&command);
}

/* ---- sources ---- */

/* The shell tells of each source, or of what a pattern stands for: a letter and the path. */
static void write_script(struct get *g, struct vt_buf *b, const char *const *sources, size_t n)
{
    static const char function[] =
        "p() {\n"
        " if [ -d \"$1\" ]; then k=d; elif [ -f \"$1\" ]; then k=f\n"
        " elif [ -e \"$1\" ]; then k=o; else k=-; fi\n"
        " printf '%s%s\\0' $k \"$1\"\n"
        "}\n";
    struct vt_sftp *s = &g->j.s;
    if (vt_buf_add(b, function, sizeof function - 1) != VT_OK)
        vt_sftp_stop(s, VT_NOMEM, 0, NULL);
    for (size_t i = 0; i < n; i++) {
        const char *source = sources[i][0] != '\0' ? sources[i] : ".";
        bool pattern = vt_shell_is_pattern(source);
        if (pattern) {
            vt_shell_addf(s, b, "if ! [ -e ");
            vt_shell_path(s, b, source);
            vt_shell_addf(s, b, " ]; then for f in ");
            vt_shell_pattern(s, b, source);
            vt_shell_addf(s, b, "; do p \"$f\"; done; else ");
        }
        vt_shell_addf(s, b, "p ");
        vt_shell_path(s, b, source);
        vt_shell_addf(s, b, pattern ? "; fi\n" : "\n");
    }
}

/* Reads what the shell told into g->sources, failures told already. */
static void read_sources(struct get *g)
{
    struct vt_buf *names = &g->names;
    size_t most = 0;
    for (size_t i = 0; i < names->len; i++)
        most += names->data[i] == '\0';
    g->sources = calloc(most + 1, sizeof *g->sources);
    if (g->sources == NULL)
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
    if (most == 0 || names->data[names->len - 1] != '\0')
        vt_sftp_stop(&g->j.s, VT_UNSUPPORTED, 0, "the server has neither SFTP nor a shell that scp could use");
    for (char *at = names->data; g->j.s.rc == VT_OK && at < names->data + names->len; at += strlen(at) + 1) {
        if (at[0] == 'd' || at[0] == 'f')
            g->sources[g->n++] = (struct source){at[0], at + 1};
        else if (at[0] == 'o')
            vt_job_fail(&g->j, at + 1, 0, VT_IO, 0, "no regular file");
        else if (at[0] == '-')
            vt_job_fail(&g->j, at + 1, 0, VT_REMOTE, 0, "no such file");
        else
            vt_sftp_stop(&g->j.s, VT_PROTO, 0, "the server's shell answered something else");
    }
    if (g->j.s.rc == VT_OK && g->n > 1 && g->into.name != NULL)
        vt_sftp_stop(&g->j.s, VT_INVALID, 0, "several sources need a folder as target");
}

static void expand(struct get *g, const char *const *sources, size_t n)
{
    struct vt_buf script, err;
    int status = 0;
    vt_buf_init(&script, 1024 * 1024);
    vt_buf_init(&err, 1024 * 1024);
    write_script(g, &script, sources, n);
    if (vt_shell_run(&g->j.s, &script, &g->names, &err, &status) == VT_OK)
        read_sources(g);
    vt_buf_fini(&script);
    vt_buf_fini(&err);
}

/* ---- all of it ---- */

static void open_target(struct get *g, const char *target)
{
    g->target = target;
    enum vt_rc rc = vt_target_open(&g->into, target);
    if (rc == VT_INVALID)
        vt_sftp_stop(&g->j.s, rc, 0, "the target is no file, folder or device");
    else if (rc != VT_OK)
        vt_sftp_stop(&g->j.s, rc, errno, rc == VT_IO ? strerror(errno) : NULL);
    if (rc == VT_IO)
        vt_job_stopped_at(&g->j, target, 0);
}

static void get_fini(struct get *g)
{
    if (g->name != NULL && g->fd >= 0) {
        vt_job_stopped_at(&g->j, g->shown, g->got);
        unmake(g);
    }
    file_over(g);
    for (; g->depth > 0; g->depth--)
        level_close(&g->level[g->depth]);
    if (g->temp_root != NULL && !vt_tree_remove(g->into.fd, g->temp_root))
        vt_job_left(&g->j, g->temp_root);
    root_over(g);
    vt_target_close(&g->into);
    free(g->sources);
    vt_buf_fini(&g->names);
    vt_scp_close(&g->c);
    vt_job_fini(&g->j);
    free(g);
}

enum vt_rc vt_scp_get(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                      const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_transfer_result *r, struct vt_err *e)
{
    struct get *g = calloc(1, sizeof *g);
    if (g == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    g->fd = g->into.fd = -1;
    vt_buf_init(&g->names, SOURCES_MAX);
    vt_job_init(&g->j, ssh, o, w, deadline, r, e);
    r->engine = "scp";
    if (o->keep_links)
        vt_sftp_stop(&g->j.s, VT_UNSUPPORTED, 0, "scp cannot receive links as links");
    if (g->j.s.rc == VT_OK)
        open_target(g, target);
    if (g->j.s.rc == VT_OK)
        expand(g, sources, n);
    while (g->j.s.rc == VT_OK && g->at < g->n) {
        run(g);
        vt_scp_close(&g->c);
    }
    if (g->j.s.rc == VT_OK)
        vt_job_told(&g->j);
    enum vt_rc rc = vt_job_result(&g->j);
    get_fini(g);
    return rc;
}
