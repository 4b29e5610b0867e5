/* sftp_send.c - an upload's file from OPEN to CLOSE: many at once, each with many WRITEs.
 *
 * Per file: what has its name, and OPEN; on its handle WRITEs; after the last one owner,
 * mode, size and CLOSE at once.
 */
#include "transfer/sftp_put.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_MAX (1024 * 1024)     /* requests made but not sent */
#define GROWING (64 * 1024)         /* of a file whose size is not known */
#define LARGE (64 * 1024 * 1024)    /* worth a second connection */
#define LOOK_UP (50 * VT_MS)
#define LOOK_EVERY (1024 * 1024)    /* bytes of a hole that are hashed */
#define SHORTER "the file became shorter"

/* ---- the second connection ---- */

static void begin_second(struct vt_upload *u)
{
    struct vt_sftp_put *p = u->p;
    bool wanted = p->j.o->login != NULL && !p->j.o->sudo && !p->j.o->verify && !p->j.o->sparse && !u->is_direct && u->src.is_sized
        && u->src.st.st_size >= LARGE && sysconf(_SC_NPROCESSORS_ONLN) > 1;
    if (!wanted || p->second != NULL)
        return;
    p->second = vt_second_begin(p->j.o->login, u->src.fd, u->path, (uint64_t)u->src.st.st_size, p->j.s.deadline);
    p->second_of = p->second != NULL ? u : NULL;
}

void vt_upload_count_second(struct vt_sftp_put *p)
{
    uint64_t n = p->second != NULL ? vt_second_moved(p->second) : 0;
    if (n == 0)
        return;
    p->second_of->done += n;
    p->j.s.moved_at = vt_now();
    vt_job_moved(&p->j, p->second_of->shown, n);
}

/* What it has not done is then ours to send. */
void vt_upload_end_second(struct vt_sftp_put *p)
{
    struct vt_upload *u = p->second_of;
    if (p->second == NULL)
        return;
    vt_upload_count_second(p);
    if (vt_second_end(p->second) && u->sent >= u->second_limit)
        u->sent = (uint64_t)u->src.st.st_size;
    u->second_limit = 0;
    p->second = NULL;
    p->second_of = NULL;
}

/* Where our part of the file ends. */
static uint64_t end_of(struct vt_upload *u)
{
    if (u->p->second_of == u)
        u->second_limit = vt_second_limit(u->p->second, u->sent);
    return u->second_limit > 0 ? u->second_limit : (uint64_t)u->src.st.st_size;
}

/* Our part is sent, not the other one's. */
bool vt_upload_waits_for_second(const struct vt_sftp_put *p)
{
    const struct vt_upload *u = p->second_of;
    return u != NULL && u->second_limit > 0 && u->sent >= u->second_limit && !u->failed;
}

void vt_upload_wait_second(struct vt_sftp_put *p)
{
    struct vt_upload *u = p->second_of;
    struct vt_sftp *s = &p->j.s;
    if (u->second_limit == (uint64_t)u->src.st.st_size || vt_second_wait(p->second, vt_now() + LOOK_UP)) {
        vt_upload_end_second(p);
        return;
    }
    vt_upload_count_second(p);
    enum vt_rc rc = vt_sleep(s->w, vt_now());
    if (rc != VT_TIMEOUT)
        vt_sftp_stop(s, rc, 0, NULL);
    else if (vt_expired(s->deadline))
        vt_sftp_stop(s, VT_TIMEOUT, 0, "the time for the transfer is over");
    else if (s->stall != VT_FOREVER && vt_now() - s->moved_at > s->stall)
        vt_upload_end_second(p);    /* perhaps we can send it */
}

/* ---- the end: owner, mode, size, CLOSE ---- */

static void on_close(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    (void)op;
    u->pending--;
    if (!vt_sftp_ok(r))
        vt_upload_refused(u, r);
    vt_upload_settle(u);
}

/* A file system without modes is no failure. */
static void on_attrs_set(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    (void)op, (void)r;
    u->pending--;
    vt_upload_settle(u);
}

