/* scp_put.c - uploads by scp's own protocol, for servers without SFTP.
 *
 * One `scp -r -t` fills the folder that all goes into.  It is told temporary names; what
 * the protocol can't do is done by the server's shell (scp_settle.c).  The mask of the
 * server's scp is 0, so that modes arrive as they are, and folders that are there keep
 * theirs.  The outermost folder that is new has a temporary name until the end; what is in it
 * needs none.
 */
#include "transfer/scp_put.h"
#include "transfer/plan.h"
#include "transfer/scripts.h"
#include "transfer/sudo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void link_source(struct vt_scp_put *p, int folder_fd, const char *name, const char *path, const char *final,
                        const char *shown)
{
    char to[4096];
    ssize_t n = readlinkat(folder_fd, name, to, sizeof to - 1);
    if (n < 0) {
        vt_job_fail(&p->j, shown, 0, VT_IO, errno, strerror(errno));
        return;
    }
    to[n] = '\0';
    struct vt_scp_item *item = vt_scp_item_new(p, VT_SCP_A_LINK, path, final, shown);
    if (item == NULL)
        return;
    item->to = vt_job_copy(&p->j, to);
    if (item->to != NULL)
        vt_scp_keep(p, item);
    else
        vt_scp_item_free(item);
    vt_scp_settle_some(p);
}

/* ---- names ---- */

/* The protocol has no line breaks in names. */
static bool needs_other_name(const char *name)
{
    return strchr(name, '\n') != NULL;
}

/* A temporary path in a folder for that name. */
static char *temp_path(struct vt_scp_put *p, const char *folder, const char *name)
{
    char temp[256];
    vt_temp_name(name, temp);
    for (char *c = temp; *c != '\0'; c++)
        if (*c == '\n')
            *c = '_';
    return vt_job_join(&p->j, folder, temp);
}

/* Whether what is made now is in a folder that is new. */
static bool is_in_new(const struct vt_scp_put *p)
{
    return p->new_depth >= 0 && p->depth >= p->new_depth;
}

/* A new file or link in a folder: its path for now, and its name in the end if another. */
static void choose_path(struct vt_scp_put *p, const char *folder, const char *name, bool in_place, char **path,
                        char **final)
{
    bool as_it_is = (in_place || p->j.o->in_place) && !needs_other_name(name);
    char *there = vt_job_join(&p->j, folder, name);
    *final = as_it_is ? NULL : there;
    *path = as_it_is ? there : temp_path(p, folder, name);
}

/* ---- folders ---- */

static void leave_to(struct vt_scp_put *p, int depth)
{
    while (p->depth > depth) {
        vt_scp_send(&p->c, "E\n", 2);
        vt_scp_expect(p, VT_SCP_LEFT, NULL);
        free(p->paths[p->depth]);
        p->paths[p->depth--] = NULL;
    }
    if (p->new_depth > p->depth)
        p->new_depth = -1;
    if (p->expected_n > VT_SCP_ANSWERS / 2)
        vt_scp_wait_answers(p);
}

/* Enters a folder on the server, at path; what else it is to become is kept for the end.
 * is_new: its mode is ours to give. */
static bool enter(struct vt_scp_put *p, const char *path, const char *final, const struct stat *st,
                  const char *shown, enum vt_scp_kind kind, bool is_new)
{
    struct vt_scp_item *item = vt_scp_item_new(p, kind, path, final, shown), *own = NULL;
    bool needs_mode = is_new && ((st->st_mode & 0700) != 0700 || (st->st_mode & 07000) != 0);
    char *name = vt_path_name(path);
    bool ok = item != NULL && name != NULL;
    if (ok)
        vt_scp_item_is(item, VT_SCP_TOLD);
    /* Its own mode comes when all is in it. */
    ok = ok && vt_scp_announce(p, 'D', st, (st->st_mode & 0777) | 0700, 0, name, item);
    free(name);
    if (ok)
        vt_scp_item_is(item, VT_SCP_ARRIVED);
    if (ok && needs_mode && (own = vt_scp_item_new(p, VT_SCP_FOLDER_MODE, path, NULL, shown)) != NULL)
        own->mode = st->st_mode & 07777;
    if (ok)
        p->j.r->folders += is_new;
    /* One that was refused, or on its way when all ended, may have been made all the same. */
    if (item != NULL && final != NULL && item->state != VT_SCP_NEW)
        vt_scp_keep(p, item);
    else
        vt_scp_item_free(item);
    if (own != NULL)
        vt_scp_keep(p, own);
    return ok && p->j.s.rc == VT_OK;
}

