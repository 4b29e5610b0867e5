/* The client of the file protocol of Windows guests, with a server that says what it likes. */
#include "fuzz.h"
#include "quick.h"
#include "sandbox.h"

#include "transfer/rss.h"
#include "transfer/rss_wire.h"
#include "transport/connect.h"

#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT 10
#define SLACK 3
#define ENTRIES 50
#define BYTES (1 << 20)

/* Script: what the server sends, one step after another; the upper bits are a length. */
enum { MAGIC, OK, NAME, DATA, CHUNK, FOLDER, LEAVE, DONE, ERROR, RAW, LENGTH, HANG_UP, PAUSE };

struct server {
    int fd;
    const uint8_t *at, *end;
    struct vt_buf out;
};

static int client_fd;

enum vt_rc __wrap_vt_connect(const char *host, int port, struct vt_waiter *w, vt_time deadline,
                             struct vt_connected *out, struct vt_err *e);

enum vt_rc __wrap_vt_connect(const char *host, int port, struct vt_waiter *w, vt_time deadline,
                             struct vt_connected *out, struct vt_err *e)
{
    (void)host, (void)port, (void)w, (void)deadline, (void)e;
    *out = (struct vt_connected){.fd = client_fd, .tries = 1};
    return VT_OK;
}

static void add_word(struct server *s, uint32_t n)
{
    unsigned char word[4];
    vt_rss_put_word(word, n);
    (void)!vt_buf_add(&s->out, word, sizeof word);
}

static void add_packet(struct server *s, size_t n)
{
    size_t left = (size_t)(s->end - s->at);
    n = n < left ? n : left;
    (void)!vt_rss_add_packet(&s->out, s->at, (uint32_t)n);
    s->at += n;
}

/* One step; false: a pause. */
static bool say(struct server *s)
{
    static const char chunk[VT_RSS_CHUNK];
    uint8_t op = *s->at++;
    size_t n = op >> 4, left = (size_t)(s->end - s->at);
    switch (op & 15) {
    case MAGIC: add_word(s, VT_RSS_MAGIC); break;
    case OK: add_word(s, VT_RSS_OK); break;
    case NAME: add_word(s, VT_RSS_CREATE_FILE), add_packet(s, n); break;
    case DATA: add_packet(s, n); break;
    case CHUNK: (void)!vt_rss_add_packet(&s->out, chunk, sizeof chunk); break;
    case FOLDER: add_word(s, VT_RSS_CREATE_DIR), add_packet(s, n); break;
    case LEAVE: add_word(s, VT_RSS_LEAVE_DIR); break;
    case DONE: add_word(s, VT_RSS_DONE); break;
    case ERROR: add_word(s, VT_RSS_ERROR), add_packet(s, n); break;
    case RAW:
        n = n < left ? n : left;
        (void)!vt_buf_add(&s->out, s->at, n);
        s->at += n;
        break;
    case LENGTH: add_word(s, 0xffffffffu >> n); break;
    case HANG_UP: shutdown(s->fd, SHUT_WR); break;
    default: return false;
    }
    return true;
}

static bool step(void *ctx)
{
    struct server *s = ctx;
    char unused[65536];
    bool moved = false;
    while (recv(s->fd, unused, sizeof unused, MSG_DONTWAIT) > 0)
        moved = true;
    while (s->out.len < 2 * VT_RSS_CHUNK && s->at < s->end && say(s))
        ;
    ssize_t put = s->out.len > 0 ? send(s->fd, s->out.data, s->out.len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (put > 0)
        vt_buf_drop(&s->out, (size_t)put);
    return moved || put > 0;
}

static void copy(struct vt_rss *c, bool up, bool may_leave, const char *base)
{
    char source[128], target[128];
    const char *sources[] = {source};
    struct vt_rss_options o = {.bytes_max = BYTES, .entries_max = ENTRIES};
    struct vt_rss_result r = {0};
    struct vt_err e = {0};
    struct vt_waiter w = {0};
    snprintf(source, sizeof source, "%s/source", base);
    snprintf(target, sizeof target, "%s/target", base);
    double began = quick_elapsed();
    enum vt_rc rc = up ? vt_rss_put(c, sources, 1, "C:\\x", &o, &w, vt_deadline(TIMEOUT), &r, &e)
                       : vt_rss_get(c, "C:\\x\\*", target, &o, &w, vt_deadline(TIMEOUT), &r, &e);
    HOLDS(quick_elapsed() - began <= TIMEOUT + SLACK);
    HOLDS(memchr(e.text, 0, sizeof e.text) != NULL && memchr(r.path, 0, sizeof r.path) != NULL);
    HOLDS(r.bytes <= BYTES + 2 * VT_RSS_CHUNK && r.files + r.folders <= ENTRIES);    /* one piece is counted too far */
    if (getenv("FUZZ_TELL") != NULL)
        fprintf(stderr, "%s: %s %s, %d files\n", up ? "put" : "get", vt_rc_name(rc), e.text, (int)r.files);
    sandbox_check(may_leave, !up && r.files > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    int pair[2];
    struct vt_rss *c = NULL;
    struct vt_err e = {0};
    struct vt_waiter w = {0};
    enum vt_rss_doing doing;
    if (n < 2 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return 0;
    struct server s = {.fd = pair[1], .at = data + 1, .end = data + n};
    client_fd = pair[0];
    vt_buf_init(&s.out, 1 << 20);
    quick_begin(step, &s);
    bool up = data[0] & 1;
    const char *base = sandbox_begin();
    enum vt_rc rc = vt_rss_open("host", 1, up ? VT_RSS_MODE_PUT : VT_RSS_MODE_GET, &w, vt_deadline(TIMEOUT), &c, &doing, &e);
    HOLDS(quick_elapsed() <= TIMEOUT + SLACK);
    if (rc == VT_OK)
        copy(c, up, memmem(data, n, ".vt-", 4) != NULL, base);      /* the server may name files so itself */
    else
        sandbox_check(false, false);
    vt_rss_free(c);
    quick_end();
    vt_buf_fini(&s.out);
    close(pair[1]);
    return 0;
}
