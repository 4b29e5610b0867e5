/* ssh_io.c - the socket and the memory, as libssh2 sees them.
 *
 * Both directions have a buffer of ours.  Incoming: libssh2 asks for 16 KiB at a time; a
 * large receive costs fewer calls.  Outgoing: a packet is always taken whole, because
 * libssh2 can't do anything else before a half-sent one is gone (LIBSSH2_ERROR_BAD_USE).
 * The memory is counted (ssh_memory.h): a server that sends what nobody asked for is cut off.
 */
#include "transport/ssh_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_SMALL (16 * 1024)
#define IN_LARGE (256 * 1024)           /* once a small buffer was filled at one go */
#define OUT_SOME (256 * 1024)           /* sent on without waiting for the end of a pass */
#define OUT_FULL (512 * 1024)           /* vt_ssh_is_full */
#define OUT_MAX (16 * 1024 * 1024)
#define OUT_KEEP (64 * 1024)            /* memory kept by an idle connection */
#define ROUND (128 * 1024)              /* bytes that libssh2 may take in one round; it queues them,
                                         * in memory that comes and goes */

/* ---- the library ---- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_rc;

static void library_init(void)
{
    library_rc = libssh2_init(0);
}

enum vt_rc vt_ssh_library_init(void)
{
    pthread_once(&library_once, library_init);
    return library_rc == 0 ? VT_OK : VT_NOMEM;
}

const char *vt_ssh_library_version(void)
{
    return libssh2_version(0);
}

/* ---- memory ---- */

static void *on_alloc(size_t n, void **abstract)
{
    struct vt_ssh *ssh = *abstract;
    return vt_ssh_memory_alloc(&ssh->memory, n);
}

static void on_free(void *p, void **abstract)
{
    struct vt_ssh *ssh = *abstract;
    vt_ssh_note_banner(ssh, p);
    vt_ssh_memory_free(&ssh->memory, p);
}

static void *on_realloc(void *p, size_t n, void **abstract)
{
    struct vt_ssh *ssh = *abstract;
    return vt_ssh_memory_realloc(&ssh->memory, p, n);
}

/* ---- incoming ---- */

bool vt_ssh_has_input(const struct vt_ssh *ssh)
{
    return ssh->in.at < ssh->in.len;
}

static bool grow_in(struct vt_ssh *ssh)
{
    size_t cap = ssh->in.len == ssh->in.cap && ssh->in.cap > 0 ? IN_LARGE : IN_SMALL;
    if (ssh->in.cap >= cap)
        return true;
    char *data = realloc(ssh->in.data, cap);
    if (data != NULL) {
        ssh->in.data = data;
        ssh->in.cap = cap;
    }
    return ssh->in.data != NULL;
}

static void drained_socket(struct vt_ssh *ssh)
{
    if (ssh->in.cap > IN_SMALL) {       /* an idle connection holds little */
        free(ssh->in.data);
        ssh->in.data = NULL;
        ssh->in.cap = 0;
    }
    ssh->in.at = ssh->in.len = 0;
}

void vt_ssh_prefill(struct vt_ssh *ssh, struct vt_buf *head)
{
    ssh->in.data = head->data;
    ssh->in.len = head->len;
    ssh->in.cap = head->cap;
    ssh->received = head->len;
    *head = (struct vt_buf){0};
}

static void end(struct vt_ssh *ssh, enum vt_rc rc, int sys)
{
    if (ssh->ended == VT_OK) {
        ssh->ended = rc;
        ssh->ended_sys = sys;
    }
}

/* The kernel delays acknowledgements by 40 ms again and again, and a server with Nagle's
 * algorithm on waits for them: so each receive asks anew for quick ones. */
