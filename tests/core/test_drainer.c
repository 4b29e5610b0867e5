/* The drainer: it reads what nobody waits for, and misses nothing. */
#include "session/session.h"
#include "transport/socket.h"

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

static void on_drained(void *ctx, struct vt_watch *w)
{
    (void)ctx;
    drained_bytes = vt_session_watched(w)->store.total;
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
    CHECK_RC(vt_unix_open(at.sun_path, &w, vt_deadline(60), &t, NULL), VT_OK);
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
    CHECK_RC(vt_drainer_add(&drainer, &session->watch), VT_OK);
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
    CHECK_RC(vt_session_enter(session, &w, vt_deadline(60)), VT_OK);
}

/* Whether the drainer has read that many bytes in all. */
static int drained(uint64_t bytes)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
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
    CHECK_RC(vt_session_fill(session, &w, vt_deadline(60), &got), VT_OK);
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
    until.tv_sec += 60;
    CHECK_INT(sem_timedwait(&news, &until), 0);
    enter();
    CHECK_RC(session->ended, VT_EOF);
    vt_session_leave(session);
    teardown();
}

/* An end raises its event as soon as the session is added: the drainer may have it before
 * the adding thread is done. */
static void test_session_that_is_over_when_it_is_added(void)
{
    for (int n = 0; n < 200; n++) {
        setup();
        vt_session_free(session);
        close(peer);
        CHECK_RC(vt_session_new(connect_peer(), 1 << 20, &session), VT_OK);
        session->wants_news = true;
        CHECK_INT(write(peer, "last words", 10), 10);
        shutdown(peer, SHUT_RDWR);
        CHECK_RC(vt_drainer_add(&drainer, &session->watch), VT_OK);
        CHECK(drained(10));
        teardown();
    }
}

static atomic_bool over;

static void *work(void *unused)
{
    struct vt_waiter w = {0};
    while (!over) {
        if (vt_session_enter(session, &w, vt_deadline(60)) != VT_OK)
            break;
        vt_session_leave(session);
    }
    return unused;
}

static void *close_session(void *unused)
{
    CHECK_RC(vt_session_close(session, NULL), VT_OK);
    return unused;
}

/* At exit a daemon thread may be anywhere in a call, or may close the session. */
static void test_goes_away_while_sessions_are_used(void)
{
    for (int n = 0; n < 200; n++) {
        pthread_t worker, closer;
        setup();
        over = false;
        CHECK_INT(pthread_create(&worker, NULL, work, NULL), 0);
        vt_drainer_stop(&drainer);
        pthread_join(thread, NULL);
        CHECK_INT(pthread_create(&closer, NULL, n % 2 ? close_session : work, NULL), 0);
        vt_drainer_fini(&drainer);
        if (n % 2 == 0)
            enter(), vt_session_leave(session);         /* it goes on without a drainer */
        over = true;
        pthread_join(worker, NULL);
        pthread_join(closer, NULL);
        vt_session_free(session);
        close(peer);
        sem_destroy(&news);
    }
}

/* The first of many always has news again: the last has its turn all the same. */
static void test_news_of_many_sessions_come_in_turn(void)
{
    enum { MANY = 10, ROOM = 4 };
    struct vt_session *all[MANY];
    int peers[MANY], told[MANY] = {0};
    uint64_t ids[ROOM];
    CHECK_RC(vt_drainer_init(&drainer), VT_OK);
    for (int i = 0; i < MANY; i++) {
        CHECK_RC(vt_session_new(connect_peer(), 1 << 20, &all[i]), VT_OK);
        peers[i] = peer;
        all[i]->watch.id = (uint64_t)i;
        CHECK_RC(vt_drainer_add(&drainer, &all[i]->watch), VT_OK);
    }
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < MANY; i++)
            all[i]->watch.news_due = true;
        int n = vt_drainer_take_news(&drainer, ids, ROOM);
        CHECK_INT(n, ROOM);
        for (int i = 0; i < n; i++)
            told[ids[i]]++;
        if (round == 20)
            vt_drainer_remove(&all[ids[0]]->watch);     /* one that the next turn may begin with */
    }
    for (int i = 0; i < MANY; i++) {
        CHECK(told[i] > 8);
        vt_session_free(all[i]);
        close(peers[i]);
    }
    CHECK_INT(vt_drainer_take_news(&drainer, ids, ROOM), 0);
    vt_drainer_fini(&drainer);
}

CHECK_MAIN(
    TEST(test_news_of_many_sessions_come_in_turn),
    TEST(test_session_that_is_over_when_it_is_added),
    TEST(test_goes_away_while_sessions_are_used),
    TEST(test_reads_what_nobody_waits_for),
    TEST(test_leaves_a_session_to_its_owner),
    TEST(test_misses_nothing_while_an_owner_leaves),
    TEST(test_tells_of_the_end))
