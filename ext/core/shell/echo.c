/* echo.c - where the echo of a typed command ends. */
#include "shell/echo.h"

#include "base/ascii.h"
#include "console/text.h"
#include "console/width.h"

#include <string.h>

#define ESC '\033'
#define BEL '\007'
#define BS '\010'
#define CONTINUATION_MAX 32
#define RIGHT_MAX 1024          /* bytes of a right prompt, its colours included */
#define SCROLL_WITHIN 4094      /* bytes after the echo's beginning */

struct echo {
    const char *cmd, *text;
    size_t cmd_len, n;
    size_t c, t;            /* next byte of the command, of the text */
    char last;              /* last byte that matched */
    bool matched;           /* at least one has */
    bool scrolls;           /* "\r<" comes soon: the line is rewritten */
    bool may_repeat;        /* a lone CR came: readline may print one byte twice */
    size_t ahead;           /* lines that ended: each may have the shell's prompt amid what the terminal echoes */
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

/* The number in ESC [ number letter, if that is the sequence; else 0. */
static size_t moved(const char *seq, size_t len, char letter)
{
    size_t count = 0;
    if (len < 4 || seq[1] != '[' || seq[len - 1] != letter)
        return 0;
    for (size_t i = 2; i + 1 < len; i++) {
        if (!vt_is_digit(seq[i]) || count > SCROLL_WITHIN)
            return 0;
        count = 10 * count + (size_t)(seq[i] - '0');
    }
    return count;
}

/* Length of a right prompt at the text's begin: a move to the right, a text, and a move back to where the cursor
 * was.  -1: cut off; 0: it is none. */
static int right_prompt(const char *text, size_t n)
{
    size_t at = vt_escape_len(text, n), column = moved(text, at, 'C');
    if (column < 2)
        return 0;
    while (at < n && at < RIGHT_MAX) {
        uint32_t code;
        size_t len = text[at] == ESC ? vt_escape_len(text + at, n - at) : vt_character(text + at, n - at, &code);
        size_t back = text[at] == ESC ? moved(text + at, len, 'D') : 0;
        if (len == 0)
            return -1;
        if (back > 0 || text[at] == '\n' || text[at] == '\r')
            return back == column ? (int)(at + len) : 0;
        column += text[at] == ESC ? 0 : (size_t)vt_width(code);
        at += len;
    }
    return at < RIGHT_MAX ? -1 : 0;
}

/* Skips one item of the text that shows nothing.  -1: cut off; 0: nothing to skip. */
static int skip_text(struct echo *e)
{
    char c = e->text[e->t];
    if (c == ESC) {
        size_t len = vt_escape_len(e->text + e->t, e->n - e->t);
        int more = right_prompt(e->text + e->t, e->n - e->t);
        if (len == 0 || more < 0)
            return -1;
        e->t += more > 0 ? (size_t)more : len;
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

/* Length of the continuation prompt that the text begins with: "> ", or zsh's "heredoc> "; 0: none. */
static size_t continuation(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n && i < CONTINUATION_MAX && ((text[i] >= 'a' && text[i] <= 'z') || text[i] == ' '))
        i++;
    return i + 2 <= n && text[i] == '>' && text[i + 1] == ' ' ? i + 2 : 0;
}

/* How many of "> " the text begins with. */
static size_t continuations(const char *text, size_t n)
{
    size_t count = 0;
    for (; n >= 2 && text[0] == '>' && text[1] == ' '; text += 2, n -= 2)
        count++;
    return count;
}

/* What shows nothing at the begin of a line. */
static void skip_unseen(struct echo *e)
{
    while (e->t < e->n && (e->text[e->t] == '\r' || e->text[e->t] == ESC)) {
        size_t len = e->text[e->t] == ESC ? vt_escape_len(e->text + e->t, e->n - e->t) : 1;
        if (len == 0)
            return;
        e->t += len;
    }
}

/* A newline in the text, before the command's end: its own (continuation prompts follow, one
 * for each line that the shell has read by then), or one that a terminal puts where the line
 * wraps. */
static bool take_newline(struct echo *e)
{
    if (e->cmd[e->c] != '\n' && !e->matched)
        return false;
    bool own_line = e->cmd[e->c] == '\n';
    e->t++;
    if (!own_line)
        return true;
    e->c++;
    e->ahead++;
    skip_unseen(e);
    size_t named = continuation(e->text + e->t, e->n - e->t);
    if (named > 2) {
        e->t += named;
        e->ahead--;
        return true;
    }
    size_t shown = continuations(e->text + e->t, e->n - e->t);
    size_t own = continuations(e->cmd + e->c, e->cmd_len - e->c);
    size_t extra = shown > own ? shown - own : 0;
    e->t += 2 * extra;
    e->ahead -= extra < e->ahead ? extra : e->ahead;
    return true;
}

/* A shell without an editor writes its prompt into what the terminal still echoes.  -1: cut off; 0: no prompt. */
static int take_prompt(struct echo *e)
{
    if (e->ahead == 0 || e->text[e->t] != '>')
        return 0;
    if (e->t + 1 == e->n)
        return -1;
    if (e->text[e->t + 1] != ' ')
        return 0;
    e->t += 2;
    e->ahead--;
    return 1;
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
    if (c == '?' && (unsigned char)e->cmd[e->c] >= 0x80) {     /* busybox without Unicode */
        uint32_t code;
        e->c += vt_character(e->cmd + e->c, e->cmd_len - e->c, &code);
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
static const char *find_scroll(const char *text, size_t n)
{
    return n >= 2 ? memmem(text, n, "\r<", 2) : NULL;
}

static bool is_near(const char *scroll, const char *text)
{
    return scroll != NULL && scroll - text <= SCROLL_WITHIN;
}

static enum vt_echo scrolled_end(const struct echo *e, size_t *end)
{
    const char *lf = memchr(e->text, '\n', e->n);
    if (memchr(e->cmd, '\n', e->cmd_len) != NULL)
        return VT_ECHO_NONE;        /* each of its lines has a row of its own */
    if (lf == NULL)
        return VT_ECHO_MORE;
    *end = (size_t)(lf - e->text) + 1;
    return VT_ECHO_DONE;
}

static enum vt_echo align(const char *cmd, size_t cmd_len, const char *text, size_t n, bool scrolls, size_t *end)
{
    struct echo e = {.cmd = cmd, .text = text, .cmd_len = cmd_len, .n = n, .scrolls = scrolls};
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
        if (e.c == cmd_len ? !(e.may_repeat && text[e.t] == e.last) : !take_byte(&e)) {
            int taken = e.t < n ? take_prompt(&e) : 0;
            if (taken > 0)
                continue;
            return taken < 0 ? VT_ECHO_MORE : e.scrolls ? scrolled_end(&e, end) : VT_ECHO_NONE;
        }
        if (e.c == cmd_len && e.may_repeat && e.t < n && text[e.t] == e.last) {
            e.may_repeat = false;               /* the wrapped byte, printed again */
            e.t++;
        }
    }
}

enum vt_echo vt_echo_align(const char *cmd, size_t cmd_len, const char *text, size_t n, size_t *end)
{
    size_t some = n < SCROLL_WITHIN + 2 ? n : SCROLL_WITHIN + 2;
    return align(cmd, cmd_len, text, n, is_near(find_scroll(text, some), text), end);
}

/* Each place where the echo may begin is tried; the next scroll is looked for once, not at
 * each of them. */
bool vt_echo_find(const char *cmd, size_t cmd_len, const char *text, size_t n,
                  size_t *begin, size_t *end)
{
    const char *scroll = find_scroll(text, n);
    for (size_t at = 0; cmd_len > 0 && at < n; at++) {
        const char *hit = memchr(text + at, cmd[0], n - at);
        if (hit == NULL)
            return false;
        at = (size_t)(hit - text);
        size_t len;
        if (scroll != NULL && scroll < hit)
            scroll = find_scroll(hit, n - at);
        if (align(cmd, cmd_len, hit, n - at, is_near(scroll, hit), &len) == VT_ECHO_DONE) {
            *begin = at;
            *end = at + len;
            return true;
        }
    }
    return false;
}

/* ---- echoes that are drawn ---- */

bool vt_echo_begun(const char *cmd, size_t cmd_len, const char *text, size_t n)
{
    struct echo e = {.cmd = cmd, .text = text, .cmd_len = cmd_len, .n = n};
    while (e.t < n) {
        skip_cmd(&e);
        int skipped = skip_text(&e);
        if (skipped < 0)
            return false;
        if (skipped > 0)
            continue;
        if (text[e.t] != '\n' && (e.c == cmd_len || text[e.t] != cmd[e.c++]))
            return false;
        e.t++;
    }
    return true;
}

#define ROW 8192
#define SCROLLED_MIN 8          /* of a scrolled line so much must be seen */

static size_t without_blanks(const char *text, size_t n, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < n; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            out[len++] = text[i];
    return len;
}

/* row: shown, without blanks; so are cmd and what stands before it. */
static bool shows(const char *row, size_t n, const char *prompt, size_t prompt_len, const char *cmd, size_t len)
{
    bool whole = len > 0 && vt_ends_with(row, n, cmd, len);
    if (whole && (n == len || (n == len + prompt_len && memcmp(row, prompt, prompt_len) == 0)))
        return true;
    if (n > SCROLLED_MIN && strchr("<>*+", row[n - 1]) != NULL)
        n--;
    if (n > SCROLLED_MIN && row[0] == '<') {
        row++;
        n--;
    }
    return n >= SCROLLED_MIN && n < len && vt_ends_with(cmd, len, row, n);
}

/* A row that an editor goes on with on the next one, by a blank beyond its end and CR (zsh); text's end if there is
 * none.  Many blanks before are no such thing: the way onto a fresh row. */
static size_t row_end(const char *text, size_t n)
{
    for (size_t at = 0; at + 1 < n; at++)
        if (text[at] == ' ' && text[at + 1] == '\r')
            return at;
    return n;
}

/* What text shows on all its rows, without blanks. */
static size_t shown_rows(const char *text, size_t n, char *out)
{
    size_t len = 0;
    for (size_t at = 0; at < n; at += 2) {
        size_t row = row_end(text + at, n - at);
        len += vt_shown(text + at, row, out + len);
        at += row;
    }
    return without_blanks(out, len, out);
}

bool vt_echo_drawn(const char *prompt, size_t prompt_len, const char *cmd, size_t cmd_len,
                   const char *text, size_t n, size_t *end)
{
    char row[ROW], seen[ROW], bare[2 * ROW];
    const char *lf = n > 0 ? memchr(text, '\n', n) : NULL;
    size_t len = lf == NULL ? 0 : (size_t)(lf - text);
    if (lf == NULL || prompt_len + len > ROW || cmd_len > ROW || prompt_len + cmd_len > ROW)
        return false;
    if (prompt_len > 0)
        memcpy(row, prompt, prompt_len);
    memcpy(row + prompt_len, text, len);
    size_t shown = vt_shown(row, prompt_len + len, seen);
    shown = without_blanks(seen, shown, seen);
    size_t before = without_blanks(prompt, prompt_len, bare);
    size_t typed = without_blanks(cmd, cmd_len, bare + before);
    *end = len + 1;
    if (shows(seen, shown, bare, before, bare + before, typed))
        return true;
    shown = shown_rows(row, prompt_len + len, seen);
    return typed > 0 && shown == before + typed && memcmp(seen, bare, shown) == 0;
}

/* ---- the lines of a command of several ---- */

/* Behind the way onto a fresh row, if there is one. */
static size_t fresh_begin(const char *text, size_t n)
{
    size_t blanks = 0, begin = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r' && blanks >= SCROLLED_MIN)
            begin = i + 1;
        blanks = text[i] == ' ' ? blanks + 1 : 0;
    }
    while (begin > 0 && begin < n && (text[begin] == ' ' || text[begin] == '\r'))
        begin++;
    return begin;
}

/* Prompts within a command: "> ", zsh's "for while> ", csh's "foreach? "; several, of lines that came at once. */
static bool is_continuation(const char *bare, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(bare[i] >= 'a' && bare[i] <= 'z') && bare[i] != '>' && bare[i] != '?')
            return false;
    return n > 0 && (bare[n - 1] == '>' || bare[n - 1] == '?');
}

/* Where in the row's bytes the first `count` that are no blanks end, with the blanks behind them that are not
 * the line's own. */
static size_t head_end(const char *row, size_t n, size_t count, size_t own)
{
    char seen[ROW];
    uint32_t map[ROW];
    size_t shown = vt_shown_at(row, row_end(row, n), seen, map), i = 0;
    for (; i < shown && count > 0; i++)
        count -= seen[i] != ' ' && seen[i] != '\t';
    size_t blanks = i;
    while (blanks < shown && seen[blanks] == ' ')
        blanks++;
    blanks = blanks - i > own ? blanks - own : i;
    return blanks > 0 && blanks <= shown ? map[blanks - 1] + 1 : 0;
}

enum vt_row vt_echo_row(const char *cmd, size_t cmd_len, const char *row, size_t n, size_t *head)
{
    char seen[ROW], typed[ROW];
    if (n > ROW || cmd_len > ROW)
        return VT_ROW_OTHER;
    size_t begin = fresh_begin(row, n), own = 0;
    row += begin;
    n -= begin;
    size_t len = without_blanks(cmd, cmd_len, typed), shown = shown_rows(row, n, seen);
    while (own < cmd_len && cmd[own] == ' ')
        own++;
    if (shown < len || (len > 0 && memcmp(seen + shown - len, typed, len) != 0)) {
        shown = without_blanks(seen, vt_shown(row, n, seen), seen);
        return shows(seen, shown, "", 0, typed, len) ? VT_ROW_WITHIN : VT_ROW_OTHER;
    }
    *head = begin + head_end(row, n, shown - len, own);
    return is_continuation(seen, shown - len) ? VT_ROW_WITHIN : shown > len ? VT_ROW_HEAD : VT_ROW_OTHER;
}
