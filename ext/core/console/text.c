/* text.c - terminal output as text. */
#include "console/text.h"

#include "base/ascii.h"
#include "console/width.h"

#include <stdint.h>
#include <string.h>

#define ESC '\033'
#define BEL '\007'
#define BS '\010'
#define SO '\016'
#define SI '\017'

size_t vt_last_line(const char *text, size_t n)
{
    const char *lf = n > 0 ? memrchr(text, '\n', n) : NULL;
    return lf == NULL ? 0 : (size_t)(lf - text) + 1;
}

size_t vt_newlines(const char *text, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += text[i] == '\n';
    return count;
}

bool vt_ends_with(const char *text, size_t n, const char *tail, size_t m)
{
    return n >= m && m > 0 && memcmp(text + n - m, tail, m) == 0;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* BEL, NUL, and the shifts between character sets, of which a terminal has one today. */
bool vt_shows_nothing(char c)
{
    return c == BEL || c == '\0' || c == SO || c == SI;
}

bool vt_is_blank(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_space(text[i]) || text[i] == BS || vt_shows_nothing(text[i]))
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

/* A control byte within a sequence is no part of it: a terminal obeys it, or gives the
 * sequence up.  What stands there may be binary, cut off, with a prompt behind it. */
static bool ends_sequence(char c)
{
    return c == ESC || c == '\030' || c == '\032';
}

static size_t csi_len(const char *text, size_t n)
{
    for (size_t i = 2; i < n; i++) {
        if (text[i] >= 0x40 && text[i] <= 0x7e)
            return i + 1;
        if (text[i] < ' ' || text[i] == 0x7f)
            return i;
    }
    return 0;
}

static size_t string_len(const char *text, size_t n)
{
    for (size_t i = 2; i < n; i++) {
        if (text[i] == BEL)
            return i + 1;
        if (text[i] == ESC && i + 1 == n)
            return 0;
        if (text[i] == ESC && text[i + 1] == '\\')       /* ST */
            return i + 2;
        if (ends_sequence(text[i]))
            return i;
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
        return string_len(text, n);
    if (strchr("()*+-./#% ", text[1]) != NULL && text[1] != '\0')
        return n < 3 ? 0 : 3;
    return ends_sequence(text[1]) ? 1 : 2;
}

bool vt_same_sequence(const char *a, size_t n, const char *b, size_t m)
{
    size_t i = 2;
    if (n == m && memcmp(a, b, n) == 0)
        return true;
    if (n < 3 || m < 3 || a[1] != ']' || b[1] != ']')
        return false;
    while (i < n && i < m && vt_is_digit(a[i]) && a[i] == b[i])
        i++;
    return i > 2 && i < n && i < m && !vt_is_digit(a[i]) && !vt_is_digit(b[i]);
}

/* ---- a line as it is shown ---- */

#define CELLS 8192              /* longer lines are looked at from their end */
#define GAP 0xff                /* length of a cell that was jumped over */

/* One column: where its character is in the line; a wide one's second column has length 0. */
struct cell {
    uint16_t at;
    uint8_t len;
};

struct line {
    struct cell cells[CELLS];
    const char *text;
    size_t n;
    size_t at, len;             /* the cursor's column; columns in use */
    size_t saved;               /* by ESC 7 */
};

static void reach(struct line *l, size_t column)
{
    while (l->len < column)
        l->cells[l->len++] = (struct cell){0, GAP};
}

/* A combining character belongs to the one before it. */
static void join(struct line *l, size_t i, size_t len)
{
    size_t c = l->at;
    while (c > 0 && c <= l->len && l->cells[c - 1].len == 0)
        c--;
    if (c == 0 || c > l->len)
        return;
    struct cell *cell = &l->cells[c - 1];
    if (cell->len != GAP && (size_t)cell->at + cell->len == i && cell->len + len < GAP)
        cell->len += (uint8_t)len;
}

static void put(struct line *l, size_t i, size_t len, int width)
{
    if (width == 0) {
        join(l, i, len);
        return;
    }
    reach(l, l->at);
    for (int k = 0; k < (width == 2 ? 2 : 1) && l->at < CELLS; k++) {
        l->cells[l->at++] = (struct cell){(uint16_t)i, k == 0 ? (uint8_t)len : 0};
        if (l->at > l->len)
            l->len = l->at;
    }
}

static void jump(struct line *l, size_t to)
{
    l->at = to < CELLS ? to : CELLS - 1;
}

/* Erases columns [begin, end). */
static void blank(struct line *l, size_t begin, size_t end)
{
    if (end >= l->len)
        l->len = begin < l->len ? begin : l->len;
    for (size_t i = begin; i < end && i < l->len; i++)
        l->cells[i] = (struct cell){0, GAP};
}

/* The first parameter of ESC [ ..., or fallback; bounded. */
static size_t parameter(const char *seq, size_t len, size_t fallback)
{
    size_t value = 0, i = 2;
    for (; i < len && vt_is_digit(seq[i]); i++)
        value = value < CELLS ? value * 10 + (size_t)(seq[i] - '0') : value;
    return i == 2 ? fallback : value;
}

static void erase(struct line *l, size_t way)
{
    if (way == 0)
        blank(l, l->at, SIZE_MAX);
    else
        blank(l, 0, way == 1 ? l->at + 1 : SIZE_MAX);
}

static void delete(struct line *l, size_t count)
{
    if (l->at >= l->len)
        return;
    size_t left = l->len - l->at;
    count = count < left ? count : left;
    memmove(&l->cells[l->at], &l->cells[l->at + count], (left - count) * sizeof l->cells[0]);
    l->len -= count;
}

static void insert(struct line *l, size_t count)
{
    if (l->at >= l->len)
        return;
    size_t left = l->len - l->at, room = CELLS - l->len;
    count = count < room ? count : room;
    memmove(&l->cells[l->at + count], &l->cells[l->at], left * sizeof l->cells[0]);
    l->len += count;
    blank(l, l->at, l->at + count);
}

/* ESC [ > 4 ; 1 m, ESC [ = 5 u, ESC [ 2 SPACE q: those of a terminal's own, and of other functions,
 * which share only the last letter. */
static bool is_private(const char *seq, size_t len)
{
    bool erases = seq[2] == '?' && (seq[len - 1] == 'J' || seq[len - 1] == 'K');
    return (seq[2] >= '<' && seq[2] <= '?' && !erases) || (seq[len - 2] >= ' ' && seq[len - 2] <= '/');
}

static void control(struct line *l, const char *seq, size_t len)
{
    if (is_private(seq, len))
        return;
    size_t one = parameter(seq, len, 1), count = one > 0 ? one : 1;
    switch (seq[len - 1]) {
    case 'C': jump(l, l->at + count); break;
    case 'D': l->at -= count < l->at ? count : l->at; break;
    case 'G':
    case '`': jump(l, count - 1); break;
    case 'K':
    case 'J': erase(l, parameter(seq, len, 0)); break;
    case 'X': blank(l, l->at, l->at + count); break;
    case 'P': delete(l, count); break;
    case '@': insert(l, count); break;
    case 's': l->saved = l->at; break;
    case 'u': l->at = l->saved; break;
    default: break;
    }
}

static void escape(struct line *l, const char *seq, size_t len)
{
    if (len >= 3 && seq[1] == '[')
        control(l, seq, len);
    else if (len == 2 && seq[1] == '7')
        l->saved = l->at;
    else if (len == 2 && seq[1] == '8')
        l->at = l->saved;
}

static void draw(struct line *l)
{
    for (size_t i = 0; i < l->n; i++) {
        char c = l->text[i];
        if (c == ESC) {
            size_t seq = vt_escape_len(l->text + i, l->n - i);
            if (seq == 0)
                break;                          /* cut off: it will show nothing */
            escape(l, l->text + i, seq);
            i += seq - 1;
        } else if (c == '\r') {
            l->at = 0;
        } else if (c == BS) {
            l->at -= l->at > 0;
            while (l->at > 0 && l->at < l->len && l->cells[l->at].len == 0)
                l->at--;
        } else if (!vt_shows_nothing(c)) {
            uint32_t code;
            size_t len = vt_character(l->text + i, l->n - i, &code);
            put(l, i, len, vt_width(code));
            i += len - 1;
        }
    }
    /* Something at the right edge (a right prompt): the line is what stands left of it. */
    if (l->at > 0 && l->at + 1 < l->len && l->cells[l->at].len == GAP && l->cells[l->at + 1].len == GAP)
        l->len = l->at;
}

/* The columns in use, as bytes: at most as many as the line has, since each jump took some. */
static size_t collect(const struct line *l, size_t skipped, char *out, uint32_t *map)
{
    size_t n = 0;
    for (size_t i = 0; i < l->len; i++) {
        const struct cell *c = &l->cells[i];
        bool gap = c->len == GAP;
        if (gap && i > 0 && l->cells[i - 1].len == GAP)
            continue;                           /* one blank stands for all of a gap */
        size_t len = gap ? 1 : c->len;
        if (n + len > l->n)
            break;
        for (size_t k = 0; k < len; k++, n++) {
            out[n] = gap ? ' ' : l->text[c->at + k];
            if (map != NULL)
                map[n] = (uint32_t)(skipped + (gap ? (n > 0 ? map[n - 1] - skipped : 0) : c->at + k));
        }
    }
    return n;
}

static bool is_plain(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < ' ' && line[i] != '\t')
            return false;
    return true;
}

size_t vt_shown_at(const char *line, size_t n, char *out, uint32_t *map)
{
    if (is_plain(line, n)) {
        if (n > 0)
            memcpy(out, line, n);
        for (size_t i = 0; map != NULL && i < n; i++)
            map[i] = (uint32_t)i;
        return n;
    }
    struct line l;
    size_t skipped = n > CELLS ? n - CELLS : 0;
    l.text = line + skipped;
    l.n = n - skipped;
    l.at = l.len = l.saved = 0;
    draw(&l);
    return collect(&l, skipped, out, map);
}

size_t vt_shown(const char *line, size_t n, char *out)
{
    return vt_shown_at(line, n, out, NULL);
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

bool vt_is_mark(const char *text, size_t n)
{
    static const char *const starts[] = {"\033]133;", "\033]633;", "\033]3008;"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (n >= strlen(starts[i]) && memcmp(text, starts[i], strlen(starts[i])) == 0)
            return true;
    return false;
}

bool vt_has_mark(const char *text, size_t n)
{
    const char *hit = text, *stop = text + n;
    while (hit < stop && (hit = memchr(hit, '\033', (size_t)(stop - hit))) != NULL) {
        if (vt_is_mark(hit, (size_t)(stop - hit)))
            return true;
        hit++;
    }
    return false;
}

size_t vt_strip_marks(char *text, size_t n)
{
    size_t to = 0, at = 0;
    while (at < n) {
        const char *hit = memchr(text + at, '\033', n - at);
        size_t stop = hit == NULL ? n : (size_t)(hit - text);
        memmove(text + to, text + at, stop - at);
        to += stop - at;
        at = stop;
        if (at == n)
            break;
        size_t len = vt_is_mark(text + at, n - at) ? vt_escape_len(text + at, n - at) : 0;
        if (len > 0)
            at += len;
        else
            text[to++] = text[at++];
    }
    return to;
}
