/* sftp_fetch.c - a download's files: begun, ended, verified and named. */
#include "transfer/sftp_get.h"
#include "transfer/source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPARSE (4 * 1024 * 1024)    /* a size from which on holes are worth a question */

/* ---- a file's life ---- */

struct vt_download *vt_download_new(struct vt_sftp_get *g, struct vt_folder *folder, const char *name,
                                    const char *remote)
{
    struct vt_download *d = calloc(1, sizeof *d);
    if (d == NULL) {
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
        return NULL;
    }
    d->g = g;
    d->folder = folder;
    d->end = d->probe_at = VT_NO_END;
    d->link = &g->files;
    d->next = g->files;
    if (d->next != NULL)
        d->next->link = &d->next;
    g->files = d;
    d->name = vt_job_copy(&g->j, name);
    d->remote = remote != NULL ? vt_job_copy(&g->j, remote) : NULL;
    d->memory = sizeof *d + strlen(name) + (remote != NULL ? strlen(remote) : 0);
    vt_get_account(g, d->memory);
    return g->j.s.rc == VT_OK ? d : NULL;
}

static int place_of(const struct vt_download *d)
{
    return d->folder != NULL ? d->folder->fd : d->g->into.fd;
}

void vt_download_free(struct vt_download *d)
{
    bool gone = vt_sink_abort(&d->sink, place_of(d));
    if (d->is_made_link)
        gone = unlinkat(place_of(d), vt_sink_made(&d->sink), 0) == 0 || errno == ENOENT;
    if (!gone)
        vt_job_left(&d->g->j, vt_sink_made(&d->sink));
    if (d->uses_folder)
        vt_folder_unuse(d->folder);
    if (d->is_begun)
        d->g->open--;
    *d->link = d->next;
    if (d->next != NULL)
        d->next->link = d->link;
    if (d->memory > 0)
        vt_get_account_back(d->g, d->memory);
    free(d->remote);
    free(d->name);
    free(d->handle);
    vt_holes_free(&d->holes);
    free(d);
}

/* The path to tell, which may have to be made. */
static void fail(struct vt_download *d, enum vt_rc rc, int sys, const char *text)
{
    struct vt_job *j = &d->g->j;
    char *folder = d->remote == NULL && d->folder != NULL ? vt_folder_path(d->folder) : NULL;
    char *made = folder != NULL ? vt_job_join(j, folder, d->name) : NULL;
    const char *shown = d->remote != NULL ? d->remote : made != NULL ? made : d->name;
    if (!d->failed)
        vt_job_fail(j, shown, d->got, rc, sys, text);
    d->failed = true;
    free(folder);
    free(made);
}

void vt_download_failed(struct vt_download *d, int sys)
{
    fail(d, VT_IO, sys, vt_source_why(sys));
}

void vt_download_refused(struct vt_download *d, const struct vt_sftp_reply *r)
{
    if (!d->failed)
        vt_job_refused(&d->g->j, d->remote != NULL ? d->remote : d->name, d->got, r);
    d->failed = true;
}

/* ---- its end ---- */

/* Files of the kernel's tell a size that they do not have. */
static bool is_of_kernel(const struct vt_download *d)
{
    return strncmp(d->remote, "/sys/", 5) == 0 || strncmp(d->remote, "/proc/", 6) == 0;
}

static bool is_whole(struct vt_download *d)
{
    char text[100];
    if (!d->is_size_sure || d->end >= d->size || is_of_kernel(d))
        return true;
    snprintf(text, sizeof text, "the file ended after %llu of %llu bytes", (unsigned long long)d->end,
             (unsigned long long)d->size);
    fail(d, VT_REMOTE, 0, text);
    return false;
}

static mode_t mode_of(const struct vt_download *d)
{
    return d->attrs.flags & VT_ATTR_MODE ? d->attrs.mode : 0644;
}

