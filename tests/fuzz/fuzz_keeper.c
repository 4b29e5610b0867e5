/* The keeper and its clients: what either says to the other may be anything.  Its processes
 * are stand-ins: none is started. */
#include "fuzz.h"
#include "quick.h"

#include "keeper/dial.h"
#include "keeper/keeper.h"
#include "keeper/server.h"
#include "keeper/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS 4
#define TIMEOUT 10
#define SLACK 6                 /* a dismissal waits five seconds */

static const uint8_t *at, *end;         /* the script */

static uint8_t next(void)
{
    return at < end ? *at++ : 0;
}

static size_t next_bytes(void *to, size_t most)
{
    size_t left = (size_t)(end - at), n = left < most ? left : most;
    memcpy(to, at, n);
    at += n;
    return n;
}

/* ---- a process that is none ---- */

struct process { struct vt_transport base; int event, reads; };

static struct process *of(struct vt_transport *t)
{
    return (struct process *)t;
}

static enum vt_rc process_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    if (of(t)->reads-- <= 0)
        return of(t)->reads < -20 ? VT_EOF : VT_AGAIN;
    *got = cap < 3000 ? cap : 3000;
    memset(data, 'o', *got);
    return VT_OK;
}

static enum vt_rc process_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    (void)t, (void)data;
    *put = n / 2;
    return *put > 0 ? VT_OK : VT_AGAIN;
}

static int process_want(struct vt_transport *t, bool writing, short *events)
{
    *events = (short)(POLLIN | (writing ? POLLOUT : 0));
    return of(t)->event;
}

static bool process_status(struct vt_transport *t, int *status)
{
    *status = -SIGTERM;
    return of(t)->reads & 1;
}

static pid_t process_pid(struct vt_transport *t)
{
    (void)t;
    return 1234;
}

static enum vt_rc process_kill(struct vt_transport *t, int sig)
{
    of(t)->reads -= sig;
    return VT_OK;
}

static void process_close(struct vt_transport *t)
{
    (void)t;
}

static void process_fini(struct vt_transport *t, bool silent)
{
    (void)silent;
    close(of(t)->event);
    free(t);
}

static const struct vt_transport_ops process_ops = {
    .name = "process", .read = process_read, .write = process_write, .want = process_want, .status = process_status,
    .pid = process_pid, .kill = process_kill, .close = process_close, .fini = process_fini};

/* In place of pty.c's: takes apart what it is to start, and starts nothing. */
enum vt_rc vt_pty_open(const struct vt_pty_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transport **out, struct vt_err *e)
{
    size_t n = 0;
    (void)w, (void)deadline;
    for (int i = 0; o->argv[i] != NULL; i++)
        n += strlen(o->argv[i]);
    for (int i = 0; o->envp[i] != NULL; i++)
        n += strlen(o->envp[i]);
    for (int i = 0; i < o->pass_count; i++)
        HOLDS(fcntl(o->pass_fds[i], F_GETFD) >= 0);
    if (n == 0)
        return vt_fail(e, VT_IO, VT_STAGE_CONNECT, ENOENT, "no program");
    struct process *p = calloc(1, sizeof *p);
    p->base.ops = &process_ops;
    p->event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    p->reads = (int)(n % 8) * 5;
    *out = &p->base;
    return VT_OK;
}

/* ---- the keeper, with clients that say anything ---- */

static struct sockaddr_un address;
static int clients[CLIENTS];
static int rounds;
static unsigned runs;

