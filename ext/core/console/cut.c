/* cut.c - the prompt at the end of a command's output, cut off.
 *
 * The output's last lines are laid beside a prompt's as a terminal shows them, from their ends
 * on.  Where the prompt begins in what is shown, it begins in the bytes; what the shell sends
 * before it to be seen by nobody goes, too. */
#include "console/prompt.h"

#include "base/ascii.h"
#include "console/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FRESH_BLANKS 8      /* at least: no prompt has so many before a CR */

/* ---- the shape of a prompt that counts ---- */

/* Where the run of digits begins that ends before n. */
static size_t run_begin(const char *text, size_t n)
{
    while (n > 0 && vt_is_digit(text[n - 1]))
        n--;
    return n;
}

static long number_at(const char *digits, size_t n)
{
    long value = 0;
    for (size_t i = 0; i < n && i < 9; i++)
        value = value * 10 + (digits[i] - '0');
    return value;
}

static size_t leading_run(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n && vt_is_digit(text[i]))
        i++;
    return i;
}

/* Of a run of n digits the last that are the prompt's own: output may end with digits. */
static size_t own_digits(const char *run, size_t n, const char *prompt, size_t len, const struct vt_digits *known)
{
    size_t own = leading_run(prompt, len), most = n < 9 ? n : 9;
    if (known == NULL || n <= 1)
        return own < n ? own : n;
    long after = number_at(prompt, own), before = after;
    if (known->before_len > 0)
        before = number_at(known->before, leading_run(known->before, known->before_len));
    for (size_t i = 0; i <= most; i++) {
        size_t k = i == 0 ? own : i;            /* as many as the newest has, most likely */
        if (k == 0 || k > most)
            continue;
        long value = number_at(run + n - k, k);
        bool is_padded = k > 1 && run[n - k] == '0' && !(own == k && prompt[0] == '0');
        if (!is_padded && before < after && value > before && value <= after)
            return k;
    }
    for (size_t k = 1; k <= most && known->status != NULL && before >= after; k++)
        if (number_at(run + n - k, k) == *known->status && (k == 1 || run[n - k] != '0'))
            return k;
    return own <= n ? own : n;
}

size_t vt_shape_ending(const char *prompt, size_t len, const char *shown, size_t n, const struct vt_digits *known)
{
    size_t i = n, j = len;
    bool counts = false;
    while (j > 0) {
        if (i == 0)
            return 0;
        if (vt_is_digit(prompt[j - 1]) && vt_is_digit(shown[i - 1])) {
            size_t run = run_begin(shown, i);
            j = run_begin(prompt, j);
            i -= j > 0 ? i - run : own_digits(shown + run, i - run, prompt, len, known);
            counts = true;
        } else if (prompt[--j] != shown[--i]) {
            return 0;
        }
    }
    return counts ? n - i : 0;
}

/* ---- lines as they are shown ---- */

struct shown {
    char *text;
    uint32_t *map;          /* where each byte stands in the raw bytes */
    size_t n;
};

static void shown_fini(struct shown *s)
{
    free(s->text);
    free(s->map);
}

/* raw[from..n), line by line. */
static enum vt_rc shown_init(struct shown *s, const char *raw, size_t from, size_t n)
{
    s->text = malloc(n - from + 1);
    s->map = malloc((n - from + 1) * sizeof *s->map);
    s->n = 0;
    if (s->text == NULL || s->map == NULL)
        return VT_NOMEM;
    while (from < n) {
        const char *lf = memchr(raw + from, '\n', n - from);
        size_t len = lf == NULL ? n - from : (size_t)(lf - (raw + from));
        size_t got = vt_shown_at(raw + from, len, s->text + s->n, s->map + s->n);
        for (size_t i = 0; i < got; i++)
            s->map[s->n + i] += (uint32_t)from;
        s->n += got;
        if (lf != NULL) {
            s->map[s->n] = (uint32_t)(from + len);
            s->text[s->n++] = '\n';
        }
        from += len + (lf != NULL);
    }
    return VT_OK;
}

