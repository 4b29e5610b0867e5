/* ssh_driver.c - the SSH engine without Python, for the tests and measurements that drive it.
 *
 *   ssh_driver host=H port=N user=U [option=value...] [action [argument...] ,]...
 *
 * Options: password identity passphrase known_hosts auth hedge keepalive timeout
 * (seconds, of each action too) interrupt_ms; with hedge also canary (a port, of 127.0.0.1), told
 * (1: of a place on user networking, 2: on a direct way), told_host (by that name), pace (of the
 * waiting), logins (tries until one succeeds).  Actions end with a comma: login is done first, then
 *   exec COMMAND [INPUT]     shell TEXT (types it, prints until the end)
 *   open TEXT (instead of the login: login and shell in one, as often as logins says; from the second one
 *   on with then_password, if that is given; with threads: in so many at once, whose ends alone are told;
 *   with again: all of it so many times more)
 *   put TARGET SOURCE...     get TARGET SOURCE...
 * with engine (sftp scp) verify keep_times keep_links stall (seconds) stop_at (bytes: interrupts the transfer).
 * Prints `key: value` lines, one block for each step, with bytes escaped as \xNN.
 */
#include "transport/boot.h"
#include "transfer/transfer.h"
#include "transport/ssh.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct driver {
    struct vt_ssh_options o;
    double timeout;
    vt_time interrupt_at;
    struct vt_ssh *ssh;
    struct vt_waiter w;
    struct vt_transfer_options transfer;
    uint64_t stop_at;
    unsigned told;
    int canary, place, logins, threads, again;
    const char *told_host;          /* else the host */
    const char *then_password, *text;
};

static int interrupted(void *ctx)
{
    const struct driver *d = ctx;
    return d->interrupt_at != 0 && vt_now() >= d->interrupt_at;
}

static void say(const char *key, const char *value)
{
    printf("%s: %s\n", key, value);
}

static void say_bytes(const char *key, const void *data, size_t n)
{
    size_t cap = n * 4 + 5;
    char *text = malloc(cap);
    vt_show(data, n, text, cap);
    say(key, text);
    free(text);
}

static void report(const char *step, enum vt_rc rc, const struct vt_err *e, vt_time began)
{
    printf("step: %s\nrc: %s\nms: %.1f\n", step, vt_rc_name(rc), (double)(vt_now() - began) / 1e6);
    if (rc != VT_OK)
        printf("stage: %s\nsys: %d\nlib: %d\ntext: %s\nmethods: %s\nsaid: %s\n", vt_stage_name(e->stage), e->sys,
               e->lib, e->text, e->methods, e->said);
}

static bool take_option(struct driver *d, const char *arg)
{
    const struct { const char *name; const char **to; } texts[] = {
        {"host=", &d->o.host}, {"user=", &d->o.user}, {"password=", &d->o.password},
        {"identity=", &d->o.identity_file}, {"known_hosts=", &d->o.known_hosts}, {"auth=", &d->o.auth},
        {"passphrase=", &d->o.passphrase}, {"told_host=", &d->told_host},
        {"then_password=", &d->then_password},
    };
    const char *value = strchr(arg, '=');
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strncmp(arg, texts[i].name, strlen(texts[i].name)) == 0) {
            *texts[i].to = value + 1;
            return true;
        }
    }
    if (value == NULL)
        return false;
    if (strncmp(arg, "port=", 5) == 0)
        d->o.port = atoi(value + 1);
    else if (strncmp(arg, "hedge=", 6) == 0)
        d->o.hedge = atoi(value + 1);
    else if (strncmp(arg, "canary=", 7) == 0)
        d->canary = atoi(value + 1);
    else if (strncmp(arg, "told=", 5) == 0)
        d->place = atoi(value + 1);
    else if (strncmp(arg, "pace=", 5) == 0)
        vt_places_pace(d->o.places, atoi(value + 1));
    else if (strncmp(arg, "logins=", 7) == 0)
        d->logins = atoi(value + 1);
    else if (strncmp(arg, "again=", 6) == 0)
        d->again = atoi(value + 1);
    else if (strncmp(arg, "threads=", 8) == 0)
        d->threads = atoi(value + 1);
    else if (strncmp(arg, "keepalive=", 10) == 0)
        d->o.keepalive_s = atoi(value + 1);
    else if (strncmp(arg, "timeout=", 8) == 0)
        d->timeout = atof(value + 1);
    else if (strncmp(arg, "keep_times=", 11) == 0)
        d->transfer.keep_times = atoi(value + 1);
    else if (strncmp(arg, "keep_links=", 11) == 0)
        d->transfer.keep_links = atoi(value + 1);
    else if (strncmp(arg, "verify=", 7) == 0)
        d->transfer.verify = atoi(value + 1);
    else if (strcmp(arg, "engine=sftp") == 0)
        d->transfer.engine = VT_ENGINE_SFTP;
    else if (strcmp(arg, "engine=scp") == 0)
        d->transfer.engine = VT_ENGINE_SCP;
    else if (strncmp(arg, "stall=", 6) == 0)
        d->transfer.stall = atof(value + 1);
    else if (strncmp(arg, "stop_at=", 8) == 0)
        d->stop_at = strtoull(value + 1, NULL, 10);
    else if (strncmp(arg, "interrupt_ms=", 13) == 0)
        d->interrupt_at = vt_now() + atoi(value + 1) * VT_MS;
    else
        return false;
    return true;
}

