/* session_driver.c - what Python does with sessions, without Python: so that ThreadSanitizer
 * sees it.
 *
 *   session_driver SCENARIO host=H port=N user=U identity=FILE folder=DIR [rss=PORT]
 *
 * The scenarios are functions below: each checks what came of it, too.  Prints "ok", or what
 * went wrong, and then ends with 1.
 */
#include "transport/boot.h"
#include "shell/command.h"
#include "session/session.h"
#include "keeper/keeper.h"
#include "transfer/rss.h"
#include "transfer/transfer.h"
#include "transport/ssh.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT 150
#define THREADS 4
#define COMMANDS 20
#define LARGE (66 * 1024 * 1024)    /* of a file: worth a second connection, and a cipher's thread */

static struct vt_ssh_options options;
static const char *folder;
static int rss_port;
static struct vt_drainer drainer;
static pthread_t drainer_thread;

#define MUST(what) \
    do { \
        if (!(what)) { \
            printf("%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what); \
            fflush(stdout); \
            _exit(1);               /* other threads are at work */ \
        } \
    } while (0)

/* ---- sessions ---- */

static struct vt_ssh *log_in(void)
{
    struct vt_waiter w = {0};
    struct vt_err e = {0};
    struct vt_ssh *ssh = NULL;
    enum vt_rc rc = vt_ssh_login(&options, &w, vt_deadline(TIMEOUT), &ssh, &e);
    if (rc != VT_OK)
        printf("login: %s\n", e.text);
    MUST(rc == VT_OK);
    return ssh;
}

static int is_prompt(void *ctx, const char *line, size_t n)
{
    (void)ctx;
    return n >= 2 && (line[n - 2] == '$' || line[n - 2] == '#') && line[n - 1] == ' ';
}

static enum vt_rc run(struct vt_session *s, const char *text, double timeout, int *status)
{
    struct vt_waiter w = {0};
    struct vt_command c = {.text = text, .len = strlen(text), .linesep = "\n", .linesep_len = 1, .want_status = true,
                           .status_wait = 10 * VT_SEC, .match = is_prompt, .deadline = vt_deadline(timeout)};
    enum vt_rc rc = vt_session_enter(s, &w, c.deadline);
    if (rc != VT_OK)
        return rc;
    rc = text[0] == '\0' ? vt_session_find_prompt(s, &c, &w) : vt_session_command(s, &c, &w);
    *status = c.status;
    vt_session_leave(s);
    return rc;
}

static void write_to(struct vt_session *s, const char *text)
{
    struct vt_waiter w = {0};
    MUST(vt_session_enter(s, &w, vt_deadline(TIMEOUT)) == VT_OK);
    MUST(vt_session_write(s, text, strlen(text), &w, vt_deadline(TIMEOUT)) == VT_OK);
    vt_session_leave(s);
}

static struct vt_session *adopt(struct vt_session *s)
{
    s->wants_news = true;
    MUST(vt_drainer_add(&drainer, &s->watch) == VT_OK);
    return s;
}

/* A shell over SSH with a log, watched by the drainer, its prompt known. */
static struct vt_session *open_shell(const char *log)
{
    char path[300];
    struct vt_waiter w = {0};
    struct vt_err e = {0};
    struct vt_transport *t = NULL;
    struct vt_session *s;
    int status;
    MUST(vt_ssh_shell(log_in(), NULL, &w, vt_deadline(TIMEOUT), &t, &e) == VT_OK);
    MUST(vt_session_new(t, 1 << 20, &s) == VT_OK);
    snprintf(path, sizeof path, "%s/%s", folder, log);
    MUST(vt_log_init(&s->log, path) == VT_OK);
    adopt(s);
    MUST(run(s, "", TIMEOUT, &status) == VT_OK);
    return s;
}

static uint64_t total_of(struct vt_session *s)
{
    uint64_t first, total;
    vt_store_range(&s->store, &first, &total);
    return total;
}

static void *in_thread(void *(*body)(void *), void *arg, pthread_t *thread)
{
    MUST(pthread_create(thread, NULL, body, arg) == 0);
    return NULL;
}

/* ---- scenarios ---- */

static void *some_commands(void *session)
{
    for (int i = 0; i < COMMANDS; i++) {
        int status = -1;
        MUST(run(session, "(exit 7)", TIMEOUT, &status) == VT_OK && status == 7);
    }
    return NULL;
}

/* Several threads in one session, and others that ask it. */
static void commands(void)
{
    pthread_t threads[THREADS];
    struct vt_session *s = open_shell("commands");
    for (int i = 0; i < THREADS; i++)
        in_thread(some_commands, s, &threads[i]);
    for (int i = 0; i < 1000; i++) {
        struct vt_prompt_copy list[VT_LEARNED];
        for (int n = vt_session_prompts(s, list); n > 0; n--)
            free(list[n - 1].shown);
        MUST(!s->closed && s->ended == VT_OK && total_of(s) > 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    vt_session_free(s);
}

static void *log_in_and_run(void *name)
{
    struct vt_session *s = open_shell(name);
    some_commands(s);
    vt_session_free(s);
    return NULL;
}

/* Logins side by side, to one place that may boot. */
static void logins(void)
{
    static char *const names[THREADS] = {"one", "two", "three", "four"};
    pthread_t threads[THREADS];
    options.hedge = true;
    MUST((options.places = vt_places_new()) != NULL);
    for (int i = 0; i < THREADS; i++)
        in_thread(log_in_and_run, names[i], &threads[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    vt_places_free(options.places);
}

/* The drainer reads a flood into the log and the file behind the store, while others read it. */
static void flood(void)
{
    struct vt_session *s = open_shell("flood");
    char data[4096];
    int status;
    write_to(s, "yes 'a line of the flood' | head -c 30000000\n");
    while (total_of(s) < 5000000) {
        uint64_t first, total;
        vt_store_range(&s->store, &first, &total);
        size_t n = total - first < sizeof data ? (size_t)(total - first) : sizeof data;
        (void)!vt_store_read(&s->store, first, data, n);        /* it may be forgotten meanwhile */
        usleep(1000);
    }
    write_to(s, "\003");
    MUST(run(s, "true", TIMEOUT, &status) == VT_OK);
    vt_session_free(s);
}

static void *close_soon(void *session)
{
    struct vt_waiter w = {0};
    usleep(200000);
    MUST(vt_session_close(session, &w) == VT_OK);
    return NULL;
}

/* Closed by another thread while one waits in it, and while a flood is drained. */
static void closing(void)
{
    pthread_t closer;
    int status;
    struct vt_session *s = open_shell("closing");
    in_thread(close_soon, s, &closer);
    MUST(run(s, "sleep 60", TIMEOUT, &status) == VT_CLOSED);
    pthread_join(closer, NULL);
    vt_session_free(s);
    s = open_shell("closing");
    write_to(s, "yes\n");
    close_soon(s);
    MUST(s->closed);
    vt_session_free(s);
}

static void make_tree(const char *name, long size)
{
    char path[300], command[1100];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(command, sizeof command, "mkdir -p '%s/d' && echo small >'%s/d/small' && head -c %ld /dev/urandom >'%s/large'",
             path, path, size, path);
    MUST(system(command) == 0);
}

static void compare(const char *a, const char *b)
{
    char command[1100];
    snprintf(command, sizeof command, "diff -r '%s/%s' '%s/%s'", folder, a, folder, b);
    MUST(system(command) == 0);
}

static int on_progress(void *ctx, const char *name, uint64_t done, uint64_t total)
{
    (void)name, (void)done, (void)total;
    ++*(int *)ctx;
    return 0;
}

static void copy(enum vt_engine engine, const char *tree, const char *name, bool and_back)
{
    char from[300], to[300], back[300];
    int told = 0;
    const char *sources[] = {from};
    struct vt_waiter w = {0};
    struct vt_err e = {0};
    struct vt_transfer_result r;
    struct vt_transfer_options o = {.login = &options, .engine = engine, .progress = on_progress, .ctx = &told,
                                    .verify = and_back, .keep_times = true};
    struct vt_ssh *ssh = log_in();
    snprintf(from, sizeof from, "%s/%s", folder, tree);
    snprintf(to, sizeof to, "%s/there-%s", folder, name);
    snprintf(back, sizeof back, "%s/back-%s", folder, name);
    enum vt_rc rc = vt_transfer_put(ssh, sources, 1, to, &o, &w, vt_deadline(TIMEOUT), &r, &e);
    if (rc != VT_OK)
        printf("put: %s %s\n", vt_rc_name(rc), e.text);
    MUST(rc == VT_OK && told > 0);
    if (!and_back)
        snprintf(back, sizeof back, "%s", to);
    sources[0] = to;
    MUST(!and_back || vt_transfer_get(ssh, sources, 1, back, &o, &w, vt_deadline(TIMEOUT), &r, &e) == VT_OK);
    vt_ssh_free(ssh, false);
    compare(tree, strrchr(back, '/') + 1);
}

static void *copy_by_scp(void *unused)
{
    copy(VT_ENGINE_SCP, "small", "scp", true);
    return unused;
}

/* Both engines at once; SFTP with a second connection in a thread of its own. */
static void copies(void)
{
    pthread_t other;
    make_tree("large", LARGE);
    make_tree("small", LARGE / 50);
    in_thread(copy_by_scp, NULL, &other);
    copy(VT_ENGINE_SFTP, "small", "sftp", true);
    copy(VT_ENGINE_SFTP, "large", "large", false);
    pthread_join(other, NULL);
}

static struct vt_rss *open_rss(enum vt_rss_mode mode)
{
    struct vt_waiter w = {0};
    struct vt_err e = {0};
    struct vt_rss *c = NULL;
    enum vt_rss_doing doing;
    MUST(vt_rss_open("127.0.0.1", rss_port, mode, &w, vt_deadline(TIMEOUT), &c, &doing, &e) == VT_OK);
    return c;
}

static void *stop_soon(void *client)
{
    usleep(20000);
    vt_rss_stop(client);
    return NULL;
}

/* Up, down, and stopped by another thread. */
static void rss(void)
{
    char from[300], back[300];
    const char *sources[] = {from};
    pthread_t stopper;
    struct vt_waiter w = {0};
    struct vt_err e = {0};
    struct vt_rss_options o = {0};
    struct vt_rss_result r;
    make_tree("tree", LARGE / 20);
    snprintf(from, sizeof from, "%s/tree", folder);
    snprintf(back, sizeof back, "%s/back-rss", folder);
    struct vt_rss *c = open_rss(VT_RSS_MODE_PUT);
    MUST(vt_rss_put(c, sources, 1, "C:\\tree", &o, &w, vt_deadline(TIMEOUT), &r, &e) == VT_OK);
    vt_rss_free(c);
    c = open_rss(VT_RSS_MODE_GET);
    MUST(vt_rss_get(c, "C:\\tree", back, &o, &w, vt_deadline(TIMEOUT), &r, &e) == VT_OK);
    vt_rss_free(c);
    compare("tree", "back-rss");
    c = open_rss(VT_RSS_MODE_PUT);
    in_thread(stop_soon, c, &stopper);
    (void)!vt_rss_put(c, sources, 1, "C:\\again", &o, &w, vt_deadline(TIMEOUT), &r, &e);
    pthread_join(stopper, NULL);
    vt_rss_free(c);
}

static void *reach(void *id)
{
    struct vt_waiter w = {0};
    struct vt_err e = {0};
    struct vt_kept kept;
    struct vt_session *s = NULL;
    int status;
    MUST(vt_kept_attach(folder, id, 1 << 20, &w, vt_deadline(TIMEOUT), &s, &kept, &e) == VT_OK);
    adopt(s);
    MUST(run(s, "", TIMEOUT, &status) == VT_OK);
    some_commands(s);
    vt_session_free(s);
    return NULL;
}

static void *keep(void *id)
{
    static const char *const argv[] = {"/bin/bash", "--norc", "--noprofile", NULL};
    static const char *const envp[] = {"PATH=/usr/bin:/bin", "PS1=kept$ ", "TERM=dumb", "HOME=/", NULL};
    struct vt_pty_options o = {.argv = argv, .envp = envp};
    struct vt_waiter w = {0};
    struct vt_err e = {0};
    struct vt_kept kept;
    struct vt_session *s = NULL;
    int status;
    enum vt_rc rc = vt_kept_start(folder, id, &o, 1 << 20, &w, vt_deadline(TIMEOUT), &s, &kept, &e);
    if (rc != VT_OK)
        printf("keeper: %s %s\n", vt_rc_name(rc), e.text);
    MUST(rc == VT_OK);
    adopt(s);
    MUST(run(s, "", TIMEOUT, &status) == VT_OK);
    some_commands(s);
    vt_kept_claim(s);
    vt_kept_mark_told(s, total_of(s));
    vt_session_free(s);                 /* the process goes on */
    reach(id);
    MUST(vt_kept_attach(folder, id, 1 << 20, &w, vt_deadline(TIMEOUT), &s, &kept, &e) == VT_OK);
    MUST(vt_session_enter(s, &w, vt_deadline(TIMEOUT)) == VT_OK);
    MUST(vt_kept_dismiss(s, &w));
    vt_session_leave(s);
    vt_session_free(s);
    return NULL;
}

/* Sessions of a keeper, started and reached by several threads. */
static void keeper(void)
{
    static char *const names[THREADS] = {"one", "two", "three", "four"};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        in_thread(keep, names[i], &threads[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* ---- all of it ---- */

static void drained(void *ctx, struct vt_watch *w)
{
    *(uint64_t *)ctx += vt_session_watched(w)->store.total;
}

static void *run_drainer(void *unused)
{
    uint64_t sum = 0;
    vt_drainer_run(&drainer, drained, NULL, &sum);
    return unused;
}

static bool take_option(const char *arg)
{
    const struct { const char *name; const char **to; } texts[] = {
        {"host=", &options.host}, {"user=", &options.user}, {"identity=", &options.identity_file}, {"folder=", &folder}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        size_t n = strlen(texts[i].name);
        if (strncmp(arg, texts[i].name, n) == 0) {
            *texts[i].to = arg + n;
            return true;
        }
    }
    if (strncmp(arg, "port=", 5) == 0)
        options.port = atoi(arg + 5);
    else if (strncmp(arg, "rss=", 4) == 0)
        rss_port = atoi(arg + 4);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*run)(void); } scenarios[] = {
        {"commands", commands}, {"logins", logins}, {"flood", flood}, {"closing", closing}, {"copies", copies},
        {"rss", rss}, {"keeper", keeper}};
    for (int i = 2; i < argc; i++)
        MUST(take_option(argv[i]));
    signal(SIGPIPE, SIG_IGN);
    MUST(vt_drainer_init(&drainer) == VT_OK);
    MUST(pthread_create(&drainer_thread, NULL, run_drainer, NULL) == 0);
    bool known = false;
    for (size_t i = 0; argc > 1 && i < sizeof scenarios / sizeof *scenarios; i++) {
        if (strcmp(argv[1], scenarios[i].name) == 0) {
            scenarios[i].run();
            known = true;
        }
    }
    MUST(known);
    vt_drainer_stop(&drainer);
    pthread_join(drainer_thread, NULL);
    vt_drainer_fini(&drainer);
    printf("ok\n");
    return 0;
}