static bool finish_file(struct vt_download *d)
{
    const struct vt_transfer_options *o = d->g->j.o;
    const struct vt_attrs *a = &d->attrs;
    struct vt_sink_attrs wanted = {
        .mode = mode_of(d), .mask = d->g->mask, .sync = o->sync,
        .has_times = o->keep_times && a->flags & VT_ATTR_TIMES, .atime = a->atime, .mtime = a->mtime,
    };
    uint64_t size = d->end != VT_NO_END ? d->end : d->got;
    if (o->verify && !d->sink.is_direct
        && (!vt_sink_resize(&d->sink, size) || !vt_sum_of(d->sink.fd, d->check.sum))) {
        vt_download_failed(d, errno);
        return false;
    }
    if (vt_sink_end(&d->sink, size, &wanted))
        return true;
    vt_download_failed(d, errno);
    return false;
}

/* Ends the download, with its file under its name or gone. */
static void conclude(struct vt_download *d)
{
    struct vt_sftp_get *g = d->g;
    if (!d->failed && !vt_sink_name(&d->sink, place_of(d)))
        vt_download_failed(d, errno);
    if (!d->failed) {
        *(d->is_link ? &g->j.r->links : &g->j.r->files) += 1;
        d->is_made_link = false;    /* and so is kept */
    }
    vt_download_free(d);
}

static void park(struct vt_download *d)
{
    d->state = VT_DOWN_PARKED;
    d->check.path = d->remote;
    d->check.ctx = d;
    d->check.next = d->g->parked;
    d->g->parked = &d->check;
    d->g->parked_n++;
}

void vt_download_settle(struct vt_download *d)
{
    struct vt_sftp_get *g = d->g;
    if (g->j.s.rc != VT_OK)
        return;                     /* it goes with all the others */
    if (d->handle_len > 0)
        vt_get_close_handle(g, d->handle, d->handle_len);
    if (!d->failed && !d->is_link && is_whole(d) && finish_file(d) && g->j.o->verify && !d->sink.is_direct)
        park(d);
    else
        conclude(d);
}

/* Those that wait for their checksums get their names, or go. */
void vt_download_verify_parked(struct vt_sftp_get *g)
{
    struct vt_check *list = g->parked;
    g->parked = NULL;
    g->parked_n = 0;
    if (vt_verify(&g->j.s, list) != VT_OK)
        return;
    for (struct vt_check *check = list, *next; check != NULL; check = next) {
        struct vt_download *d = check->ctx;
        next = check->next;
        if (check->is != VT_SAME)
            fail(d, VT_REMOTE, 0, vt_sameness_text(check->is));
        conclude(d);
    }
}

/* ---- beginning ---- */

void vt_download_queue(struct vt_download *d)
{
    d->state = VT_DOWN_QUEUED;
    vt_get_queue_add(&d->g->queued, d);
    d->g->queue_len++;
    if (d->attrs.flags & VT_ATTR_SIZE && !d->is_link)
        d->g->j.total += d->attrs.size;
}

/* A folder that is new, and that one source alone fills, has a temporary name itself. */
static int how_to_make(const struct vt_download *d)
{
    if (d->folder == NULL)
        return d->g->into.is_special ? VT_SINK_DIRECT : 0;
    return d->folder->root->temp != NULL && !d->folder->root->is_shared ? VT_SINK_IN_PLACE : 0;
}

static void begin_reading(struct vt_download *d)
{
    struct vt_sftp *s = &d->g->j.s;
    d->state = VT_DOWN_READING;
    if (!vt_sink_begin(&d->sink, place_of(d), d->name, how_to_make(d), mode_of(d) & ~d->g->mask)) {
        vt_download_failed(d, errno);
        vt_download_settle(d);
        return;
    }
    if (d->attrs.flags & VT_ATTR_SIZE && !d->sink.is_direct)
        d->size = d->attrs.size;
    d->is_single = d->size < s->read_max;
    if (!d->is_single)
        vt_download_ask_size(d);
    d->is_reading = true;
    vt_get_queue_add(&d->g->reading, d);
}

