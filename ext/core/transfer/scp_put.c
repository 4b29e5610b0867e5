/* scp_put.c - uploads by scp's own protocol, for servers without SFTP.
 *
 * One `scp -r -t` fills the folder that all goes into.  It is told temporary names; what
 * the protocol can't do is done by the server's shell: to look at the target before, and
 * to rename, link and clean up after.  The mask of the server's scp is 0, so that modes
 * arrive as they are, and folders that are there keep theirs.
 *
 * An entry's line is answered before what it announces may be sent; the answers to data, to
 * times and to the ends of folders are waited for together with that of the next line.
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

#define QUEUE_MAX (512 * 1024)
#define PIECE (64 * 1024)
#define SLURP_MAX (64 * 1024 * 1024)    /* of a file whose size is not told */
#define ANSWERS_MAX 256
#define SCRIPT_MAX (64 * 1024 * 1024)
#define LEAVE_TIME (300 * VT_MS)

/* What the shell has to do when all is there. */
enum kind {
    FILE_ITEM,                      /* path, maybe to be renamed to final */
    LINK_ITEM,                      /* path to be made, maybe under final in the end */
    FOLDER_NAME,                    /* path to be renamed to final */
    FOLDER_MODE,
    ROOT_ITEM,                      /* a new folder's temporary path */
};

struct item {
    struct item *next;              /* the last first */
    enum kind kind;
    char *path, *final, *shown, *to;
    mode_t mode;
    uint64_t size;
    bool is_begun, failed;
    struct vt_sha256 hash;          /* of what was sent */
    struct vt_check check;
};

enum answer { READY, TIMES, OPENED, WRITTEN, LEFT };
struct expected { enum answer answer; struct item *item; };

struct put {
    struct vt_job j;
    struct vt_scp c;
    struct vt_scp_answers answers;
    struct expected expected[ANSWERS_MAX];
    unsigned expected_at, expected_n;
    bool is_accepted, is_sending;   /* the last entry was; a file's bytes are on their way */
    const char *const *sources;
    size_t n;
    char *sink;                     /* the folder that the server's scp fills, or a device */
    char *name;                     /* the target's name in it; NULL: that of the source */
    bool target_is_special;
    struct item *items;
    /* The folder that is walked. */
    struct vt_walk walk;
    const char *shown;
    bool in_place;
    int depth, refused_depth;       /* folders open below its top; of one that was refused, or -1 */
    char *paths[VT_TREE_DEPTH + 1]; /* on the server */
};

/* ---- items ---- */

static void item_free(struct item *item)
{
    if (item == NULL)
        return;
    free(item->path);
    free(item->final);
    free(item->shown);
    free(item->to);
    free(item);
}

