/* server.c - the keeper's loop: one epoll over its clients and its sessions' terminals. */
#include "keeper/server.h"

#include "base/buf.h"
#include "keeper/wire.h"
#include "base/store.h"
#include "transport/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY_BOUND (1024 * 1024)      /* of output, a session; what is older is in a file */
#define INPUT_BOUND (64 * 1024 * 1024)  /* of input that a process does not take: each client
                                         * stops at VT_KEEPER_CREDIT */
#define READ_SOME 65536
#define TURNS 16                        /* reads before others have a turn */
#define START_TIME (30 * VT_SEC)        /* for a process to be started */
#define RETRY_MS 50                     /* until the next look whether all are gone */
#define TOUCH_MS (3600 * 1000)          /* programs that tidy up /tmp take what is old for unused */

enum kind { LISTENER, CLIENT, SESSION, GRAVE };

struct item { enum kind kind; };        /* what an event belongs to */

struct kept {
    struct item item;
    char id[VT_KEEPER_ID_MAX + 1];
    struct vt_transport *t;
    struct vt_store store;
    struct vt_buf input;                /* what the process has not taken yet */
    uint64_t read_at, told;             /* what the clients have told last */
    bool ended, has_status;
    int status;
    int watched_fd;                     /* in the epoll set, or -1 */
    int grave;                          /* where it is told that the process is gone */
    bool is_dying;                      /* a thread waits for that, and has the transport */
    struct kept *next;
};

struct client {
    struct item item;
    int fd;
    struct kept *session;               /* NULL before its first message */
    uint64_t sent;                      /* of the session's output */
    size_t untold;                      /* bytes of its input that it counts as not taken */
    bool told_end;
    bool full;                          /* it does not take more now */
    bool deaf;                          /* it takes nothing; what it said may still be there */
    bool gone;
    struct client *next;
};

struct keeper {
    struct item item, grave_item;
    int epoll_fd;
    int grave[2];                       /* a pipe: sessions whose processes are gone */
    const struct vt_keeper_place *place;
    struct kept *sessions;
    struct client *clients;
};

static void watch(struct keeper *k, int op, int fd, uint32_t events, void *item)
{
    struct epoll_event event = {.events = events, .data.ptr = item};
    epoll_ctl(k->epoll_fd, op, fd, &event);
}

/* ---- messages ---- */

/* Whether it was taken. */
static bool tell(struct client *c, struct vt_keeper_msg *m, const void *data, size_t n)
{
    struct iovec parts[] = {{m, sizeof *m}, {(void *)data, n}};
    struct msghdr h = {.msg_iov = parts, .msg_iovlen = n > 0 ? 2 : 1};
    ssize_t put;
    do
        put = sendmsg(c->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put >= 0)
        return true;
    c->full = errno == EAGAIN || errno == ENOBUFS;
    c->deaf = !c->full;
    return false;
}

static void refuse(struct client *c, int sys, const char *text)
{
    struct vt_keeper_msg m = {.type = VT_KEEPER_REFUSED, .number = sys};
    strncpy(m.id, text, sizeof m.id - 1);
    tell(c, &m, NULL, 0);
    c->gone = true;
}

/* Sends a client the output that it has not had, and the end. */
static void pump(struct keeper *k, struct client *c)
{
    struct kept *s = c->session;
    bool was_full = c->full;
    char piece[VT_KEEPER_PIECE];
    c->full = false;
    while (!c->gone && !c->deaf && !c->full && c->sent < s->store.total) {
        struct vt_keeper_msg m = {.type = VT_KEEPER_OUTPUT};
        if (c->sent < s->store.first)
            c->sent = s->store.first;       /* forgotten: the disk was full */
        uint64_t left = s->store.total - c->sent;
        size_t n = left < sizeof piece ? (size_t)left : sizeof piece;
        if (vt_store_read(&s->store, c->sent, piece, n) != VT_OK)
            c->gone = true;
        else if (tell(c, &m, piece, n))
            c->sent += n;
    }
    if (!c->gone && !c->deaf && !c->full && s->ended && !c->told_end) {
        struct vt_keeper_msg m = {.type = VT_KEEPER_ENDED, .number = s->status, .flag = s->has_status};
        c->told_end = tell(c, &m, NULL, 0);
    }
    if (!c->gone && !c->deaf && !c->full && c->untold > 0 && s->input.len < VT_KEEPER_CREDIT / 2) {
        struct vt_keeper_msg m = {.type = VT_KEEPER_TAKEN, .number = (int32_t)c->untold};
        c->untold = tell(c, &m, NULL, 0) ? 0 : c->untold;
    }
    if (c->full != was_full)
        watch(k, EPOLL_CTL_MOD, c->fd, EPOLLIN | (c->full ? EPOLLOUT : 0u), c);
}

