/* sftp_put.c - uploads: files of all sources in one table, many in flight.
 *
 * The server answers in order, so a folder's MKDIR and the OPENs in it may follow each
 * other without waiting.  Per file: OPEN; on its handle WRITEs; after the last one
 * FSETSTAT, FSTAT and CLOSE at once; when all are answered and the size is right, RENAME.
 * A folder that is new on the server is made under a temporary name, and its files need
 * none then.
 */
#include "transfer/job.h"
#include "transfer/remote.h"
#include "transfer/second.h"
#include "transfer/tree.h"
#include "transfer/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX (1024 * 1024)     /* requests made but not sent */
#define GROWING (64 * 1024)         /* of a file whose size is not known */
#define LARGE (64 * 1024 * 1024)    /* worth a second connection */
#define LOOK_UP (50 * VT_MS)
#define PARKED_MAX 32               /* files that wait for their checksums */

struct put;

/* A folder among the sources: where it goes. */
struct root {
    struct root *next;
    char *path;                     /* the server's folder that is filled */
    char *final;                    /* its name at the end; NULL: it was there before */
    char *shown;                    /* the source, for messages */
};

/* A folder that was made: its mode and times are set at the end. */
struct made {
    struct made *next;
    struct put *p;
    char *path, *shown;
    struct stat st;
    bool exists_already, failed;
};

struct upload {
    struct upload *next, **link;    /* all that are not finished */
    struct upload *next_sending;
    struct put *p;
    int fd;
    struct stat st;
    char *path, *final, *shown;     /* final NULL: path is the name already */
    bool is_direct;                 /* into a device or pipe that is there */
    bool is_link;
    char handle[256];
    size_t handle_len;
    uint64_t sent, done;
    uint64_t second_limit;          /* where another connection's part begins; 0: nowhere */
    unsigned pending;               /* requests that are not answered */
    bool is_open, at_end, failed, removed_old, is_gone;
    struct vt_sha256 hash;          /* of what was sent */
    struct vt_check check;
    bool is_verified;
};

struct put {
    struct vt_job j;
    const char *const *sources;
    size_t n, at;
    char *target;
    bool target_is_folder, target_exists, target_is_special;
    struct root *roots;
    struct made *made;              /* the last first */
    struct vt_walk walk;
    struct root *walking;           /* NULL: no folder is being walked */
    struct upload *files, *sending, **sending_end;
    struct vt_second *second;       /* that sends the end of a file, */
    struct upload *second_of;
    unsigned open;                  /* uploads not finished */
    struct vt_check *parked;        /* those of them that wait for their checksums */
    unsigned parked_n;
    uint64_t in_flight;
};

/* ---- one file ---- */

static void upload_free(struct upload *u)
{
    *u->link = u->next;
    if (u->next != NULL)
        u->next->link = u->link;
    u->p->open--;
    if (u->fd >= 0)
        close(u->fd);
    free(u->path);
    free(u->final);
    free(u->shown);
    free(u);
}

static void on_removed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;
    (void)op;
    if (r->status != VT_FX_OK && r->status != VT_FX_NO_SUCH_FILE)
        vt_job_left(&u->p->j, u->path);
    upload_free(u);
}

/* Ends a file that failed; nothing of it is left. */
static void give_up(struct upload *u)
{
    if (u->is_open && !u->is_direct)
        vt_sftp_ask(&u->p->j.s, VT_FXP_REMOVE, u->path, on_removed, u);
    else
        upload_free(u);
}

static void refused(struct upload *u, const struct vt_sftp_reply *r)
{
    if (!u->failed)
        vt_job_refused(&u->p->j, u->shown, u->done, r);
    u->failed = true;
}

static void failed_here(struct upload *u, enum vt_rc rc, int sys, const char *text)
{
    if (!u->failed)
        vt_job_fail(&u->p->j, u->shown, u->done, rc, sys, text);
    u->failed = true;
}

static void finished(struct upload *u)
{
    *(u->is_link ? &u->p->j.r->links : &u->p->j.r->files) += 1;
    upload_free(u);
}

static void on_old_removed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r);