static int dial(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(sa_family_t) + 1 + strlen(address.sun_path + 1)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* START's request file: well-formed to begin with, some bytes of it changed. */
static int request_file(void)
{
    char data[sizeof(struct vt_keeper_request) + 64] = {0};
    struct vt_keeper_request *r = (void *)data;
    *r = (struct vt_keeper_request){.argc = 2, .envc = 1};
    memcpy(data + sizeof *r, "/bin/sh\0-c\0A=1\0", 16);
    size_t n = sizeof *r + 15 + next() % 3;
    for (int changes = next() & 3; changes > 0; changes--) {
        uint8_t where = next();
        data[where & 0x80 ? (where & 31) : sizeof *r + (where & 31)] = (char)next();
    }
    int fd = memfd_create("request", MFD_CLOEXEC);
    (void)!write(fd, data, n);
    return fd;
}

static void send_message(int fd, struct vt_keeper_msg *m, const void *data, size_t n, const int *fds, int count)
{
    union { struct cmsghdr align; char space[CMSG_SPACE(sizeof(int) * 4)]; } control = {0};
    struct iovec parts[] = {{m, sizeof *m}, {(void *)data, n}};
    struct msghdr h = {.msg_iov = parts, .msg_iovlen = 2};
    if (count > 0) {
        h.msg_control = control.space;
        h.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *p = CMSG_FIRSTHDR(&h);
        p->cmsg_level = SOL_SOCKET;
        p->cmsg_type = SCM_RIGHTS;
        p->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(p), fds, sizeof(int) * (size_t)count);
    }
    (void)!sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void any_message(int fd, uint8_t how)
{
    struct vt_keeper_msg m = {.type = how & 15, .number = (int8_t)next(), .told = VT_KEEPER_NO_MARK - (how >> 7)};
    uint8_t data[256];
    int fds[4] = {-1, -1, -1, -1}, count = 0;
    m.read_at = next() * 100u;
    m.id[0] = (char)('0' + (how >> 4 & 3));
    if (m.type == VT_KEEPER_START) {
        fds[count++] = request_file();
        fds[count++] = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (how & 0x80)
            fds[count++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    send_message(fd, &m, data, next_bytes(data, m.type == VT_KEEPER_INPUT ? sizeof data : 0), fds, count);
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

/* The next thing that a client does. */
static void act(void)
{
    uint8_t how = next();
    int *fd = &clients[how & 3];
    char unused[VT_KEEPER_PIECE + sizeof(struct vt_keeper_msg)];
    if (*fd < 0)
        *fd = dial();
    else if ((how & 0x1c) == 4)
        close(*fd), *fd = -1;
    else if ((how & 0x1c) == 8)
        (void)!recv(*fd, unused, sizeof unused, MSG_DONTWAIT);
    else if ((how & 0x1c) == 12)
        (void)!send(*fd, unused, next_bytes(unused, how & 3 ? 64 : 200), MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        any_message(*fd, next());
}

/* Ends all: closes the clients, and has each session forgotten. */
static void finish(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i] >= 0)
            close(clients[i]);
        struct vt_keeper_msg m = {.type = VT_KEEPER_ATTACH}, close_it = {.type = VT_KEEPER_CLOSE};
        m.id[0] = (char)('0' + i);
        if ((clients[i] = dial()) >= 0) {
            send_message(clients[i], &m, NULL, 0, NULL, 0);
            send_message(clients[i], &close_it, NULL, 0, NULL, 0);
            close(clients[i]);
            clients[i] = -1;
        }
    }
}

int __real_epoll_wait(int fd, struct epoll_event *events, int most, int ms);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int most, int ms);

int __wrap_epoll_wait(int fd, struct epoll_event *events, int most, int ms)
{
    (void)ms;
    if (at < end)
        act();
    else if (rounds++ % 64 == 0)
        finish();
    HOLDS(rounds < 20000);
    return __real_epoll_wait(fd, events, most, 0);
}

static void run_keeper(void)
{
    struct vt_keeper_place place = {.folder = open("/dev/shm", O_PATH | O_CLOEXEC), .name = "no such name"};
    address = (struct sockaddr_un){.sun_family = AF_UNIX};
    /* Another one each time: the kernel may free the last one, with what was on its way, late. */
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "virtvm-fuzz-%d-%u", (int)getpid(), runs++);
    place.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    HOLDS(bind(place.listener, (struct sockaddr *)&address, sizeof(sa_family_t) + 1 + strlen(address.sun_path + 1)) == 0);
    HOLDS(listen(place.listener, 16) == 0);
    memset(clients, -1, sizeof clients);
    rounds = 0;
    clients[0] = dial();                /* or it would end at once */
    vt_keeper_serve(&place);
    for (int i = 0; i < CLIENTS; i++)   /* the keeper ended before them, having dismissed them */
        if (clients[i] >= 0)
            close(clients[i]);
    close(place.listener);
    close(place.folder);
}