/* A folder below one that was there: in one that is there, too, or new. */
static void merge_folder(struct vt_scp_put *p, const char *name, const char *there, const struct stat *st,
                         const char *shown)
{
    char parent, *real = NULL, *path = NULL;
    char kind = vt_scp_look(p, there, &parent, &real);
    free(real);
    if (kind == '-')
        path = temp_path(p, p->paths[p->depth], name);
    else if (kind == 'd')
        path = vt_job_copy(&p->j, there);
    else if (p->j.s.rc == VT_OK)
        vt_job_fail(&p->j, shown, 0, VT_INVALID, 0, "a folder cannot replace a file");
    if (path != NULL && enter(p, path, kind == '-' ? there : NULL, st, shown, VT_SCP_A_ROOT, kind == '-')) {
        p->paths[++p->depth] = path;
        if (kind == '-')
            p->new_depth = p->depth;
        return;
    }
    p->refused_depth = p->depth;
    free(path);
}

static void new_folder(struct vt_scp_put *p, const char *name, const char *there, const struct stat *st,
                       const char *shown)
{
    bool other = needs_other_name(name);
    char *path = other ? temp_path(p, p->paths[p->depth], name) : vt_job_copy(&p->j, there);
    if (p->j.s.rc == VT_OK && enter(p, path, other ? there : NULL, st, shown, VT_SCP_FOLDER_NAME, true)) {
        p->paths[++p->depth] = path;
        return;
    }
    p->refused_depth = p->depth;
    free(path);
}

static void put_folder(struct vt_scp_put *p, const struct vt_entry *entry, const char *shown)
{
    char *there = vt_job_join(&p->j, p->paths[p->depth], entry->name);
    if (there != NULL && is_in_new(p))
        new_folder(p, entry->name, there, &entry->st, shown);
    else if (there != NULL)
        merge_folder(p, entry->name, there, &entry->st, shown);
    free(there);
}

static int depth_of(const char *path)
{
    int n = 0;
    for (; (path = strchr(path, '/')) != NULL; path++)
        n++;
    return n;
}

static void put_file_entry(struct vt_scp_put *p, const struct vt_entry *entry, const char *shown)
{
    struct vt_source src;
    char *path = NULL, *final = NULL;
    choose_path(p, p->paths[p->depth], entry->name, is_in_new(p), &path, &final);
    if (p->j.s.rc != VT_OK)
        ;                           /* no memory for the names */
    else if (entry->kind == VT_ENTRY_LINK)
        link_source(p, entry->folder_fd, entry->name, path, final, shown);
    else if (!vt_source_open(&src, entry->folder_fd, entry->name))
        vt_job_fail(&p->j, shown, 0, VT_IO, errno, vt_source_why(errno));
    else
        vt_scp_put_file(p, &src, path, final, shown);
    free(path);
    free(final);
}

static void put_entry(struct vt_scp_put *p, const struct vt_entry *entry)
{
    if (entry->kind == VT_ENTRY_LEFT_OUT) {
        (void)!vt_job_goes_on(&p->j);
        return;
    }
    int depth = depth_of(entry->path);
    if (p->refused_depth >= 0 && depth > p->refused_depth)
        return;
    p->refused_depth = -1;
    leave_to(p, depth);
    char *shown = vt_job_join(&p->j, p->shown, entry->path);
    if (p->j.s.rc != VT_OK)
        ;                           /* no memory for the name */
    else if (entry->kind == VT_ENTRY_FAILED)
        vt_job_fail(&p->j, shown, 0, VT_IO, entry->sys, vt_source_why(entry->sys));
    else if (entry->kind == VT_ENTRY_FOLDER)
        put_folder(p, entry, shown);
    else
        put_file_entry(p, entry, shown);
    free(shown);
}

static void walk(struct vt_scp_put *p, const char *source)
{
    struct vt_entry entry;
    int fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || vt_walk_begin(&p->walk, fd, !p->j.o->keep_links, &p->j.o->exclude) != VT_OK) {
        vt_job_fail(&p->j, source, 0, VT_IO, errno, strerror(errno));
        return;
    }
    p->shown = source;
    p->refused_depth = -1;
    while (p->j.s.rc == VT_OK && vt_walk_next(&p->walk, &entry))
        put_entry(p, &entry);
    vt_walk_end(&p->walk);
    leave_to(p, 0);
}

