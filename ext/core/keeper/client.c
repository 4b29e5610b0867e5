/* client.c - a keeper's session as a transport. */
#include "keeper/keeper.h"

#include "base/buf.h"
#include "keeper/dial.h"
#include "keeper/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define DISMISS_MS 5000
#define START_TRIES 5               /* each but the first finds a keeper that has just ended */

struct kept {
    struct vt_transport base;
    int fd;
    pid_t pid;
    size_t under_way;               /* bytes of input that the process has not taken */
    bool ended, has_status;
    int status;
    bool unclaimed;                 /* just started: its id is not told yet */
};

static const struct vt_transport_ops kept_ops;

static struct kept *of(struct vt_transport *t)
{
    return (struct kept *)t;
}

/* ---- messages ---- */

/* A message is sent whole or not at all, by any thread. */
static enum vt_rc tell(int fd, const struct vt_keeper_msg *m, const void *data, size_t n)
{
    struct iovec parts[] = {{(void *)m, sizeof *m}, {(void *)data, n}};
    struct msghdr h = {.msg_iov = parts, .msg_iovlen = n > 0 ? 2 : 1};
    ssize_t put;
    do
        put = sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put >= 0 ? VT_OK : errno == EAGAIN || errno == ENOBUFS ? VT_AGAIN : VT_EOF;
}

/* One message; its bytes, *got of them, go to data.  VT_AGAIN, VT_EOF. */
static enum vt_rc hear(int fd, struct vt_keeper_msg *m, void *data, size_t cap, size_t *got)
{
    struct iovec parts[] = {{m, sizeof *m}, {data, cap}};
    struct msghdr h = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t n;
    do
        n = recvmsg(fd, &h, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return VT_AGAIN;
    if (n < (ssize_t)sizeof *m)
        return VT_EOF;                  /* the keeper is gone, or forgot the session */
    *got = (size_t)n - sizeof *m;
    return VT_OK;
}

/* Has the keeper end what nobody would know of. */
static void disown(int fd)
{
    struct vt_keeper_msg m = {.type = VT_KEEPER_CLOSE};
    (void)!tell(fd, &m, NULL, 0);
}

/* ---- the transport ---- */

static enum vt_rc kept_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    struct kept *k = of(t);
    if (cap < VT_KEEPER_PIECE)
        return vt_fail(&t->err, VT_INVALID, VT_STAGE_NONE, 0, "a message of the keeper needs more room");
    while (!k->ended) {
        struct vt_keeper_msg m;
        size_t n = 0;
        enum vt_rc rc = hear(k->fd, &m, data, cap, &n);
        if (rc == VT_AGAIN)
            return rc;
        if (rc == VT_OK && m.type == VT_KEEPER_OUTPUT && n > 0) {
            *got = n;
            return VT_OK;
        }
        if (rc == VT_OK && m.type == VT_KEEPER_TAKEN)
            k->under_way -= (size_t)m.number < k->under_way ? (size_t)m.number : k->under_way;
        if (rc == VT_OK && m.type == VT_KEEPER_ENDED) {
            k->has_status = m.flag != 0;
            k->status = m.number;
        }
        k->ended = rc != VT_OK || m.type == VT_KEEPER_ENDED;
    }
    return VT_EOF;
}

static enum vt_rc kept_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    struct kept *k = of(t);
    struct vt_keeper_msg m = {.type = VT_KEEPER_INPUT};
    size_t room = VT_KEEPER_CREDIT - k->under_way;
    if (n > room)
        n = room;
    if (n > VT_KEEPER_PIECE)
        n = VT_KEEPER_PIECE;
    if (n == 0)
        return VT_AGAIN;
    enum vt_rc rc = tell(k->fd, &m, data, n);
    if (rc == VT_OK) {
        *put = n;
        k->under_way += n;
    }
    return rc;
}

static int kept_want(struct vt_transport *t, bool writing, short *events)
{
    bool may_write = writing && of(t)->under_way < VT_KEEPER_CREDIT;
    *events = (short)(POLLIN | (may_write ? POLLOUT : 0));
    return of(t)->ended ? -1 : of(t)->fd;
}

static bool kept_status(struct vt_transport *t, int *status)
{
    *status = of(t)->status;
    return of(t)->has_status;
}

static pid_t kept_pid(struct vt_transport *t)
{
    return of(t)->pid;
}

static enum vt_rc kept_kill(struct vt_transport *t, int sig)
{
    struct vt_keeper_msg m = {.type = VT_KEEPER_KILL, .number = sig};
    return tell(of(t)->fd, &m, NULL, 0);
}