static void on_renamed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;
    struct vt_sftp *s = &u->p->j.s;
    (void)op;
    if (r->status == VT_FX_OK && r->type == VT_FXP_STATUS) {
        finished(u);
    } else if (r->status == VT_FX_FAILURE && !s->has_posix_rename && !u->removed_old) {
        u->removed_old = true;      /* its rename does not replace what is there */
        vt_sftp_ask(s, VT_FXP_REMOVE, u->final, on_old_removed, u);
    } else {
        refused(u, r);
        give_up(u);
    }
}

static void on_old_removed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;
    (void)op, (void)r;
    vt_sftp_rename(&u->p->j.s, u->path, u->final, on_renamed, u);
}

static bool must_verify(const struct upload *u)
{
    return u->p->j.o->verify && !u->is_verified && !u->is_link && !u->is_direct;
}

static void park(struct upload *u)
{
    u->check.path = u->path;
    u->check.ctx = u;
    u->check.next = u->p->parked;
    u->p->parked = &u->check;
    u->p->parked_n++;
    vt_sha256_end(&u->hash, u->check.sum);
}

/* All is answered after CLOSE: on to its name, or away with it. */
static void settle(struct upload *u)
{
    if (u->pending > 0 || !u->at_end)
        return;
    if (u->failed)
        give_up(u);
    else if (must_verify(u))
        park(u);
    else if (u->final != NULL)
        vt_sftp_rename(&u->p->j.s, u->path, u->final, on_renamed, u);
    else
        finished(u);
}

static void on_close(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;
    (void)op;
    u->pending--;
    if (r->status != VT_FX_OK)
        refused(u, r);
    settle(u);
}

/* A file system without modes is no failure. */
static void on_attrs_set(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;
    (void)op, (void)r;
    u->pending--;
    settle(u);
}

static void on_size(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    u->pending--;
    if (r->type == VT_FXP_ATTRS) {
        struct vt_attrs a = vt_take_attrs(&c);
        char text[80];
        snprintf(text, sizeof text, "the server has %llu bytes instead of %llu", (unsigned long long)a.size,
                 (unsigned long long)u->sent);
        if (a.flags & VT_ATTR_SIZE && a.size != u->sent)
            failed_here(u, VT_REMOTE, 0, text);
    } else if (r->status != VT_FX_OP_UNSUPPORTED) {
        refused(u, r);
    }
    settle(u);
}

static struct vt_attrs attrs_of(const struct put *p, const struct stat *st)
{
    struct vt_attrs a = {.flags = VT_ATTR_MODE, .mode = st->st_mode & 07777};
    if (p->j.o->keep_times) {
        a.flags |= VT_ATTR_TIMES;
        a.atime = (uint32_t)st->st_atime;
        a.mtime = (uint32_t)st->st_mtime;
    }
    return a;
}

/* After the last WRITE.  The mode goes again: the server's umask has cut OPEN's. */
/* ---- the second connection ---- */

static void begin_second(struct upload *u)
{
    struct put *p = u->p;
    bool wanted = p->j.o->login != NULL && !p->j.o->verify && !u->is_direct && u->st.st_size >= LARGE
        && sysconf(_SC_NPROCESSORS_ONLN) > 1;
    if (!wanted || p->second != NULL)
        return;
    p->second = vt_second_begin(p->j.o->login, u->fd, u->path, (uint64_t)u->st.st_size, p->j.s.deadline);
    p->second_of = p->second != NULL ? u : NULL;
}

static void count_second(struct put *p)
{
    uint64_t n = p->second != NULL ? vt_second_moved(p->second) : 0;
    if (n == 0)
        return;
    p->second_of->done += n;
    p->j.s.moved_at = vt_now();
    vt_job_moved(&p->j, p->second_of->shown, n);
}

/* What it has not done is then ours to send. */
static void end_second(struct put *p)
{
    struct upload *u = p->second_of;
    if (p->second == NULL)
        return;
    count_second(p);
    if (vt_second_end(p->second) && u->sent >= u->second_limit)
        u->sent = (uint64_t)u->st.st_size;
    u->second_limit = 0;
    p->second = NULL;
    p->second_of = NULL;
}

/* Where our part of the file ends. */
static uint64_t end_of(struct upload *u)
{
    if (u->p->second_of == u)
        u->second_limit = vt_second_limit(u->p->second, u->sent);
    return u->second_limit > 0 ? u->second_limit : (uint64_t)u->st.st_size;
}