/* ---- a client, with a keeper that says anything ---- */

static int keeper_fd, client_fd;

enum vt_rc vt_keeper_dial(const char *folder, struct vt_waiter *w, vt_time deadline, int *fd, struct vt_err *e)
{
    (void)folder, (void)w, (void)deadline;
    *fd = client_fd;
    client_fd = -1;
    return *fd >= 0 ? VT_OK : vt_fail(e, VT_IO, VT_STAGE_CONNECT, 0, "no keeper");
}

enum vt_rc vt_keeper_dial_all(const char *folder, struct vt_waiter *w, vt_time deadline, int fds[VT_KEEPERS_MAX],
                              int *n, struct vt_err *e)
{
    enum vt_rc rc = vt_keeper_dial(folder, w, deadline, &fds[0], e);
    *n = rc == VT_OK ? 1 : 0;
    return rc;
}

static bool keeper_says(void *ctx)
{
    uint8_t data[300];
    (void)ctx;
    if (at >= end)
        return false;
    uint8_t how = next();
    struct vt_keeper_msg m = {.type = how & 15, .number = (int8_t)next(), .flag = how >> 7, .total = next() * 10u,
                              .read_at = next() * 10u};
    if (how & 0x40)
        memset(&m.total, 0xff, sizeof m.total);
    size_t n = next_bytes(data, next());
    if (how & 0x20)
        (void)!send(keeper_fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (how & 0x10)
        shutdown(keeper_fd, SHUT_RDWR);
    else
        send_message(keeper_fd, &m, data, n, NULL, 0);
    return true;
}

static void use(struct vt_session *s)
{
    struct vt_waiter w = {0};
    static const char input[4000];
    if (vt_session_enter(s, &w, vt_deadline(TIMEOUT)) != VT_OK)
        return;
    (void)!vt_session_write(s, input, sizeof input, &w, vt_deadline(TIMEOUT));
    (void)!vt_session_quiet(s, &w, VT_SEC, 1 << 20, vt_deadline(TIMEOUT));
    (void)vt_kept_dismiss(s, &w);
    vt_session_leave(s);
}

static void run_client(bool starts)
{
    int pair[2];
    const char *const argv[] = {"/bin/sh", NULL}, *const envp[] = {NULL};
    struct vt_pty_options o = {.argv = argv, .envp = envp};
    struct vt_waiter w = {0};
    struct vt_kept kept;
    struct vt_session *s = NULL;
    struct vt_err e = {0};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return;
    client_fd = pair[0], keeper_fd = pair[1];
    enum vt_rc rc = starts ? vt_kept_start("folder", "id", &o, 1 << 20, &w, vt_deadline(TIMEOUT), &s, &kept, &e)
                           : vt_kept_attach("folder", "id", 1 << 20, &w, vt_deadline(TIMEOUT), &s, &kept, &e);
    HOLDS(quick_elapsed() <= TIMEOUT + SLACK);
    if (rc == VT_OK) {
        HOLDS(s->read_at <= s->store.total);
        use(s);
        vt_session_free(s);
    }
    HOLDS(quick_elapsed() <= 4 * (TIMEOUT + SLACK));
    close(keeper_fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 1)
        return 0;
    at = data + 1;
    end = data + n;
    quick_begin(data[0] & 1 ? NULL : keeper_says, NULL);
    if (data[0] & 1)
        run_keeper();
    else
        run_client(data[0] & 2);
    quick_end();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    HOLDS(fd >= 0 && fd < 20);          /* no descriptor stays open */
    close(fd);
    return 0;
}