/* A mark that is lost costs no output: it is read once more, at worst. */
static void kept_mark(struct vt_transport *t, uint64_t read_at)
{
    struct vt_keeper_msg m = {.type = VT_KEEPER_MARK, .read_at = read_at, .told = VT_KEEPER_NO_MARK};
    (void)!tell(of(t)->fd, &m, NULL, 0);
}

static void kept_close(struct vt_transport *t)
{
    of(t)->ended = true;                /* the process goes on */
}

/* Closing a descriptor says nothing if another process, a fork's parent, has it. */
static void kept_fini(struct vt_transport *t, bool silent)
{
    if (of(t)->unclaimed && !silent)
        disown(of(t)->fd);
    close(of(t)->fd);
    free(t);
}

static const struct vt_transport_ops kept_ops = {
    .name = "keeper", .read = kept_read, .write = kept_write, .want = kept_want,
    .status = kept_status, .pid = kept_pid, .kill = kept_kill, .mark = kept_mark,
    .close = kept_close, .fini = kept_fini,
};

bool vt_is_kept(const struct vt_session *s)
{
    return s->t->ops == &kept_ops;
}

void vt_kept_mark_told(struct vt_session *s, uint64_t told)
{
    struct vt_keeper_msg m = {.type = VT_KEEPER_MARK, .read_at = VT_KEEPER_NO_MARK, .told = told};
    if (vt_is_kept(s) && !s->closed)
        (void)!tell(of(s->t)->fd, &m, NULL, 0);
}

void vt_kept_claim(struct vt_session *s)
{
    if (vt_is_kept(s) && !s->closed)
        of(s->t)->unclaimed = false;
}

bool vt_kept_dismiss(struct vt_session *s, struct vt_waiter *w)
{
    if (!vt_is_kept(s))
        return false;
    struct kept *k = of(s->t);
    char piece[VT_KEEPER_PIECE];
    vt_time deadline = vt_sooner(VT_FOREVER, DISMISS_MS * VT_MS);
    enum vt_rc rc = VT_AGAIN, told = VT_AGAIN;
    k->unclaimed = false;
    while (rc == VT_OK || rc == VT_AGAIN) {
        struct vt_keeper_msg m = {.type = VT_KEEPER_CLOSE};
        if (told == VT_AGAIN && (told = tell(k->fd, &m, NULL, 0)) == VT_EOF)
            break;
        struct pollfd fd = {.fd = k->fd, .events = (short)(POLLIN | (told == VT_AGAIN ? POLLOUT : 0))};
        size_t n = 0;
        if ((rc = hear(k->fd, &m, piece, sizeof piece, &n)) == VT_AGAIN)
            rc = vt_wait(w, &fd, 1, deadline);
        else if (rc == VT_OK)
            rc = vt_wait_check(w, deadline);
    }
    return true;
}

/* ---- opening ---- */

/* Sends a first message with its descriptors, and waits for the answer.  VT_EOF: the keeper
 * was about to end, or was killed, and has done nothing. */
static enum vt_rc introduce(int fd, struct vt_keeper_msg *m, const int *fds, int count,
                            struct vt_waiter *w, vt_time deadline, struct vt_err *e)
{
    union { struct cmsghdr align; char space[CMSG_SPACE(sizeof(int) * (VT_KEEPER_PASS_MAX + 2))]; } control = {0};
    struct iovec part = {m, sizeof *m};
    struct msghdr h = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        h.msg_control = control.space;
        h.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *p = CMSG_FIRSTHDR(&h);
        p->cmsg_level = SOL_SOCKET;
        p->cmsg_type = SCM_RIGHTS;
        p->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(p), fds, sizeof(int) * (size_t)count);
    }
    enum vt_rc rc = sendmsg(fd, &h, MSG_NOSIGNAL) < 0 ? VT_EOF : VT_OK;
    struct pollfd in = {.fd = fd, .events = POLLIN};
    char unused[1];
    size_t n;
    if (rc == VT_OK)
        rc = vt_wait(w, &in, 1, deadline);
    if (rc == VT_OK)
        rc = hear(fd, m, unused, sizeof unused, &n);
    if (rc == VT_OK && m->type == VT_KEEPER_HELLO)
        return VT_OK;
    m->id[VT_KEEPER_ID_MAX] = '\0';
    if (rc == VT_OK && m->type == VT_KEEPER_REFUSED)
        return vt_fail(e, m->number == ENOENT ? VT_CONNECT : VT_IO, VT_STAGE_CONNECT, m->number, "%s", m->id);
    return vt_fail(e, rc == VT_OK ? VT_PROTO : rc, VT_STAGE_CONNECT, 0,
                   rc == VT_TIMEOUT ? "the keeper does not answer" : "the keeper ended");
}