static void pump_all(struct keeper *k, struct kept *s)
{
    for (struct client *c = k->clients; c != NULL; c = c->next)
        if (c->session == s && !c->full)
            pump(k, c);
}

/* ---- sessions ---- */

/* Has epoll look for what the terminal wants next. */
static void watch_session(struct keeper *k, struct kept *s)
{
    short events = 0;
    int fd = s->ended ? -1 : s->t->ops->want(s->t, s->input.len > 0, &events);
    if (s->watched_fd >= 0 && fd < 0)
        watch(k, EPOLL_CTL_DEL, s->watched_fd, 0, s);
    else if (fd >= 0)
        watch(k, s->watched_fd < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd,
              EPOLLIN | (events & POLLOUT ? EPOLLOUT : 0u), s);
    s->watched_fd = fd;
}

static void read_session(struct kept *s)
{
    enum vt_rc rc = VT_OK;
    for (int turn = 0; turn < TURNS && rc == VT_OK; turn++) {
        size_t got = 0;
        char *at;
        rc = vt_store_room(&s->store, READ_SOME, &at);
        if (rc == VT_OK)
            rc = s->t->ops->read(s->t, at, READ_SOME, &got);
        if (rc == VT_OK)
            vt_store_commit(&s->store, got);
    }
    if (rc != VT_OK && rc != VT_AGAIN) {
        s->ended = true;
        s->has_status = s->t->ops->status(s->t, &s->status);
        vt_buf_clear(&s->input);
    }
}

static void write_session(struct kept *s)
{
    while (s->input.len > 0) {
        size_t put = 0;
        enum vt_rc rc = s->t->ops->write(s->t, s->input.data, s->input.len, &put);
        vt_buf_drop(&s->input, rc == VT_OK || rc == VT_AGAIN ? put : s->input.len);
        if (rc != VT_OK)
            return;
    }
}

static void serve_session(struct keeper *k, struct kept *s)
{
    read_session(s);
    if (!s->ended)
        write_session(s);
    watch_session(k, s);
    pump_all(k, s);
}

static struct kept *find(struct keeper *k, const char *id)
{
    struct kept *s = k->sessions;
    while (s != NULL && (s->is_dying || strcmp(s->id, id) != 0))
        s = s->next;
    return s;
}

static void forget(struct keeper *k, struct kept *s)
{
    struct kept **at = &k->sessions;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    for (struct client *c = k->clients; c != NULL; c = c->next)
        if (c->session == s) {
            c->session = NULL;
            c->gone = true;
        }
    vt_store_fini(&s->store);
    vt_buf_fini(&s->input);
    free(s);
}

static void *bury(void *ctx)
{
    struct kept *s = ctx;
    s->t->ops->fini(s->t, false);
    (void)!write(s->grave, &s, sizeof s);
    return NULL;
}

static bool has_grave(struct keeper *k)
{
    if (k->grave[0] >= 0)
        return true;
    if (pipe2(k->grave, O_CLOEXEC) < 0)
        return false;
    watch(k, EPOLL_CTL_ADD, k->grave[0], EPOLLIN, &k->grave_item);
    return true;
}

/* Ends the process.  One that does not die (it waits for a disk that is gone, say) is waited for
 * by a thread: the others' sessions go on. */
