/* Commands in a shell that prints what it likes, when it likes: the login, three commands and
 * what is read in between keep to their deadlines, and no output leaves what was received. */
#include "fuzz.h"
#include "quick.h"

#include "shell/command.h"
#include "session/session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TIMEOUT 5
#define STATUS_WAIT 3
#define SLACK 12                /* find_prompt has a clock of its own before a command */

/* When a piece of the output comes: at once, when somebody waits, after somebody wrote. */
enum { NOW, WAITED, WRITTEN };

/* Script: pieces, each a byte (its low bits say when it comes, the others how long it is), then
 * text in which some bytes stand for what a shell would print: */
enum { TOKEN = 1, ECHO, PROMPT, STATUS };

struct shell {
    struct vt_transport base;
    int event;
    const uint8_t *script, *end;
    struct vt_buf out;          /* has come, and was not read */
    char written[256];          /* last */
    size_t written_n;
    bool wrote, waited;
};

static struct shell *of(struct vt_transport *t)
{
    return (struct shell *)t;
}

/* The numbered question that was asked last: "echo vt5:$?" is answered by "vt5:0". */
static void add_token(struct shell *s)
{
    const char *at = memmem(s->written, s->written_n, "vt", 2);
    const char *colon = at == NULL ? NULL : memchr(at, ':', s->written_n - (size_t)(at - s->written));
    if (colon != NULL)
        (void)!vt_buf_add(&s->out, at, (size_t)(colon - at) + 1);
}

static void print(struct shell *s, uint8_t c)
{
    switch (c) {
    case TOKEN: add_token(s); break;
    case ECHO: (void)!vt_buf_add(&s->out, s->written, s->written_n); break;
    case PROMPT: (void)!vt_buf_add(&s->out, "user@host:~$ ", 13); break;
    case STATUS: add_token(s), (void)!vt_buf_add(&s->out, "0\r\nuser@host:~$ ", 16); break;
    default: (void)!vt_buf_add(&s->out, &c, 1);
    }
}

/* Prints the pieces whose time has come. */
static bool come(struct shell *s)
{
    bool any = false;
    uint64_t one = 1;
    while (s->script < s->end) {
        int when = *s->script & 3, len = *s->script >> 2;
        if ((when == WAITED && !s->waited) || (when == WRITTEN && !s->wrote))
            break;
        s->waited = s->wrote = false;
        for (s->script++; len-- > 0 && s->script < s->end; s->script++)
            print(s, *s->script);
        any = true;
    }
    if (s->out.len > 0)
        (void)!write(s->event, &one, sizeof one);
    return any;
}

static bool step(void *ctx)
{
    struct shell *s = ctx;
    s->waited = true;
    return come(s);
}

static enum vt_rc shell_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    struct shell *s = of(t);
    uint64_t unused;
    come(s);
    *got = s->out.len < cap ? s->out.len : cap;
    if (*got == 0)
        return s->script < s->end || s->end[-1] & 1 ? VT_AGAIN : VT_EOF;
    memcpy(data, s->out.data, *got);
    vt_buf_drop(&s->out, *got);
    if (s->out.len == 0)
        (void)!read(s->event, &unused, sizeof unused);
    return VT_OK;
}

static enum vt_rc shell_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    struct shell *s = of(t);
    *put = n;
    s->written_n = n < sizeof s->written ? n : sizeof s->written;
    memcpy(s->written, data, s->written_n);
    s->wrote = true;
    return VT_OK;
}

static int shell_want(struct vt_transport *t, bool writing, short *events)
{
    *events = (short)(POLLIN | (writing ? POLLOUT : 0));
    return of(t)->event;
}

static void shell_close(struct vt_transport *t)
{
    (void)t;
}

static void shell_fini(struct vt_transport *t, bool silent)
{
    (void)silent;
    vt_buf_fini(&of(t)->out);
    close(of(t)->event);
}

static const struct vt_transport_ops ops = {.name = "fuzz", .read = shell_read, .write = shell_write,
                                            .want = shell_want, .close = shell_close, .fini = shell_fini};

static int is_prompt(void *ctx, const char *line, size_t n)
{
    (void)ctx;
    return n >= 2 && (memcmp(line + n - 2, "$ ", 2) == 0 || line[n - 1] == '#');
}

static void check_output(struct vt_session *s, const struct vt_command *c)
{
    uint64_t before = 0;
    for (int i = 0; i < c->spans; i++) {
        HOLDS(c->output[i].begin <= c->output[i].end && c->output[i].end <= s->store.total);
        HOLDS(c->output[i].begin >= before);
        before = c->output[i].end;
    }
    size_t n = vt_command_size(c), room = n;
    char *out = malloc(n + 1);
    HOLDS(vt_command_read(s, c, out, &n) == VT_OK && n <= room);
    free(out);
}

static enum vt_rc run(struct vt_session *s, const char *text, unsigned how)
{
    struct vt_waiter w = {0};
    struct vt_command c = {.text = text, .len = strlen(text), .linesep = "\n", .linesep_len = 1, .match = is_prompt,
                           .deadline = vt_deadline(TIMEOUT), .status_wait = STATUS_WAIT * VT_SEC,
                           .want_status = how & 1, .safe = how & 2, .status_command = how & 4 ? "echo $?" : NULL};
    double began = quick_elapsed();
    if (vt_session_enter(s, &w, c.deadline) != VT_OK)
        return VT_CLOSED;
    enum vt_rc rc = text[0] == '\0' ? vt_session_find_prompt(s, &c, &w) : vt_session_command(s, &c, &w);
    HOLDS(quick_elapsed() - began <= TIMEOUT + STATUS_WAIT + SLACK);
    check_output(s, &c);
    HOLDS(rc != VT_OK || s->ended == VT_OK || text[0] != '\0' || c.spans >= 0);
    vt_session_leave(s);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const commands[] = {"", "true", "echo 'one\ntwo'", "make e e e"};
    struct shell shell = {.base.ops = &ops};
    struct vt_session *s;
    if (n < 2)
        return 0;
    shell.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    shell.script = data + 1;
    shell.end = data + n;
    vt_buf_init(&shell.out, 1 << 20);
    quick_begin(step, &shell);
    HOLDS(vt_session_new(&shell.base, 64 * 1024, &s) == VT_OK);
    if (data[0] & 8)
        s->scan_crash = true;
    for (unsigned i = 0; i < 4; i++)
        if (run(s, commands[i], data[0]) == VT_EOF)
            break;
    vt_session_free(s);
    quick_end();
    return 0;
}