static enum vt_rc tell_place(struct driver *d)
{
    const char *told = d->told_host != NULL ? d->told_host : d->o.host;
    return d->place == 0 ? VT_OK : vt_places_tell(d->o.places, told, d->o.port, d->place == 1, "127.0.0.1",
                                                  d->canary, 0);
}

static bool log_in(struct driver *d)
{
    struct vt_err e = {0};
    vt_time began = vt_now();
    enum vt_rc rc = tell_place(d);
    for (int i = 0; i == 0 || (rc != VT_OK && i < d->logins); i++) {
        rc = vt_ssh_login(&d->o, &d->w, vt_deadline(d->timeout), &d->ssh, &e);
        report("login", rc, &e, began);
    }
    if (rc != VT_OK)
        return false;
    const struct vt_ssh_info *i = vt_ssh_info(d->ssh);
    printf("tries: %d\naddress: %s\nbanner: %s\nmethod: %s\nhostkey: %s\n", i->tries, i->address, i->banner,
           i->method, i->hostkey);
    return true;
}

static void run_exec(struct driver *d, char **args, int n)
{
    struct vt_buf out, err;
    struct vt_err e = {0};
    struct vt_ssh_exec x = {.command = args[0], .out = &out, .err = &err};
    vt_buf_init(&out, 64 * 1024 * 1024);
    vt_buf_init(&err, 1024 * 1024);
    if (n > 1) {
        x.input = args[1];
        x.input_len = strlen(args[1]);
    }
    vt_time began = vt_now();
    enum vt_rc rc = vt_ssh_exec_run(d->ssh, &x, &d->w, vt_deadline(d->timeout), &e);
    report("exec", rc, &e, began);
    printf("status: %d\nsignal: %s\nlength: %zu\n", x.status, x.signal, out.len);
    say_bytes("out", out.data, out.len < 4096 ? out.len : 4096);
    say_bytes("err", err.data, err.len);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
}

static enum vt_rc wait_transport(struct driver *d, struct vt_transport *t, bool writing, vt_time deadline)
{
    struct pollfd fd = {0};
    fd.fd = t->ops->want(t, writing, &fd.events);
    return vt_wait(&d->w, &fd, 1, deadline);
}

/* Types the text, takes all output until the stream ends. */
static enum vt_rc converse(struct driver *d, struct vt_transport *t, const char *text, struct vt_buf *out,
                           size_t *total)
{
    static char data[65536];
    vt_time deadline = vt_deadline(d->timeout);
    size_t left = strlen(text);
    for (;;) {
        size_t n = 0;
        enum vt_rc rc = t->ops->read(t, data, sizeof data, &n);
        *total += n;
        if (rc == VT_OK && out->len < 4096 && vt_buf_add(out, data, n) != VT_OK)
            return VT_NOMEM;
        if (rc != VT_OK && rc != VT_AGAIN)
            return rc;
        if (rc == VT_OK)
            continue;
        size_t put = 0;
        if (left > 0 && (rc = t->ops->write(t, text, left, &put)) != VT_OK && rc != VT_AGAIN)
            return rc;
        text += put;
        left -= put;
        if ((rc = wait_transport(d, t, left > 0, deadline)) != VT_OK)
            return rc;
    }
}

static void use_shell(struct driver *d, struct vt_transport *t, const char *text)
{
    struct vt_buf out;
    size_t total = 0;
    int status = 0;
    vt_time began;
    enum vt_rc rc;
    vt_buf_init(&out, 1024 * 1024);
    began = vt_now();
    rc = converse(d, t, text, &out, &total);
    report("end", rc, &t->err, began);
    printf("known: %d\n", t->ops->status(t, &status));
    printf("status: %d\ntotal: %zu\n", status, total);
    say_bytes("out", out.data, out.len);
    vt_buf_fini(&out);
    t->ops->close(t);
    t->ops->close(t);
    t->ops->fini(t, false);
}

static void run_shell(struct driver *d, const char *text)
{
    struct vt_transport *t = NULL;
    struct vt_err e = {0};
    vt_time began = vt_now();
    enum vt_rc rc = vt_ssh_shell(d->ssh, NULL, &d->w, vt_deadline(d->timeout), &t, &e);
    d->ssh = NULL;
    report("shell", rc, &e, began);
    if (rc == VT_OK)
        use_shell(d, t, text);
}