/* Our part is sent, not the other one's. */
static bool is_waiting_for_second(const struct put *p)
{
    const struct upload *u = p->second_of;
    return u != NULL && u->second_limit > 0 && u->sent >= u->second_limit && !u->failed;
}

static void wait_second(struct put *p)
{
    struct upload *u = p->second_of;
    struct vt_sftp *s = &p->j.s;
    if (u->second_limit == (uint64_t)u->st.st_size || vt_second_wait(p->second, vt_now() + LOOK_UP)) {
        end_second(p);
        return;
    }
    count_second(p);
    enum vt_rc rc = vt_sleep(s->w, vt_now());
    if (rc != VT_TIMEOUT)
        vt_sftp_stop(s, rc, 0, NULL);
    else if (vt_expired(s->deadline))
        vt_sftp_stop(s, VT_TIMEOUT, 0, "the time for the transfer is over");
    else if (s->stall != VT_FOREVER && vt_now() - s->moved_at > s->stall)
        end_second(p);              /* perhaps we can send it */
}

static void send_end(struct upload *u)
{
    if (u->p->second_of == u)
        end_second(u->p);
    struct vt_sftp *s = &u->p->j.s;
    struct vt_attrs a = attrs_of(u->p, &u->st);
    u->at_end = true;
    close(u->fd);
    u->fd = -1;
    if (!u->failed && !u->is_direct) {
        struct vt_packet p = vt_sftp_begin(s, VT_FXP_FSETSTAT, on_attrs_set, u, 0, 0);
        vt_packet_bytes(&p, u->handle, u->handle_len);
        vt_packet_attrs(&p, &a);
        vt_sftp_end(s, &p);
        vt_sftp_ask_handle(s, VT_FXP_FSTAT, u->handle, u->handle_len, on_size, u);
        u->pending += 2;
    }
    vt_sftp_ask_handle(s, VT_FXP_CLOSE, u->handle, u->handle_len, on_close, u);
    u->pending++;
}

static void on_written(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;
    u->pending--;
    u->p->in_flight -= op->size;
    if (r->status != VT_FX_OK || r->type != VT_FXP_STATUS)
        refused(u, r);
    else
        vt_job_moved(&u->p->j, u->shown, op->size);
    u->done += op->size;
    settle(u);
}

static uint32_t piece_size(struct upload *u)
{
    uint64_t left = u->st.st_size > 0 ? end_of(u) - u->sent : GROWING;
    uint32_t most = u->p->j.s.write_max;
    return left < most ? (uint32_t)left : most;
}

/* Reads the next piece straight into its WRITE.  False: the file's end, or a failure. */
static bool send_piece(struct upload *u)
{
    struct vt_sftp *s = &u->p->j.s;
    uint32_t want = piece_size(u);
    if (want == 0)
        return false;
    struct vt_packet p = vt_packet_begin(&s->out, VT_FXP_WRITE, 0);
    vt_packet_bytes(&p, u->handle, u->handle_len);
    vt_packet_u64(&p, u->sent);
    void *room = vt_packet_room(&p, want);
    ssize_t n = room == NULL ? 0 : pread(u->fd, room, want, (off_t)u->sent);
    int sys = errno;
    s->out.len = p.start;           /* its id and size are known only now */
    if (room == NULL)
        vt_sftp_stop(s, p.rc, 0, NULL);
    else if (n < 0)
        failed_here(u, VT_IO, sys, strerror(sys));
    else if (u->p->j.o->verify)
        vt_sha256_add(&u->hash, room, (size_t)n);
    if (n <= 0)
        return false;
    p = vt_sftp_begin(s, VT_FXP_WRITE, on_written, u, u->sent, (uint32_t)n);
    vt_packet_bytes(&p, u->handle, u->handle_len);
    vt_packet_u64(&p, u->sent);
    (void)vt_packet_room(&p, (size_t)n);        /* where the bytes are already */
    vt_packet_filled(&p, (size_t)n);
    vt_sftp_end(s, &p);
    u->sent += (uint64_t)n;
    u->pending++;
    u->p->in_flight += (uint64_t)n;
    return true;
}