/* A program of somebody's becomes nobody else's. */
static void on_owner_set(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    struct vt_sftp *s = &u->p->j.s;
    if (vt_sftp_ok(r) || !(u->old.mode & 06000)) {
        on_attrs_set(ctx, op, r);
        return;
    }
    struct vt_attrs a = {.flags = VT_ATTR_MODE, .mode = u->old.mode & 01777};
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_SETSTAT, on_attrs_set, u, 0, 0);
    vt_packet_text(&p, u->path);
    vt_packet_attrs(&p, &a);
    vt_sftp_end(s, &p);
}

/* An owner that somebody asked for is no matter of chance. */
static void on_owner_given(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    if (!vt_sftp_ok(r))
        vt_upload_refused(ctx, r);
    on_attrs_set(ctx, op, r);
}

static void other_size(struct vt_upload *u, uint64_t size)
{
    char text[80];
    snprintf(text, sizeof text, "the server has %llu bytes instead of %llu", (unsigned long long)size,
             (unsigned long long)u->sent);
    vt_upload_failed(u, VT_REMOTE, 0, text);
}

static void on_size(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    u->pending--;
    if (r->type == VT_FXP_ATTRS) {
        struct vt_attrs a = vt_take_attrs(&c);
        if (a.flags & VT_ATTR_SIZE && a.size != u->sent)
            other_size(u, a.size);
    } else if (r->status != VT_FX_OP_UNSUPPORTED) {
        vt_upload_refused(u, r);
    }
    vt_upload_settle(u);
}

static void set_attrs(struct vt_upload *u, const struct vt_attrs *a, vt_sftp_fn fn)
{
    struct vt_sftp *s = &u->p->j.s;
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_FSETSTAT, fn, u, 0, 0);
    vt_packet_bytes(&p, u->handle, u->handle_len);
    vt_packet_attrs(&p, a);
    vt_sftp_end(s, &p);
    u->pending++;
}

/* What replaces a file has its owner and mode; what is written in place has them already.  The
 * mode goes after the owner, who may take bits of it away, and again after OPEN's, which the
 * server's umask has cut. */
static void set_owner_and_mode(struct vt_upload *u)
{
    struct vt_attrs a = u->old;
    const struct vt_transfer_options *o = u->p->j.o;
    bool replaces = u->is_old && a.flags & VT_ATTR_MODE && S_ISREG(a.mode);
    bool gives = o->uid >= 0 && o->gid >= 0;
    if (gives || (replaces && !u->is_direct && a.flags & VT_ATTR_IDS)) {
        a.flags = VT_ATTR_IDS;
        a.uid = gives ? (uint32_t)o->uid : a.uid;
        a.gid = gives ? (uint32_t)o->gid : a.gid;
        set_attrs(u, &a, gives ? on_owner_given : on_owner_set);
    }
    a = vt_put_attrs(o, &u->src.st);
    if (replaces)
        a.mode = u->old.mode & 07777;
    if (o->mode >= 0)
        a.mode = (uint32_t)o->mode;
    if (u->is_direct && u->is_old && o->mode < 0)
        a.flags &= ~(uint32_t)VT_ATTR_MODE;
    if (a.flags != 0)
        set_attrs(u, &a, on_attrs_set);
}

/* What is written in place may be a file of the kernel's, which has no disk: EINVAL, in OpenSSH's words. */
static void on_synced(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    if (!vt_sftp_ok(r) && !(u->is_direct && r->status == VT_FX_BAD_MESSAGE))
        vt_upload_refused(u, r);
    on_attrs_set(ctx, op, r);
}

static void ask_sync(struct vt_upload *u)
{
    struct vt_sftp *s = &u->p->j.s;
    if (!s->has_fsync) {
        vt_upload_failed(u, VT_UNSUPPORTED, 0, "the server cannot write files through to its disk");
        return;
    }
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_EXTENDED, on_synced, u, 0, 0);
    vt_packet_text(&p, "fsync@openssh.com");
    vt_packet_bytes(&p, u->handle, u->handle_len);
    vt_sftp_end(s, &p);
    u->pending++;
}

