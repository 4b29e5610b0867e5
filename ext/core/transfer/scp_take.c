/* scp_take.c - a download by scp's protocol: files and folders as they come.
 *
 * What comes must be what was asked for, by name and in order: below that, names are bare
 * and every folder is held open, so that nothing lands elsewhere.
 */
#include "transfer/scp_get.h"
#include "transfer/plan.h"
#include "transfer/scripts.h"
#include "transfer/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CAT_MAX (64 * 1024 * 1024)  /* of a file that was said to be empty */

/* ---- answers ---- */

void vt_scp_accept(struct vt_scp_get *g)
{
    vt_scp_send(&g->c, "", 1);
}

static struct vt_scp_times take_times(struct vt_scp_get *g)
{
    struct vt_scp_times t = g->times;
    g->times.are_known = false;
    return t;
}

/* ---- folders ---- */

static int fd_at(const struct vt_scp_get *g, int depth)
{
    return depth == 0 ? g->into.fd : g->level[depth].fd;
}

/* Makes the folder, or takes the one that is there.  The outermost one that is new has a
 * temporary name until its end.  -1 and errno. */
static int open_folder(struct vt_scp_get *g, const char *name, bool *exists_already)
{
    char temp[256];
    struct stat st;
    int in = fd_at(g, g->depth);
    const char *here = name[0] != '\0' ? name : ".";
    bool is_there = fstatat(in, here, &st, AT_SYMLINK_NOFOLLOW) == 0, in_new = g->root_depth > 0;
    *exists_already = is_there;
    if (is_there && (!S_ISDIR(st.st_mode) || in_new)) {
        errno = S_ISDIR(st.st_mode) ? EEXIST : ENOTDIR;
        return -1;
    }
    if (!is_there && !in_new) {
        vt_temp_name(name, temp);
        here = temp;
    }
    if (!is_there && mkdirat(in, here, 0700) < 0)
        return -1;
    int fd = openat(in, here, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), sys = errno;
    if (fd < 0 && !is_there && unlinkat(in, here, AT_REMOVEDIR) < 0)
        vt_job_left(&g->j, here);
    if (fd >= 0 && !is_there && !in_new) {
        g->temp_root = vt_job_copy(&g->j, temp);
        g->root = vt_job_copy(&g->j, name);
        g->root_depth = g->depth + 1;
    }
    errno = sys;
    return fd;
}

static void root_over(struct vt_scp_get *g)
{
    free(g->root);
    free(g->temp_root);
    g->root = g->temp_root = NULL;
    g->root_depth = 0;
}

static void enter(struct vt_scp_get *g)
{
    char *name = NULL, *remote = NULL;
    struct vt_scp_level level = {.mode = g->parser.mode, .times = take_times(g), .fd = -1};
    bool ok = vt_scp_take_name(g, true, &name, &remote);
    if (ok && g->depth == VT_TREE_DEPTH) {
        vt_job_fail(&g->j, remote, 0, VT_TOOBIG, 0, "too deep");
        vt_scp_refuse(g, "too deep");
    } else if (ok && (level.fd = open_folder(g, name, &level.exists_already)) < 0) {
        vt_job_fail(&g->j, remote, 0, errno == ENOTDIR ? VT_INVALID : VT_IO, errno,
                    errno == ENOTDIR ? "a folder cannot replace a file" : strerror(errno));
        vt_scp_refuse(g, "cannot make this folder");
    } else if (ok) {
        level.remote = remote;
        remote = NULL;
        g->level[++g->depth] = level;
        g->j.r->folders += !level.exists_already;
        vt_scp_accept(g);
    }
    free(name);
    free(remote);
}

static void level_close(struct vt_scp_level *level)
{
    if (level->fd >= 0)
        close(level->fd);
    free(level->remote);
    *level = (struct vt_scp_level){.fd = -1};
}