/* Sends as much of the file as may be in flight.  True: its end was sent. */
static bool send_some(struct upload *u)
{
    struct put *p = u->p;
    while (p->j.s.rc == VT_OK) {
        if (p->in_flight >= p->j.s.in_flight_max || vt_sftp_queued(&p->j.s) >= QUEUE_MAX)
            return false;
        if (p->second_of == u && !u->failed && u->sent >= end_of(u))
            return false;           /* until the other part is there */
        if (u->failed || !send_piece(u)) {
            send_end(u);
            return true;
        }
        if (u->st.st_size > 0 && p->second_of != u && u->sent >= (uint64_t)u->st.st_size) {
            send_end(u);
            return true;
        }
    }
    return false;
}

static void queue_sending(struct upload *u)
{
    struct put *p = u->p;
    u->next_sending = NULL;
    *p->sending_end = u;
    p->sending_end = &u->next_sending;
}

static void send_files(struct put *p)
{
    while (p->sending != NULL && p->j.s.rc == VT_OK) {
        struct upload *u = p->sending;
        struct upload *next = u->next_sending;
        if (!send_some(u))
            return;
        p->sending = next;
        if (next == NULL)
            p->sending_end = &p->sending;
    }
}

static void on_opened(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    if (r->type == VT_FXP_STATUS) {
        refused(u, r);
        give_up(u);
        return;
    }
    if (!vt_sftp_is(&u->p->j.s, r, VT_FXP_HANDLE))
        return;
    struct vt_span handle = vt_take_bytes(&c);
    if (c.bad || handle.n > sizeof u->handle) {
        vt_sftp_stop(&u->p->j.s, VT_PROTO, 0, "the SFTP server sent a damaged handle");
        return;
    }
    memcpy(u->handle, handle.p, handle.n);
    u->handle_len = handle.n;
    u->is_open = true;
    begin_second(u);
    queue_sending(u);
}

static void ask_open(struct upload *u)
{
    struct vt_sftp *s = &u->p->j.s;
    struct vt_attrs a = {.flags = VT_ATTR_MODE, .mode = (u->st.st_mode & 0777) | 0200};
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_OPEN, on_opened, u, 0, 0);
    vt_packet_text(&p, u->path);
    vt_packet_u32(&p, u->is_direct ? VT_FXF_WRITE : VT_FXF_WRITE | VT_FXF_CREAT | VT_FXF_EXCL);
    vt_packet_attrs(&p, &a);
    vt_sftp_end(s, &p);
}

/* A temporary path beside a path of the server's. */
static char *temp_path(struct put *p, const char *path)
{
    char *folder = NULL, *name = NULL, temp[256], *joined = NULL;
    if (vt_path_split(path, &folder, &name) == VT_OK) {
        vt_temp_name(name, temp);
        joined = vt_job_join(&p->j, folder, temp);
    } else {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
    }
    free(folder);
    free(name);
    return joined;
}