static void *open_shell(void *ctx)
{
    static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;
    struct driver d = *(struct driver *)ctx;
    struct vt_transport *t = NULL;
    struct vt_err e = {0};
    enum vt_rc rc = VT_TIMEOUT;
    for (int i = 0; i == 0 || (rc != VT_OK && i < d.logins); i++) {
        vt_time began = vt_now();
        rc = vt_ssh_open(&d.o, &d.w, vt_deadline(d.timeout), &t, NULL, &e);
        d.o.password = d.then_password != NULL ? d.then_password : d.o.password;
        if (d.threads == 0)
            report("open", rc, &e, began);
    }
    pthread_mutex_lock(&output);
    if (rc == VT_OK)
        use_shell(&d, t, d.text);
    pthread_mutex_unlock(&output);
    return NULL;
}

static void open_shells(struct driver *d, const char *text)
{
    pthread_t threads[64];
    int n = d->threads < 64 ? d->threads : 64;
    d->text = text;
    if (tell_place(d) != VT_OK)
        return;
    for (int i = 0; n == 0 && i <= d->again; i++)
        open_shell(d);
    for (int i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, open_shell, d) != 0)
            n = i;
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static int progress(void *ctx, const char *name, uint64_t done, uint64_t total)
{
    struct driver *d = ctx;
    (void)name, (void)total;
    d->told++;
    return d->stop_at > 0 && done >= d->stop_at;
}

static void run_transfer(struct driver *d, bool up, char **args, int n)
{
    struct vt_transfer_result r;
    struct vt_err e = {0};
    vt_time began = vt_now();
    d->transfer.progress = progress;
    d->transfer.login = &d->o;
    d->transfer.ctx = d;
    enum vt_rc rc = (up ? vt_transfer_put : vt_transfer_get)(d->ssh, (const char *const *)args + 1, (size_t)n - 1, args[0],
                                                     &d->transfer, &d->w, vt_deadline(d->timeout), &r, &e);
    report(up ? "put" : "get", rc, &e, began);
    printf("files: %llu\nfolders: %llu\nlinks: %llu\nbytes: %llu\nfailures: %llu\nfailed_at: %llu\ntold: %u\n",
           (unsigned long long)r.files, (unsigned long long)r.folders, (unsigned long long)r.links,
           (unsigned long long)r.bytes, (unsigned long long)r.failures, (unsigned long long)r.failed_at, d->told);
    say("engine", r.engine);
    say_bytes("failed", r.failed, strlen(r.failed));
    say_bytes("left", r.left.names[0], strlen(r.left.names[0]));
}

static bool run_action(struct driver *d, char **args, int n)
{
    if (strcmp(args[0], "exec") == 0 && n >= 2)
        run_exec(d, args + 1, n - 1);
    else if (strcmp(args[0], "shell") == 0 && n == 2)
        run_shell(d, args[1]);
    else if (strcmp(args[0], "put") == 0 && n >= 3)
        run_transfer(d, true, args + 1, n - 1);
    else if (strcmp(args[0], "get") == 0 && n >= 3)
        run_transfer(d, false, args + 1, n - 1);
    else
        return false;
    return true;
}

/* The most memory that this program had, as the kernel says it; what started it does not count. */
static void tell_peak(void)
{
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            printf("peak: %ld\n", strtol(line + 6, NULL, 10));
    if (f != NULL)
        fclose(f);
}

int main(int argc, char **argv)
{
    struct driver d = {.timeout = 120};
    int i = 1;
    d.o.places = vt_places_new();
    d.w = (struct vt_waiter){.interrupted = interrupted, .ctx = &d, .slice_ms = 50};
    while (i < argc && take_option(&d, argv[i]))
        i++;
    bool ok = d.o.places != NULL && d.o.host != NULL && d.o.user != NULL && vt_ssh_library_init() == VT_OK;
    bool opens = ok && i + 1 < argc && strcmp(argv[i], "open") == 0;
    if (opens)
        open_shells(&d, argv[i + 1]);
    if (ok && (opens || !log_in(&d))) {
        tell_peak();
        vt_places_free(d.o.places);
        return 0;
    }
    while (ok && i < argc && d.ssh != NULL) {
        int n = 0;
        while (i + n < argc && strcmp(argv[i + n], ",") != 0)
            n++;
        ok = n > 0 && run_action(&d, argv + i, n);
        i += n + 1;
    }
    vt_ssh_free(d.ssh, false);
    vt_places_free(d.o.places);
    if (!ok)
        fprintf(stderr, "ssh_driver: what is %s?\n", i < argc ? argv[i] : "missing");
    return ok ? 0 : 2;
}
