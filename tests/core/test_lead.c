/* test_lead.c - shells that turn terminal modes on and off around each command: outputs have nothing of it,
 * wherever a read ends. */
#include "console/lead.h"
#include "console/text.h"
#include "session/session.h"
#include "shell/command.h"

#include "base/buf.h"
#include "check.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

/* What a shell sends: behind the echo of a line, before its prompt, behind that.  %s: the line.  Then its
 * prompt behind a command that failed, and how it draws "drawn" on several rows, if it does so. */
struct kind {
    const char *name, *first, *echo_end, *lead, *before, *prompt, *after, *failed, *drawn;
};

#define FISH_4 "\033[?2004l\033[>4;0m\033[=0u\033>\033]0;%s /\007\r"
#define MARKER "\342\217\216          \r\342\217\216 \r"
#define TITLE "\033]0;/\007"
#define FAILED "root@vm / [127]# "
/* As fish does where the row ends amid a command: typed, then drawn anew with colours from above. */
#define DRAWN "draw\r\nn\033[50C\033[A\033[25D\033[34mdraw\033[30m\033(B\033[m\r\n\033[36mn\033[A\r\n\033[1C\033[30m\033(B\033[m"
static const struct kind kinds[] = {
    {"bash", "", "\r\n", "\033[?2004l\r", "\033[?2004h", "root@vm:/# ", "", NULL, "d\bdrawn"},
    {"bash with marks", "", "\r\n", "\033[?2004l\r\033]133;C\007", "\033]133;D;0\033\\\033[?2004h\033]133;A\033\\",
     "root@vm:/# ", "\033]133;B\033\\", NULL, NULL},
    {"an editor's shell", "", "\r\n", "\033[?2004l\r\033]633;E;%s;nonce\007\033]633;C\007",
     "\033]633;D;0\007\033]633;P;Cwd=/\007\033]633;A\007", "vm# ", "\033]633;B\007\033[?2004h", NULL, NULL},
    {"zsh", "", "\033[?1l\033>\033[?2004l\r\r\n", "\033]2;%s\007\033]1;%s\007", "\033[1m\033[7m#\033[0m         \r \r\r\033[J",
     "vm# ", "\033[K\033[?1h\033=\033[?2004h", "vm 127# ", "d\bdrawn"},
    {"zsh with a right prompt", "", "\033[?1l\033>\033[?2004l\r\r\n", "", "\033[1m\033[7m#\033[0m          \r \r\r\033[J",
     "vm 0# ", "\033[K\033[50C\033[32m[\303\244\346\274\242]\033[m\033[55D\033[?1h\033=\033[?2004h", "vm 127# ", "d\bdrawn"},
    {"fish 3.6", "", "\r\n", "\033[?2004l", MARKER "\033[?2004h\r", "root@vm /# ", "", FAILED, NULL},
    {"fish 3.7 of a terminal", "", "\r\n\033[30m\033(B\033[m", "\033[?2004l\033]0;%s /\007\033[30m\033(B\033[m\r",
     "\033[2m" MARKER "\033[K\033[?2004h" TITLE "\033[30m\033(B\033[m", "root@vm /# ", "\033[K\r\033[11C", FAILED,
     DRAWN},
    {"fish 4.0", "\033]7;file://vm/\007" TITLE "\r", "\r\n", "\033]133;C;cmdline_url=%s\007" FISH_4,
     "\033]133;D;0\007\033[?25h" MARKER TITLE "\r", "root@vm /# ", "\033[?2004h\033[>4;1m\033[=5u\033=", FAILED, DRAWN},
    {"fish 4.1", "\033[?u\033P+q696e646e\033\\\033[>0q\033[c", "\r\n",
     "\033]133;C;cmdline_url=%s\033\\\033[?2004l\033[>4;0m\033[<1u\033>\033[?2031l\033]0;%s\033\\\r",
     "\033]133;D;0\033\\\033[?25h" MARKER "\033]7;file://vm/\033\\", "root@vm /# ",
     "\033[?2004h\033[>4;1m\033[>5u\033=\033[?2031h", FAILED, DRAWN},
    {"modes alone", "", "\r\n", "\033[=0;1u\033[<u\033[>4m\033>\033[?1049l\033[?25h", "\033[>1u\033[>4;2m\033=", "vm:~$ ",
     "\033[?1h", NULL, NULL},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Commands, and what they print: the last two print what some shell itself does. */
static const struct { const char *line, *output; } commands[] = {
    {"true", ""},
    {"echo hi", "hi\r\n"},
    {"printf abc", "abc"},
    {"lines", "1\r\n2\r\n3\r\n"},
    {"colours", "\033[1mred\033[m\r\n"},
    {"modes", "\033[?1h\033=on\033[?1l\033>\r\n"},
    {"twice", "\033[=0ux\033[>4;0my\r\n"},
    {"drawn", "\033]0;own title\007drawn\r\ndrawn\r\n"},
};
/* These fail. */
static const struct { const char *line, *output; } failures[] = {
    {"false", ""}, {"fail half", "abc"}, {"fail", "abc\r\n"}, {"fail #", "root@vm /# \r\nvm# "},
};
enum { FAILURES = sizeof failures / sizeof *failures };
enum { COMMANDS = sizeof commands / sizeof *commands };

/* ---- a shell whose answers come in two pieces ---- */

struct shell {
    struct vt_transport base;
    const struct kind *kind;
    int event;
    struct vt_buf out;
    size_t first;               /* length of the first piece of each answer */
    size_t longest;
    bool paused;
};

static struct shell *of(struct vt_transport *t)
{
    return (struct shell *)t;
}

/* text with each %s as the line. */
static void add(struct shell *s, const char *text, const char *line)
{
    for (const char *hit; (hit = strstr(text, "%s")) != NULL; text = hit + 2)
        (void)!vt_buf_add(&s->out, text, (size_t)(hit - text)), (void)!vt_buf_add(&s->out, line, strlen(line));
    (void)!vt_buf_add(&s->out, text, strlen(text));
}

static void add_prompt(struct shell *s, bool failed)
{
    add(s, s->kind->before, "");
    add(s, failed && s->kind->failed != NULL ? s->kind->failed : s->kind->prompt, "");
    add(s, s->kind->after, "");
}

/* Whether the line fails. */
static bool add_output(struct shell *s, const char *line)
{
    const char *token = strstr(line, "vt"), *colon = token == NULL ? NULL : strchr(token, ':');
    char reply[64];
    if (colon != NULL) {
        snprintf(reply, sizeof reply, "%.*s:0\r\n", (int)(colon - token), token);
        add(s, reply, "");
    }
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(line, commands[i].line) == 0)
            add(s, commands[i].output, "");
    for (int i = 0; i < FAILURES; i++)
        if (strcmp(line, failures[i].line) == 0) {
            add(s, failures[i].output, "");
            return true;
        }
    return false;
}