static void send_end(struct vt_upload *u)
{
    if (u->p->second_of == u)
        vt_upload_end_second(u->p);
    struct vt_sftp *s = &u->p->j.s;
    vt_upload_is(u, VT_UP_CLOSING);
    vt_source_close(&u->src);
    bool is_file = !u->failed && !u->p->target_is_special;
    if (is_file && u->p->j.o->sparse && !u->is_direct) {
        struct vt_attrs size = {.flags = VT_ATTR_SIZE, .size = u->sent};
        set_attrs(u, &size, on_attrs_set);      /* it may end in a hole */
    }
    if (is_file)
        set_owner_and_mode(u);
    if (is_file && !u->is_direct) {             /* a file of the kernel's has no size */
        vt_sftp_ask_handle(s, VT_FXP_FSTAT, u->handle, u->handle_len, on_size, u);
        u->pending++;
    }
    if (is_file && u->p->j.o->sync)
        ask_sync(u);
    vt_sftp_ask_handle(s, VT_FXP_CLOSE, u->handle, u->handle_len, on_close, u);
    u->pending++;
}

/* ---- bytes ---- */

static void on_written(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    u->pending--;
    u->p->in_flight -= op->size;
    if (!vt_sftp_ok(r))
        vt_upload_refused(u, r);
    else
        vt_job_moved(&u->p->j, u->shown, op->size);
    u->done += op->size;
    vt_upload_settle(u);
}

static uint32_t piece_size(struct vt_upload *u)
{
    uint64_t left = u->src.is_sized ? end_of(u) - u->sent : GROWING;
    uint32_t most = u->p->j.s.write_max;
    return left < most ? (uint32_t)left : most;
}

/* Leaves out a hole: what is never written reads as zeros there as well. */
static void skip_hole(struct vt_upload *u)
{
    static const char zeros[4096];
    uint64_t end = (uint64_t)u->src.st.st_size, to;
    struct stat now;
    if (!u->p->j.o->sparse || !u->src.is_sized || u->is_direct)
        return;
    off_t data = lseek(u->src.fd, (off_t)u->sent, SEEK_DATA);
    if (data >= 0)
        to = (uint64_t)data;
    else if (errno == ENXIO && fstat(u->src.fd, &now) == 0)
        to = end;
    else
        return;
    if (data < 0 && (uint64_t)now.st_size < end) {      /* no hole: there is nothing */
        vt_upload_failed(u, VT_IO, 0, SHORTER);
        return;
    }
    to = to < end ? to : end;
    for (uint64_t looked = u->sent; u->p->j.o->verify && u->sent < to;) {
        size_t n = to - u->sent < sizeof zeros ? (size_t)(to - u->sent) : sizeof zeros;
        vt_sha256_add(&u->hash, zeros, n);
        u->sent += n;
        if (u->sent - looked >= LOOK_EVERY) {
            looked = u->sent;
            if (!vt_job_goes_on(&u->p->j))
                return;
        }
    }
    u->sent = to > u->sent ? to : u->sent;
}

/* What was read of the file, already in the buffer of requests, becomes a WRITE. */
static void send_read(struct vt_upload *u, size_t n)
{
    struct vt_sftp *s = &u->p->j.s;
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_WRITE, on_written, u, u->sent, (uint32_t)n);
    vt_packet_bytes(&p, u->handle, u->handle_len);
    vt_packet_u64(&p, u->sent);
    (void)vt_packet_room(&p, n);
    vt_packet_filled(&p, n);
    vt_sftp_end(s, &p);
    u->sent += (uint64_t)n;
    u->pending++;
    u->p->in_flight += (uint64_t)n;
}

/* Reads the next piece straight into its WRITE.  False: the file's end, or a failure. */
static bool send_piece(struct vt_upload *u)
{
    struct vt_sftp *s = &u->p->j.s;
    uint32_t want = piece_size(u);
    if (want == 0)
        return false;
    struct vt_packet p = vt_packet_begin(&s->out, VT_FXP_WRITE, 0);
    vt_packet_bytes(&p, u->handle, u->handle_len);
    vt_packet_u64(&p, u->sent);
    void *room = vt_packet_room(&p, want);
    ssize_t n = room == NULL ? 0 : pread(u->src.fd, room, want, (off_t)u->sent);
    int sys = errno;
    s->out.len = p.start;           /* its id and size are known only now */
    if (room == NULL)
        vt_sftp_stop(s, p.rc, 0, NULL);
    else if (n < 0)
        vt_upload_failed(u, VT_IO, sys, strerror(sys));
    else if (n == 0 && u->src.is_sized)
        vt_upload_failed(u, VT_IO, 0, SHORTER);
    else if (u->p->j.o->verify)
        vt_sha256_add(&u->hash, room, (size_t)n);
    if (n <= 0)
        return false;
    send_read(u, (size_t)n);
    return true;
}