static bool refill(struct vt_ssh *ssh)
{
    int one = 1;
    if (ssh->ended != VT_OK || !grow_in(ssh))
        return false;
    ssize_t got;
    do
        got = recv(ssh->fd, ssh->in.data, ssh->in.cap, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        end(ssh, VT_EOF, 0);
    else if (got < 0 && errno != EAGAIN)
        end(ssh, VT_IO, errno);
    if (got <= 0) {
        drained_socket(ssh);
        return false;
    }
    setsockopt(ssh->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
    ssh->in.at = 0;
    ssh->in.len = (size_t)got;
    ssh->received += (uint64_t)got;
    if (ssh->early != NULL && vt_buf_add(ssh->early, ssh->in.data, ssh->in.len) != VT_OK)
        ssh->early = NULL;              /* enough was seen */
    return true;
}

static ssize_t on_recv(libssh2_socket_t fd, void *data, size_t n, int flags, void **abstract)
{
    struct vt_ssh *ssh = *abstract;
    (void)fd, (void)flags;
    if (ssh->recv_mode == VT_RECV_FAIL)
        return -ECONNABORTED;
    if (ssh->recv_mode == VT_RECV_BLOCK)
        return -EAGAIN;
    if (ssh->read_budget == 0) {
        ssh->over_budget = true;
        return -EAGAIN;
    }
    if (!vt_ssh_has_input(ssh) && (ssh->would_block || !refill(ssh))) {
        ssh->would_block = true;         /* libssh2 asks before each write, too */
        return -EAGAIN;
    }
    size_t some = ssh->in.len - ssh->in.at;
    some = n < some ? n : some;
    some = ssh->read_budget < some ? ssh->read_budget : some;
    memcpy(data, ssh->in.data + ssh->in.at, some);
    ssh->in.at += some;
    ssh->read_budget -= some;
    ssh->taken += some;
    return (ssize_t)some;
}

void vt_ssh_renew(struct vt_ssh *ssh)
{
    ssh->read_budget = ROUND;
    ssh->over_budget = false;
}

/* ---- outgoing ---- */

static void all_sent(struct vt_ssh *ssh)
{
    ssh->out_at = 0;
    vt_buf_clear(&ssh->out);
    if (ssh->out.cap > OUT_KEEP)
        vt_buf_fini(&ssh->out);
}

void vt_ssh_flush(struct vt_ssh *ssh)
{
    while (ssh->out_at < ssh->out.len && !ssh->send_closed) {
        ssize_t put = send(ssh->fd, ssh->out.data + ssh->out_at, ssh->out.len - ssh->out_at,
                           MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno == EAGAIN)
            break;
        if (put < 0) {
            /* The peer is gone, but what it said before may still be read: the socket's
             * end is found there. */
            shutdown(ssh->fd, SHUT_WR);
            all_sent(ssh);
            return;
        }
        ssh->out_at += (size_t)put;
    }
    if (ssh->out_at == ssh->out.len) {
        all_sent(ssh);
    } else if (ssh->out_at > ssh->out.len / 2) {
        vt_buf_drop(&ssh->out, ssh->out_at);
        ssh->out_at = 0;
    }
}

static size_t queued(const struct vt_ssh *ssh)
{
    return ssh->out.len - ssh->out_at;
}

bool vt_ssh_has_output(const struct vt_ssh *ssh)
{
    return queued(ssh) > 0;
}

bool vt_ssh_is_full(const struct vt_ssh *ssh)
{
    return queued(ssh) >= OUT_FULL;
}

static ssize_t on_send(libssh2_socket_t fd, const void *data, size_t n, int flags, void **abstract)
{
    struct vt_ssh *ssh = *abstract;
    (void)fd, (void)flags;
    if (ssh->send_closed)
        return (ssize_t)n;
    if (ssh->banner_sent > 0) {
        size_t some = n < ssh->banner_sent ? n : ssh->banner_sent;
        ssh->banner_sent -= some;
        return (ssize_t)some;
    }
    if (vt_buf_add(&ssh->out, data, n) != VT_OK)
        return -ENOBUFS;
    vt_ssh_offer_sent(ssh, data, n);
    if (queued(ssh) >= OUT_SOME)
        vt_ssh_flush(ssh);
    return (ssize_t)n;
}

void vt_ssh_pass(struct vt_ssh *ssh)
{
    vt_ssh_flush(ssh);
    vt_ssh_renew(ssh);
    ssh->would_block = false;
}

/* ---- waiting ---- */

/* Input that is here already is libssh2's first, unless it just refused it. */
static bool is_input_due(struct vt_ssh *ssh)
{
    bool moved = ssh->taken != ssh->taken_at_wait;
    ssh->taken_at_wait = ssh->taken;
    return moved && (vt_ssh_has_input(ssh) || ssh->over_budget);
}

enum vt_rc vt_ssh_wait(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline)
{
    bool due = is_input_due(ssh);
    vt_ssh_pass(ssh);
    if (due)
        return vt_wait_check(w, deadline);
    if (ssh->ended != VT_OK)
        return ssh->ended;
    struct pollfd fd = {.fd = ssh->fd, .events = POLLIN};
    if (queued(ssh) > 0)
        fd.events |= POLLOUT;
    enum vt_rc rc = vt_wait(w, &fd, 1, deadline);
    if (rc == VT_OK && fd.revents & POLLOUT)
        vt_ssh_flush(ssh);
    return rc;
}

/* ---- life ---- */

static void on_disconnect(LIBSSH2_SESSION *session, int reason, const char *message, int n,
                          const char *language, int language_n, void **abstract)
{
    struct vt_ssh *ssh = *abstract;
    (void)session, (void)reason, (void)language, (void)language_n;
    ssh->disconnected = true;
    if (message != NULL && n > 0)
        vt_show(message, (size_t)n, ssh->said, sizeof ssh->said);
}

static void set_callback(LIBSSH2_SESSION *session, int which, void (*fn)(void))
{
#if LIBSSH2_VERSION_NUM >= 0x010b01
    libssh2_session_callback_set2(session, which, (libssh2_cb_generic *)fn);
#else
    libssh2_session_callback_set(session, which, (void *)fn);
#endif
}

enum vt_rc vt_ssh_io_init(struct vt_ssh *ssh)
{
    ssh->fd = -1;
    vt_buf_init(&ssh->out, OUT_MAX);
    vt_ssh_renew(ssh);
    ssh->session = libssh2_session_init_ex(on_alloc, on_free, on_realloc, ssh);
    if (ssh->session == NULL)
        return VT_NOMEM;
    libssh2_session_set_blocking(ssh->session, 0);
    set_callback(ssh->session, LIBSSH2_CALLBACK_RECV, (void (*)(void))on_recv);
    set_callback(ssh->session, LIBSSH2_CALLBACK_SEND, (void (*)(void))on_send);
    set_callback(ssh->session, LIBSSH2_CALLBACK_DISCONNECT, (void (*)(void))on_disconnect);
    return VT_OK;
}

void vt_ssh_io_fini(struct vt_ssh *ssh)
{
    ssh->send_closed = true;
    ssh->recv_mode = VT_RECV_FAIL;      /* libssh2 would wait for answers to its farewells */
    vt_ssh_forget_hosts(ssh);
    for (int turn = 0; ssh->session != NULL && turn < 100; turn++)
        if (libssh2_session_free(ssh->session) != LIBSSH2_ERROR_EAGAIN)
            ssh->session = NULL;
    ssh->session = NULL;
    vt_ssh_memory_fini(&ssh->memory);
    if (ssh->fd >= 0)
        close(ssh->fd);
    ssh->fd = -1;
    free(ssh->in.data);
    memset(&ssh->in, 0, sizeof ssh->in);
    vt_buf_fini(&ssh->out);
    ssh->out_at = 0;
}

void vt_ssh_free(struct vt_ssh *ssh, bool silent)
{
    if (ssh == NULL)
        return;
    if (silent)
        ssh->send_closed = true;
    vt_ssh_disconnect(ssh);
    vt_ssh_io_fini(ssh);
    free(ssh);
}

void vt_ssh_disconnect(struct vt_ssh *ssh)
{
    if (ssh->fd < 0 || ssh->send_closed)
        return;
    ssh->recv_mode = VT_RECV_FAIL;
    libssh2_session_disconnect(ssh->session, "closed");
    vt_ssh_flush(ssh);
    ssh->send_closed = true;
}

const struct vt_ssh_info *vt_ssh_info(const struct vt_ssh *ssh)
{
    return &ssh->info;
}

uint64_t vt_ssh_received(const struct vt_ssh *ssh)
{
    return ssh->received;
}