/* Amid the copy: if its end comes first, vt_scp_drop goes on with it. */
static void remove_root(struct vt_scp_get *g, int in)
{
    enum vt_rc rc = vt_tree_remove(in, g->temp_root, g->j.s.w, g->j.s.deadline);
    if (rc == VT_IO)
        vt_job_left(&g->j, g->temp_root);
    else if (rc != VT_OK)
        vt_sftp_stop(&g->j.s, rc, 0, vt_sftp_in_words(rc));
}

/* The folder's own mode and times, and the name of the outermost new one. */
static void finish_folder(struct vt_scp_get *g, const struct vt_scp_level *level)
{
    struct timespec times[2] = {{.tv_sec = level->times.atime}, {.tv_sec = level->times.mtime}};
    int in = fd_at(g, g->depth - 1);
    if (g->j.o->sync && fsync(level->fd) < 0)
        vt_job_fail(&g->j, level->remote, 0, VT_IO, errno, strerror(errno));
    if (!level->exists_already) {
        (void)fchmod(level->fd, level->mode & 0777 & ~g->mask);
        if (g->j.o->keep_times && level->times.are_known)
            (void)futimens(level->fd, times);
    }
    if (g->depth != g->root_depth)
        return;
    if (!vt_rename_new(in, g->temp_root, g->root)) {
        vt_job_fail(&g->j, level->remote, 0, VT_IO, errno, strerror(errno));
        remove_root(g, in);
    }
    if (g->j.s.rc == VT_OK)
        root_over(g);
}

static void leave(struct vt_scp_get *g)
{
    struct vt_scp_level *level = &g->level[g->depth];
    if (g->depth == 0) {
        vt_sftp_stop(&g->j.s, VT_PROTO, 0, "the server left a folder that it never entered");
        return;
    }
    if (g->empty_n > 0)
        vt_scp_settle_empty(g);
    if (g->j.s.rc != VT_OK)
        return;
    finish_folder(g, level);
    g->depth--;
    level_close(level);
    vt_scp_accept(g);
}

/* ---- files ---- */

static void file_over(struct vt_scp_get *g, struct vt_scp_file *f)
{
    if (!vt_sink_abort(&f->sink, fd_at(g, f->depth)))
        vt_job_left(&g->j, vt_sink_made(&f->sink));
    free(f->remote);
    *f = (struct vt_scp_file){0};
}

static bool has_failed(const struct vt_scp_file *f)
{
    return f->state == VT_SCP_DRAINING || f->state == VT_SCP_LOST;
}

bool vt_scp_is_coming(const struct vt_scp_file *f)
{
    return f->state == VT_SCP_COMING || f->state == VT_SCP_DRAINING;
}

/* What has failed stays so; what fails amid its bytes still has them to come. */
static void is_now(struct vt_scp_file *f, enum vt_scp_file_state state)
{
    bool lost = state == VT_SCP_LOST || has_failed(f);
    bool comes = state == VT_SCP_COMING || (state == VT_SCP_LOST && vt_scp_is_coming(f));
    f->state = comes ? (lost ? VT_SCP_DRAINING : VT_SCP_COMING) : lost ? VT_SCP_LOST : VT_SCP_WHOLE;
}

static void failed(struct vt_scp_get *g, struct vt_scp_file *f, enum vt_rc rc, int sys, const char *text)
{
    if (!has_failed(f))
        vt_job_fail(&g->j, f->remote, f->got, rc, sys, text);
    is_now(f, VT_SCP_LOST);
}

static void failed_here(struct vt_scp_get *g, struct vt_scp_file *f, int sys)
{
    failed(g, f, VT_IO, sys, strerror(sys));
}

/* With transfer_update: what is here already stays.  To an scp all times before 1970 are 0. */
static bool is_as_new(const struct vt_scp_get *g, const struct vt_scp_file *f, const char *name)
{
    bool may = g->j.o->update && f->times.are_known && f->times.mtime > 0 && !(g->depth == 0 && g->into.is_special);
    return may && vt_sink_is_as_new(fd_at(g, g->depth), name, f->size, f->times.mtime);
}