/* Sends as much of the file as may be in flight.  True: its end was sent. */
static bool send_some(struct vt_upload *u)
{
    struct vt_sftp_put *p = u->p;
    while (p->j.s.rc == VT_OK) {
        if (p->in_flight >= p->j.s.in_flight_max || vt_sftp_queued(&p->j.s) >= QUEUE_MAX)
            return false;
        skip_hole(u);
        if (p->second_of == u && !u->failed && u->sent >= end_of(u))
            return false;           /* until the other part is there */
        bool at_end = u->src.is_sized && p->second_of != u && u->sent >= (uint64_t)u->src.st.st_size;
        if (u->failed || at_end || !send_piece(u)) {
            send_end(u);
            return true;
        }
    }
    return false;
}

static void queue_sending(struct vt_upload *u)
{
    struct vt_sftp_put *p = u->p;
    u->next_sending = NULL;
    *p->sending_end = u;
    p->sending_end = &u->next_sending;
}

void vt_upload_send(struct vt_sftp_put *p)
{
    while (p->sending != NULL && p->j.s.rc == VT_OK) {
        struct vt_upload *u = p->sending;
        struct vt_upload *next = u->next_sending;
        if (!send_some(u))
            return;
        p->sending = next;
        if (next == NULL)
            p->sending_end = &p->sending;
    }
}

/* ---- the beginning ---- */

static void on_opened(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_upload *u = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    u->pending--;
    if (r->type == VT_FXP_STATUS) {
        vt_upload_refused(u, r);
        vt_upload_is(u, VT_UP_CLOSING);
        vt_upload_settle(u);
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
    u->is_made = true;
    vt_upload_is(u, VT_UP_SENDING);
    begin_second(u);
    queue_sending(u);
}

/* What has a temporary name is nobody else's to read: what it replaces may have been secret. */
static void ask_open(struct vt_upload *u)
{
    struct vt_sftp *s = &u->p->j.s;
    int asked = u->p->j.o->mode;
    mode_t own = asked >= 0 ? (mode_t)asked & 0777 : u->src.st.st_mode & 0777;
    mode_t mode = u->final != NULL && !u->is_direct ? 0600 : own | 0200;
    struct vt_attrs a = {.flags = VT_ATTR_MODE, .mode = mode};
    vt_upload_is(u, VT_UP_OPENING);
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_OPEN, on_opened, u, 0, 0);
    vt_packet_text(&p, u->path);
    vt_packet_u32(&p, VT_FXF_WRITE | (u->is_direct ? u->direct_flags : VT_FXF_CREAT | VT_FXF_EXCL));
    vt_packet_attrs(&p, &a);
    vt_sftp_end(s, &p);
    u->pending++;
}

/* Elsewhere OPEN follows at once, without waiting for what has the name. */
void vt_upload_begin(struct vt_upload *u)
{
    vt_upload_is(u, VT_UP_COMPARING);
    bool asks = vt_upload_ask_old(u);
    if (!asks || !u->p->j.o->update)
        ask_open(u);
}

static bool is_as_new(const struct vt_upload *u)
{
    const uint32_t needed = VT_ATTR_SIZE | VT_ATTR_TIMES | VT_ATTR_MODE;
    return u->is_old && (u->old.flags & needed) == needed && S_ISREG(u->old.mode) && u->src.is_sized
        && u->old.size == (uint64_t)u->src.st.st_size && u->old.mtime >= u->src.st.st_mtime;
}

void vt_upload_compared(struct vt_upload *u)
{
    if (!u->failed && !is_as_new(u)) {
        ask_open(u);
        return;
    }
    u->p->j.total -= (uint64_t)u->src.st.st_size;
    vt_upload_free(u);
}