/* Where the last `lines` lines begin, no more than two blocks and a line of them. */
static size_t lines_begin(const char *text, size_t n, size_t lines)
{
    size_t at = vt_last_line(text, n);
    if (n - at > VT_LINE_MAX)
        return n - VT_LINE_MAX;
    for (size_t i = 1; i < lines && at > 0; i++) {
        size_t before = vt_last_line(text, at - 1);
        if (n - before > 2 * VT_BLOCK_MAX)
            break;
        at = before;
    }
    return at;
}

/* ---- one prompt beside the end ---- */

/* What a cut goes by: the prompt, and how many bytes of the shown end are its own. */
struct hit {
    size_t len;
    const struct vt_learned *which;
};

static size_t trimmed(const char *text, size_t n)
{
    while (n > 0 && text[n - 1] == ' ')
        n--;
    return n;
}

/* The end equals text (blanks at its own end aside): how much of it. */
static size_t match_equal(const struct shown *end, const char *text, size_t n)
{
    size_t bare = trimmed(end->text, end->n), m = trimmed(text, n);
    return vt_ends_with(end->text, bare, text, m) ? m + (end->n - bare) : 0;
}

static size_t match_text(const struct shown *end, const char *text, size_t n, const struct vt_digits *known)
{
    size_t len = match_equal(end, text, n);
    return len > 0 ? len : vt_shape_ending(text, n, end->text, end->n, known);
}

/* The newest prompts' common beginning and end, with anything between them. */
static size_t match_frame(const struct shown *end, const struct vt_learned *a, const struct vt_learned *b)
{
    size_t head = 0, tail = 0, least = a->shown_len < b->shown_len ? a->shown_len : b->shown_len;
    while (head < least && a->shown[head] == b->shown[head])
        head++;
    while (tail < least - head && a->shown[a->shown_len - 1 - tail] == b->shown[b->shown_len - 1 - tail])
        tail++;
    if (head == 0 || !vt_ends_with(end->text, end->n, a->shown + a->shown_len - tail, tail))
        return 0;
    size_t line = vt_last_line(end->text, end->n);
    for (size_t at = end->n - tail; at >= line + head; at--)
        if (memcmp(end->text + at - head, a->shown, head) == 0)
            return end->n - (at - head);
    return 0;
}

/* The whole block, or its last line alone. */
static enum vt_rc match_block(const struct shown *end, const struct vt_learned *l, const struct vt_digits *known,
                              size_t *len)
{
    struct shown block;
    enum vt_rc rc = shown_init(&block, l->block, 0, l->block_len);
    *len = 0;
    if (rc == VT_OK && block.n > l->shown_len)
        *len = match_text(end, block.text, block.n, NULL);
    if (rc == VT_OK && *len == 0)
        *len = match_text(end, l->shown, l->shown_len, known);
    shown_fini(&block);
    return rc;
}

/* Tries the prompts: the one that was seen, then the others, newest first. */
static enum vt_rc find_hit(const struct vt_prompts *p, const struct vt_seen *seen, const struct vt_digits *known,
                           const struct shown *end, struct hit *hit)
{
    enum vt_rc rc = VT_OK;
    *hit = (struct hit){0, NULL};
    for (int i = -1; i < p->count && hit->len == 0 && rc == VT_OK; i++) {
        const struct vt_learned *l = i < 0 ? seen->which : &p->list[i];
        if (l == NULL || l->shown_len == 0)
            continue;
        rc = match_block(end, l, known, &hit->len);
        hit->which = l;
    }
    if (rc == VT_OK && hit->len == 0 && p->count > 1)
        hit->len = match_frame(end, &p->list[0], &p->list[1]);
    if (rc == VT_OK && hit->len == 0 && p->before_len > 0)
        hit->len = match_text(end, p->before, p->before_len, NULL);
    return rc;
}

/* ---- what the shell sends before its prompt, for nobody to see ---- */

