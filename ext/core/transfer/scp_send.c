/* scp_send.c - an upload by scp's protocol: entries, bytes and answers.
 *
 * An entry's line is answered before what it announces may be sent; the answers to data, to
 * times and to the ends of folders are waited for together with that of the next line.
 */
#include "transfer/scp_put.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX (512 * 1024)
#define PIECE (64 * 1024)
#define SLURP_MAX (64 * 1024 * 1024)    /* of a file whose size is not told */

static void refused(struct vt_scp_put *p, struct vt_scp_item *item, uint64_t at, const char *said)
{
    char shown[160], text[200];
    vt_show(said, strlen(said), shown, sizeof shown);
    snprintf(text, sizeof text, "the server said: %s", shown);
    if (item->state != VT_SCP_SPOILED)
        vt_job_fail(&p->j, item->shown, at, VT_REMOTE, 0, text);
    vt_scp_item_is(item, VT_SCP_SPOILED);
}

/* ---- answers ---- */

void vt_scp_expect(struct vt_scp_put *p, enum vt_scp_awaited answer, struct vt_scp_item *item)
{
    p->expected[(p->expected_at + p->expected_n++) % VT_SCP_ANSWERS] = (struct vt_scp_expected){answer, item};
}

static struct vt_scp_expected next_expected(struct vt_scp_put *p)
{
    struct vt_scp_expected x = p->expected[p->expected_at];
    p->expected_at = (p->expected_at + 1) % VT_SCP_ANSWERS;
    p->expected_n--;
    return x;
}

/* A file is done: the shell has work with it, or it is there. */
static void written(struct vt_scp_put *p, struct vt_scp_item *item)
{
    vt_scp_item_is(item, VT_SCP_ARRIVED);       /* unless it is spoiled */
    bool is_done = item->final == NULL && !item->sets_mode && !p->j.o->verify && p->j.o->uid < 0;
    if (item->state == VT_SCP_ARRIVED && is_done) {
        p->j.r->files++;
        vt_scp_item_free(item);
    } else {
        vt_scp_keep(p, item);
    }
}

static void answered(struct vt_scp_put *p, struct vt_scp_expected x, bool ok)
{
    const char *said = p->answers.text;
    if (x.answer == VT_SCP_OPENED) {
        p->is_accepted = ok;
        if (!ok)
            refused(p, x.item, 0, said);
    } else if (x.answer == VT_SCP_WRITTEN) {
        if (!ok)
            refused(p, x.item, x.item->size, said);
        written(p, x.item);
    } else if (x.answer == VT_SCP_READY && !ok) {
        char text[sizeof p->answers.text + 32];
        snprintf(text, sizeof text, "the server's scp said: %s", said);
        vt_sftp_stop(&p->j.s, VT_REMOTE, 0, text);
    }                               /* a folder without its times is no failure */
}

static void take_answers(struct vt_scp_put *p)
{
    while (p->expected_n > 0 && p->c.in_at < p->c.in.len && p->j.s.rc == VT_OK) {
        enum vt_scp_ack ack = vt_scp_answer(&p->answers, (unsigned char)p->c.in.data[p->c.in_at++]);
        if (ack == VT_SCP_ACK_MORE)
            continue;
        answered(p, next_expected(p), ack == VT_SCP_ACK_OK);
        if (ack == VT_SCP_ACK_FATAL)
            vt_sftp_stop(&p->j.s, VT_REMOTE, 0, p->answers.text[0] != '\0' ? p->answers.text : "scp gave up");
    }
    if (p->expected_n == 0 && p->c.in_at < p->c.in.len)
        vt_sftp_stop(&p->j.s, VT_PROTO, 0, "the server's scp answered what nobody asked");
}

static void ended(struct vt_scp_put *p)
{
    char text[200];
    bool never_began = p->expected_n > 0 && p->expected[p->expected_at].answer == VT_SCP_READY;
    vt_scp_complaint(&p->c, never_began ? "the server has no scp that works" : "the server's scp ended", text,
                     sizeof text);
    vt_sftp_stop(&p->j.s, never_began ? VT_UNSUPPORTED : VT_EOF, 0, text);
}

static void turn(struct vt_scp_put *p)
{
    (void)!vt_scp_turn(&p->c);
    take_answers(p);
    if (p->c.at_end && (p->expected_n > 0 || p->is_sending) && p->j.s.rc == VT_OK)
        ended(p);
}

void vt_scp_wait_answers(struct vt_scp_put *p)
{
    take_answers(p);
    while (p->expected_n > 0 && p->j.s.rc == VT_OK)
        turn(p);
}

void vt_scp_keep_expected(struct vt_scp_put *p)
{
    while (p->expected_n > 0) {
        struct vt_scp_expected x = next_expected(p);
        if (x.answer != VT_SCP_WRITTEN)
            continue;
        vt_job_stopped_at(&p->j, x.item->shown, x.item->size);
        vt_scp_keep(p, x.item);
    }
}

/* ---- entries ---- */

