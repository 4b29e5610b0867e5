/* sftp_read.c - a download's files from OPEN's answer to their last byte: many at once, each with many READs.
 *
 * The size that was listed may be old by now: the open file is asked for its own together
 * with the first READs, and is read until its end, as it grows.  A file of one READ is asked
 * for one byte more than it has; if less comes than that, and the size that is told after it
 * is what came, that is all, without another round trip.
 */
#include "transfer/sftp_get.h"

#include <errno.h>

#define UNSIZED (32 * 1024)         /* asked for at once, of a file whose size is not known */
#define PROBE (4 * 1024)            /* asked for behind the end that a file is said to have */

static void on_read(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r);

static void ask_read(struct vt_download *d, uint64_t at, uint32_t n)
{
    struct vt_sftp *s = &d->g->j.s;
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_READ, on_read, d, at, n);
    vt_packet_bytes(&p, d->handle, d->handle_len);
    vt_packet_u64(&p, at);
    vt_packet_u32(&p, n);
    vt_sftp_end(s, &p);
    d->pending++;
    d->g->in_flight += n;
}

/* Behind the size that is known nothing else is asked for: what comes moves the end on. */
static void take_short(struct vt_download *d, const struct vt_sftp_op *op, uint64_t next)
{
    if (d->is_single || op->offset == d->probe_at)
        d->asked = next;
    else
        ask_read(d, next, op->size - (uint32_t)(next - op->offset));
    if (d->size < next)
        d->size = next;
}

static void take_data(struct vt_download *d, const struct vt_sftp_op *op, struct vt_cursor c)
{
    struct vt_span data = vt_take_bytes(&c);
    if (c.bad || data.n == 0 || data.n > op->size) {
        vt_sftp_stop(&d->g->j.s, VT_PROTO, 0, "the SFTP server sent damaged data");
        d->failed = true;
        return;
    }
    if (d->failed || op->offset >= d->end)
        return;
    if (!vt_sink_write(&d->sink, data.p, data.n, op->offset, d->g->j.o->sparse)) {
        vt_download_failed(d, errno);
        return;
    }
    d->got += data.n;
    vt_job_moved(&d->g->j, d->remote, data.n);
    uint64_t next = op->offset + data.n;
    if (data.n < op->size) {
        take_short(d, op, next);
        return;
    }
    d->is_single = false;
    if (d->size < next)
        d->size = next;             /* it has grown */
}

static bool is_over(struct vt_download *d)
{
    if (d->is_single && d->is_size_sure && d->asked == d->size && d->end == VT_NO_END && d->got == d->size)
        d->end = d->size;
    return d->failed || d->end != VT_NO_END;
}

static void go_on(struct vt_download *d)
{
    if (d->pending > 0 || d->is_reading || d->g->j.s.rc != VT_OK)
        return;
    if (is_over(d)) {
        vt_download_settle(d);
        return;
    }
    d->is_single = false;
    d->is_reading = true;
    vt_get_queue_add(&d->g->reading, d);
}

static void on_read(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_download *d = ctx;
    d->pending--;
    d->g->in_flight -= op->size;
    if (r->type == VT_FXP_DATA)
        take_data(d, op, r->body);
    else if (r->type == VT_FXP_STATUS && r->status == VT_FX_EOF)
        d->end = op->offset < d->end ? op->offset : d->end;
    else
        vt_download_refused(d, r);
    go_on(d);
}

/* The map of its data is that of the open file only if nothing has changed. */
static void check_holes(struct vt_download *d, const struct vt_attrs *a)
{
    if (d->holes.list == NULL || d->asked > 0)
        return;
    if (a->size == d->holes.size && a->flags & VT_ATTR_TIMES && a->mtime == d->holes.mtime)
        d->g->j.total -= d->holes.size - d->holes.data;
    else
        vt_holes_free(&d->holes);
}

/* The size of the open file.  A server that does not tell it is believed what it listed. */
static void on_size(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_download *d = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    d->pending--;
    struct vt_attrs a = r->type == VT_FXP_ATTRS ? vt_take_attrs(&c) : (struct vt_attrs){0};
    if (!c.bad && a.flags & VT_ATTR_SIZE && !d->sink.is_direct) {
        d->size = a.size;
        d->is_size_sure = true;
        check_holes(d, &a);
    }
    go_on(d);
}

void vt_download_ask_size(struct vt_download *d)
{
    d->pending++;
    vt_sftp_ask_handle(&d->g->j.s, VT_FXP_FSTAT, d->handle, d->handle_len, on_size, d);
}

static uint32_t piece_size(const struct vt_download *d, uint64_t left)
{
    uint32_t most = d->g->j.s.read_max, want = (uint32_t)(left < most ? left : most);
    if (left == 0 && !d->sink.is_direct)
        want = d->is_size_sure && d->size > 0 ? PROBE : UNSIZED;
    else if (left == 0)
        want = most;
    else if (d->is_single)
        want++;
    return want < most ? want : most;
}

/* Goes on to where there is data; returns how much of it there is, 0 at the end. */
static uint64_t skip_hole(struct vt_download *d)
{
    if (d->asked >= d->size)
        return 0;
    if (d->holes.list == NULL || d->asked >= d->holes.size)
        return d->size - d->asked;
    struct vt_extent x = vt_holes_next(&d->holes, d->asked);
    d->asked = x.at;
    return x.n > 0 ? x.n : d->size - d->asked;
}

/* Asks for as much as may be in flight.  True: there is no more to ask for now. */
static bool ask_some(struct vt_download *d)
{
    struct vt_sftp *s = &d->g->j.s;
    while (!is_over(d) && s->rc == VT_OK) {
        if (d->g->in_flight >= s->in_flight_max)
            return false;
        if (d->holes.list != NULL && !d->is_size_sure)
            return true;            /* until it is known whether they are of use */
        uint64_t left = skip_hole(d);
        bool is_last = left == 0 || d->is_single;
        uint32_t n = piece_size(d, left);
        if (left == 0)
            d->probe_at = d->asked;
        ask_read(d, d->asked, n);
        d->asked += n;
        if (d->is_single)
            vt_download_ask_size(d);            /* after it: so it is not older than the data */
        if (is_last)
            return true;            /* the answer tells whether there is more */
    }
    return true;
}

void vt_download_read(struct vt_sftp_get *g)
{
    while (g->reading.first != NULL && g->j.s.rc == VT_OK) {
        struct vt_download *d = g->reading.first;
        if (!ask_some(d))
            return;
        vt_get_queue_drop(&g->reading);
        d->is_reading = false;
        if (d->pending == 0 && g->j.s.rc == VT_OK)
            vt_download_settle(d);              /* it failed meanwhile */
    }
}
