/* text.c - terminal output as text. */
#include "console/text.h"

#include <stdint.h>
#include <string.h>

#define ESC '\033'
#define BEL '\007'
#define BS '\010'

size_t vt_last_line(const char *text, size_t n)
{
    const char *lf = n > 0 ? memrchr(text, '\n', n) : NULL;
    return lf == NULL ? 0 : (size_t)(lf - text) + 1;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool vt_is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_space(text[i]) || text[i] == BEL || text[i] == BS)
            continue;
        size_t len = text[i] == ESC ? vt_escape_len(text + i, n - i) : 0;
        if (len == 0)
            return false;
        i += len - 1;
    }
    return true;
}

bool vt_last_nonblank(const char *text, size_t n, size_t *begin, size_t *end)
{
    while (n > 0) {
        size_t at = vt_last_line(text, n);
        if (!vt_is_blank(text + at, n - at)) {
            *begin = at;
            *end = n;
            return true;
        }
        n = at > 0 ? at - 1 : 0;
    }
    return false;
}

static size_t csi_len(const char *text, size_t n)
{
    for (size_t i = 2; i < n; i++)
        if (text[i] >= 0x40 && text[i] <= 0x7e)
            return i + 1;
    return 0;
}

static size_t osc_len(const char *text, size_t n)
{
    for (size_t i = 2; i < n; i++) {
        if (text[i] == BEL)
            return i + 1;
        if (text[i] == ESC)
            return i + 1 < n ? i + 2 : 0;       /* ST is ESC \ */
    }
    return 0;
}

size_t vt_escape_len(const char *text, size_t n)
{
    if (n < 2)
        return 0;
    if (text[1] == '[')
        return csi_len(text, n);
    if (text[1] == ']' || text[1] == 'P' || text[1] == '_' || text[1] == '^')
        return osc_len(text, n);
    if (strchr("()*+-./#% ", text[1]) != NULL && text[1] != '\0')
        return n < 3 ? 0 : 3;
    return 2;
}

static bool is_erase_line(const char *seq, size_t len)
{
    return (len == 3 || (len == 4 && seq[2] == '0')) && seq[1] == '[' && seq[len - 1] == 'K';
}

/* One step back over a whole UTF-8 character. */
static size_t step_back(const char *out, size_t at)
{
    while (at > 0 && ((unsigned char)out[--at] & 0xc0) == 0x80)
        ;
    return at;
}

size_t vt_shown(const char *line, size_t n, char *out)
{
    size_t at = 0, len = 0;
    for (size_t i = 0; i < n; i++) {
        char c = line[i];
        if (c == ESC) {
            size_t seq = vt_escape_len(line + i, n - i);
            if (seq == 0)
                break;                          /* cut off: it will show nothing */
            if (is_erase_line(line + i, seq))
                len = at;
            i += seq - 1;
        } else if (c == '\r') {
            at = 0;
        } else if (c == BS) {
            at = step_back(out, at);
        } else if (c != BEL && c != '\0') {
            out[at++] = c;
            if (at > len)
                len = at;
        }
    }
    return len;
}

/* ---- the echo of a command ---- */

struct echo {
    const char *cmd, *text;
    size_t cmd_len, n;
    size_t c, t;            /* next byte of the command, of the text */
    char last;              /* last byte that matched */
    bool matched;           /* at least one has */
    bool may_repeat;        /* a lone CR came: readline may print one byte twice */
};

static bool is_skipped(char c)
{
    return c == ' ' || c == '\t' || c == BS || c == BEL;
}

static void skip_cmd(struct echo *e)
{
    while (e->c < e->cmd_len && (is_skipped(e->cmd[e->c]) || e->cmd[e->c] == '\r'))
        e->c++;
}

/* Skips one item of the text that shows nothing.  -1: cut off; 0: nothing to skip. */
static int skip_text(struct echo *e)
{
    char c = e->text[e->t];
    if (c == ESC) {
        size_t len = vt_escape_len(e->text + e->t, e->n - e->t);
        if (len == 0)
            return -1;
        e->t += len;
        return 1;
    }
    if (c == '\r') {
        if (e->t + 1 == e->n)
            return -1;
        e->may_repeat = e->text[e->t + 1] != '\n';
        e->t++;
        return 1;
    }
    if (is_skipped(c) || c == '\0') {       /* NUL: padding, for terminals that were slow */
        e->t++;
        return 1;
    }
    return 0;
}

/* How many continuation prompts the text begins with. */
static size_t continuations(const char *text, size_t n)
{
    size_t count = 0;
    for (; n >= 2 && text[0] == '>' && text[1] == ' '; text += 2, n -= 2)
        count++;
    return count;
}

