/* bare_ssh.c - what libssh2 reaches with nothing around it: a peer for benchmarks.
 *
 * TCP_NODELAY, TCP_QUICKACK armed again before each receive, requests for pty and shell sent
 * together; no error handling beyond giving up.  Speaks the protocol of bench/peers.py.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libssh2.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PROMPT "vt$ "

struct login { char host[64], user[64], password[128], key[512]; int port; };
struct shell { int fd; LIBSSH2_SESSION *session; LIBSSH2_CHANNEL *channel; char tail[8]; };

static double auth_seconds;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    printf("{\"error\": \"%s\"}\n", what);
    fflush(stdout);
    exit(1);
}

static ssize_t on_receive(int fd, void *data, size_t n, int flags, void **abstract)
{
    int one = 1;
    (void)abstract;
    setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
    ssize_t got = recv(fd, data, n, flags | MSG_DONTWAIT);
    return got < 0 ? -errno : got;
}

static void wait_for(struct shell *s)
{
    int way = libssh2_session_block_directions(s->session);
    struct pollfd p = {.fd = s->fd, .events = 0};
    if (way & LIBSSH2_SESSION_BLOCK_INBOUND)
        p.events |= POLLIN;
    if (way & LIBSSH2_SESSION_BLOCK_OUTBOUND)
        p.events |= POLLOUT;
    if (poll(&p, 1, 30000) <= 0)
        fail("timeout");
}

#define UNTIL_DONE(s, rc, call) \
    while (((rc) = (call)) == LIBSSH2_ERROR_EAGAIN) \
        wait_for(s)

static void read_to_prompt(struct shell *s)
{
    static char data[65536];
    size_t len = strlen(PROMPT);
    for (;;) {
        ssize_t n = libssh2_channel_read(s->channel, data, sizeof data);
        if (n == LIBSSH2_ERROR_EAGAIN) {
            wait_for(s);
            continue;
        }
        if (n <= 0)
            fail("the shell ended");
        if ((size_t)n >= len) {
            memcpy(s->tail, data + n - len, len);
        } else {
            memmove(s->tail, s->tail + n, len - (size_t)n);
            memcpy(s->tail + len - n, data, (size_t)n);
        }
        if (memcmp(s->tail, PROMPT, len) == 0)
            return;
    }
}

static void open_shell(struct shell *s, const struct login *l)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    int one = 1, rc;
    memset(s, 0, sizeof *s);
    inet_pton(AF_INET, l->host, &to.sin_addr);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s->fd, (struct sockaddr *)&to, sizeof to) != 0)
        fail("connect");
    s->session = libssh2_session_init();
    libssh2_session_set_blocking(s->session, 0);
    libssh2_session_callback_set(s->session, LIBSSH2_CALLBACK_RECV, (void *)on_receive);
    UNTIL_DONE(s, rc, libssh2_session_handshake(s->session, s->fd));
    double start = now();
    if (l->key[0] != '\0')
        UNTIL_DONE(s, rc, libssh2_userauth_publickey_fromfile(s->session, l->user, NULL, l->key, NULL));
    else
        UNTIL_DONE(s, rc, libssh2_userauth_password(s->session, l->user, l->password));
    auth_seconds = now() - start;
    if (rc != 0)
        fail("authentication");
    while ((s->channel = libssh2_channel_open_session(s->session)) == NULL)
        wait_for(s);
    /* Both in flight: each is sent at its first call. */
    libssh2_channel_request_pty(s->channel, "dumb");
    libssh2_channel_shell(s->channel);
    UNTIL_DONE(s, rc, libssh2_channel_request_pty(s->channel, "dumb"));
    UNTIL_DONE(s, rc, libssh2_channel_shell(s->channel));
    read_to_prompt(s);
}

static void close_shell(struct shell *s)
{
    int rc;
    UNTIL_DONE(s, rc, libssh2_session_disconnect(s->session, "closed"));
    close(s->fd);
    libssh2_session_free(s->session);
}