static void on_opened(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_download *d = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    if (r->type == VT_FXP_STATUS) {
        vt_download_refused(d, r);
        vt_download_free(d);
        return;
    }
    if (!vt_sftp_is(&d->g->j.s, r, VT_FXP_HANDLE))
        return;
    struct vt_span handle = vt_take_bytes(&c);
    if (c.bad || handle.n == 0 || handle.n > 256) {
        vt_sftp_stop(&d->g->j.s, VT_PROTO, 0, "the SFTP server sent a damaged handle");
        return;
    }
    d->handle = malloc(handle.n);
    if (d->handle == NULL) {
        vt_sftp_stop(&d->g->j.s, VT_NOMEM, 0, NULL);
        return;
    }
    memcpy(d->handle, handle.p, handle.n);
    d->handle_len = handle.n;
    begin_reading(d);
}

/* A link is made at once, as a file that is whole. */
static void make_link(struct vt_download *d, const char *to)
{
    struct vt_sink *k = &d->sink;
    snprintf(k->name, sizeof k->name, "%s", d->name);
    if (how_to_make(d) == 0)
        vt_temp_name(d->name, k->temp);
    d->is_made_link = symlinkat(to, place_of(d), vt_sink_made(k)) == 0;
    if (!d->is_made_link)
        vt_download_failed(d, errno);
}

static void on_link_read(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_download *d = ctx;
    struct vt_cursor c = r->body;
    char to[4096];
    (void)op;
    if (r->type == VT_FXP_STATUS) {
        vt_download_refused(d, r);
    } else if (vt_sftp_is(&d->g->j.s, r, VT_FXP_NAME)) {
        uint32_t n = vt_take_u32(&c);
        struct vt_span text = vt_take_bytes(&c);
        bool ok = n == 1 && !c.bad && text.n > 0 && text.n < sizeof to && memchr(text.p, '\0', text.n) == NULL;
        if (ok) {
            memcpy(to, text.p, text.n);
            to[text.n] = '\0';
            make_link(d, to);
        } else {
            vt_download_failed(d, EBADMSG);
        }
    }
    vt_download_settle(d);
}

/* With transfer_update: what is here already stays. */
static bool is_as_new(const struct vt_download *d)
{
    const uint32_t needed = VT_ATTR_SIZE | VT_ATTR_TIMES;
    return d->g->j.o->update && !d->is_link && !d->g->into.is_special && (d->attrs.flags & needed) == needed
        && vt_sink_is_as_new(place_of(d), d->name, d->attrs.size, d->attrs.mtime);
}

static void ask_holes(struct vt_download *d)
{
    struct vt_sftp_get *g = d->g;
    bool wanted = g->j.o->sparse && !g->knows_no_holes && !d->is_link && d->attrs.flags & VT_ATTR_SIZE
        && d->attrs.size >= SPARSE && !(d->folder == NULL && g->into.is_special);
    if (wanted)
        (void)vt_holes_ask(&g->j.s, d->remote, &d->holes, &g->knows_no_holes);
}

/* Asks for the file.  Its folder stays open until it is done. */
void vt_download_begin(struct vt_download *d)
{
    struct vt_sftp *s = &d->g->j.s;
    char *folder = d->folder != NULL ? vt_folder_path(d->folder) : NULL;
    d->is_begun = true;
    d->g->open++;
    d->state = VT_DOWN_OPENING;
    if (folder != NULL && d->remote == NULL)
        d->remote = vt_job_join(&d->g->j, folder, d->name);
    free(folder);
    if (d->remote == NULL || (d->folder != NULL && vt_folder_use(d->folder) < 0)) {
        vt_download_failed(d, errno);
        vt_download_free(d);
        return;
    }
    d->uses_folder = d->folder != NULL;
    if (is_as_new(d)) {
        d->g->j.total -= d->attrs.size;
        vt_download_free(d);
        return;
    }
    ask_holes(d);
    if (d->is_link) {
        vt_sftp_ask(s, VT_FXP_READLINK, d->remote, on_link_read, d);
        return;
    }
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_OPEN, on_opened, d, 0, 0);
    vt_packet_text(&p, d->remote);
    vt_packet_u32(&p, VT_FXF_READ);
    vt_packet_u32(&p, 0);           /* no attributes */
    vt_sftp_end(s, &p);
}