/* A newline in the text, before the command's end: its own (continuation prompts follow, one
 * for each line that the shell has read by then), or one that a terminal puts where the line
 * wraps. */
static bool take_newline(struct echo *e)
{
    if (e->cmd[e->c] == '\n') {
        e->c++;
        e->t++;
        while (e->t < e->n && e->text[e->t] == '\r')
            e->t++;
        size_t shown = continuations(e->text + e->t, e->n - e->t);
        size_t own = continuations(e->cmd + e->c, e->cmd_len - e->c);
        e->t += shown > own ? 2 * (shown - own) : 0;
        return true;
    }
    if (!e->matched)
        return false;
    e->t++;
    return true;
}

static bool take_byte(struct echo *e)
{
    char c = e->text[e->t];
    if (c == '\n')
        return take_newline(e);
    if (c == e->cmd[e->c]) {
        e->last = c;
        e->matched = true;
        e->may_repeat = false;
        e->c++;
        e->t++;
        return true;
    }
    if (e->may_repeat && e->matched && c == e->last) {
        e->may_repeat = false;
        e->t++;
        return true;
    }
    return false;
}

/* readline's horizontal scrolling rewrites the line: the echo is all of it. */
static bool is_scrolled(const struct echo *e)
{
    return e->n >= 2 && memmem(e->text, e->n < 4096 ? e->n : 4096, "\r<", 2) != NULL;
}

static enum vt_echo scrolled_end(const struct echo *e, size_t *end)
{
    const char *lf = memchr(e->text, '\n', e->n);
    if (lf == NULL)
        return VT_ECHO_MORE;
    *end = (size_t)(lf - e->text) + 1;
    return VT_ECHO_DONE;
}

enum vt_echo vt_echo_align(const char *cmd, size_t cmd_len, const char *text, size_t n, size_t *end)
{
    struct echo e = {.cmd = cmd, .text = text, .cmd_len = cmd_len, .n = n};
    for (;;) {
        skip_cmd(&e);
        if (e.t == n)
            return VT_ECHO_MORE;
        if (e.c == cmd_len && text[e.t] == '\n') {
            *end = e.t + 1;
            return VT_ECHO_DONE;
        }
        int skipped = skip_text(&e);
        if (skipped < 0)
            return VT_ECHO_MORE;
        if (skipped > 0)
            continue;
        if (e.c == cmd_len ? !(e.may_repeat && text[e.t] == e.last) : !take_byte(&e))
            return is_scrolled(&e) ? scrolled_end(&e, end) : VT_ECHO_NONE;
        if (e.c == cmd_len && e.may_repeat && e.t < n && text[e.t] == e.last) {
            e.may_repeat = false;               /* the wrapped byte, printed again */
            e.t++;
        }
    }
}

bool vt_echo_find(const char *cmd, size_t cmd_len, const char *text, size_t n,
                  size_t *begin, size_t *end)
{
    for (size_t at = 0; cmd_len > 0 && at < n; at++) {
        const char *hit = memchr(text + at, cmd[0], n - at);
        if (hit == NULL)
            return false;
        at = (size_t)(hit - text);
        size_t len;
        if (vt_echo_align(cmd, cmd_len, hit, n - at, &len) == VT_ECHO_DONE) {
            *begin = at;
            *end = at + len;
            return true;
        }
    }
    return false;
}

size_t vt_strip_cr(char *text, size_t n)
{
    char *from = n > 0 ? memchr(text, '\r', n) : NULL;
    if (from == NULL)
        return n;
    char *to = from, *stop = text + n;
    while (from < stop) {
        char *run = from;
        while (run < stop && *run == '\r')
            run++;
        if (run > from && run < stop && *run == '\n') {
            from = run;
            continue;
        }
        if (run == from)
            run++;
        while (from < run)
            *to++ = *from++;
    }
    return (size_t)(to - text);
}

size_t vt_strip_paste(char *text, size_t n, bool echoes)
{
    static const char mark[] = "\033[?2004";
    size_t mark_len = sizeof mark - 1, to = 0, at = 0;
    while (at < n) {
        char *hit = memmem(text + at, n - at, mark, mark_len);
        size_t stop = hit == NULL ? n : (size_t)(hit - text);
        memmove(text + to, text + at, stop - at);
        to += stop - at;
        at = stop;
        if (hit == NULL)
            break;
        size_t after = at + mark_len;
        if (after < n && text[after] == 'h') {
            at = after + 1;
        } else if (after < n && text[after] == 'l') {
            at = after + 1 + (after + 1 < n && text[after + 1] == '\r');
            at += !echoes && at < n && text[at] == '\n';
        } else {
            text[to++] = text[at++];
        }
    }
    return to;
}
