/* The drainer: it reads what nobody waits for, and misses nothing. */
#include "drainer.h"
#include "transport/stream.h"

#include "check.h"

#include <semaphore.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static struct vt_drainer drainer;
static pthread_t thread;
static struct vt_session *session;
static int peer;                        /* what is written here the session reads */
static sem_t news;
static _Atomic uint64_t drained_bytes;

static void on_drained(void *ctx, struct vt_session *s)
{
    (void)ctx;
    drained_bytes = s->store.total;
    sem_post(&news);
}

static void *run_drainer(void *unused)
{
    vt_drainer_run(&drainer, on_drained, NULL, NULL);
    return unused;
}

/* A connected unix socket: the peer's end, and the session's. */
static struct vt_transport *connect_peer(void)
{
    char folder[] = "/tmp/virtvm-core-XXXXXX";
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct vt_waiter w = {0};
    struct vt_transport *t = NULL;
    CHECK(mkdtemp(folder) != NULL);
    snprintf(at.sun_path, sizeof at.sun_path, "%s/socket", folder);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_INT(listen(listener, 1), 0);
    CHECK_RC(vt_unix_open(at.sun_path, &w, vt_deadline(5), &t, NULL), VT_OK);
    peer = accept(listener, NULL, NULL);
    close(listener);
    unlink(at.sun_path);
    rmdir(folder);
    return t;
}

static void setup(void)
{
    sem_init(&news, 0, 0);
    drained_bytes = 0;
    CHECK_RC(vt_session_new(connect_peer(), 1 << 20, &session), VT_OK);
    session->wants_news = true;
    CHECK_RC(vt_drainer_init(&drainer), VT_OK);
    CHECK_RC(vt_drainer_add(&drainer, session), VT_OK);
    CHECK_INT(pthread_create(&thread, NULL, run_drainer, NULL), 0);
}

static void teardown(void)
{
    vt_session_free(session);
    vt_drainer_stop(&drainer);
    pthread_join(thread, NULL);
    vt_drainer_fini(&drainer);
    close(peer);
    sem_destroy(&news);
}

static void enter(void)
{
    struct vt_waiter w = {0};
    CHECK_RC(vt_session_enter(session, &w, vt_deadline(5)), VT_OK);
}

/* Whether the drainer has read that many bytes in all within two seconds. */
static int drained(uint64_t bytes)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    while (drained_bytes < bytes)
        if (sem_timedwait(&news, &until) != 0)
            return 0;
    return 1;
}

static void test_reads_what_nobody_waits_for(void)
{
    setup();
    enter();
    vt_session_leave(session);
    CHECK_INT(write(peer, "hello", 5), 5);
    CHECK(drained(5));
    enter();
    CHECK_MEM(session->store.mem, session->store.len, "hello");
    vt_session_leave(session);
    teardown();
}

static void test_leaves_a_session_to_its_owner(void)
{
    setup();
    enter();
    CHECK_INT(write(peer, "mine", 4), 4);
    struct vt_waiter w = {0};
    CHECK_RC(vt_sleep(&w, vt_deadline(0.05)), VT_TIMEOUT);
    CHECK_INT(drained_bytes, 0);
    size_t got = 0;
    CHECK_RC(vt_session_fill(session, &w, vt_deadline(5), &got), VT_OK);
    CHECK_INT(got, 4);
    vt_session_leave(session);
    teardown();
}

/* The event comes while the owner is leaving: at each point of it, in some round. */
static void test_misses_nothing_while_an_owner_leaves(void)
{
    setup();
    for (unsigned n = 1; n <= 20000; n++) {
        enter();
        CHECK_INT(write(peer, "x", 1), 1);
        vt_session_leave(session);
        int seen = drained(n);
        CHECK(seen);
        if (!seen)
            break;
    }
    teardown();
}

static void test_tells_of_the_end(void)
{
    setup();
    enter();
    vt_session_leave(session);
    shutdown(peer, SHUT_RDWR);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    CHECK_INT(sem_timedwait(&news, &until), 0);
    enter();
    CHECK_RC(session->ended, VT_EOF);
    vt_session_leave(session);
    teardown();
}

CHECK_MAIN(
    TEST(test_reads_what_nobody_waits_for),
    TEST(test_leaves_a_session_to_its_owner),
    TEST(test_misses_nothing_while_an_owner_leaves),
    TEST(test_tells_of_the_end))