/* ---- sources ---- */

/* Into the folder at path, entered already unless it is the sink itself. */
static void fill(struct vt_scp_put *p, const char *source, char *path, bool is_new, bool is_sink)
{
    free(p->paths[0]);
    p->paths[0] = path;
    p->new_depth = is_new ? 0 : -1;
    walk(p, source);
    if (is_sink)
        return;
    vt_scp_send(&p->c, "E\n", 2);
    vt_scp_expect(p, VT_SCP_LEFT, NULL);
}

/* A folder among the sources, into the sink under that name. */
static void put_root(struct vt_scp_put *p, const char *source, const struct stat *st, const char *name)
{
    char *dest = vt_job_join(&p->j, p->sink, name), *real = NULL, *path = NULL, parent;
    char kind = p->j.s.rc != VT_OK ? '?' : vt_scp_look(p, dest, &parent, &real);
    free(real);
    if (p->j.s.rc == VT_OK && kind != '-' && kind != 'd')
        vt_job_fail(&p->j, source, 0, VT_INVALID, 0, "a folder cannot replace a file");
    else if (p->j.s.rc == VT_OK)
        path = kind == '-' ? temp_path(p, p->sink, name) : vt_job_copy(&p->j, dest);
    free(p->paths[0]);
    p->paths[0] = path != NULL ? vt_job_copy(&p->j, p->sink) : NULL;
    p->new_depth = -1;
    if (p->paths[0] != NULL && enter(p, path, kind == '-' ? dest : NULL, st, source, VT_SCP_A_ROOT, kind == '-')) {
        fill(p, source, path, kind == '-', false);
        path = NULL;
    }
    free(path);
    free(dest);
}

static void put_file_source(struct vt_scp_put *p, const char *source, const struct stat *st, const char *name)
{
    struct vt_source src = {.fd = -1};
    char *path = NULL, *final = NULL;
    bool is_link = S_ISLNK(st->st_mode);
    if (!is_link && !vt_source_open(&src, AT_FDCWD, source)) {
        vt_job_fail(&p->j, source, 0, VT_IO, errno, vt_source_why(errno));
        return;
    }
    if (p->target_is_special)
        path = vt_job_copy(&p->j, p->sink);
    else
        choose_path(p, p->sink, name, false, &path, &final);
    if (p->j.s.rc != VT_OK)
        vt_source_close(&src);
    else if (is_link)
        link_source(p, AT_FDCWD, source, path, final, source);
    else
        vt_scp_put_file(p, &src, path, final, source);
    free(path);
    free(final);
}

static void put_source(struct vt_scp_put *p, size_t at, bool target_has_slash)
{
    const char *source = p->sources[at];
    struct stat st;
    if ((p->j.o->keep_links ? lstat(source, &st) : stat(source, &st)) < 0) {
        vt_job_fail(&p->j, source, 0, VT_IO, errno, strerror(errno));
        return;
    }
    char *name = p->name != NULL ? vt_job_copy(&p->j, p->name) : vt_path_name(source);
    if (name == NULL)
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
    else if (S_ISDIR(st.st_mode) && name[0] == '\0')
        fill(p, source, vt_job_copy(&p->j, p->sink), false, true);
    else if (S_ISDIR(st.st_mode)) {
        if (p->before[at] != VT_NO_NAME)
            vt_scp_settle(p);       /* what has come is in place: then this joins it */
        put_root(p, source, &st, name);
    }
    else if (p->name != NULL && target_has_slash)
        vt_job_fail(&p->j, source, 0, VT_INVALID, 0, "the target folder is not there");
    else
        put_file_source(p, source, &st, name);
    free(name);
}

/* ---- all of it ---- */

static void look_at_target(struct vt_scp_put *p, const char *target);

/* Makes the folders above the target; and the target itself if it can be nothing but a folder. */
static void make_parents(struct vt_scp_put *p, const char *target, const char *real)
{
    char *folder = NULL, *name = NULL;
    p->has_parents = true;
    if (vt_path_split(real, &folder, &name) != VT_OK)
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
    else
        vt_scp_make_folders(p, p->n > 1 || vt_plan_is_folder(target) ? real : folder);
    free(folder);
    free(name);
    if (p->j.s.rc == VT_OK)
        look_at_target(p, target);
}