/* path: where it ends up, or, in_place, where it may be made at once.  NULL: no memory. */
static struct upload *new_upload(struct put *p, const char *path, bool in_place, const char *shown)
{
    struct upload *u = calloc(1, sizeof *u);
    if (u == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    u->p = p;
    u->fd = -1;
    u->link = &p->files;
    u->next = p->files;
    if (u->next != NULL)
        u->next->link = &u->next;
    p->files = u;
    p->open++;
    u->shown = vt_job_copy(&p->j, shown);
    vt_sha256_init(&u->hash);
    u->path = in_place ? vt_job_copy(&p->j, path) : temp_path(p, path);
    u->final = in_place ? NULL : vt_job_copy(&p->j, path);
    return p->j.s.rc == VT_OK ? u : NULL;
}

/* Begins the upload of the open file fd, which it takes over. */
static void begin_upload(struct put *p, int fd, const struct stat *st, const char *path, bool in_place,
                         const char *shown)
{
    struct upload *u = new_upload(p, path, in_place || p->target_is_special, shown);
    if (u == NULL) {
        close(fd);
        return;
    }
    u->fd = fd;
    u->st = *st;
    u->is_direct = p->target_is_special;
    p->j.total += (uint64_t)st->st_size;
    ask_open(u);
}

/* ---- links and folders ---- */

static void on_linked(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;
    (void)op;
    u->at_end = true;
    u->is_open = r->status == VT_FX_OK;
    if (!u->is_open)
        refused(u, r);
    settle(u);
}

/* OpenSSH takes the two names the other way round than the draft says, and others do as
 * OpenSSH does. */
static void begin_link(struct put *p, int folder_fd, const char *name, const char *path, bool in_place,
                       const char *shown)
{
    char to[4096];
    ssize_t n = readlinkat(folder_fd, name, to, sizeof to - 1);
    if (n < 0) {
        vt_job_fail(&p->j, shown, 0, VT_IO, errno, strerror(errno));
        return;
    }
    to[n] = '\0';
    struct upload *u = new_upload(p, path, in_place, shown);
    if (u == NULL)
        return;
    u->is_link = true;
    struct vt_packet packet = vt_sftp_begin(&p->j.s, VT_FXP_SYMLINK, on_linked, u, 0, 0);
    vt_packet_text(&packet, to);
    vt_packet_text(&packet, u->path);
    vt_sftp_end(&p->j.s, &packet);
}

static void on_folder_known(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct made *m = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    m->p->open--;
    struct vt_attrs a = r->type == VT_FXP_ATTRS ? vt_take_attrs(&c) : (struct vt_attrs){0};
    m->exists_already = a.flags & VT_ATTR_MODE && S_ISDIR(a.mode);
    m->failed = !m->exists_already;
    if (m->failed)
        vt_job_fail(&m->p->j, m->shown, 0, VT_REMOTE, 0, "the server could not make this folder");
}

/* FAILURE is what a server says of a folder that is there, and of much else. */
static void on_folder_made(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct made *m = ctx;
    (void)op;
    if (r->status == VT_FX_FAILURE) {
        vt_sftp_ask(&m->p->j.s, VT_FXP_STAT, m->path, on_folder_known, m);
        return;
    }
    m->p->open--;
    m->failed = r->status != VT_FX_OK;
    if (m->failed)
        vt_job_refused(&m->p->j, m->shown, 0, r);
    else
        m->p->j.r->folders++;
}

static void make_folder(struct put *p, const char *path, const struct stat *st, const char *shown)
{
    struct made *m = calloc(1, sizeof *m);
    if (m == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return;
    }
    *m = (struct made){.next = p->made, .p = p, .path = vt_job_copy(&p->j, path),
                       .shown = vt_job_copy(&p->j, shown), .st = *st};
    p->made = m;
    if (p->j.s.rc != VT_OK)
        return;
    struct vt_attrs a = {.flags = VT_ATTR_MODE, .mode = 0700};
    struct vt_packet packet = vt_sftp_begin(&p->j.s, VT_FXP_MKDIR, on_folder_made, m, 0, 0);
    vt_packet_text(&packet, path);
    vt_packet_attrs(&packet, &a);
    vt_sftp_end(&p->j.s, &packet);
    p->open++;
}

/* ---- walking the sources ---- */

static void begin_entry(struct put *p, const struct vt_entry *entry)
{
    char *path = vt_job_join(&p->j, p->walking->path, entry->path);
    char *shown = vt_job_join(&p->j, p->walking->shown, entry->path);
    bool in_place = p->walking->final != NULL;
    if (p->j.s.rc != VT_OK) {
        /* no memory for the names */
    } else if (entry->kind == VT_ENTRY_FAILED) {
        vt_job_fail(&p->j, shown, 0, VT_IO, entry->sys,
                    entry->sys == EMEDIUMTYPE ? "no regular file" : strerror(entry->sys));
    } else if (entry->kind == VT_ENTRY_FOLDER) {
        make_folder(p, path, &entry->st, shown);
    } else if (entry->kind == VT_ENTRY_LINK) {
        begin_link(p, entry->folder_fd, entry->name, path, in_place, shown);
    } else {
        int fd = openat(entry->folder_fd, entry->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            vt_job_fail(&p->j, shown, 0, VT_IO, errno, strerror(errno));
        else
            begin_upload(p, fd, &entry->st, path, in_place, shown);
    }
    free(path);
    free(shown);
}

static struct root *add_root(struct put *p, const char *dest, bool is_new, const char *source)
{
    struct root *root = calloc(1, sizeof *root);
    if (root == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    root->next = p->roots;
    p->roots = root;
    root->shown = vt_job_copy(&p->j, source);
    root->final = is_new ? vt_job_copy(&p->j, dest) : NULL;
    root->path = is_new ? temp_path(p, dest) : vt_job_copy(&p->j, dest);
    return p->j.s.rc == VT_OK ? root : NULL;
}

static void begin_folder(struct put *p, const char *source, const struct stat *st, const char *dest, bool is_new)
{
    int fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || vt_walk_begin(&p->walk, fd, !p->j.o->keep_links) != VT_OK) {
        vt_job_fail(&p->j, source, 0, VT_IO, errno, strerror(errno));
        return;
    }
    p->walking = add_root(p, dest, is_new, source);
    if (p->walking != NULL && is_new)
        make_folder(p, p->walking->path, st, source);
}

/* Whether the folder that a source becomes is there. */
static void begin_folder_source(struct put *p, const char *source, const struct stat *st, const char *dest,
                                bool is_target)
{
    struct vt_attrs a = {0};
    uint32_t status = VT_FX_OK;
    bool is_new = !p->target_exists;
    if (!is_target) {
        if (vt_remote_stat(&p->j.s, dest, true, &a, &status) != VT_OK)
            return;
        is_new = status != VT_FX_OK;
    }
    if (!is_new && (is_target ? !p->target_is_folder : (a.flags & VT_ATTR_MODE && !S_ISDIR(a.mode))))
        vt_job_fail(&p->j, source, 0, VT_INVALID, 0, "a folder cannot replace a file");
    else
        begin_folder(p, source, st, dest, is_new);
}

static bool ends_with_slash(const char *path)
{
    size_t n = strlen(path);
    return n > 0 && path[n - 1] == '/';
}

static void begin_file_source(struct put *p, const char *source, const struct stat *st, const char *dest)
{
    if (!p->target_is_folder && ends_with_slash(p->target)) {
        vt_job_fail(&p->j, source, 0, VT_INVALID, 0, "the target folder is not there");
        return;
    }
    if (S_ISLNK(st->st_mode)) {
        begin_link(p, AT_FDCWD, source, dest, false, source);
        return;
    }
    int fd = S_ISREG(st->st_mode) ? open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd >= 0)
        begin_upload(p, fd, st, dest, false, source);
    else
        vt_job_fail(&p->j, source, 0, VT_IO, S_ISREG(st->st_mode) ? errno : 0,
                    S_ISREG(st->st_mode) ? strerror(errno) : "no regular file");
}

static void begin_source(struct put *p, const char *source)
{
    struct stat st;
    if ((p->j.o->keep_links ? lstat(source, &st) : stat(source, &st)) < 0) {
        vt_job_fail(&p->j, source, 0, VT_IO, errno, strerror(errno));
        return;
    }
    char *name = vt_path_name(source);
    if (name == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return;
    }
    bool is_target = !p->target_is_folder || name[0] == '\0';
    char *dest = is_target ? vt_job_copy(&p->j, p->target) : vt_job_join(&p->j, p->target, name);
    if (dest != NULL && S_ISDIR(st.st_mode))
        begin_folder_source(p, source, &st, dest, is_target);
    else if (dest != NULL)
        begin_file_source(p, source, &st, dest);
    free(name);
    free(dest);
}

/* Begins the next file, folder or source.  False: there is none. */
static bool begin_next(struct put *p)
{
    struct vt_entry entry;
    if (p->walking != NULL) {
        if (vt_walk_next(&p->walk, &entry))
            begin_entry(p, &entry);
        else
            p->walking = NULL;
        return true;
    }
    if (p->at == p->n)
        return false;
    begin_source(p, p->sources[p->at++]);
    return true;
}

/* ---- all of it ---- */

/* Those that wait for their checksums go on, or away. */
static void verify_parked(struct put *p)
{
    struct vt_check *list = p->parked;
    p->parked = NULL;
    p->parked_n = 0;
    if (vt_verify(&p->j.s, list) != VT_OK)
        return;
    for (struct vt_check *check = list, *next; check != NULL; check = next) {
        struct upload *u = check->ctx;
        next = check->next;
        u->is_verified = true;
        if (check->is != VT_SAME)
            failed_here(u, VT_REMOTE, 0, vt_sameness_text(check->is));
        settle(u);
    }
}

static enum vt_rc run(struct put *p)
{
    bool more = true;
    while (p->j.s.rc == VT_OK && (more || p->open > 0)) {
        send_files(p);
        while (more && p->j.s.rc == VT_OK && p->open < p->j.s.files_max
               && vt_sftp_queued(&p->j.s) < QUEUE_MAX)
            more = begin_next(p);
        if (p->parked_n >= PARKED_MAX || (p->parked_n > 0 && p->parked_n == p->open))
            verify_parked(p);
        count_second(p);
        if (p->j.s.rc == VT_OK && is_waiting_for_second(p) && p->j.s.outstanding == 0)
            wait_second(p);
        else if (p->j.s.rc == VT_OK && p->open > 0)
            (void)!vt_sftp_turn(&p->j.s);
    }
    return p->j.s.rc;
}

static void on_folder_set(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)op, (void)r;              /* a file system without modes is no failure */
    ((struct put *)ctx)->open--;
}

