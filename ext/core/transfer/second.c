/* second.c - the thread that sends the end of a large file. */
#include "transfer/second.h"

#include "transfer/sftp.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define STEP (4 * 1024 * 1024)      /* taken from the end at a time */
#define GAP (2 * STEP)              /* nearer to the first one it takes no more */
#define QUEUE_MAX (1024 * 1024)

struct vt_second {
    const struct vt_ssh_options *login;
    int fd;
    char *path;
    uint64_t size;
    vt_time deadline;
    int wake;                       /* ends its waits */
    pthread_t thread;

    pthread_mutex_t lock;           /* of what follows */
    pthread_cond_t ended;
    uint64_t front, back;           /* the first one's place; where our part begins */
    uint64_t moved;
    bool has_ended, is_good;

    /* The thread's own. */
    struct vt_sftp s;
    char handle[256];
    size_t handle_len;
    uint64_t at, end;               /* of the piece that is being sent */
    uint64_t in_flight;
    bool is_open, is_closed;
};

/* ---- the thread ---- */

static void on_opened(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_second *h = ctx;
    struct vt_cursor c = r->body;
    (void)op;
    struct vt_span handle = r->type == VT_FXP_HANDLE ? vt_take_bytes(&c) : (struct vt_span){NULL, 0};
    if (handle.n == 0 || handle.n > sizeof h->handle) {
        vt_sftp_stop(&h->s, VT_REMOTE, 0, NULL);
        return;
    }
    memcpy(h->handle, handle.p, handle.n);
    h->handle_len = handle.n;
    h->is_open = true;
}

static void on_written(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_second *h = ctx;
    h->in_flight -= op->size;
    if (!vt_sftp_ok(r)) {
        vt_sftp_stop(&h->s, VT_REMOTE, 0, NULL);
        return;
    }
    pthread_mutex_lock(&h->lock);
    h->moved += op->size;
    pthread_mutex_unlock(&h->lock);
}

static void on_closed(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_second *h = ctx;
    (void)op;
    h->is_closed = true;
    if (!vt_sftp_ok(r))
        vt_sftp_stop(&h->s, VT_REMOTE, 0, NULL);
}

static bool take_step(struct vt_second *h)
{
    pthread_mutex_lock(&h->lock);
    bool more = h->back > h->front + GAP;
    if (more) {
        h->end = h->back;
        h->at = h->back -= STEP;
    }
    pthread_mutex_unlock(&h->lock);
    return more;
}

static void send_piece(struct vt_second *h)
{
    struct vt_sftp *s = &h->s;
    uint64_t left = h->end - h->at;
    uint32_t n = left < s->write_max ? (uint32_t)left : s->write_max;
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_WRITE, on_written, h, h->at, n);
    vt_packet_bytes(&p, h->handle, h->handle_len);
    vt_packet_u64(&p, h->at);
    void *room = vt_packet_room(&p, n);
    if (room != NULL && pread(h->fd, room, n, (off_t)h->at) != (ssize_t)n)
        vt_sftp_stop(s, VT_IO, errno, NULL);    /* shorter, perhaps: the first one will see */
    vt_packet_filled(&p, n);
    vt_sftp_end(s, &p);
    h->at += n;
    h->in_flight += n;
}

/* False: there is no more to send. */
static bool send_some(struct vt_second *h)
{
    while (h->s.rc == VT_OK && h->in_flight < h->s.in_flight_max && vt_sftp_queued(&h->s) < QUEUE_MAX) {
        if (h->at == h->end && !take_step(h))
            return false;
        send_piece(h);
    }
    return true;
}

static void send_all(struct vt_second *h)
{
    struct vt_packet p = vt_sftp_begin(&h->s, VT_FXP_OPEN, on_opened, h, 0, 0);
    vt_packet_text(&p, h->path);
    vt_packet_u32(&p, VT_FXF_WRITE);
    vt_packet_u32(&p, 0);           /* no attributes */
    vt_sftp_end(&h->s, &p);
    while (!h->is_open && vt_sftp_turn(&h->s) == VT_OK)
        ;
    bool more = true;
    while (h->s.rc == VT_OK && (more || h->in_flight > 0)) {
        more = more && send_some(h);
        if (h->in_flight > 0)
            (void)!vt_sftp_turn(&h->s);
    }
    vt_sftp_ask_handle(&h->s, VT_FXP_CLOSE, h->handle, h->handle_len, on_closed, h);
    while (!h->is_closed && vt_sftp_turn(&h->s) == VT_OK)
        ;
}

static void *run(void *arg)
{
    struct vt_second *h = arg;
    struct vt_waiter w = {.has_wake = 1, .wake_fd = h->wake};
    struct vt_ssh *ssh = NULL;
    bool good = false;
    struct vt_ssh_options login = *h->login;
    login.hedge = false;
    if (vt_ssh_login(&login, &w, h->deadline, &ssh, NULL) == VT_OK) {
        vt_sftp_init(&h->s, ssh, VT_FOREVER, &w, h->deadline, NULL);
        if (vt_sftp_open(&h->s) == VT_OK)
            send_all(h);
        good = h->s.rc == VT_OK;
        vt_sftp_close(&h->s);
        vt_ssh_free(ssh, false);
    }
    pthread_mutex_lock(&h->lock);
    h->has_ended = true;
    h->is_good = good;
    pthread_cond_signal(&h->ended);
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* ---- beside it ---- */

static bool start(struct vt_second *h)
{
    sigset_t all, before;
    sigfillset(&all);               /* signals are the first one's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&h->thread, NULL, run, h) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

struct vt_second *vt_second_begin(const struct vt_ssh_options *login, int fd, const char *path, uint64_t size,
                                  vt_time deadline)
{
    struct vt_second *h = calloc(1, sizeof *h);
    pthread_condattr_t monotonic;
    if (h == NULL)
        return NULL;
    *h = (struct vt_second){.login = login, .fd = fd, .path = strdup(path), .size = size, .back = size,
                            .deadline = deadline, .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&h->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (h->path != NULL && h->wake >= 0 && start(h))
        return h;
    if (h->wake >= 0)
        close(h->wake);
    pthread_cond_destroy(&h->ended);
    pthread_mutex_destroy(&h->lock);
    free(h->path);
    free(h);
    return NULL;
}

uint64_t vt_second_limit(struct vt_second *h, uint64_t front)
{
    pthread_mutex_lock(&h->lock);
    h->front = front;
    uint64_t back = h->back;
    pthread_mutex_unlock(&h->lock);
    return back;
}

uint64_t vt_second_moved(struct vt_second *h)
{
    pthread_mutex_lock(&h->lock);
    uint64_t n = h->moved;
    h->moved = 0;
    pthread_mutex_unlock(&h->lock);
    return n;
}

bool vt_second_wait(struct vt_second *h, vt_time until)
{
    struct timespec at = {.tv_sec = until / VT_SEC, .tv_nsec = until % VT_SEC};
    int rc = 0;
    pthread_mutex_lock(&h->lock);
    while (!h->has_ended && rc == 0)
        rc = pthread_cond_timedwait(&h->ended, &h->lock, &at);
    bool ended = h->has_ended;
    pthread_mutex_unlock(&h->lock);
    return ended;
}

bool vt_second_end(struct vt_second *h)
{
    uint64_t one = 1;
    (void)!write(h->wake, &one, sizeof one);    /* its counter was 0: there is room */
    pthread_join(h->thread, NULL);
    bool good = h->is_good || h->back == h->size;
    close(h->wake);
    pthread_cond_destroy(&h->ended);
    pthread_mutex_destroy(&h->lock);
    free(h->path);
    free(h);
    return good;
}
