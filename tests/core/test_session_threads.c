/* What any thread may ask of a session, while another runs commands in it. */
#include "shell/command.h"
#include "session/session.h"
#include "transport/pty.h"

#include "check.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#define COMMANDS 200

static struct vt_drainer drainer;
static pthread_t thread;
static struct vt_session *session;
static atomic_bool over;

static void *run_drainer(void *unused)
{
    vt_drainer_run(&drainer, NULL, NULL, NULL);
    return unused;
}

static int is_prompt(void *ctx, const char *line, size_t n)
{
    (void)ctx;
    return n >= 2 && memcmp(line + n - 2, "$ ", 2) == 0;
}

static struct vt_command command(const char *text)
{
    return (struct vt_command){.text = text, .len = strlen(text), .linesep = "\n", .linesep_len = 1,
                               .want_status = true, .status_wait = 10 * VT_SEC, .match = is_prompt,
                               .deadline = vt_deadline(60)};
}

static enum vt_rc run(const char *text, int *status)
{
    struct vt_waiter w = {0};
    struct vt_command c = command(text);
    enum vt_rc rc = vt_session_enter(session, &w, c.deadline);
    if (rc != VT_OK)
        return rc;
    rc = text[0] == '\0' ? vt_session_find_prompt(session, &c, &w) : vt_session_command(session, &c, &w);
    *status = c.status;
    vt_session_leave(session);
    return rc;
}

/* A shell whose prompt is another one each time. */
static void setup(void)
{
    static const char *const argv[] = {"/bin/bash", "--norc", "--noprofile", NULL};
    static const char *const envp[] = {"PATH=/usr/bin:/bin", "PS1=p\\#$ ", "TERM=dumb", "HOME=/", NULL};
    struct vt_pty_options o = {.argv = argv, .envp = envp};
    struct vt_transport *t = NULL;
    struct vt_err e = {0};
    int status;
    struct vt_waiter w = {0};
    CHECK_RC(vt_pty_open(&o, &w, vt_deadline(60), &t, &e), VT_OK);
    CHECK_RC(vt_session_new(t, 1 << 20, &session), VT_OK);
    session->scan_crash = true;
    CHECK_RC(vt_drainer_init(&drainer), VT_OK);
    CHECK_RC(vt_drainer_add(&drainer, &session->watch), VT_OK);
    CHECK_INT(pthread_create(&thread, NULL, run_drainer, NULL), 0);
    CHECK_RC(run("", &status), VT_OK);
    over = false;
}

static void teardown(void)
{
    vt_session_free(session);
    vt_drainer_stop(&drainer);
    pthread_join(thread, NULL);
    vt_drainer_fini(&drainer);
}

/* All that may be asked; counts what is no prompt of that shell's. */
static void *ask(void *strange)
{
    while (!over) {
        struct vt_prompt_copy list[VT_LEARNED];
        uint64_t begin = 0, end = 0;
        char text[16];
        int n = vt_session_prompts(session, list);
        for (int i = 0; i < n; i++) {
            if (list[i].n < 3 || list[i].shown[0] != 'p' || memcmp(list[i].shown + list[i].n - 2, "$ ", 2) != 0)
                ++*(atomic_int *)strange;
            free(list[i].shown);
        }
        if (vt_session_crash(session, &begin, &end) && end <= begin)
            ++*(atomic_int *)strange;
        vt_store_range(&session->store, &begin, &end);
        if (end - begin >= sizeof text && vt_store_read(&session->store, end - sizeof text, text, sizeof text) != VT_OK)
            ++*(atomic_int *)strange;
        if (session->closed || session->ended != VT_OK || session->has_status || session->status != 0)
            ++*(atomic_int *)strange;
        (void)session->token;
        (void)session->crlf;
    }
    return NULL;
}

static void test_what_may_be_asked_while_commands_run(void)
{
    pthread_t asker;
    atomic_int strange = 0;
    int status;
    setup();
    CHECK_INT(pthread_create(&asker, NULL, ask, &strange), 0);
    for (int i = 0; i < COMMANDS; i++) {
        CHECK_RC(run("echo 'BUG: x ---[ end trace 1 ]---'; (exit 3)", &status), VT_OK);
        CHECK_INT(status, 3);
    }
    over = true;
    pthread_join(asker, NULL);
    CHECK_INT(strange, 0);
    teardown();
}

static void *take_turns(void *failed)
{
    for (int i = 0; i < COMMANDS / 4; i++) {
        int status = -1;
        if (run("(exit 7)", &status) != VT_OK || status != 7)
            ++*(atomic_int *)failed;
    }
    return NULL;
}

static void test_threads_take_turns(void)
{
    pthread_t threads[4];
    atomic_int failed = 0;
    setup();
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, take_turns, &failed), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(failed, 0);
    teardown();
}

static void *close_it(void *unused)
{
    CHECK_RC(vt_session_close(session, NULL), VT_OK);
    return unused;
}

static void test_close_wakes_whoever_waits(void)
{
    pthread_t closer;
    int status;
    setup();
    CHECK_INT(pthread_create(&closer, NULL, close_it, NULL), 0);
    CHECK_RC(run("sleep 60", &status), VT_CLOSED);
    pthread_join(closer, NULL);
    teardown();
}

/* Each kill stops the tree for a moment: without a pause the shell itself would never get on. */
static void *kill_it(void *unused)
{
    while (!over) {
        (void)!session->t->ops->kill(session->t, SIGTERM);
        poll(NULL, 0, 1);
    }
    return unused;
}

/* Its process ends and is collected meanwhile: nobody else's is killed. */
static void test_kill_while_the_process_ends(void)
{
    pthread_t killer;
    int status;
    setup();
    CHECK_INT(pthread_create(&killer, NULL, kill_it, NULL), 0);
    CHECK_RC(run("exec sleep 60", &status), VT_EOF);
    over = true;
    pthread_join(killer, NULL);
    CHECK(session->has_status && session->status == -SIGTERM);
    teardown();
}

CHECK_MAIN(
    TEST(test_what_may_be_asked_while_commands_run),
    TEST(test_threads_take_turns),
    TEST(test_close_wakes_whoever_waits),
    TEST(test_kill_while_the_process_ends))