/* The session behind an introduced connection, with all its output so far. */
static enum vt_rc open_session(int fd, const struct vt_keeper_msg *hello, bool is_new, size_t bound,
                               struct vt_waiter *w, vt_time deadline, struct vt_session **out, struct vt_kept *kept)
{
    struct kept *k = calloc(1, sizeof *k);
    struct vt_session *s = NULL;
    if (k == NULL) {
        if (is_new)
            disown(fd);
        close(fd);
        return VT_NOMEM;
    }
    k->unclaimed = is_new;
    k->base.ops = &kept_ops;
    k->fd = fd;
    k->pid = hello->number;
    enum vt_rc rc = vt_session_new(&k->base, bound, &s);
    if (rc != VT_OK)
        return rc;
    while (rc == VT_OK && s->store.total < hello->total)
        rc = (rc = vt_session_fill(s, w, deadline, NULL)) == VT_OK ? vt_wait_check(w, deadline) : rc;
    if (rc != VT_OK && rc != VT_EOF) {
        vt_session_free(s);
        return rc;
    }
    *kept = (struct vt_kept){hello->number, hello->read_at, hello->told};
    s->read_at = s->marked = hello->read_at < s->store.total ? hello->read_at : s->store.total;
    *out = s;
    return VT_OK;
}

static enum vt_rc set_id(struct vt_keeper_msg *m, const char *id, struct vt_err *e)
{
    if (id[0] == '\0' || strlen(id) > VT_KEEPER_ID_MAX)
        return vt_fail(e, VT_INVALID, VT_STAGE_CONNECT, 0, "an id has 1 to %d characters", VT_KEEPER_ID_MAX);
    strcpy(m->id, id);
    return VT_OK;
}

static enum vt_rc add_strings(struct vt_buf *b, const char *const *list, uint32_t *count)
{
    enum vt_rc rc = VT_OK;
    for (*count = 0; rc == VT_OK && list[*count] != NULL; ++*count)
        rc = vt_buf_add(b, list[*count], strlen(list[*count]) + 1);
    return rc;
}

/* This process's umask; umask() itself would have to change it, for all threads. */
static uint32_t own_umask(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];
    unsigned mask = 022;
    while (f != NULL && fgets(line, sizeof line, f) != NULL && sscanf(line, "Umask: %o", &mask) != 1)
        ;
    if (f != NULL)
        fclose(f);
    return mask;
}

/* The request file: a descriptor, or -1. */
static int request_file(const struct vt_pty_options *o)
{
    struct vt_keeper_request r = {.pass_count = (uint32_t)o->pass_count, .echo = o->echo};
    struct vt_buf b;
    r.umask = own_umask();
    for (int i = 0; i < (int)RLIM_NLIMITS; i++)
        getrlimit((__rlimit_resource_t)i, &r.limits[i]);
    vt_buf_init(&b, VT_KEEPER_REQUEST_MAX);
    enum vt_rc rc = vt_buf_add(&b, &r, sizeof r);
    if (rc == VT_OK)
        rc = add_strings(&b, o->argv, &r.argc);
    if (rc == VT_OK)
        rc = add_strings(&b, o->envp, &r.envc);
    for (int i = 0; rc == VT_OK && i < o->pass_count; i++) {
        int32_t number = o->pass_fds[i];
        rc = vt_buf_add(&b, &number, sizeof number);
    }
    int fd = rc == VT_OK ? memfd_create("request", MFD_CLOEXEC) : -1;
    if (fd >= 0) {
        memcpy(b.data, &r, sizeof r);
        if (pwrite(fd, b.data, b.len, 0) != (ssize_t)b.len) {
            close(fd);
            fd = -1;
        }
    }
    vt_buf_fini(&b);
    return fd;
}

/* Has a keeper start what the descriptors hold; *fd is the connection, and m the HELLO. */
static enum vt_rc ask_to_start(const char *folder, struct vt_keeper_msg *m, const int *fds, int count,
                               struct vt_waiter *w, vt_time deadline, int *fd, struct vt_err *e)
{
    struct vt_keeper_msg asked = *m;
    enum vt_rc rc = VT_EOF;
    for (int n = 0; rc == VT_EOF && n < START_TRIES; n++) {
        if ((rc = vt_keeper_dial(folder, w, deadline, fd, e)) != VT_OK)
            return rc;
        *m = asked;
        rc = introduce(*fd, m, fds, count, w, deadline, e);
        if (rc == VT_OK)
            return rc;
        disown(*fd);                        /* it may start yet */
        close(*fd);
    }
    return rc == VT_EOF ? VT_IO : rc;
}

