#include "fake_ssh.h"
#include "quick.h"

#include "transport/ssh.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS 8
#define FILE_SIZE 70000
#define ANSWERS 3000            /* of one server, which then says no more */

struct bytes { uint8_t *p; size_t n, cap; };

struct _LIBSSH2_CHANNEL {
    struct vt_ssh *ssh;
    bool used, is_sftp, ended;
    struct bytes in, out, late;     /* from the client, to it, and held back */
    uint8_t listed[256];            /* answers to READDIR, by handle */
    uint8_t handles;
};

struct vt_ssh {
    const uint8_t *at, *end;
    struct _LIBSSH2_CHANNEL channels[CHANNELS];
    uint64_t received;
    int answers;
    uint8_t extensions;
};

static void add(struct bytes *b, const void *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2 + 64;
        b->p = realloc(b->p, b->cap);
    }
    if (n > 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void drop(struct bytes *b, size_t n)
{
    memmove(b->p, b->p + n, b->n -= n);
}

static void add_u32(struct bytes *b, uint32_t v)
{
    uint8_t c[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    add(b, c, 4);
}

static void add_u64(struct bytes *b, uint64_t v)
{
    add_u32(b, (uint32_t)(v >> 32));
    add_u32(b, (uint32_t)v);
}

static void add_u8(struct bytes *b, unsigned v)
{
    uint8_t c = (uint8_t)v;
    add(b, &c, 1);
}

static void add_string(struct bytes *b, const void *p, size_t n)
{
    add_u32(b, (uint32_t)n);
    add(b, p, n);
}

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t next(struct vt_ssh *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

static const uint8_t *next_bytes(struct vt_ssh *s, size_t most, size_t *n)
{
    size_t left = (size_t)(s->end - s->at);
    const uint8_t *p = s->at;
    *n = left < most ? left : most;
    s->at += *n;
    return p;
}

/* ---- the SFTP server ---- */

static void add_attrs(struct bytes *b, bool is_folder, uint64_t size)
{
    add_u32(b, 1 | 4 | 8);
    add_u64(b, size);
    add_u32(b, is_folder ? 040755 : 0100644);
    add_u32(b, 1000000000), add_u32(b, 1000000000);
}

/* In this tree what has a "d" as its last letter is a folder. */
static bool is_folder(const uint8_t *path, size_t n)
{
    return n == 0 || path[n - 1] == 'd' || path[n - 1] == '/' || path[n - 1] == '.';
}

static void add_name(struct bytes *b, const void *name, size_t n, bool folder)
{
    add_string(b, name, n);
    add_string(b, "", 0);
    add_attrs(b, folder, folder ? 4096 : FILE_SIZE);
}

static void add_status(struct bytes *b, uint32_t status)
{
    add_u32(b, status);
    add_string(b, "words", 5);
    add_string(b, "", 0);
}

static void list(struct _LIBSSH2_CHANNEL *c, struct bytes *b, uint8_t handle)
{
    if (c->listed[handle]++ > 0 || handle > 3) {
        b->p[0] = 101;
        add_status(b, 1);
        return;
    }
    add_u32(b, 4);
    add_name(b, ".", 1, true);
    add_name(b, "a", 1, false);
    add_name(b, "b", 1, false);
    add_name(b, "d", 1, true);
}

static void add_data(struct bytes *b, const uint8_t *p, size_t n)
{
    static const uint8_t zeros[FILE_SIZE];
    uint64_t offset = n >= 12 ? (uint64_t)u32(p) << 32 | u32(p + 4) : 0;
    uint32_t wanted = n >= 12 ? u32(p + 8) : 0;
    if (offset >= FILE_SIZE) {
        b->p[0] = 101;
        add_status(b, 1);
        return;
    }
    size_t left = FILE_SIZE - (size_t)offset;
    add_string(b, zeros, wanted < left ? wanted : left);
}

static void add_extensions(struct vt_ssh *s, struct bytes *b)
{
    static const char *const names[] = {"posix-rename@openssh.com", "limits@openssh.com", "fsync@openssh.com",
                                        "expand-path@openssh.com"};
    for (int i = 0; i < 4; i++) {
        if (s->extensions & 1 << i) {
            add_string(b, names[i], strlen(names[i]));
            add_string(b, "1", 1);
        }
    }
}

/* What an honest server says to the request p (its type, then all after its id). */
static void answer(struct _LIBSSH2_CHANNEL *c, struct bytes *b, unsigned type, uint32_t id, const uint8_t *p, size_t n)
{
    static const uint8_t kinds[] = {[3] = 102, [5] = 103, [7] = 105, [8] = 105, [11] = 102, [12] = 104, [16] = 104,
                                    [17] = 105, [19] = 104};
    size_t len = n >= 4 && u32(p) <= n - 4 ? u32(p) : 0;
    const uint8_t *string = p + 4;
    add_u8(b, type < sizeof kinds && kinds[type] ? kinds[type] : 101);
    add_u32(b, id);
    switch (type) {
    case 3: case 11: {
        uint8_t handle = c->handles++;
        add_string(b, &handle, 1);
        break;
    }
    case 5: add_data(b, p + 4 + len, n - 4 - len); break;
    case 7: case 17: add_attrs(b, is_folder(string, len), FILE_SIZE); break;
    case 8: add_attrs(b, false, FILE_SIZE); break;
    case 12: list(c, b, len == 1 ? string[0] : 9); break;
    case 16: case 19: add_u32(b, 1), add_name(b, string, len, is_folder(string, len)); break;
    case 200:
        if (len == 18) {                /* limits */
            b->p[0] = 201;
            add_u64(b, 262144), add_u64(b, 261120), add_u64(b, 261120), add_u64(b, 0);
            break;
        }
        /* fall through */
    default: add_status(b, 0);
    }
}

static void send_framed(struct _LIBSSH2_CHANNEL *c, const uint8_t *p, size_t n)
{
    add_u32(&c->out, (uint32_t)n);
    add(&c->out, p, n);
}

/* Names that a folder does not have, among them some that lead elsewhere. */
static void lie_about_names(struct vt_ssh *s, struct bytes *b)
{
    static const char *const odd[] = {"../x", "/etc/x", "..", "", "a/b", "d/../../x", "a", "A"};
    size_t n;
    b->n = 5;
    b->p[0] = 104;
    uint8_t how = next(s);
    add_u32(b, how & 0x80 ? how & 3 : how & 0x40 ? 0xffffffff : 1u + (how & 7));
    for (int i = 0; i <= (how & 7); i++) {
        const char *name = odd[next(s) & 7];
        const uint8_t *own = next_bytes(s, how >> 3 & 7, &n);
        if (n > 0)
            add_name(b, own, n, how & 1);
        else
            add_name(b, name, strlen(name), how & 1);
    }
}

static void lie_about_attrs(struct vt_ssh *s, struct bytes *b)
{
    size_t n;
    b->n = 5;
    b->p[0] = 105;
    const uint8_t *p = next_bytes(s, 28, &n);
    add(b, p, n);
}

/* Spoils the answer b as the script says; false: it is not sent as it is now. */
static bool lie(struct _LIBSSH2_CHANNEL *c, struct bytes *b, uint8_t how)
{
    struct vt_ssh *s = c->ssh;
    size_t n;
    const uint8_t *p;
    switch (how & 15) {
    case 1: b->n = 5, b->p[0] = 101, add_status(b, next(s)); break;
    case 2: b->p[4] ^= next(s) | 1; break;
    case 3: b->n -= next(s) % b->n; break;
    case 4: b->p[0] = next(s); break;
    case 5: b->p[next(s) % b->n] ^= next(s); break;
    case 6: send_framed(c, b->p, b->n); break;
    case 7: return false;
    case 8: p = next_bytes(s, next(s), &n), send_framed(c, p, n); break;
    case 9: p = next_bytes(s, next(s), &n), add(&c->out, p, n); break;
    case 10: c->ended = true; break;
    case 11: lie_about_names(s, b); break;
    case 12: lie_about_attrs(s, b); break;
    case 13: b->n = 5, b->p[0] = 103, p = next_bytes(s, next(s), &n), add_string(b, p, n); break;
    case 14:
        add_u32(&c->late, (uint32_t)b->n);
        add(&c->late, b->p, b->n);
        return false;
    default: break;
    }
    return true;
}

static void respond(struct _LIBSSH2_CHANNEL *c, const uint8_t *p, size_t n)
{
    struct bytes b = {0};
    uint8_t how = next(c->ssh);
    if (n < 5 || c->ended || c->ssh->answers++ > ANSWERS)
        return;
    if (p[0] == 1) {
        add_u8(&b, 2);
        add_u32(&b, 3);
        add_extensions(c->ssh, &b);
    } else {
        answer(c, &b, p[0], u32(p + 1), p + 5, n - 5);
    }
    if (lie(c, &b, how))
        send_framed(c, b.p, b.n);
    if ((how & 15) != 14 && c->late.n > 0) {
        add(&c->out, c->late.p, c->late.n);
        c->late.n = 0;
    }
    free(b.p);
}

static void take_requests(struct _LIBSSH2_CHANNEL *c)
{
    while (c->in.n >= 4 && c->in.n - 4 >= u32(c->in.p)) {
        size_t n = u32(c->in.p);
        respond(c, c->in.p + 4, n);
        drop(&c->in, n + 4);
    }
}

/* A command prints a piece of the script whenever it is looked at. */
static void print_some(struct _LIBSSH2_CHANNEL *c)
{
    size_t n;
    uint8_t how = next(c->ssh);
    const uint8_t *p = next_bytes(c->ssh, how & 63, &n);
    add(&c->out, p, n);
    if (c->ssh->at == c->ssh->end || (how & 0xc0) == 0xc0)
        c->ended = true;
}

/* ---- the transport ---- */

struct vt_ssh *fake_ssh_new(const uint8_t *script, size_t n)
{
    struct vt_ssh *s = calloc(1, sizeof *s);
    s->at = script;
    s->end = script + n;
    s->extensions = next(s);
    return s;
}

static void channel_free(struct _LIBSSH2_CHANNEL *c)
{
    free(c->in.p), free(c->out.p), free(c->late.p);
    *c = (struct _LIBSSH2_CHANNEL){0};
}

void fake_ssh_free(struct vt_ssh *s)
{
    for (int i = 0; i < CHANNELS; i++)
        channel_free(&s->channels[i]);
    free(s);
}

enum vt_rc vt_ssh_channel(struct vt_ssh *s, const char *what, bool is_command, struct vt_waiter *w, vt_time deadline,
                          LIBSSH2_CHANNEL **out, struct vt_err *e)
{
    (void)what, (void)w, (void)deadline;
    for (int i = 0; i < CHANNELS; i++) {
        if (!s->channels[i].used) {
            *out = &s->channels[i];
            **out = (LIBSSH2_CHANNEL){.ssh = s, .used = true, .is_sftp = !is_command};
            return VT_OK;
        }
    }
    return vt_fail(e, VT_CHANNEL, VT_STAGE_CHANNEL, 0, "no more channels");
}

void vt_ssh_channel_free(struct vt_ssh *s, LIBSSH2_CHANNEL *c)
{
    (void)s;
    channel_free(c);
}

enum vt_rc vt_ssh_channel_settle(struct vt_ssh *s, LIBSSH2_CHANNEL *c, struct vt_waiter *w, vt_time deadline)
{
    (void)s, (void)c, (void)w, (void)deadline;
    return VT_OK;
}

/* A script's shell prints the mark that it was told to, and then what the script says. */
enum vt_rc vt_ssh_exec_run(struct vt_ssh *s, struct vt_ssh_exec *x, struct vt_waiter *w, vt_time deadline,
                           struct vt_err *e)
{
    size_t n;
    uint8_t how = next(s);
    const char *mark = x->input_len > 0 ? memmem(x->input, x->input_len, "virtvm-", 7) : NULL;
    const char *end = mark == NULL ? NULL : memchr(mark, '\n', x->input_len - (size_t)(mark - x->input));
    (void)w, (void)deadline;
    if ((how & 7) == 7)
        return vt_fail(e, VT_EOF, VT_STAGE_COMMAND, 0, "the server closed the connection");
    if (end != NULL && (how & 7) != 6 && vt_buf_add(x->out, mark, (size_t)(end - mark) + 1) != VT_OK)
        return VT_TOOBIG;
    const uint8_t *p = next_bytes(s, how >> 3, &n);
    x->status = (how & 7) < 4 ? 0 : how & 7;
    return vt_buf_add(x->out, p, n);
}

void vt_ssh_pass(struct vt_ssh *s)
{
    (void)s;
}

bool vt_ssh_is_full(const struct vt_ssh *s)
{
    (void)s;
    return false;
}

uint64_t vt_ssh_received(const struct vt_ssh *s)
{
    return s->received;
}

static bool is_ready(const struct vt_ssh *s)
{
    for (int i = 0; i < CHANNELS; i++)
        if (s->channels[i].used && (s->channels[i].out.n > 0 || s->channels[i].ended || !s->channels[i].is_sftp))
            return true;
    return false;
}

enum vt_rc vt_ssh_wait(struct vt_ssh *s, struct vt_waiter *w, vt_time deadline)
{
    for (int i = 0; i < CHANNELS; i++) {
        struct _LIBSSH2_CHANNEL *c = &s->channels[i];
        if (c->used && c->late.n > 0) {         /* what was held back comes at last */
            add(&c->out, c->late.p, c->late.n);
            c->late.n = 0;
        }
    }
    return vt_expired(deadline) ? VT_TIMEOUT : is_ready(s) ? VT_OK : vt_sleep(w, deadline);
}

enum vt_rc vt_ssh_login(const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline, struct vt_ssh **out,
                        struct vt_err *e)
{
    (void)o, (void)w, (void)deadline, (void)out;
    return vt_fail(e, VT_CONNECT, VT_STAGE_CONNECT, 0, "one connection is all there is");
}

void vt_ssh_free(struct vt_ssh *s, bool silent)
{
    (void)s, (void)silent;
}

/* ---- libssh2's channels ---- */

ssize_t libssh2_channel_read_ex(LIBSSH2_CHANNEL *c, int stream, char *data, size_t cap)
{
    if (stream != 0)
        return c->ended ? 0 : LIBSSH2_ERROR_EAGAIN;
    if (c->out.n == 0 && !c->is_sftp && !c->ended)
        print_some(c);
    if (c->out.n == 0)
        return c->ended ? 0 : LIBSSH2_ERROR_EAGAIN;
    size_t n = c->out.n < cap ? c->out.n : cap;
    memcpy(data, c->out.p, n);
    drop(&c->out, n);
    c->ssh->received += n;
    return (ssize_t)n;
}

ssize_t libssh2_channel_write_ex(LIBSSH2_CHANNEL *c, int stream, const char *data, size_t n)
{
    (void)stream;
    if (!c->is_sftp)
        return (ssize_t)n;
    add(&c->in, data, n);
    take_requests(c);
    return (ssize_t)n;
}

int libssh2_channel_eof(LIBSSH2_CHANNEL *c)
{
    return c->ended && c->out.n == 0;
}

int libssh2_channel_send_eof(LIBSSH2_CHANNEL *c)
{
    (void)c;
    return 0;
}

int libssh2_channel_handle_extended_data2(LIBSSH2_CHANNEL *c, int mode)
{
    (void)c, (void)mode;
    return 0;
}