static void begin_file(struct vt_scp_get *g)
{
    struct vt_scp_file *f = &g->file;
    char *name = NULL;
    *f = (struct vt_scp_file){.mode = g->parser.mode, .size = g->parser.size, .times = take_times(g),
                              .depth = g->depth};
    int how = g->root_depth > 0 ? VT_SINK_IN_PLACE : g->depth == 0 && g->into.is_special ? VT_SINK_DIRECT : 0;
    bool ok = vt_scp_take_name(g, false, &name, &f->remote);
    if (ok && g->depth == 0 && g->into.name != NULL && vt_plan_is_folder(g->target)) {
        vt_job_fail(&g->j, f->remote, 0, VT_INVALID, 0, "the target folder is not there");
        vt_scp_refuse(g, "no such folder");
        ok = false;
    } else if (ok && is_as_new(g, f, name)) {
        vt_scp_refuse(g, "here already");
        ok = false;
    } else if (ok && !vt_sink_begin(&f->sink, fd_at(g, g->depth), name, how, f->mode & ~g->mask)) {
        failed_here(g, f, errno);
        vt_scp_refuse(g, "cannot make this file");
        ok = false;
    }
    free(name);
    if (!ok) {
        file_over(g, f);
        return;
    }
    is_now(f, VT_SCP_COMING);
    g->j.total += f->size;
    vt_scp_expect_data(&g->parser);
    vt_scp_accept(g);
}

static void take_data(struct vt_scp_get *g)
{
    struct vt_scp_file *f = &g->file;
    if (!has_failed(f) && !vt_sink_write(&f->sink, g->parser.data, g->parser.data_len, f->got, g->j.o->sparse))
        failed_here(g, f, errno);
    if (!has_failed(f))
        vt_job_moved(&g->j, f->remote, g->parser.data_len);
    f->got += g->parser.data_len;
}

/* False: the file is not what the server has, which is told already. */
static bool is_verified(struct vt_scp_get *g, struct vt_scp_file *f)
{
    struct vt_check check = {.path = f->remote};
    if (!g->j.o->verify || f->sink.is_direct)
        return true;
    if (!vt_sink_resize(&f->sink, f->got) || !vt_sum_of(f->sink.fd, check.sum))
        failed_here(g, f, errno);
    else if (vt_verify(&g->j.s, &check) == VT_OK && check.is != VT_SAME) {
        failed(g, f, VT_REMOTE, 0, vt_sameness_text(check.is));
    }
    return g->j.s.rc == VT_OK && !has_failed(f);
}

/* Mode, times, and its name; or away with it. */
static bool finish_file(struct vt_scp_get *g, struct vt_scp_file *f)
{
    struct vt_sink_attrs a = {
        .mode = f->mode, .mask = g->mask, .sync = g->j.o->sync, .atime = f->times.atime, .mtime = f->times.mtime,
        .has_times = g->j.o->keep_times && f->times.are_known,
    };
    if (!has_failed(f) && (!vt_sink_end(&f->sink, f->got, &a) || !vt_sink_name(&f->sink, fd_at(g, f->depth))))
        failed_here(g, f, errno);
    g->j.r->files += !has_failed(f);
    bool ok = !has_failed(f);
    file_over(g, f);
    return ok;
}

/* ---- files that are said to be empty ---- */

/* What is in it all the same, as is in many of the kernel's. */
static void fill(struct vt_scp_get *g, struct vt_scp_file *f)
{
    struct vt_script script;
    struct vt_buf out;
    vt_script_init(&script);
    vt_script_cat(&script, f->remote);
    if (!vt_scp_ask_shell(g, &script, &out, CAT_MAX)) {
        if (g->j.s.rc == VT_OK)
            failed(g, f, VT_REMOTE, 0, "the server told a wrong size, and cannot read it");
        is_now(f, VT_SCP_LOST);
    } else if (!vt_sink_write(&f->sink, out.data, out.len - 1, 0, false)) {
        failed_here(g, f, errno);
    } else {
        f->got = out.len - 1;
        vt_job_moved(&g->j, f->remote, f->got);
    }
    vt_buf_fini(&out);
}