static enum vt_rc shell_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    struct shell *s = of(t);
    char line[256];
    uint64_t one = 1;
    snprintf(line, sizeof line, "%.*s", (int)(n - 1), (const char *)data);
    size_t before = s->out.len;
    add(s, strcmp(line, "drawn") == 0 && s->kind->drawn != NULL ? s->kind->drawn : line, "");
    add(s, s->kind->echo_end, "");
    add(s, s->kind->lead, line);
    add_prompt(s, add_output(s, line));
    s->paused = false;
    if (s->out.len - before > s->longest)
        s->longest = s->out.len - before;
    *put = n;
    return write(s->event, &one, sizeof one) == sizeof one ? VT_OK : VT_AGAIN;
}

/* The descriptor says at once that there is more behind the first piece. */
static enum vt_rc shell_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    struct shell *s = of(t);
    uint64_t unused;
    size_t n = s->out.len;
    if (s->paused) {
        s->paused = false;
        return VT_AGAIN;
    }
    if (s->first > 0 && s->first < n) {
        n = s->first;
        s->paused = true;
    }
    s->first = 0;
    *got = n < cap ? n : cap;
    if (*got == 0)
        return VT_AGAIN;
    memcpy(data, s->out.data, *got);
    vt_buf_drop(&s->out, *got);
    if (s->out.len == 0)
        (void)!read(s->event, &unused, sizeof unused);
    return VT_OK;
}