enum vt_rc vt_kept_start(const char *folder, const char *id, const struct vt_pty_options *o, size_t bound,
                         struct vt_waiter *w, vt_time deadline, struct vt_session **out,
                         struct vt_kept *kept, struct vt_err *e)
{
    struct vt_keeper_msg m = {.type = VT_KEEPER_START};
    int fds[VT_KEEPER_PASS_MAX + 2], fd = -1;
    enum vt_rc rc = set_id(&m, id, e);
    if (rc == VT_OK && o->pass_count > VT_KEEPER_PASS_MAX)
        rc = vt_fail(e, VT_INVALID, VT_STAGE_CONNECT, 0, "too many descriptors to pass");
    for (int i = 0; rc == VT_OK && i < o->pass_count; i++)
        if (fcntl(o->pass_fds[i], F_GETFD) < 0)
            rc = vt_fail(e, VT_IO, VT_STAGE_CONNECT, errno, "descriptor %d: %s", o->pass_fds[i], strerror(errno));
    if (rc != VT_OK)
        return rc;
    fds[0] = request_file(o);
    fds[1] = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < o->pass_count; i++)
        fds[2 + i] = o->pass_fds[i];
    if (fds[0] < 0 || fds[1] < 0)
        rc = vt_fail(e, VT_IO, VT_STAGE_CONNECT, errno, "keeper: %s", strerror(errno));
    else
        rc = ask_to_start(folder, &m, fds, o->pass_count + 2, w, deadline, &fd, e);
    if (fds[0] >= 0)
        close(fds[0]);
    if (fds[1] >= 0)
        close(fds[1]);
    return rc == VT_OK ? open_session(fd, &m, true, bound, w, deadline, out, kept) : rc;
}

/* ---- attaching ---- */

/* One more answer of those that were asked, or the end of a keeper that was about to end.  True:
 * it has the session. */
static bool take_answer(int fd, struct vt_keeper_msg *m, enum vt_rc *rc)
{
    char unused[1];
    size_t n;
    enum vt_rc heard = hear(fd, m, unused, sizeof unused, &n);
    if (heard == VT_OK && m->type == VT_KEEPER_HELLO)
        return true;
    if (heard == VT_OK && (m->type != VT_KEEPER_REFUSED || m->number != ENOENT))
        *rc = VT_PROTO;
    return false;
}

/* Asks all at once: one that does not answer keeps nobody from what another has.  The index of
 * that one, or -1 and *rc: VT_CONNECT if all say no. */
static int ask_all(int *fds, int count, const struct vt_keeper_msg *asked, struct vt_keeper_msg *answer,
                   struct vt_waiter *w, vt_time deadline, enum vt_rc *rc)
{
    struct pollfd in[VT_KEEPERS_MAX];
    int open = count;
    *rc = VT_CONNECT;
    for (int i = 0; i < count; i++) {
        in[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
        (void)!tell(fds[i], asked, NULL, 0);    /* if it is gone, its end is what comes */
    }
    while (open > 0) {
        enum vt_rc waited = vt_wait(w, in, count, deadline);
        if (waited != VT_OK) {
            *rc = waited;
            return -1;
        }
        for (int i = 0; i < count; i++) {
            if (in[i].fd < 0 || in[i].revents == 0)
                continue;
            if (take_answer(fds[i], answer, rc))
                return i;
            in[i].fd = -1;
            open--;
        }
    }
    return -1;
}

enum vt_rc vt_kept_attach(const char *folder, const char *id, size_t bound, struct vt_waiter *w,
                          vt_time deadline, struct vt_session **out, struct vt_kept *kept, struct vt_err *e)
{
    struct vt_keeper_msg asked = {.type = VT_KEEPER_ATTACH}, answer = {0};
    int fds[VT_KEEPERS_MAX], count, found = -1;
    if (set_id(&asked, id, e) != VT_OK)
        return VT_CONNECT;              /* no session has such an id */
    enum vt_rc rc = vt_keeper_dial_all(folder, w, deadline, fds, &count, e);
    if (rc == VT_OK)
        found = ask_all(fds, count, &asked, &answer, w, deadline, &rc);
    for (int i = 0; i < count; i++)
        if (i != found)
            close(fds[i]);
    if (found >= 0)
        return open_session(fds[found], &answer, false, bound, w, deadline, out, kept);
    return rc == VT_CONNECT || rc == VT_IO ? rc
         : vt_fail(e, rc, VT_STAGE_CONNECT, 0, rc == VT_TIMEOUT ? "the keeper does not answer" : NULL);
}