static void write_line(struct shell *s, const char *text)
{
    size_t at = 0, n = strlen(text);
    while (at < n) {
        ssize_t put;
        UNTIL_DONE(s, put, libssh2_channel_write(s->channel, text + at, n - at));
        if (put < 0)
            fail("write");
        at += (size_t)put;
    }
}

/* A line to each session, then its answer from each. */
static void ask_all(struct shell *all, int count, const char *text)
{
    for (int i = 0; i < count; i++)
        write_line(&all[i], text);
    for (int i = 0; i < count; i++)
        read_to_prompt(&all[i]);
}

/* Opens count sessions; then, that many rounds, asks all of them, and with status once more
 * for their exit status. */
static double exchange(const struct login *l, int count, int rounds, int status, double *opened)
{
    struct shell *all = calloc((size_t)count, sizeof *all);
    double start = now();
    for (int i = 0; i < count; i++)
        open_shell(&all[i], l);
    *opened = now() - start;
    start = now();
    for (int turn = 0; turn < rounds; turn++) {
        ask_all(all, count, "echo hi\n");
        if (status)
            ask_all(all, count, "echo vt100:$?\n");
    }
    double seconds = now() - start;
    for (int i = 0; i < count; i++)
        close_shell(&all[i]);
    free(all);
    return seconds;
}

/* ---- the protocol: flat JSON objects ---- */

static int text_of(const char *line, const char *name, char *out, size_t cap)
{
    char key[80];
    snprintf(key, sizeof key, "\"%s\": \"", name);
    const char *at = strstr(line, key);
    size_t n = 0;
    out[0] = '\0';
    if (at == NULL)
        return 0;
    for (at += strlen(key); *at != '"' && *at != '\0' && n + 1 < cap; at++) {
        if (*at == '\\')
            at++;
        out[n++] = *at;
    }
    out[n] = '\0';
    return 1;
}

static int number_of(const char *line, const char *name)
{
    char key[80];
    snprintf(key, sizeof key, "\"%s\": ", name);
    const char *at = strstr(line, key);
    return at == NULL ? 0 : atoi(at + strlen(key));
}

int main(void)
{
    static char line[8192], operation[32], text[512];
    struct login l;
    struct shell s = {0};
    double seconds = 0, opened = 0;
    libssh2_init(0);
    while (fgets(line, sizeof line, stdin) != NULL) {
        text_of(line, "op", operation, sizeof operation);
        if (text_of(line, "host", l.host, sizeof l.host)) {
            text_of(line, "user", l.user, sizeof l.user);
            text_of(line, "password", l.password, sizeof l.password);
            text_of(line, "key", l.key, sizeof l.key);
            l.port = number_of(line, "port");
        }
        double start = now();
        if (strcmp(operation, "login") == 0) {
            open_shell(&s, &l);
            close_shell(&s);
            seconds = now() - start;
        } else if (strcmp(operation, "open") == 0) {
            open_shell(&s, &l);
            seconds = now() - start;
        } else if (strcmp(operation, "close") == 0) {
            close_shell(&s);
        } else if (strcmp(operation, "command") == 0) {
            int count = number_of(line, "count");
            for (int i = 0; i < count; i++) {
                write_line(&s, "echo hi\n");
                read_to_prompt(&s);
            }
            seconds = (now() - start) / (count > 0 ? count : 1);
        } else if (strcmp(operation, "output") == 0) {
            snprintf(text, sizeof text, "seq -f %%0.0f%.91s 1 %d\n",
                     "...........................................................................................",
                     number_of(line, "size") / 98 + 1);
            write_line(&s, text);
            read_to_prompt(&s);
            seconds = now() - start;
        } else if (strcmp(operation, "exchange") == 0) {
            seconds = exchange(&l, number_of(line, "count"), number_of(line, "rounds"), number_of(line, "status"), &opened);
        }
        printf("{\"seconds\": %.6f, \"auth\": %.6f, \"opened\": %.6f}\n", seconds, auth_seconds, opened);
        fflush(stdout);
    }
    return 0;
}