/* The deepest come first, as they were made last: a mode may forbid what follows. */
static void set_folders(struct put *p)
{
    for (struct made *m = p->made; m != NULL && p->j.s.rc == VT_OK; m = m->next) {
        if (m->failed || m->exists_already)
            continue;
        struct vt_attrs a = attrs_of(p, &m->st);
        struct vt_packet packet = vt_sftp_begin(&p->j.s, VT_FXP_SETSTAT, on_folder_set, p, 0, 0);
        vt_packet_text(&packet, m->path);
        vt_packet_attrs(&packet, &a);
        vt_sftp_end(&p->j.s, &packet);
        p->open++;
    }
}

static void on_root_renamed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct upload *u = ctx;         /* stands for the folder: see rename_roots */
    (void)op;
    u->p->open--;
    u->failed = r->status != VT_FX_OK;
    if (u->failed)
        vt_job_refused(&u->p->j, u->shown, 0, r);
}

static void wait_all(struct put *p)
{
    while (p->j.s.rc == VT_OK && p->open > 0)
        (void)!vt_sftp_turn(&p->j.s);
}

/* New folders get their names.  One that can't is removed. */
static void rename_roots(struct put *p)
{
    for (struct root *root = p->roots; root != NULL && p->j.s.rc == VT_OK; root = root->next) {
        struct upload whole = {.p = p, .shown = root->shown};
        bool gone = true;
        if (root->final == NULL)
            continue;
        p->open++;
        vt_sftp_rename(&p->j.s, root->path, root->final, on_root_renamed, &whole);
        wait_all(p);
        if (p->j.s.rc == VT_OK && whole.failed && vt_remote_remove(&p->j.s, root->path, &gone) == VT_OK && !gone)
            vt_job_left(&p->j, root->path);
        if (p->j.s.rc == VT_OK) {
            free(root->final);
            root->final = NULL;
        }
    }
}