bool vt_scp_announce(struct vt_scp_put *p, char kind, const struct stat *st, unsigned mode, uint64_t size,
                     const char *name, struct vt_scp_item *item)
{
    char line[128];
    if (p->j.o->keep_times) {
        long long mtime = st->st_mtime > 0 ? st->st_mtime : 0, atime = st->st_atime > 0 ? st->st_atime : 0;
        vt_scp_send(&p->c, line, (size_t)snprintf(line, sizeof line, "T%lld 0 %lld 0\n", mtime, atime));
        vt_scp_expect(p, VT_SCP_TIMES_TAKEN, NULL);
    }
    vt_scp_send(&p->c, line, (size_t)snprintf(line, sizeof line, "%c%04o %llu ", kind, mode,
                                              (unsigned long long)size));
    vt_scp_send(&p->c, name, strlen(name));
    vt_scp_send(&p->c, "\n", 1);
    vt_scp_expect(p, VT_SCP_OPENED, item);
    p->is_accepted = false;
    vt_scp_wait_answers(p);
    return p->is_accepted && p->j.s.rc == VT_OK;
}

/* What is missing of a file that has become shorter, or can't be read: scp insists. */
static void send_rest(struct vt_scp_put *p, uint64_t n)
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
static uint64_t send_bytes(struct vt_scp_put *p, int fd, uint64_t size, struct vt_scp_item *item, int *sys)
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

static void send_data(struct vt_scp_put *p, int fd, uint64_t size, struct vt_scp_item *item)
{
    int sys = 0;
    p->is_sending = true;
    uint64_t sent = send_bytes(p, fd, size, item, &sys);
    if (p->j.s.rc == VT_OK && sent < size) {
        vt_job_fail(&p->j, item->shown, sent, VT_IO, sys, sys != 0 ? strerror(sys) : "the file became shorter");
        vt_scp_item_is(item, VT_SCP_SPOILED);
        send_rest(p, size - sent);
    }
    p->is_sending = p->j.s.rc != VT_OK;         /* then no name is on its way */
    vt_scp_send(&p->c, "", 1);
    vt_scp_expect(p, VT_SCP_WRITTEN, item);
    if (p->j.s.rc != VT_OK)
        vt_job_stopped_at(&p->j, item->shown, sent);
}

/* ---- files ---- */

/* A file whose size is not known goes into one of ours first.  False: errno. */
static bool slurp(struct vt_source *src, uint64_t *size)
{
    char data[4096];
    *size = 0;
    ssize_t n = pread(src->fd, data, sizeof data, 0);
    if (n == 0)
        return true;                /* it is empty */
    FILE *copy = n > 0 ? tmpfile() : NULL;
    while (copy != NULL && n > 0 && *size < SLURP_MAX && fwrite(data, 1, (size_t)n, copy) == (size_t)n) {
        *size += (uint64_t)n;
        n = pread(src->fd, data, sizeof data, (off_t)*size);
    }
    if (n > 0 && *size >= SLURP_MAX)
        errno = EFBIG;
    int out = copy != NULL && n == 0 && fflush(copy) == 0 ? fcntl(fileno(copy), F_DUPFD_CLOEXEC, 0) : -1;
    if (out >= 0)
        (void)lseek(out, 0, SEEK_SET);
    int sys = errno;
    if (copy != NULL)
        fclose(copy);
    vt_source_close(src);
    src->fd = out;
    errno = sys;
    return out >= 0;
}

/* The protocol has no holes: what is asked for and can't be is no matter of chance. */
static bool has_unwanted_holes(const struct vt_scp_put *p, const struct vt_source *src)
{
    if (!p->j.o->sparse || !src->is_sized)
        return false;
    off_t hole = lseek(src->fd, 0, SEEK_HOLE);
    (void)lseek(src->fd, 0, SEEK_SET);
    return hole >= 0 && hole < src->st.st_size;
}

/* The mode for the server's scp.  What has a temporary name is nobody else's to read: what it
 * replaces may have been secret.  What is made under its name gets its mode at once, but for bits
 * that the protocol does not give; one that is there keeps its own, unless another is asked for. */
static unsigned choose_mode(const struct vt_scp_put *p, struct vt_scp_item *item, const struct stat *st)
{
    mode_t wanted = p->j.o->mode >= 0 ? (mode_t)p->j.o->mode : st->st_mode & 07777;
    item->mode = wanted;
    item->sets_mode = p->j.o->mode >= 0 || (wanted & 07000) != 0;
    return item->final != NULL ? 0600 : wanted & 0777;
}

void vt_scp_put_file(struct vt_scp_put *p, struct vt_source *src, const char *path, const char *final,
                     const char *shown)
{
    struct vt_scp_item *item = vt_scp_item_new(p, VT_SCP_A_FILE, path, final, shown);
    uint64_t size = (uint64_t)src->st.st_size;
    char *name = vt_path_name(path);
    bool holes = has_unwanted_holes(p, src), ok = !holes && (src->is_sized || slurp(src, &size));
    if (holes)
        vt_job_fail(&p->j, shown, 0, VT_UNSUPPORTED, 0, "scp cannot leave out this file's holes: that takes SFTP");
    else if (!ok)
        vt_job_fail(&p->j, shown, 0, VT_IO, errno, strerror(errno));
    p->j.total += size;
    if (!ok || item == NULL || name == NULL || p->j.s.rc != VT_OK) {
        vt_scp_item_free(item);
    } else {
        item->size = size;
        vt_scp_item_is(item, VT_SCP_TOLD);
        if (vt_scp_announce(p, 'C', &src->st, choose_mode(p, item, &src->st), size, name, item))
            send_data(p, src->fd, size, item);
        else
            vt_scp_keep(p, item);
    }
    free(name);
    vt_source_close(src);
    vt_scp_settle_some(p);
}