/* Whether the shell sends such a sequence: an equal one, or a string of the same number. */
static bool is_sent(const char *seq, size_t len, const char *decor, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t m = decor[i] == '\033' ? vt_escape_len(decor + i, n - i) : 0;
        if (m > 0 && vt_same_sequence(seq, len, decor + i, m))
            return true;
        i += m > 0 ? m - 1 : 0;
    }
    return false;
}

/* Length of line without the sequences at its end that the shell sends. */
static size_t strip_sent(const char *line, size_t n, const char *decor, size_t m)
{
    size_t keep = 0;
    for (size_t i = 0; i < n;) {
        size_t len = line[i] == '\033' ? vt_escape_len(line + i, n - i) : 0;
        bool drop = len > 0 && i + len <= n && is_sent(line + i, len, decor, m);
        i += len > 0 ? len : 1;
        if (!drop)
            keep = i;
    }
    return keep;
}

/* Bytes at the block's begin that show nothing, or nothing that stays. */
static enum vt_rc decoration(const struct vt_learned *l, size_t *len)
{
    struct shown block;
    enum vt_rc rc = shown_init(&block, l->block, 0, l->block_len);
    *len = rc != VT_OK ? 0 : block.n > 0 ? block.map[0] : l->block_len;
    shown_fini(&block);
    return rc;
}

static bool shows_something(const char *line, size_t n)
{
    return !vt_is_blank(line, n);
}

/* Whether what stands before a prompt on its line is output: sequences are, unless a line
 * editor sent them, with its CR. */
static bool is_output(const char *line, size_t n)
{
    if (n > 0 && (shows_something(line, n) || line[0] == ' ' || line[0] == '\t'))
        return true;
    return n > 0 && memchr(line, '\033', n) != NULL && memchr(line, '\r', n) == NULL;
}

static enum vt_rc cut_decoration(const struct vt_learned *l, const char *text, size_t *left)
{
    size_t len = 0, at = vt_last_line(text, *left);
    enum vt_rc rc = l == NULL ? VT_OK : decoration(l, &len);
    if (rc != VT_OK)
        return rc;
    if (vt_ends_with(text, *left, l == NULL ? "" : l->block, len))
        *left -= len;
    else if (len > 0)
        *left = at + strip_sent(text + at, *left - at, l->block, len);
    at = vt_last_line(text, *left);
    if (!is_output(text + at, *left - at))
        *left = at;
    return VT_OK;
}

/* ---- a prompt that begins a row ---- */

/* zsh and fish get onto a row of their own, whatever stood on the last one: a mark, blanks up to the right
 * edge, and CR.  Where that is in the block: from its first byte that is seen; 0: the shell does not do so. */
static size_t fresh_row(const struct vt_learned *l, size_t *begin)
{
    size_t at = vt_last_line(l->block, l->block_len), blanks = 0;
    for (size_t len; at < l->block_len && l->block[at] == '\033'; at += len)
        if ((len = vt_escape_len(l->block + at, l->block_len - at)) == 0)
            return 0;
    *begin = at;
    for (; at < l->block_len && l->block[at] != '\r'; at++)
        blanks = l->block[at] == ' ' ? blanks + 1 : 0;
    return at < l->block_len && blanks >= FRESH_BLANKS ? at + 1 - *begin : 0;
}

/* Length of text without a prompt that such a mark is in front of; n if there is none on the last line. */
static size_t cut_fresh_row(const struct vt_prompts *p, const char *text, size_t n)
{
    size_t line = vt_last_line(text, n), begin;
    for (int i = 0; i < p->count; i++) {
        const struct vt_learned *l = &p->list[i];
        size_t len = fresh_row(l, &begin);
        const char *hit = NULL, *next = text + line;
        while (len > 0 && (next = memmem(next, n - (size_t)(next - text), l->block + begin, len)) != NULL)
            hit = next++;
        if (hit == NULL)
            continue;
        size_t before = (size_t)(hit - text), left = before - begin;     /* or it was sent otherwise: */
        if (begin > 0 && !vt_ends_with(text + line, before - line, l->block, begin))
            left = line + strip_sent(text + line, before - line, l->block, begin);
        return is_output(text + line, left - line) ? left : line;
    }
    return n;
}