static void on_cleaned(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    (void)op;
    ((struct upload *)ctx)->is_gone = r->status == VT_FX_OK || r->status == VT_FX_NO_SUCH_FILE;
}

/* Removes the temporary files, all at once. */
static void clean_files(struct put *p, bool alive)
{
    for (struct upload *u = p->files; alive && u != NULL; u = u->next)
        if (u->final != NULL && u->path != NULL)
            vt_sftp_ask(&p->j.s, VT_FXP_REMOVE, u->path, on_cleaned, u);
    while (alive && p->j.s.outstanding > 0 && vt_sftp_turn(&p->j.s) == VT_OK)
        ;
    for (struct upload *u = p->files; u != NULL; u = u->next)
        if (u->final != NULL && u->path != NULL && !u->is_gone)
            vt_job_left(&p->j, u->path);
}

static bool has_leftovers(const struct put *p)
{
    for (const struct upload *u = p->files; u != NULL; u = u->next)
        if (u->final != NULL)
            return true;
    for (const struct root *root = p->roots; root != NULL; root = root->next)
        if (root->final != NULL)
            return true;
    return false;
}

/* The end came too early: what is temporary goes, if the server still listens. */
static void clean_up(struct put *p)
{
    end_second(p);
    bool alive = vt_job_revive(&p->j), gone;
    if (!alive && has_leftovers(p) && vt_job_reconnect(&p->j))
        alive = vt_sftp_open(&p->j.s) == VT_OK;
    if (p->files != NULL && p->files->shown != NULL)
        vt_job_stopped_at(&p->j, p->files->shown, p->files->done);
    clean_files(p, alive);
    for (struct root *root = p->roots; root != NULL; root = root->next) {
        if (root->final == NULL || root->path == NULL)
            continue;
        if (!alive || vt_remote_remove(&p->j.s, root->path, &gone) != VT_OK || !gone)
            vt_job_left(&p->j, root->path);
    }
}