static int shell_want(struct vt_transport *t, bool writing, short *events)
{
    *events = writing ? POLLIN | POLLOUT : POLLIN;
    return of(t)->event;
}

static void shell_close(struct vt_transport *t)
{
    (void)t;
}

static void shell_fini(struct vt_transport *t, bool silent)
{
    struct shell *s = of(t);
    (void)silent;
    close(s->event);
    vt_buf_fini(&s->out);
    free(s);
}

static const struct vt_transport_ops ops = {.name = "shell", .echo = true, .crlf = true, .read = shell_read,
                                            .write = shell_write, .want = shell_want, .close = shell_close,
                                            .fini = shell_fini};

/* ---- commands in it ---- */

static int is_prompt(void *ctx, const char *line, size_t n)
{
    (void)ctx;
    return n >= 2 && (line[n - 2] == '#' || line[n - 2] == '$') && line[n - 1] == ' ';
}

static struct vt_session *session;
static struct shell *shell;

static void open_shell(const struct kind *kind)
{
    uint64_t one = 1;
    shell = calloc(1, sizeof *shell);
    *shell = (struct shell){.base = {.ops = &ops}, .kind = kind, .event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    vt_buf_init(&shell->out, 1 << 20);
    add(shell, kind->first, "");
    add_prompt(shell, false);
    CHECK(write(shell->event, &one, sizeof one) == sizeof one);
    CHECK_RC(vt_session_new(&shell->base, 1 << 20, &session), VT_OK);
}

/* Runs a command (NULL: the login); its answer comes in two pieces, the first of so many bytes. */
static size_t run(const char *text, size_t first, bool want_status, char *out, size_t cap)
{
    struct vt_waiter w = {0};
    struct vt_command c = {.text = text == NULL ? "" : text, .linesep = "\n", .linesep_len = 1,
                           .want_status = want_status, .status_wait = 10 * VT_SEC, .match = is_prompt,
                           .deadline = vt_deadline(60)};
    size_t n = 0;
    c.len = strlen(c.text);
    shell->first = first;
    shell->longest = 0;
    CHECK_RC(vt_session_enter(session, &w, c.deadline), VT_OK);
    CHECK_RC(text == NULL ? vt_session_find_prompt(session, &c, &w) : vt_session_command(session, &c, &w), VT_OK);
    if (text != NULL && vt_command_size(&c) < cap)
        CHECK_RC(vt_command_read(session, &c, out, &n), VT_OK);
    vt_session_leave(session);
    return n;
}

static void without_cr(char *text)
{
    text[vt_strip_cr(text, strlen(text))] = '\0';
}

static void check_command(const struct kind *kind, const char *line, const char *output, size_t first,
                          bool want_status)
{
    char out[1024], expected[256];
    size_t n = run(line, first, want_status, out, sizeof out - 1);
    out[n] = '\0';
    snprintf(expected, sizeof expected, "%s", output);
    without_cr(expected);
    if (!check_say(strcmp(out, expected) == 0, __FILE__, __LINE__, "output"))
        printf(": %s: %s, %zu bytes first: %s\n", kind->name, line, first, out);
}

static void test_outputs_have_nothing_of_modes_and_titles_at_every_split(void)
{
    for (int k = 0; k < KINDS; k++) {
        open_shell(&kinds[k]);
        run(NULL, 0, true, NULL, 0);
        for (int i = 0; i < COMMANDS; i++)
            for (size_t first = 0; first <= shell->longest || first == 0; first++)
                check_command(&kinds[k], commands[i].line, commands[i].output, first, i % 2 == 0);
        vt_session_free(session);
    }
}

/* A shell that gets onto a row of its own says with it where its prompt begins, whatever that says.  (A prompt
 * that was never seen is waited for, so not every split is tried.) */
static void test_a_prompt_on_a_row_of_its_own_is_known_by_that(void)
{
    for (int k = 0; k < KINDS; k++) {
        if (kinds[k].failed == NULL)
            continue;
        open_shell(&kinds[k]);
        run(NULL, 0, true, NULL, 0);
        for (int i = 0; i < FAILURES; i++)
            for (size_t first = 0; first <= shell->longest || first == 0; first += 1 + (size_t)(3 * i + k) % 41 + 30)
                check_command(&kinds[k], failures[i].line, failures[i].output, first, i % 2 == 0);
        vt_session_free(session);
    }
}

/* A message between an echo and a reply is no lead, nor is a sequence without its end. */
static void test_what_shows_something_is_no_lead(void)
{
    struct vt_lead lead = {.len = 0};
    vt_lead_learn(&lead, "\033[?2004l\r", 9);
    vt_lead_learn(&lead, "\033[?2004lx\r", 10);
    vt_lead_learn(&lead, "\033[?2004l\033]0;title", 17);       /* cut off */
    CHECK(vt_lead_len(&lead, "\033[?2004l\r\r", 10) == 9);
    CHECK(vt_lead_len(&lead, "\r\033[?2004l", 9) == 1);
    CHECK(vt_lead_len(&lead, "", 0) == 0);
    vt_lead_learn(&lead, "", 0);
    CHECK(vt_lead_len(&lead, "\033[?2004l\r", 9) == 0);
}

/* By its strings, at the begin of a line. */
static void test_a_lead_is_found_behind_what_was_drawn(void)
{
    static const char text[] = "a\033[A\033]0;x\007\r\n\033[m\r\n\033[m\033]0;y\007\rout";
    struct vt_lead lead = {.len = 0};
    CHECK(vt_lead_find(&lead, false, text, sizeof text - 1) == 0);
    vt_lead_learn(&lead, "\033[m\r", 4);
    CHECK(vt_lead_find(&lead, false, text, sizeof text - 1) == 0);
    vt_lead_learn(&lead, "\033[m\033]0;title\007\r", 14);
    CHECK(vt_lead_find(&lead, false, text, sizeof text - 1) == sizeof text - 1 - 3);
    for (size_t n = 0; n < sizeof text - 1 - 4; n++)
        CHECK(vt_lead_find(&lead, false, text, n) == 0);
    CHECK(vt_lead_find(&lead, false, "x\033[m\033]0;y\007\r", 10) == 0);
    CHECK(vt_lead_find(&lead, false, "\033[m\033[m\033]1;y\007\r\033]0;y\007\r\r", 21) == 20);
    static const char off[] = "\r> a\n\r> a\nb\n\033[?2004l1\n";    /* fish without a title: all lines, again and again */
    CHECK(vt_lead_learn(&lead, "\033[?2004l", 8));
    CHECK(vt_lead_find(&lead, false, off, sizeof off - 1) == 0);
    CHECK(vt_lead_find(&lead, true, off, sizeof off - 1) == sizeof off - 1 - 2);
}

/* Under valgrind and the sanitizers: no read beyond the end. */
static void test_a_lead_that_is_cut_off_is_taken_as_far_as_it_is_whole(void)
{
    static const char text[] = "\033[?2004l\033[=0u\033>\033]0;t\007\r";
    struct vt_lead lead = {.len = 0};
    size_t last = 0;
    vt_lead_learn(&lead, text, sizeof text - 1);
    for (size_t n = 0; n < sizeof text; n++) {
        char *exact = malloc(n + 1);
        memcpy(exact, text, n);
        size_t len = vt_lead_len(&lead, exact, n);
        CHECK(len <= n && len >= last);
        last = len;
        free(exact);
    }
    CHECK(last == sizeof text - 1);
}

CHECK_MAIN(
    TEST(test_what_shows_something_is_no_lead),
    TEST(test_a_lead_that_is_cut_off_is_taken_as_far_as_it_is_whole),
    TEST(test_a_lead_is_found_behind_what_was_drawn),
    TEST(test_outputs_have_nothing_of_modes_and_titles_at_every_split),
    TEST(test_a_prompt_on_a_row_of_its_own_is_known_by_that))