void vt_scp_settle_empty(struct vt_scp_get *g)
{
    struct vt_script script;
    struct vt_buf out;
    unsigned n = g->empty_n;
    vt_script_init(&script);
    vt_script_content(&script);
    for (unsigned i = 0; i < n; i++)
        vt_script_has_content(&script, g->empty[i].remote);
    if (vt_scp_ask_shell(g, &script, &out, 64 * 1024) && out.len == 2 * n + 1) {
        for (unsigned i = 0; i < n && g->j.s.rc == VT_OK; i++) {
            if (out.data[2 * i] == '1')
                fill(g, &g->empty[i]);
            if (g->j.s.rc == VT_OK)
                (void)!finish_file(g, &g->empty[i]);
        }
    } else if (g->j.s.rc == VT_OK) {
        vt_sftp_stop(&g->j.s, VT_UNSUPPORTED, 0, "the server's shell cannot tell which files are empty");
    }
    vt_buf_fini(&out);
    if (g->j.s.rc == VT_OK)
        g->empty_n = 0;
}

/* Files whose size is made up. */
static bool is_of_kernel(const struct vt_scp_file *f)
{
    return !has_failed(f) && (strncmp(f->remote, "/sys/", 5) == 0 || strncmp(f->remote, "/proc/", 6) == 0);
}

static void end_file(struct vt_scp_get *g, const char *said)
{
    struct vt_scp_file *f = &g->file;
    char shown[160], text[200];
    bool is_short = said != NULL && is_of_kernel(f);
    if (is_short)
        f->got = 0;                 /* its server could not send what it had announced */
    else if (said != NULL && !has_failed(f)) {
        vt_show(said, strlen(said), shown, sizeof shown);
        snprintf(text, sizeof text, "the server said: %s", shown);
        failed(g, f, VT_REMOTE, 0, text);
    }
    is_now(f, VT_SCP_WHOLE);
    if (!has_failed(f) && (f->size == 0 || is_short) && !f->sink.is_direct) {
        g->empty[g->empty_n++] = *f;
        *f = (struct vt_scp_file){0};
        if (g->empty_n == VT_SCP_EMPTY_MAX)
            vt_scp_settle_empty(g);
        vt_scp_accept(g);
        return;
    }
    if (!has_failed(f) && !is_verified(g, f))
        is_now(f, VT_SCP_LOST);
    if (!finish_file(g, f) && said == NULL)
        vt_scp_refuse(g, "could not be written");
    else
        vt_scp_accept(g);
}

/* ---- what comes ---- */

/* "scp: NAME: WHY" */
static void take_complaint(struct vt_scp_get *g, char *said)
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
    if (vt_scp_is_excluded(g, name, false))
        return;                     /* nobody wanted it; whether it is a folder nobody knows */
    const char *words = why != NULL ? why + 2 : said;
    vt_show(words, strlen(words), shown, sizeof shown);
    snprintf(text, sizeof text, "the server said: %s", shown);
    vt_job_fail(&g->j, name, 0, VT_REMOTE, 0, text);
}

/* Whether the line ends as a complaint does, in why.  Servers have no other language for it. */
static bool has_reason(const char *line)
{
    static const char *const reasons[] = {
        "No such file or directory", "Permission denied", "Operation not permitted", "not a regular file",
        "Too many levels of symbolic links", "Symbolic link loop", "Not a directory", "Is a directory",
        "Input/output error", "I/O error", "File name too long", "Filename too long", "No such device or address",
        "No such device", "Stale file handle", "Too many open files", "Resource temporarily unavailable",
    };
    size_t n = strlen(line);
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        size_t len = strlen(reasons[i]);
        if (n >= len + 2 && strcmp(line + n - len, reasons[i]) == 0 && memcmp(line + n - len - 2, ": ", 2) == 0)
            return true;
    }
    return false;
}