/* A link is written through, as scp does: its end is replaced, not the link. */
static void follow_target(struct put *p, const char *path)
{
    struct vt_attrs a = {0};
    struct vt_buf real;
    uint32_t status = VT_FX_OK;
    vt_buf_init(&real, 8192);
    if (vt_remote_stat(&p->j.s, path, false, &a, &status) == VT_OK && status == VT_FX_OK
        && a.flags & VT_ATTR_MODE && S_ISLNK(a.mode)
        && vt_remote_real(&p->j.s, path, &real, &status) == VT_OK && status == VT_FX_OK) {
        free(p->target);
        p->target = vt_job_copy(&p->j, real.data);
    }
    vt_buf_fini(&real);
}

static enum vt_rc look_at_target(struct put *p, const char *target)
{
    struct vt_attrs a = {0};
    struct vt_buf path;
    uint32_t status = VT_FX_OK;
    vt_buf_init(&path, 8192);
    if (vt_remote_expand(&p->j.s, target, &path) == VT_OK
        && (p->target = vt_job_copy(&p->j, path.data)) != NULL
        && vt_remote_stat(&p->j.s, p->target, true, &a, &status) == VT_OK) {
        p->target_exists = status == VT_FX_OK;
        p->target_is_folder = p->target_exists && a.flags & VT_ATTR_MODE && S_ISDIR(a.mode);
        p->target_is_special = p->target_exists && a.flags & VT_ATTR_MODE && !S_ISDIR(a.mode)
            && !S_ISREG(a.mode);
        if (p->target_is_special && !S_ISCHR(a.mode) && !S_ISBLK(a.mode))
            vt_sftp_stop(&p->j.s, VT_INVALID, 0, "the target is no file, folder or device");
        if (p->target_exists && !p->target_is_folder)
            follow_target(p, p->target);
        if (p->n > 1 && !p->target_is_folder)
            vt_sftp_stop(&p->j.s, VT_INVALID, 0, "several sources need a folder as target");
    }
    vt_buf_fini(&path);
    return p->j.s.rc;
}

static void put_fini(struct put *p)
{
    vt_walk_end(&p->walk);
    while (p->files != NULL)
        upload_free(p->files);
    for (struct root *root = p->roots, *next; root != NULL; root = next) {
        next = root->next;
        free(root->path);
        free(root->final);
        free(root->shown);
        free(root);
    }
    for (struct made *m = p->made, *next; m != NULL; m = next) {
        next = m->next;
        free(m->path);
        free(m->shown);
        free(m);
    }
    free(p->target);
    vt_job_fini(&p->j);
    free(p);
}

enum vt_rc vt_sftp_put(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                       const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transfer_result *r, struct vt_err *e)
{
    struct put *p = calloc(1, sizeof *p);
    if (p == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    p->sources = sources;
    p->n = n;
    p->sending_end = &p->sending;
    if (vt_job_begin(&p->j, ssh, o, w, deadline, r, e) == VT_OK && look_at_target(p, target) == VT_OK
        && run(p) == VT_OK) {
        set_folders(p);
        wait_all(p);
        rename_roots(p);
    }
    enum vt_rc rc = vt_job_result(&p->j);
    if (p->j.s.rc != VT_OK)
        clean_up(p);
    else
        vt_job_told(&p->j);
    put_fini(p);
    return rc;
}