static void look_at_target(struct vt_scp_put *p, const char *target)
{
    char *real = NULL, parent = '-';
    char kind = vt_scp_look(p, target[0] != '\0' ? target : ".", &parent, &real);
    p->target_is_special = kind == 's';
    if (p->j.s.rc != VT_OK)
        ;                           /* nobody knows */
    else if (kind == 'o')
        vt_sftp_stop(&p->j.s, VT_INVALID, 0, "the target is no file, folder or device");
    else if (p->n > 1 && kind != 'd' && (kind != '-' || !p->j.o->parents || p->has_parents))
        vt_sftp_stop(&p->j.s, VT_INVALID, 0, "several sources need a folder as target");
    else if (kind == 'd' && p->j.o->is_name)
        vt_sftp_stop(&p->j.s, VT_INVALID, 0, "the target is a folder");
    else if (kind == 'd' || kind == 's')
        p->sink = vt_job_copy(&p->j, real);
    else if (p->j.o->parents && kind == '-' && !p->has_parents)
        make_parents(p, target, real);
    else if (parent != 'd')
        vt_job_no_folder(&p->j, target);
    else if (vt_path_split(real, &p->sink, &p->name) != VT_OK)
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
    free(real);
}

/* -d: should the sink be no folder by now, the server's scp is not to write into it. */
static void start(struct vt_scp_put *p)
{
    struct vt_script command;
    vt_script_init(&command);
    vt_script_addf(&command, "umask 0; exec scp -r %s-t -- ", p->target_is_special ? "" : "-d ");
    vt_script_path(&command, p->sink);
    vt_sudo_wrap(&p->j.s, &command);
    if (command.rc != VT_OK || vt_buf_add(&command.text, "", 1) != VT_OK || command.text.len > 32 * 1024)
        vt_sftp_stop(&p->j.s, VT_TOOBIG, 0, "the target's path is too long");
    if (p->j.s.rc == VT_OK && vt_scp_open(&p->c, &p->j.s, command.text.data) == VT_OK) {
        vt_scp_expect(p, VT_SCP_READY, NULL);
        vt_scp_wait_answers(p);
    }
    vt_script_fini(&command);
}

static void put_fini(struct vt_scp_put *p)
{
    vt_walk_end(&p->walk);
    for (struct vt_scp_item *list[] = {p->files, p->folders}, **at = list; at < list + 2; at++)
        for (struct vt_scp_item *item = *at, *next; item != NULL; item = next) {
            next = item->next;
            vt_scp_item_free(item);
        }
    for (int i = 0; i <= VT_TREE_DEPTH; i++)
        free(p->paths[i]);
    free(p->before);
    free(p->sink);
    free(p->name);
    vt_scp_close(&p->c);
    vt_job_fini(&p->j);
    free(p);
}

static void put_all(struct vt_scp_put *p, const char *target)
{
    look_at_target(p, target);
    if (p->j.s.rc == VT_OK)
        start(p);
    for (size_t i = 0; i < p->n && p->j.s.rc == VT_OK; i++)
        put_source(p, i, vt_plan_is_folder(target));
    if (p->j.s.rc == VT_OK)
        vt_scp_wait_answers(p);
    if (p->j.s.rc == VT_OK)
        vt_scp_finish(&p->c, p->j.s.deadline);
    vt_scp_keep_expected(p);
    if (p->j.s.rc == VT_OK)
        vt_scp_settle(p);
}

enum vt_rc vt_scp_put(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                      const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_transfer_result *r, struct vt_err *e)
{
    struct vt_scp_put *p = calloc(1, sizeof *p);
    if (p == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    p->sources = sources;
    p->n = n;
    p->files_end = &p->files;
    vt_job_init(&p->j, ssh, o, w, deadline, r, e);
    r->engine = "scp";
    p->before = vt_plan_before(sources, sizeof *sources, n);
    if (p->before == NULL)
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
    else if (o->update)
        vt_sftp_stop(&p->j.s, VT_UNSUPPORTED, 0, "scp cannot tell what is there and as new: that takes SFTP");
    if (p->j.s.rc == VT_OK && o->sudo)
        (void)!vt_sudo_begin(&p->j.s, false);
    put_all(p, target);
    enum vt_rc rc = vt_job_end(&p->j);
    if (p->j.s.rc != VT_OK)
        vt_scp_clean_up(p);
    put_fini(p);
    return rc;
}
