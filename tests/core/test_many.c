/* Many sessions, many threads, one drainer: what `make tsan` is for. */
#include "session/session.h"
#include "transport/socket.h"

#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SESSIONS 40
#define THREADS 4
#define CLOSED 10                       /* of them are closed while others use them */
#define LINES 50

static struct vt_drainer drainer;
static struct vt_session *sessions[SESSIONS];
static int peers[SESSIONS];
static atomic_int closers, told, to_tell;

static void on_drained(void *ctx, struct vt_watch *w)
{
    (void)ctx;
    (void)w;
    to_tell++;
}

static void on_left(void *ctx)
{
    (void)ctx;
    told++;
}

static void *run_drainer(void *unused)
{
    vt_drainer_run(&drainer, on_drained, on_left, NULL);
    return unused;
}

/* Answers each line with the same line, on all peers, until all have hung up. */
static void *run_echo(void *unused)
{
    struct pollfd fds[SESSIONS];
    int open = SESSIONS;
    for (int i = 0; i < SESSIONS; i++)
        fds[i] = (struct pollfd){.fd = peers[i], .events = POLLIN};
    while (open > 0 && poll(fds, SESSIONS, 10000) > 0)
        for (int i = 0; i < SESSIONS; i++) {
            char data[256];
            ssize_t n = fds[i].revents != 0 ? read(fds[i].fd, data, sizeof data) : 1;
            if (fds[i].revents != 0 && n > 0)
                n = send(fds[i].fd, data, (size_t)n, MSG_NOSIGNAL);
            if (n <= 0) {
                close(fds[i].fd);
                fds[i].fd = -1;
                open--;
            }
        }
    return unused;
}

static void exchange(struct vt_session *s, int id)
{
    struct vt_waiter w = {0};
    if (vt_session_enter(s, &w, vt_deadline(60)) != VT_OK) {
        CHECK(id < CLOSED);
        return;
    }
    uint64_t want = s->store.total + 6;
    enum vt_rc rc = vt_session_write(s, "hello\n", 6, &w, vt_deadline(60));
    while (rc == VT_OK && s->store.total < want)
        rc = vt_session_fill(s, &w, vt_deadline(60), NULL);
    CHECK(rc == VT_OK || (id < CLOSED && (rc == VT_CLOSED || rc == VT_EOF)));
    vt_session_leave(s);
}

static void *run_user(void *arg)
{
    for (int n = 0; n < LINES; n++)
        for (int i = 0; i < SESSIONS; i++)
            exchange(sessions[i], i);
    return arg;
}

static void *run_closer(void *arg)
{
    struct vt_waiter w = {0};
    for (int i = 0; i < CLOSED; i++) {
        CHECK_RC(vt_sleep(&w, vt_deadline(0.01)), VT_TIMEOUT);
        CHECK_RC(vt_session_close(sessions[i], NULL), VT_OK);
        closers++;
    }
    return arg;
}

static void open_all(void)
{
    char folder[] = "/tmp/virtvm-core-XXXXXX";
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    CHECK(mkdtemp(folder) != NULL);
    snprintf(at.sun_path, sizeof at.sun_path, "%s/socket", folder);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_INT(listen(listener, SESSIONS), 0);
    for (int i = 0; i < SESSIONS; i++) {
        struct vt_waiter w = {0};
        struct vt_transport *t = NULL;
        CHECK_RC(vt_unix_open(at.sun_path, &w, vt_deadline(60), &t, NULL), VT_OK);
        CHECK_RC(vt_session_new(t, 1 << 16, &sessions[i]), VT_OK);
        sessions[i]->wants_news = i % 2;
        CHECK_RC(vt_drainer_add(&drainer, &sessions[i]->watch), VT_OK);
        peers[i] = accept(listener, NULL, NULL);
    }
    close(listener);
    unlink(at.sun_path);
    rmdir(folder);
}

static void test_threads_share_sessions_that_others_close(void)
{
    pthread_t drain, echo, closer, users[THREADS];
    CHECK_RC(vt_drainer_init(&drainer), VT_OK);
    open_all();
    CHECK_INT(pthread_create(&drain, NULL, run_drainer, NULL), 0);
    CHECK_INT(pthread_create(&echo, NULL, run_echo, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&users[i], NULL, run_user, NULL), 0);
    CHECK_INT(pthread_create(&closer, NULL, run_closer, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(users[i], NULL);
    pthread_join(closer, NULL);
    CHECK_INT(closers, CLOSED);
    for (int i = CLOSED; i < SESSIONS; i++)     /* each answer came, and once */
        CHECK_INT(sessions[i]->store.total, (uint64_t)THREADS * LINES * 6);
    for (int i = 0; i < SESSIONS; i++)
        vt_session_free(sessions[i]);
    pthread_join(echo, NULL);
    vt_drainer_stop(&drainer);
    pthread_join(drain, NULL);
    CHECK_INT(told, to_tell);
    vt_drainer_fini(&drainer);
}

CHECK_MAIN(TEST(test_threads_share_sessions_that_others_close))