void vt_scp_end_said(struct vt_scp_get *g)
{
    if (g->is_open_said)
        take_complaint(g, g->said);
    g->is_open_said = false;
}

/* A name with a line break makes a complaint of several lines: those up to the reason are its own. */
static void begin_said(struct vt_scp_get *g)
{
    char *line = g->parser.line + 1;
    if (g->parser.line[0] == 1 && strncmp(line, "scp: ", 5) == 0 && !has_reason(line)) {
        snprintf(g->said, sizeof g->said, "%s", line);
        g->is_open_said = true;
    } else {
        take_complaint(g, line);
    }
}

/* Whether what came is no more than a line of the complaint before it, which then is dealt with.  What
 * could be another thing is that, unless it ends in a reason. */
static bool goes_on_with_said(struct vt_scp_get *g, enum vt_scp_event event)
{
    const char *line = g->parser.line;
    size_t len = strlen(g->said), n = strlen(line);
    bool is_entry = event == VT_SCP_FILE || event == VT_SCP_FOLDER, ends = has_reason(line);
    bool may = g->is_open_said && g->parser.is_line && (event == VT_SCP_BAD || (is_entry && ends));
    if (!may || len + n + 2 > sizeof g->said)
        return false;
    g->said[len] = '\n';
    memcpy(g->said + len + 1, line, n + 1);
    if (ends)
        vt_scp_end_said(g);
    return true;
}

static void nonsense(struct vt_scp_get *g)
{
    char shown[100], text[160];
    vt_show(g->parser.text, strlen(g->parser.text), shown, sizeof shown);
    snprintf(text, sizeof text, "the server's scp sent nonsense: %s", shown);
    vt_sftp_stop(&g->j.s, VT_PROTO, 0, text);
}

void vt_scp_take(struct vt_scp_get *g, enum vt_scp_event event)
{
    if (event == VT_SCP_MORE || goes_on_with_said(g, event))
        return;
    vt_scp_end_said(g);
    g->anything |= event != VT_SCP_BAD;
    switch (event) {
    case VT_SCP_MORE: break;
    case VT_SCP_FILE: begin_file(g); break;
    case VT_SCP_FOLDER: enter(g); break;
    case VT_SCP_LEAVE: leave(g); break;
    case VT_SCP_TIMES:
        g->times = (struct vt_scp_times){true, g->parser.mtime, g->parser.atime};
        vt_scp_accept(g);
        break;
    case VT_SCP_SAID: begin_said(g); break;
    case VT_SCP_DATA: take_data(g); break;
    case VT_SCP_DONE: end_file(g, NULL); break;
    case VT_SCP_DONE_BADLY: end_file(g, g->parser.text); break;
    case VT_SCP_BAD: nonsense(g); break;
    }
}

enum vt_rc vt_scp_drop(struct vt_scp_get *g, enum vt_rc rc)
{
    struct vt_clean_up c;
    vt_clean_up_begin(&c, g->j.s.w, g->j.s.rc);
    if (vt_scp_is_coming(&g->file))
        vt_job_stopped_at(&g->j, g->file.remote, g->file.got);
    file_over(g, &g->file);
    for (unsigned i = 0; i < g->empty_n; i++)
        file_over(g, &g->empty[i]);
    g->empty_n = 0;
    if (g->temp_root != NULL && !vt_clean_up_tree(&c, fd_at(g, g->root_depth - 1), g->temp_root))
        vt_job_left(&g->j, g->temp_root);
    for (; g->depth > 0; g->depth--)
        level_close(&g->level[g->depth]);
    root_over(g);
    return vt_job_cleaned(&g->j, &c, rc);
}