/* ---- the cut ---- */

/* A line that no prompt fits: with none that followed it, it is one, as the pattern says. */
static bool is_more(const struct vt_prompts *p, const struct vt_hint *hint, const struct shown *end)
{
    size_t longest = 0, line = end->n - vt_last_line(end->text, end->n);
    for (int i = 0; i < p->count; i++)
        longest = p->list[i].shown_len > longest ? p->list[i].shown_len : longest;
    return hint != NULL && hint->after && line > longest;
}

static enum vt_rc cut_line(const struct vt_prompts *p, const struct vt_seen *seen, const struct vt_hint *hint,
                           const char *text, size_t n, size_t *left)
{
    struct shown end;
    struct hit hit;
    size_t lines = 1, at = vt_last_line(text, n);
    struct vt_digits known = {NULL, 0, hint == NULL ? NULL : hint->status};
    if (p->count > 1) {
        known.before = p->list[1].shown;
        known.before_len = p->list[1].shown_len;
    }
    for (int i = 0; i < p->count; i++) {
        size_t some = vt_newlines(p->list[i].block, p->list[i].block_len) + 1;
        lines = some > lines ? some : lines;
    }
    enum vt_rc rc = shown_init(&end, text, lines_begin(text, n, lines), n);
    if (rc == VT_OK)
        rc = find_hit(p, seen, &known, &end, &hit);
    if (rc == VT_OK && hit.len > 0) {
        *left = end.map[end.n - hit.len];
        rc = cut_decoration(hit.which, text, left);
    } else if (rc == VT_OK) {
        *left = is_more(p, hint, &end) ? n : at;
    }
    shown_fini(&end);
    return rc;
}

/* Raw bytes that end with the prompt's own: nothing can hide it then. */
static size_t raw_begin(const struct vt_learned *l, const char *text, size_t n)
{
    size_t at = vt_last_line(l->block, l->block_len), raw = l->block_len - at;
    if (vt_ends_with(text, n, l->block, l->block_len))
        return n - l->block_len;
    if (at == 0 && l->shown_len > 0 && vt_ends_with(text, n, l->shown, l->shown_len) && raw == l->shown_len)
        return n - l->shown_len;
    return SIZE_MAX;
}

/* Whether a shell sends more than text around its prompt.  What shows nothing before one that is text alone was
 * the command's. */
static bool has_controls(const struct vt_learned *l)
{
    for (size_t i = 0; i < l->block_len; i++)
        if ((unsigned char)l->block[i] < ' ' && l->block[i] != '\n')
            return true;
    return false;
}

static size_t cut_overrun(const struct vt_prompts *p, const char *text, size_t n)
{
    size_t at = vt_last_line(text, n);
    while (at > 0 && vt_prompts_beginning(p, text + at, n - at) == NULL) {
        n = at - 1;
        at = vt_last_line(text, n);
    }
    return at;
}

enum vt_rc vt_prompts_cut(const struct vt_prompts *p, const struct vt_seen *seen, const struct vt_hint *hint,
                          const char *text, size_t n, size_t *left)
{
    size_t begin, end;
    switch (seen->kind) {
    case VT_KIND_NONE:
        *left = n;
        return VT_OK;
    case VT_KIND_OLD:
        *left = vt_last_nonblank(text, n, &begin, &end) ? begin : vt_last_line(text, n);
        return VT_OK;
    case VT_KIND_OVERRUN:
        *left = cut_overrun(p, text, n);
        return VT_OK;
    default:
        break;
    }
    size_t raw = seen->which == NULL ? SIZE_MAX : raw_begin(seen->which, text, n);
    if (raw == SIZE_MAX) {
        *left = cut_fresh_row(p, text, n);
        return *left < n ? VT_OK : cut_line(p, seen, hint, text, n, left);
    }
    *left = raw;
    size_t at = vt_last_line(text, raw);
    if (!is_output(text + at, raw - at) && has_controls(seen->which))
        *left = at;
    return VT_OK;
}