static void let_die(struct keeper *k, struct kept *s)
{
    pthread_t thread;
    if (s->watched_fd >= 0)
        watch(k, EPOLL_CTL_DEL, s->watched_fd, 0, s);
    s->watched_fd = -1;
    s->ended = s->is_dying = true;
    for (struct client *c = k->clients; c != NULL; c = c->next)
        if (c->session == s)
            c->deaf = true;             /* that it is over, the end of the connection tells */
    if (!has_grave(k)) {
        s->t->ops->fini(s->t, false);
        forget(k, s);
        return;
    }
    s->grave = k->grave[1];
    if (pthread_create(&thread, NULL, bury, s) == 0)
        pthread_detach(thread);
    else
        bury(s);
}

static void close_graves(struct keeper *k)
{
    struct kept *s;
    if (read(k->grave[0], &s, sizeof s) == sizeof s)
        forget(k, s);
}

/* ---- starting a process ---- */

struct start {
    const struct vt_keeper_request *request;
    int folder;
};

static void prepare(const void *ctx)
{
    const struct start *start = ctx;
    const struct vt_keeper_request *r = start->request;
    if (fchdir(start->folder) < 0)
        (void)!chdir("/");
    umask((mode_t)r->umask);
    for (int i = 0; i < (int)RLIM_NLIMITS; i++)
        setrlimit((__rlimit_resource_t)i, &r->limits[i]);   /* as far as we may */
}

/* count strings from *at on, as a NULL-terminated array; NULL if there are not so many. */
static const char **strings(const char **at, const char *end, uint32_t count)
{
    if (count > (size_t)(end - *at))
        return NULL;
    const char **list = calloc((size_t)count + 1, sizeof *list);
    for (uint32_t i = 0; list != NULL && i < count; i++) {
        const char *nul = memchr(*at, '\0', (size_t)(end - *at));
        if (nul == NULL) {
            free(list);
            return NULL;
        }
        list[i] = *at;
        *at = nul + 1;
    }
    return list;
}

/* Starts what the request asks for.  fds: folder, and those to be passed. */
static int start_request(const char *data, size_t size, const int *fds, int count, struct vt_transport **t)
{
    const struct vt_keeper_request *r = (const void *)data;
    if (size < sizeof *r || r->pass_count > VT_KEEPER_PASS_MAX || (int)r->pass_count != count - 1
        || r->argc == 0)
        return EINVAL;
    const char *at = data + sizeof *r, *end = data + size;
    const char **argv = strings(&at, end, r->argc);
    const char **envp = argv == NULL ? NULL : strings(&at, end, r->envc);
    int32_t numbers[VT_KEEPER_PASS_MAX];
    int sys = EINVAL;
    if (envp != NULL && (size_t)(end - at) == r->pass_count * sizeof numbers[0]) {
        memcpy(numbers, at, (size_t)(end - at));
        struct start start = {r, fds[0]};
        struct vt_pty_options o = {
            .argv = argv, .envp = envp, .echo = r->echo, .pass_fds = fds + 1, .pass_as = numbers,
            .pass_count = (int)r->pass_count, .prepare = prepare, .prepare_ctx = &start};
        struct vt_err e = {0};
        struct vt_waiter w = {0};
        enum vt_rc rc = vt_pty_open(&o, &w, vt_sooner(VT_FOREVER, START_TIME), t, &e);
        sys = rc == VT_OK ? 0 : e.sys != 0 ? e.sys : ENOMEM;
    }
    free(argv);
    free(envp);
    return sys;
}