static struct item *new_item(struct put *p, enum kind kind, const char *path, const char *final, const char *shown)
{
    struct item *item = calloc(1, sizeof *item);
    if (item == NULL) {
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    item->kind = kind;
    vt_sha256_init(&item->hash);
    item->path = vt_job_copy(&p->j, path);
    item->final = final != NULL ? vt_job_copy(&p->j, final) : NULL;
    item->shown = vt_job_copy(&p->j, shown);
    if (p->j.s.rc == VT_OK)
        return item;
    item_free(item);
    return NULL;
}

static void keep(struct put *p, struct item *item)
{
    item->next = p->items;
    p->items = item;
}

static void refused(struct put *p, struct item *item, uint64_t at, const char *said)
{
    char shown[160], text[200];
    vt_show(said, strlen(said), shown, sizeof shown);
    snprintf(text, sizeof text, "the server said: %s", shown);
    if (!item->failed)
        vt_job_fail(&p->j, item->shown, at, VT_REMOTE, 0, text);
    item->failed = true;
}

/* ---- answers ---- */

static void expect(struct put *p, enum answer answer, struct item *item)
{
    p->expected[(p->expected_at + p->expected_n++) % ANSWERS_MAX] = (struct expected){answer, item};
}

/* A file is done: the shell has work with it, or it is there. */
static void written(struct put *p, struct item *item)
{
    if (!item->failed && item->final == NULL && item->mode == 0 && !p->j.o->verify) {
        p->j.r->files++;
        item_free(item);
    } else {
        keep(p, item);
    }
}

static void answered(struct put *p, struct expected x, bool ok)
{
    const char *said = p->answers.text;
    if (x.answer == OPENED) {
        p->is_accepted = ok;
        if (!ok)
            refused(p, x.item, 0, said);
    } else if (x.answer == WRITTEN) {
        if (!ok)
            refused(p, x.item, x.item->size, said);
        written(p, x.item);
    } else if (x.answer == READY && !ok) {
        char text[200];
        snprintf(text, sizeof text, "the server's scp said: %s", said);
        vt_sftp_stop(&p->j.s, VT_REMOTE, 0, text);
    }                               /* a folder without its times is no failure */
}

static void take_answers(struct put *p)
{
    while (p->expected_n > 0 && p->c.in_at < p->c.in.len && p->j.s.rc == VT_OK) {
        enum vt_scp_ack ack = vt_scp_answer(&p->answers, (unsigned char)p->c.in.data[p->c.in_at++]);
        if (ack == VT_SCP_ACK_MORE)
            continue;
        struct expected x = p->expected[p->expected_at];
        p->expected_at = (p->expected_at + 1) % ANSWERS_MAX;
        p->expected_n--;
        answered(p, x, ack == VT_SCP_ACK_OK);
        if (ack == VT_SCP_ACK_FATAL)
            vt_sftp_stop(&p->j.s, VT_REMOTE, 0, p->answers.text[0] != '\0' ? p->answers.text : "scp gave up");
    }
    if (p->expected_n == 0 && p->c.in_at < p->c.in.len)
        vt_sftp_stop(&p->j.s, VT_PROTO, 0, "the server's scp answered what nobody asked");
}

static void ended(struct put *p)
{
    char text[200];
    bool never_began = p->expected_n > 0 && p->expected[p->expected_at].answer == READY;
    vt_scp_complaint(&p->c, never_began ? "the server has no scp that works" : "the server's scp ended", text,
                     sizeof text);
    vt_sftp_stop(&p->j.s, never_began ? VT_UNSUPPORTED : VT_EOF, 0, text);
}

static void turn(struct put *p)
{
    (void)!vt_scp_turn(&p->c);
    take_answers(p);
    if (p->c.at_end && (p->expected_n > 0 || p->is_sending) && p->j.s.rc == VT_OK)
        ended(p);
}

static void wait_answers(struct put *p)
{
    take_answers(p);
    while (p->expected_n > 0 && p->j.s.rc == VT_OK)
        turn(p);
}

/* ---- entries ---- */

/* Announces a file or folder, and waits whether the server takes it. */
static bool announce(struct put *p, char kind, const struct stat *st, uint64_t size, const char *name,
                     struct item *item)
{
    char line[128];
    if (p->j.o->keep_times) {
        long long mtime = st->st_mtime > 0 ? st->st_mtime : 0, atime = st->st_atime > 0 ? st->st_atime : 0;
        vt_scp_send(&p->c, line, (size_t)snprintf(line, sizeof line, "T%lld 0 %lld 0\n", mtime, atime));
        expect(p, TIMES, NULL);
    }
    unsigned mode = st->st_mode & 07777;
    if (kind == 'D')
        mode |= 0700;               /* its own mode comes when all is in it */
    vt_scp_send(&p->c, line, (size_t)snprintf(line, sizeof line, "%c%04o %llu ", kind, mode,
                                              (unsigned long long)size));
    vt_scp_send(&p->c, name, strlen(name));
    vt_scp_send(&p->c, "\n", 1);
    expect(p, OPENED, item);
    p->is_accepted = false;
    wait_answers(p);
    return p->is_accepted && p->j.s.rc == VT_OK;
}

/* What is missing of a file that has become shorter, or can't be read: scp insists. */
static void send_rest(struct put *p, uint64_t n)
{
    static const char zeros[4096];
    while (n > 0 && p->j.s.rc == VT_OK) {
        size_t some = n < sizeof zeros ? (size_t)n : sizeof zeros;
        vt_scp_send(&p->c, zeros, some);
        n -= some;
        while (vt_scp_queued(&p->c) >= QUEUE_MAX && p->j.s.rc == VT_OK)
            turn(p);
    }
}

/* Sends size bytes of the file; returns how many were really there, *sys: why not all. */
static uint64_t send_bytes(struct put *p, int fd, uint64_t size, struct item *item, int *sys)
{
    uint64_t sent = 0;
    while (sent < size && p->j.s.rc == VT_OK) {
        struct vt_buf *out = &p->c.out;
        size_t want = size - sent < PIECE ? (size_t)(size - sent) : PIECE;
        enum vt_rc rc = vt_buf_reserve(out, want);
        if (rc != VT_OK)
            vt_sftp_stop(&p->j.s, rc, 0, NULL);
        ssize_t n = rc != VT_OK ? 0 : read(fd, out->data + out->len, want);
        if (n < 0 && errno == EINTR)
            continue;
        *sys = n < 0 ? errno : 0;
        if (n <= 0)
            break;
        if (p->j.o->verify)
            vt_sha256_add(&item->hash, out->data + out->len, (size_t)n);
        out->len += (size_t)n;
        sent += (uint64_t)n;
        vt_job_moved(&p->j, item->shown, (uint64_t)n);
        do
            turn(p);
        while (vt_scp_queued(&p->c) >= QUEUE_MAX && p->j.s.rc == VT_OK);
    }
    return sent;
}

static void send_data(struct put *p, int fd, uint64_t size, struct item *item)
{
    int sys = 0;
    p->is_sending = true;
    uint64_t sent = send_bytes(p, fd, size, item, &sys);
    if (p->j.s.rc == VT_OK && sent < size) {
        vt_job_fail(&p->j, item->shown, sent, VT_IO, sys, sys != 0 ? strerror(sys) : "the file became shorter");
        item->failed = true;
        send_rest(p, size - sent);
    }
    p->is_sending = p->j.s.rc != VT_OK;         /* then no name is on its way */
    vt_scp_send(&p->c, "", 1);
    expect(p, WRITTEN, item);
    if (p->j.s.rc != VT_OK)
        vt_job_stopped_at(&p->j, item->shown, sent);
}

/* A mode that the server's scp cuts: it sets no bits but those of who may do what. */
static mode_t own_mode(const struct stat *st)
{
    return st->st_mode & 07000 ? st->st_mode & 07777 : 0;
}

/* Files of the kernel's tell 0 and have something all the same: it goes into a file first.
 * Takes fd over; -1 and errno. */
static int slurp(int fd, uint64_t *size)
{
    char data[4096];
    ssize_t n = pread(fd, data, sizeof data, 0);
    if (n == 0)
        return fd;
    FILE *copy = n > 0 ? tmpfile() : NULL;
    while (copy != NULL && n > 0 && *size < SLURP_MAX && fwrite(data, 1, (size_t)n, copy) == (size_t)n) {
        *size += (uint64_t)n;
        n = pread(fd, data, sizeof data, (off_t)*size);
    }
    if (n > 0 && *size >= SLURP_MAX)
        errno = EFBIG;
    int out = copy != NULL && n == 0 && fflush(copy) == 0 ? fcntl(fileno(copy), F_DUPFD_CLOEXEC, 0) : -1;
    if (out >= 0)
        (void)lseek(out, 0, SEEK_SET);
    int sys = errno;
    if (copy != NULL)
        fclose(copy);
    close(fd);
    errno = sys;
    return out;
}

/* Sends the open file, which it takes over.  final NULL: path is its name already. */
static void put_file(struct put *p, int fd, const struct stat *st, const char *path, const char *final,
                     const char *shown)
{
    struct item *item = new_item(p, FILE_ITEM, path, final, shown);
    uint64_t size = (uint64_t)st->st_size;
    char *name = vt_path_name(path);
    if (size == 0 && (fd = slurp(fd, &size)) < 0)
        vt_job_fail(&p->j, shown, 0, VT_IO, errno, strerror(errno));
    p->j.total += size;
    if (fd < 0 || item == NULL || name == NULL || p->j.s.rc != VT_OK) {
        item_free(item);
    } else {
        item->size = size;
        item->mode = own_mode(st);
        item->is_begun = true;
        if (announce(p, 'C', st, size, name, item))
            send_data(p, fd, size, item);
        else
            keep(p, item);
    }
    free(name);
    if (fd >= 0)
        close(fd);
}

static void put_link(struct put *p, int folder_fd, const char *name, const char *path, const char *final,
                     const char *shown)
{
    char to[4096];
    ssize_t n = readlinkat(folder_fd, name, to, sizeof to - 1);
    if (n < 0) {
        vt_job_fail(&p->j, shown, 0, VT_IO, errno, strerror(errno));
        return;
    }
    to[n] = '\0';
    struct item *item = new_item(p, LINK_ITEM, path, final, shown);
    if (item == NULL)
        return;
    item->to = vt_job_copy(&p->j, to);
    keep(p, item);
}

/* ---- names ---- */

/* The protocol has no line breaks in names. */
static bool needs_other_name(const char *name)
{
    return strchr(name, '\n') != NULL;
}

/* A temporary path in a folder for that name. */
static char *temp_path(struct put *p, const char *folder, const char *name)
{
    char temp[256];
    vt_temp_name(name, temp);
    for (char *c = temp; *c != '\0'; c++)
        if (*c == '\n')
            *c = '_';
    return vt_job_join(&p->j, folder, temp);
}

/* A new file or link in a folder: its path for now, and its name in the end if another. */
static void choose_path(struct put *p, const char *folder, const char *name, bool in_place, char **path,
                        char **final)
{
    bool as_it_is = in_place && !needs_other_name(name);
    char *there = vt_job_join(&p->j, folder, name);
    *final = as_it_is ? NULL : there;
    *path = as_it_is ? there : temp_path(p, folder, name);
}

/* ---- folders ---- */

static void leave_to(struct put *p, int depth)
{
    while (p->depth > depth) {
        vt_scp_send(&p->c, "E\n", 2);
        expect(p, LEFT, NULL);
        free(p->paths[p->depth]);
        p->paths[p->depth--] = NULL;
    }
    if (p->expected_n > ANSWERS_MAX / 2)
        wait_answers(p);
}

static char look(struct put *p, const char *path, char **real);

/* Whether the folder must get its mode at the end.  One that is there keeps its own. */
static bool needs_own_mode(struct put *p, const char *path, const struct stat *st)
{
    char *real = NULL;
    bool needs = (st->st_mode & 0700) != 0700 || own_mode(st) != 0;
    if (needs && !p->in_place)
        needs = look(p, path, &real) == '-';
    free(real);
    return needs;
}

/* Enters a folder on the server, at path; what else it is to become is kept for the end. */
static bool enter(struct put *p, const char *path, const char *final, const struct stat *st, const char *shown,
                  enum kind kind)
{
    bool needs_mode = needs_own_mode(p, path, st);
    struct item *item = new_item(p, kind, path, final, shown);
    char *name = vt_path_name(path);
    bool ok = item != NULL && name != NULL;
    if (ok)
        item->is_begun = true;
    ok = ok && announce(p, 'D', st, 0, name, item);
    free(name);
    if (ok) {
        p->j.r->folders++;
        if (final != NULL)
            keep(p, item);
        else
            item_free(item);
        if (needs_mode && (item = new_item(p, FOLDER_MODE, path, NULL, shown)) != NULL) {
            item->mode = st->st_mode & 07777;
            keep(p, item);
        }
        return p->j.s.rc == VT_OK;
    }
    if (item != NULL && item->is_begun && p->j.s.rc != VT_OK)
        keep(p, item);              /* it may have been made */
    else
        item_free(item);
    return false;
}

static void put_folder(struct put *p, const struct vt_entry *entry, const char *shown)
{
    char *there = vt_job_join(&p->j, p->paths[p->depth], entry->name);
    bool other = needs_other_name(entry->name);
    char *path = other ? temp_path(p, p->paths[p->depth], entry->name) : vt_job_copy(&p->j, there != NULL ? there : "");
    if (p->j.s.rc == VT_OK && enter(p, path, other ? there : NULL, &entry->st, shown, FOLDER_NAME)) {
        p->paths[++p->depth] = path;
        path = NULL;
    } else {
        p->refused_depth = p->depth;
    }
    free(path);
    free(there);
}

static int depth_of(const char *path)
{
    int n = 0;
    for (; (path = strchr(path, '/')) != NULL; path++)
        n++;
    return n;
}

static void put_file_entry(struct put *p, const struct vt_entry *entry, const char *shown)
{
    char *path = NULL, *final = NULL;
    choose_path(p, p->paths[p->depth], entry->name, p->in_place, &path, &final);
    if (p->j.s.rc == VT_OK && entry->kind == VT_ENTRY_LINK) {
        put_link(p, entry->folder_fd, entry->name, path, final, shown);
    } else if (p->j.s.rc == VT_OK) {
        int fd = openat(entry->folder_fd, entry->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            vt_job_fail(&p->j, shown, 0, VT_IO, errno, strerror(errno));
        else
            put_file(p, fd, &entry->st, path, final, shown);
    }
    free(path);
    free(final);
}

static void put_entry(struct put *p, const struct vt_entry *entry)
{
    int depth = depth_of(entry->path);
    if (p->refused_depth >= 0 && depth > p->refused_depth)
        return;
    p->refused_depth = -1;
    leave_to(p, depth);
    char *shown = vt_job_join(&p->j, p->shown, entry->path);
    if (p->j.s.rc != VT_OK)
        ;                           /* no memory for the name */
    else if (entry->kind == VT_ENTRY_FAILED)
        vt_job_fail(&p->j, shown, 0, VT_IO, entry->sys,
                    entry->sys == EMEDIUMTYPE ? "no regular file" : strerror(entry->sys));
    else if (entry->kind == VT_ENTRY_FOLDER)
        put_folder(p, entry, shown);
    else
        put_file_entry(p, entry, shown);
    free(shown);
}

static void walk(struct put *p, const char *source)
{
    struct vt_entry entry;
    int fd = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || vt_walk_begin(&p->walk, fd, !p->j.o->keep_links) != VT_OK) {
        vt_job_fail(&p->j, source, 0, VT_IO, errno, strerror(errno));
        return;
    }
    p->shown = source;
    p->refused_depth = -1;
    while (p->j.s.rc == VT_OK && vt_walk_next(&p->walk, &entry))
        put_entry(p, &entry);
    vt_walk_end(&p->walk);
}

/* ---- sources ---- */

/* The kind of a path on the server: 'd'irectory, 'f'ile, 's'pecial, '-' none; and where
 * it leads to if it is a link. */
static char look(struct put *p, const char *path, char **real)
{
    static const char function[] =
        "p() {\n"
        " if [ -d \"$1\" ]; then k=d; elif [ -f \"$1\" ]; then k=f\n"
        " elif [ -c \"$1\" ] || [ -b \"$1\" ]; then k=s; elif [ -e \"$1\" ]; then k=o; else k=-; fi\n"
        " r=$1\n"
        " if [ -h \"$1\" ]; then r=$(readlink -f \"$1\" && echo x) && r=${r%?x} || r=$1; fi\n"
        " printf '%s%s\\0' $k \"$r\"\n"
        "}\n";
    struct vt_sftp *s = &p->j.s;
    struct vt_buf script, out, err;
    char kind = '?';
    int status = 0;
    vt_buf_init(&script, 64 * 1024);
    vt_buf_init(&out, 64 * 1024);
    vt_buf_init(&err, 64 * 1024);
    if (vt_buf_add(&script, function, sizeof function - 1) != VT_OK)
        vt_sftp_stop(s, VT_NOMEM, 0, NULL);
    vt_shell_addf(s, &script, "p ");
    vt_shell_path(s, &script, path);
    vt_shell_addf(s, &script, "\n");
    if (vt_shell_run(s, &script, &out, &err, &status) == VT_OK) {
        if (out.len >= 3 && out.data[out.len - 1] == '\0' && strchr("dfso-", out.data[0]) != NULL) {
            kind = out.data[0];
            *real = vt_job_copy(&p->j, out.data + 1);
        } else {
            vt_sftp_stop(s, VT_UNSUPPORTED, 0, "the server has neither SFTP nor a shell that scp could use");
        }
    }
    vt_buf_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
    return kind;
}

static bool ends_with_slash(const char *path)
{
    size_t n = strlen(path);
    return n > 0 && path[n - 1] == '/';
}

/* A folder among the sources, into the sink under that name ("": its contents alone). */
static void put_root(struct put *p, const char *source, const struct stat *st, const char *name)
{
    char *dest = vt_job_join(&p->j, p->sink, name), *real = NULL, *temp = NULL;
    char kind = p->j.s.rc != VT_OK ? '?' : name[0] == '\0' ? 'd' : look(p, dest, &real);
    bool is_new = kind == '-';
    if (p->j.s.rc != VT_OK) {
        /* ended */
    } else if (!is_new && kind != 'd') {
        vt_job_fail(&p->j, source, 0, VT_INVALID, 0, "a folder cannot replace a file");
    } else if (name[0] == '\0') {
        p->in_place = false;
        p->paths[0] = dest;
        dest = NULL;
        walk(p, source);
        leave_to(p, 0);
    } else {
        temp = is_new ? temp_path(p, p->sink, name) : vt_job_copy(&p->j, dest);
        p->in_place = is_new;
        p->paths[0] = vt_job_copy(&p->j, p->sink);
        if (p->j.s.rc == VT_OK && enter(p, temp, is_new ? dest : NULL, st, source, ROOT_ITEM)) {
            free(p->paths[0]);
            p->paths[0] = temp;
            temp = NULL;
            walk(p, source);
            leave_to(p, 0);
            vt_scp_send(&p->c, "E\n", 2);
            expect(p, LEFT, NULL);
        }
    }
    for (; p->depth > 0; p->depth--) {
        free(p->paths[p->depth]);
        p->paths[p->depth] = NULL;
    }
    free(p->paths[0]);
    p->paths[0] = NULL;
    free(temp);
    free(real);
    free(dest);
}

static void put_file_source(struct put *p, const char *source, const struct stat *st, const char *name)
{
    char *path = NULL, *final = NULL;
    bool is_file = S_ISREG(st->st_mode);
    int fd = is_file ? open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (!S_ISLNK(st->st_mode) && fd < 0) {
        vt_job_fail(&p->j, source, 0, VT_IO, is_file ? errno : 0, is_file ? strerror(errno) : "no regular file");
        return;
    }
    if (p->target_is_special)
        path = vt_job_copy(&p->j, p->sink);
    else
        choose_path(p, p->sink, name, false, &path, &final);
    if (p->j.s.rc != VT_OK && fd >= 0)
        close(fd);
    else if (fd >= 0)
        put_file(p, fd, st, path, final, source);
    else if (p->j.s.rc == VT_OK)
        put_link(p, AT_FDCWD, source, path, final, source);
    free(path);
    free(final);
}

static void put_source(struct put *p, const char *source, bool target_has_slash)
{
    struct stat st;
    if ((p->j.o->keep_links ? lstat(source, &st) : stat(source, &st)) < 0) {
        vt_job_fail(&p->j, source, 0, VT_IO, errno, strerror(errno));
        return;
    }
    char *name = p->name != NULL ? vt_job_copy(&p->j, p->name) : vt_path_name(source);
    if (name == NULL)
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
    else if (S_ISDIR(st.st_mode))
        put_root(p, source, &st, name);
    else if (p->name != NULL && target_has_slash)
        vt_job_fail(&p->j, source, 0, VT_INVALID, 0, "the target folder is not there");
    else
        put_file_source(p, source, &st, name);
    free(name);
}

/* ---- before and after ---- */

static void split_target(struct put *p, const char *real)
{
    if (vt_path_split(real, &p->sink, &p->name) != VT_OK)
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
}

static void look_at_target(struct put *p, const char *target)
{
    char *real = NULL;
    char kind = look(p, target[0] != '\0' ? target : ".", &real);
    p->target_is_special = kind == 's';
    if (p->j.s.rc != VT_OK)
        ;                           /* nobody knows */
    else if (kind == 'o')
        vt_sftp_stop(&p->j.s, VT_INVALID, 0, "the target is no file, folder or device");
    else if (p->n > 1 && kind != 'd')
        vt_sftp_stop(&p->j.s, VT_INVALID, 0, "several sources need a folder as target");
    else if (kind == 'd' || kind == 's')
        p->sink = vt_job_copy(&p->j, real);
    else
        split_target(p, real);
    free(real);
}

static void start(struct put *p)
{
    struct vt_buf command;
    vt_buf_init(&command, 32 * 1024);
    vt_shell_addf(&p->j.s, &command, "umask 0; exec scp -r -t -- ");
    vt_shell_path(&p->j.s, &command, p->sink);
    if (vt_buf_add(&command, "", 1) != VT_OK)
        vt_sftp_stop(&p->j.s, VT_TOOBIG, 0, "the target's path is too long");
    if (p->j.s.rc == VT_OK && vt_scp_open(&p->c, &p->j.s, command.data) == VT_OK) {
        expect(p, READY, NULL);
        wait_answers(p);
    }
    vt_buf_fini(&command);
}

static void script_word(struct put *p, struct vt_buf *b, const char *before, const char *word)
{
    vt_shell_addf(&p->j.s, b, "%s", before);
    vt_shell_word(&p->j.s, b, word);
}

static void script_file(struct put *p, struct vt_buf *b, const struct item *item, unsigned number)
{
    if (item->failed) {
        script_word(p, b, "rm -f ", item->path);
        vt_shell_addf(&p->j.s, b, "\n");
        return;
    }
    if (item->mode != 0) {
        vt_shell_addf(&p->j.s, b, "chmod %04o ", (unsigned)item->mode);
        script_word(p, b, "", item->path);
        vt_shell_addf(&p->j.s, b, "\n");
    }
    if (item->final == NULL)
        return;
    script_word(p, b, "{ is_size ", item->path);
    vt_shell_addf(&p->j.s, b, " %llu && ", (unsigned long long)item->size);
    script_word(p, b, "place ", item->path);
    script_word(p, b, " ", item->final);
    script_word(p, b, "; } || { rm -f ", item->path);
    vt_shell_addf(&p->j.s, b, "; echo %u; }\n", number);
}

static void script_link(struct put *p, struct vt_buf *b, const struct item *item, unsigned number)
{
    script_word(p, b, "ln -s -- ", item->to);
    script_word(p, b, " ", item->path);
    if (item->final != NULL) {
        script_word(p, b, " && place ", item->path);
        script_word(p, b, " ", item->final);
    }
    script_word(p, b, " || { rm -f ", item->path);
    vt_shell_addf(&p->j.s, b, "; echo %u; }\n", number);
}

static void script_folder(struct put *p, struct vt_buf *b, const struct item *item, unsigned number)
{
    if (item->kind == FOLDER_MODE) {
        vt_shell_addf(&p->j.s, b, "chmod %04o ", (unsigned)item->mode);
        script_word(p, b, "", item->path);
        vt_shell_addf(&p->j.s, b, "\n");
        return;
    }
    script_word(p, b, "name ", item->path);
    script_word(p, b, " ", item->final);
    if (item->kind == ROOT_ITEM)
        script_word(p, b, " || { rm -rf ", item->path);
    vt_shell_addf(&p->j.s, b, item->kind == ROOT_ITEM ? "; echo %u; }\n" : " || echo %u\n", number);
}

/* Files and links first; then folders, the last first: their modes before their names. */
static void write_script(struct put *p, struct vt_buf *b)
{
    static const char functions[] =
        "LC_ALL=C\n"
        "is_size() { [ \"$(wc -c <\"$1\")\" -eq \"$2\" ]; }\n"
        "place() {\n"
        " if [ -h \"$2\" ] && [ -d \"$2\" ]; then rm -f \"$2\"; fi\n"
        " if [ -d \"$2\" ]; then echo 'a folder is in the way' >&2; return 1; fi\n"
        " mv -f \"$1\" \"$2\"\n"
        "}\n"
        "name() {\n"
        " if [ -e \"$2\" ] || [ -h \"$2\" ]; then echo 'it is there now' >&2; return 1; fi\n"
        " mv \"$1\" \"$2\"\n"
        "}\n";
    unsigned number = 0;
    if (vt_buf_add(b, functions, sizeof functions - 1) != VT_OK)
        vt_sftp_stop(&p->j.s, VT_NOMEM, 0, NULL);
    for (const struct item *item = p->items; item != NULL; item = item->next, number++) {
        if (item->kind == FILE_ITEM && (item->final != NULL || item->failed || item->mode != 0)
            && !p->target_is_special)
            script_file(p, b, item, number);
        else if (item->kind == LINK_ITEM)
            script_link(p, b, item, number);
    }
    number = 0;
    for (const struct item *item = p->items; item != NULL; item = item->next, number++)
        if (item->kind >= FOLDER_NAME && !item->failed)
            script_folder(p, b, item, number);
}

static void mark_failed(struct put *p, unsigned number, const char *why)
{
    char text[160];
    vt_show(why, strcspn(why, "\n"), text, sizeof text);
    for (struct item *item = p->items; item != NULL; item = item->next) {
        if (number-- > 0)
            continue;
        if (!item->failed)
            vt_job_fail(&p->j, item->shown, item->size, VT_REMOTE, 0,
                        text[0] != '\0' ? text : "the server has another number of bytes");
        item->failed = true;
        return;
    }
}

/* The script prints the numbers of what failed, a line each. */
static void take_results(struct put *p, const char *at, const char *why)
{
    while (*at >= '0' && *at <= '9') {
        char *end;
        mark_failed(p, (unsigned)strtoul(at, &end, 10), why);
        at = end + (*end == '\n');
    }
}

static void count(struct put *p)
{
    for (const struct item *item = p->items; item != NULL; item = item->next) {
        if (item->failed)
            continue;
        p->j.r->files += item->kind == FILE_ITEM;
        p->j.r->links += item->kind == LINK_ITEM;
    }
}

#define VERIFY_AT_ONCE 1000

/* Sums of the next files from *item on. */
static void verify_some(struct put *p, struct item **item)
{
    struct vt_check *list = NULL;
    for (unsigned n = 0; *item != NULL && n < VERIFY_AT_ONCE; *item = (*item)->next) {
        if ((*item)->kind != FILE_ITEM || (*item)->failed)
            continue;
        (*item)->check.path = (*item)->path;
        (*item)->check.ctx = *item;
        (*item)->check.next = list;
        vt_sha256_end(&(*item)->hash, (*item)->check.sum);
        list = &(*item)->check;
        n++;
    }
    if (list == NULL || vt_verify(&p->j.s, list) != VT_OK)
        return;
    for (struct vt_check *check = list; check != NULL; check = check->next) {
        struct item *checked = check->ctx;
        checked->failed = check->is != VT_SAME;
        if (checked->failed)
            vt_job_fail(&p->j, checked->shown, checked->size, VT_REMOTE, 0, vt_sameness_text(check->is));
    }
}

static void verify(struct put *p)
{
    struct item *item = p->items;
    while (item != NULL && p->j.s.rc == VT_OK)
        verify_some(p, &item);
}

/* Everything is on the server: now it gets its names. */
static void settle(struct put *p)
{
    struct vt_buf script, out, err;
    int status = 0;
    vt_buf_init(&script, SCRIPT_MAX);
    vt_buf_init(&out, 1024 * 1024);
    vt_buf_init(&err, 16 * 1024 * 1024);
    if (p->j.o->verify && !p->target_is_special)
        verify(p);
    if (p->items != NULL && p->j.s.rc == VT_OK) {
        write_script(p, &script);
        if (vt_shell_run(&p->j.s, &script, &out, &err, &status) == VT_OK && vt_buf_add(&out, "", 1) == VT_OK
            && vt_buf_add(&err, "", 1) == VT_OK)
            take_results(p, out.data, err.data);
    }
    if (p->j.s.rc == VT_OK)
        count(p);
    vt_buf_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
}

static bool is_temporary(const struct item *item)
{
    return item->is_begun && (item->kind == FILE_ITEM || item->kind == ROOT_ITEM) && item->final != NULL;
}

/* Its scp may still make what it was told of last; in a file's bytes there are no names. */
static void let_go(struct put *p)
{
    vt_scp_forget(&p->c);
    if (!p->is_sending)
        vt_scp_finish(&p->c, vt_now() + LEAVE_TIME);
    p->j.s.rc = VT_OK;
    vt_scp_close(&p->c);
}

/* The end came too early: what is temporary goes, if the server still listens. */
static void clean_up(struct put *p)
{
    struct vt_buf script, out, err;
    int status = 1;
    const struct item *first = NULL;
    bool alive = vt_job_revive_connection(&p->j);
    if (alive && p->c.channel != NULL)
        let_go(p);
    p->j.s.rc = VT_OK;
    vt_buf_init(&script, SCRIPT_MAX);
    vt_buf_init(&out, 64 * 1024);
    vt_buf_init(&err, 1024 * 1024);
    for (const struct item *item = p->items; item != NULL; item = item->next) {
        if (!is_temporary(item))
            continue;
        first = item;
        script_word(p, &script, "rm -rf ", item->path);
        vt_shell_addf(&p->j.s, &script, " || exit 1\n");
    }
    if (first != NULL && !alive) {
        vt_scp_close(&p->c);
        alive = vt_job_reconnect(&p->j);
    }
    if (first != NULL && (!alive || vt_shell_run(&p->j.s, &script, &out, &err, &status) != VT_OK || status != 0))
        vt_job_left(&p->j, first->path);
    vt_buf_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
}

/* What was on its way when the end came. */
static void keep_expected(struct put *p)
{
    for (; p->expected_n > 0; p->expected_n--) {
        struct expected *x = &p->expected[p->expected_at];
        p->expected_at = (p->expected_at + 1) % ANSWERS_MAX;
        if (x->answer == WRITTEN) {
            vt_job_stopped_at(&p->j, x->item->shown, x->item->size);
            keep(p, x->item);
        }
    }
}

static void put_fini(struct put *p)
{
    vt_walk_end(&p->walk);
    for (struct item *item = p->items, *next; item != NULL; item = next) {
        next = item->next;
        item_free(item);
    }
    for (int i = 0; i <= VT_TREE_DEPTH; i++)
        free(p->paths[i]);
    free(p->sink);
    free(p->name);
    vt_scp_close(&p->c);
    vt_job_fini(&p->j);
    free(p);
}

enum vt_rc vt_scp_put(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                      const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_transfer_result *r, struct vt_err *e)
{
    struct put *p = calloc(1, sizeof *p);
    if (p == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    p->sources = sources;
    p->n = n;
    vt_job_init(&p->j, ssh, o, w, deadline, r, e);
    r->engine = "scp";
    look_at_target(p, target);
    if (p->j.s.rc == VT_OK)
        start(p);
    for (size_t i = 0; i < n && p->j.s.rc == VT_OK; i++)
        put_source(p, sources[i], ends_with_slash(target));
    if (p->j.s.rc == VT_OK)
        wait_answers(p);
    if (p->j.s.rc == VT_OK)
        vt_scp_finish(&p->c, deadline);
    keep_expected(p);
    if (p->j.s.rc == VT_OK)
        settle(p);
    enum vt_rc rc = vt_job_result(&p->j);
    if (p->j.s.rc != VT_OK)
        clean_up(p);
    else
        vt_job_told(&p->j);
    put_fini(p);
    return rc;
}
