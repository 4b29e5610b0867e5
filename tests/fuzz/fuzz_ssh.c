/* Logins, commands and shells over SSH, with a server that spoils its messages: the key
 * exchange, authentication, new key exchanges in between, channels. */
#include "fuzz.h"
#include "quick.h"
#include "ssh_server.h"

#include "transport/connect.h"
#include "transport/ssh.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT 10
#define SLACK 2                 /* seconds that a call may take beyond its deadline */
#define MOST (1 << 20)          /* of a command's output */

/* libssh2 is not instrumented: how a run ended stands for what was reached in it. */
static uint8_t reached[8192] __attribute__((section("__libfuzzer_extra_counters")));

static int client_fd;
static char key_path[64];

/* In place of connect.c's, by the linker: the connection is there already. */
enum vt_rc __wrap_vt_connect_ssh(const char *host, int port, const char *greeting, struct vt_waiter *w,
                                 vt_time deadline, struct vt_connected *out, struct vt_err *e);

enum vt_rc __wrap_vt_connect_ssh(const char *host, int port, const char *greeting, struct vt_waiter *w,
                                 vt_time deadline, struct vt_connected *out, struct vt_err *e)
{
    (void)host, (void)port, (void)w, (void)deadline, (void)e;
    *out = (struct vt_connected){.fd = client_fd, .tries = 1, .address = "a socket pair"};
    vt_buf_init(&out->head, 4096);
    out->greeted = send(client_fd, greeting, strlen(greeting), MSG_NOSIGNAL) > 0 ? strlen(greeting) : 0;
    return VT_OK;
}

static void note(unsigned where, int rc, unsigned sent)
{
    reached[(where * 1021 + (unsigned)-rc * 131 + sent * 7) % sizeof reached] = 1;
}

/* A private key, in a file that has no name. */
static void make_key(void)
{
    int fd = memfd_create("key", 0);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *f = fdopen(fd, "w");
    HOLDS(f != NULL && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fflush(f) == 0);
    EVP_PKEY_free(key);
    snprintf(key_path, sizeof key_path, "/proc/self/fd/%d", fd);
}

static void run_command(struct vt_ssh *ssh, struct vt_waiter *w, unsigned sent)
{
    struct vt_buf out, err;
    struct vt_err e = {0};
    struct vt_ssh_exec x = {.command = "a command", .input = "its input", .input_len = 9, .out = &out, .err = &err};
    vt_buf_init(&out, MOST);
    vt_buf_init(&err, MOST);
    enum vt_rc rc = vt_ssh_exec_run(ssh, &x, w, vt_deadline(TIMEOUT), &e);
    if (getenv("FUZZ_TELL") != NULL)
        fprintf(stderr, "command: %s %d %s\n", vt_rc_name(rc), x.status, e.text);
    note(2, e.lib + rc, sent);
    HOLDS(memchr(e.text, 0, sizeof e.text) != NULL && memchr(x.signal, 0, sizeof x.signal) != NULL);
    HOLDS(out.len <= MOST && err.len <= MOST);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
}

static enum vt_rc wait_shell(struct vt_transport *t, struct vt_waiter *w, vt_time deadline)
{
    struct pollfd fd = {0};
    fd.fd = t->ops->want(t, false, &fd.events);
    return vt_wait(w, &fd, fd.fd >= 0, deadline);
}

static void run_shell(struct vt_ssh *ssh, struct vt_waiter *w, unsigned sent)
{
    char data[4096];
    struct vt_err e = {0};
    struct vt_transport *t = NULL;
    int status;
    size_t n;
    enum vt_rc rc = vt_ssh_shell(ssh, NULL, w, vt_deadline(TIMEOUT), &t, &e);
    note(3, e.lib + rc, sent);
    if (rc != VT_OK)
        return;
    vt_time deadline = vt_deadline(TIMEOUT);
    (void)!t->ops->write(t, "typed\n", 6, &n);
    for (int i = 0; i < 1000 && (rc == VT_OK || rc == VT_AGAIN); i++) {
        n = 0;
        rc = t->ops->read(t, data, sizeof data, &n);
        HOLDS(n <= sizeof data);
        if (rc == VT_AGAIN && wait_shell(t, w, deadline) != VT_OK)
            break;
    }
    (void)t->ops->resize(t, 24, 80);
    (void)t->ops->status(t, &status);
    if (getenv("FUZZ_TELL") != NULL)
        fprintf(stderr, "shell: %s\n", vt_rc_name(rc));
    note(4, (int)rc, sent);
    t->ops->close(t);
    t->ops->fini(t, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    int pair[2];
    struct vt_ssh *ssh = NULL;
    struct vt_err e = {0};
    struct vt_waiter w = {0};
    if (key_path[0] == '\0')
        make_key();
    if (n < 3 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return 0;
    static const char *const orders[] = {NULL, "keyboard-interactive", "publickey,password", "password,publickey"};
    struct vt_ssh_options o = {.host = "host", .port = 22, .user = "user", .password = "canary",
                               .identity_file = data[0] & 4 ? key_path : NULL, .auth = orders[data[0] & 3]};
    client_fd = pair[0];
    struct ssh_server *server = ssh_server_new(pair[1], data + 1, n - 1);
    quick_begin(ssh_server_step, server);
    enum vt_rc rc = vt_ssh_login(&o, &w, vt_deadline(TIMEOUT), &ssh, &e);
    HOLDS(quick_elapsed() < TIMEOUT + SLACK);
    HOLDS(memchr(e.text, 0, sizeof e.text) != NULL && strstr(e.text, "canary") == NULL);
    if (getenv("FUZZ_TELL") != NULL)
        fprintf(stderr, "login: %s %s %s\n", vt_rc_name(rc), vt_stage_name(e.stage), e.text);
    note(1, e.lib + rc, ssh_server_sent(server));
    if (rc == VT_OK && data[0] & 8)
        run_command(ssh, &w, ssh_server_sent(server));
    if (rc == VT_OK && data[0] & 16)
        run_shell(ssh, &w, ssh_server_sent(server));
    else if (rc == VT_OK)
        vt_ssh_free(ssh, false);
    HOLDS(quick_elapsed() < 3 * (TIMEOUT + SLACK));
    quick_end();
    ssh_server_free(server);
    return 0;
}