static int start_from(int file, const int *fds, int count, struct vt_transport **t)
{
    struct stat st;
    if (fstat(file, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > VT_KEEPER_REQUEST_MAX)
        return EINVAL;
    /* A copy: what is mapped could be cut short by its writer. */
    char *data = malloc((size_t)st.st_size);
    if (data == NULL)
        return ENOMEM;
    int sys = EINVAL;
    if (pread(file, data, (size_t)st.st_size, 0) == st.st_size)
        sys = start_request(data, (size_t)st.st_size, fds, count, t);
    explicit_bzero(data, (size_t)st.st_size);   /* the process's environment may hold secrets */
    free(data);
    return sys;
}

static void hello(struct keeper *k, struct client *c, struct kept *s)
{
    uint64_t first = s->store.first;
    struct vt_keeper_msg m = {
        .type = VT_KEEPER_HELLO, .number = s->t->ops->pid(s->t), .total = s->store.total - first,
        .read_at = s->read_at > first ? s->read_at - first : 0, .told = s->told > first ? s->told - first : 0};
    c->session = s;
    c->sent = first;
    if (tell(c, &m, NULL, 0))
        pump(k, c);
}

static void start_session(struct keeper *k, struct client *c, const char *id, const int *fds, int count)
{
    struct vt_transport *t = NULL;
    struct kept *s = NULL;
    if (count < 2 || id[0] == '\0') {
        refuse(c, EINVAL, "bad request");
        return;
    }
    if (find(k, id) != NULL) {
        refuse(c, EEXIST, "there is a session of that id");
        return;
    }
    int sys = start_from(fds[0], fds + 1, count - 1, &t);
    if (sys == 0 && (s = calloc(1, sizeof *s)) == NULL) {
        t->ops->fini(t, false);
        sys = ENOMEM;
    }
    if (sys != 0) {
        refuse(c, sys, strerror(sys));
        return;
    }
    s->item.kind = SESSION;
    strcpy(s->id, id);
    s->t = t;
    s->watched_fd = -1;
    vt_store_init(&s->store, MEMORY_BOUND);
    vt_buf_init(&s->input, INPUT_BOUND);
    s->next = k->sessions;
    k->sessions = s;
    watch_session(k, s);
    hello(k, c, s);
}

/* ---- clients ---- */

static void first_message(struct keeper *k, struct client *c, const struct vt_keeper_msg *m,
                          const int *fds, int count)
{
    struct kept *s;
    if (m->type == VT_KEEPER_START)
        start_session(k, c, m->id, fds, count);
    else if (m->type != VT_KEEPER_ATTACH)
        refuse(c, EPROTO, "bad request");
    else if ((s = find(k, m->id)) == NULL)
        refuse(c, ENOENT, "there is no session of that id");
    else
        hello(k, c, s);
}

static void mark(uint64_t *at, uint64_t offset, const struct kept *s)
{
    if (offset != VT_KEEPER_NO_MARK && offset <= s->store.total - s->store.first)
        *at = offset;
}

static void message(struct keeper *k, struct client *c, const struct vt_keeper_msg *m,
                    const char *data, size_t n)
{
    struct kept *s = c->session;
    if (m->type == VT_KEEPER_INPUT) {
        c->untold += n;
        if (!s->ended && vt_buf_add(&s->input, data, n) == VT_OK)
            write_session(s);
        watch_session(k, s);
        pump(k, c);
    } else if (m->type == VT_KEEPER_KILL && !s->ended) {
        s->t->ops->kill(s->t, m->number);
    } else if (m->type == VT_KEEPER_MARK) {
        mark(&s->read_at, m->read_at, s);
        mark(&s->told, m->told, s);
    } else if (m->type == VT_KEEPER_CLOSE && !s->is_dying) {
        let_die(k, s);
    }
}

/* One message with its descriptors; false if there is none now. */
static bool take_message(struct keeper *k, struct client *c)
{
    struct vt_keeper_msg m = {0};
    char data[VT_KEEPER_PIECE];
    union { struct cmsghdr align; char space[CMSG_SPACE(sizeof(int) * (VT_KEEPER_PASS_MAX + 2))]; } control;
    struct iovec parts[] = {{&m, sizeof m}, {data, sizeof data}};
    struct msghdr h = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = control.space,
                       .msg_controllen = sizeof control.space};
    ssize_t n = recvmsg(c->fd, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0 && errno == ECONNRESET)
        return true;                    /* it left output unread; what it sent before is still there */
    int fds[VT_KEEPER_PASS_MAX + 2], count = 0;
    for (struct cmsghdr *p = n < 0 ? NULL : CMSG_FIRSTHDR(&h); p != NULL; p = CMSG_NXTHDR(&h, p))
        if (p->cmsg_level == SOL_SOCKET && p->cmsg_type == SCM_RIGHTS) {
            count = (int)((p->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds, CMSG_DATA(p), (size_t)count * sizeof(int));
        }
    m.id[VT_KEEPER_ID_MAX] = '\0';
    if (n < (ssize_t)sizeof m)
        c->gone = true;                 /* the end of the stream, or nonsense */
    else if (c->session == NULL)
        first_message(k, c, &m, fds, count);
    else
        message(k, c, &m, data, (size_t)n - sizeof m);
    for (int i = 0; i < count; i++)
        close(fds[i]);
    return !c->gone;
}

static void serve_client(struct keeper *k, struct client *c, uint32_t events)
{
    if (events & EPOLLOUT && c->session != NULL)
        pump(k, c);
    for (int turn = 0; turn < TURNS && !c->gone && take_message(k, c);)
        turn++;
}

static bool is_ours(int fd)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && peer.uid == geteuid();
}

static bool accept_client(struct keeper *k)
{
    int fd = accept4(k->place->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
            poll(NULL, 0, RETRY_MS);    /* nothing tells when there is room again */
        return false;
    }
    struct client *c = is_ours(fd) ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        close(fd);
        return true;
    }
    c->item.kind = CLIENT;
    c->fd = fd;
    c->next = k->clients;
    k->clients = c;
    watch(k, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    return true;
}

static void drop_gone(struct keeper *k)
{
    for (struct client **at = &k->clients; *at != NULL;) {
        struct client *c = *at;
        if (!c->gone) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        close(c->fd);
        free(c);
    }
}

/* ---- the end ---- */

/* Our socket may have been removed by somebody who tidies up, and a new keeper may have the
 * name by now. */
static bool is_our_socket(const struct vt_keeper_place *p)
{
    struct stat st;
    return fstatat(p->folder, p->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == p->device
        && st.st_ino == p->inode;
}

/* Whether we can go: nobody is here, and nobody can have come meanwhile. */
static bool done(struct keeper *k)
{
    if (k->sessions != NULL || k->clients != NULL)
        return false;
    int lock = openat(k->place->folder, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0) {
        close(lock);
        return false;
    }
    bool nobody = !accept_client(k);
    if (nobody && is_our_socket(k->place))
        unlinkat(k->place->folder, k->place->name, 0);
    if (lock >= 0)
        close(lock);
    return nobody;
}

static void serve_event(struct keeper *k, const struct epoll_event *event)
{
    struct item *item = event->data.ptr;
    if (item->kind == LISTENER)
        accept_client(k);
    else if (item->kind == GRAVE)
        close_graves(k);
    else if (item->kind == CLIENT)
        serve_client(k, event->data.ptr, event->events);
    else
        serve_session(k, event->data.ptr);
}

void vt_keeper_serve(const struct vt_keeper_place *place)
{
    struct keeper k = {.item = {LISTENER}, .grave_item = {GRAVE}, .place = place, .grave = {-1, -1},
                       .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    struct epoll_event event;
    watch(&k, EPOLL_CTL_ADD, place->listener, EPOLLIN, &k);
    while (k.epoll_fd >= 0) {
        bool is_empty = k.sessions == NULL && k.clients == NULL;
        /* One at a time: what an event does may free what the next one is about. */
        int n = epoll_wait(k.epoll_fd, &event, 1, is_empty ? RETRY_MS : TOUCH_MS);
        if (n == 0 && is_our_socket(place))
            utimensat(place->folder, place->name, NULL, AT_SYMLINK_NOFOLLOW);
        if (n > 0)
            serve_event(&k, &event);
        else if (n < 0 && errno != EINTR)
            break;
        drop_gone(&k);
        if (done(&k))
            break;
    }
    close(k.epoll_fd);
    if (k.grave[0] >= 0) {
        close(k.grave[0]);
        close(k.grave[1]);
    }
}
