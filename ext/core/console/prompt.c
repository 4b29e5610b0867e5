/* prompt.c - learned prompts, and what a last line looks like beside them. */
#include "console/prompt.h"

#include "console/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define UNSEEN_MAX 256              /* bytes that show nothing behind a prompt, at most */
#define PASTE_OFF "\033[?2004l\r"   /* readline, when it has read a line */
#define PASTE_OFF_LEN (sizeof PASTE_OFF - 1)

static void learned_fini(struct vt_learned *l)
{
    free(l->shown);
    free(l->block);
    *l = (struct vt_learned){0};
}

void vt_prompts_fini(struct vt_prompts *p)
{
    vt_prompts_forget(p);
}

void vt_prompts_forget(struct vt_prompts *p)
{
    for (int i = 0; i < p->count; i++)
        learned_fini(&p->list[i]);
    p->count = 0;
    p->has_shape = false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Whether a and b are equal but for the runs of digits in them. */
static bool same_shape(const char *a, size_t n, const char *b, size_t m)
{
    size_t i = 0, j = 0;
    while (i < n && j < m) {
        if (is_digit(a[i]) && is_digit(b[j])) {
            while (i < n && is_digit(a[i]))
                i++;
            while (j < m && is_digit(b[j]))
                j++;
        } else if (a[i++] != b[j++]) {
            return false;
        }
    }
    return i == n && j == m;
}

static bool same(const char *a, size_t n, const char *b, size_t m)
{
    return n == m && (n == 0 || memcmp(a, b, n) == 0);
}

static enum vt_rc learned_init(struct vt_learned *l, const char *block, size_t n, bool proved)
{
    size_t at = vt_last_line(block, n);
    if (n > VT_BLOCK_MAX) {
        block += at;
        n -= at;
        at = 0;
    }
    if (n > VT_BLOCK_MAX)
        return VT_TOOBIG;
    *l = (struct vt_learned){.proved = proved, .block_len = n};
    l->block = malloc(n + 1);
    l->shown = malloc(n - at + 1);
    if (l->block == NULL || l->shown == NULL) {
        learned_fini(l);
        return VT_NOMEM;
    }
    memcpy(l->block, block, n);
    l->block[n] = '\0';
    l->shown_len = vt_shown(block + at, n - at, l->shown);
    return VT_OK;
}

enum vt_rc vt_prompts_learn(struct vt_prompts *p, const char *block, size_t n, bool proved)
{
    struct vt_learned fresh;
    enum vt_rc rc = learned_init(&fresh, block, n, proved);
    if (rc != VT_OK)
        return rc;
    int at = 0;
    while (at < p->count && !same(p->list[at].shown, p->list[at].shown_len, fresh.shown, fresh.shown_len))
        at++;
    bool known = at < p->count;
    if (known)
        fresh.proved = fresh.proved || p->list[at].proved;
    else if (p->count < VT_LEARNED)
        p->count++;
    else
        at = VT_LEARNED - 1;
    if (!known && p->count > 1 && at > 0)
        p->has_shape = same_shape(p->list[0].shown, p->list[0].shown_len, fresh.shown, fresh.shown_len);
    learned_fini(&p->list[at]);
    memmove(&p->list[1], &p->list[0], (size_t)at * sizeof p->list[0]);
    p->list[0] = fresh;
    return VT_OK;
}

/* ---- looking up a shown line ---- */

typedef bool (*fits_fn)(const struct vt_learned *l, const char *shown, size_t n);

static bool fits_equal(const struct vt_learned *l, const char *shown, size_t n)
{
    return same(l->shown, l->shown_len, shown, n);
}

static bool fits_shape(const struct vt_learned *l, const char *shown, size_t n)
{
    return same_shape(l->shown, l->shown_len, shown, n);
}

static bool fits_ending(const struct vt_learned *l, const char *shown, size_t n)
{
    return n > l->shown_len && memcmp(shown + n - l->shown_len, l->shown, l->shown_len) == 0;
}

static bool fits_beginning(const struct vt_learned *l, const char *shown, size_t n)
{
    return n > l->shown_len && memcmp(shown, l->shown, l->shown_len) == 0;
}

/* The learned prompt with the longest text that fits; one with an empty text never does. */
static const struct vt_learned *longest(const struct vt_prompts *p, const char *shown, size_t n, fits_fn fits)
{
    const struct vt_learned *best = NULL;
    for (int i = 0; i < p->count; i++) {
        const struct vt_learned *l = &p->list[i];
        if (l->shown_len > 0 && fits(l, shown, n) && (best == NULL || l->shown_len > best->shown_len))
            best = l;
    }
    return best;
}

static const struct vt_learned *equal_shown(const struct vt_prompts *p, const char *shown, size_t n)
{
    const struct vt_learned *l = longest(p, shown, n, fits_equal);
    if (l == NULL && p->has_shape && p->count > 0 && p->list[0].shown_len > 0
        && fits_shape(&p->list[0], shown, n))
        l = &p->list[0];
    return l;
}

struct line {
    char stack[512];
    char *shown;
    size_t n;
};

static bool line_init(struct line *l, const char *raw, size_t n)
{
    l->shown = n <= sizeof l->stack ? l->stack : malloc(n);
    if (l->shown == NULL)
        return false;
    l->n = vt_shown(raw, n, l->shown);
    return true;
}

static void line_fini(struct line *l)
{
    if (l->shown != l->stack)
        free(l->shown);
}

typedef const struct vt_learned *(*find_fn)(const struct vt_prompts *, const char *, size_t);

static const struct vt_learned *find_ending(const struct vt_prompts *p, const char *shown, size_t n)
{
    return longest(p, shown, n, fits_ending);
}

static const struct vt_learned *find_beginning(const struct vt_prompts *p, const char *shown, size_t n)
{
    return longest(p, shown, n, fits_beginning);
}

static const struct vt_learned *look_up(const struct vt_prompts *p, const char *raw, size_t n, find_fn find)
{
    struct line l;
    if (n > VT_LINE_MAX && find == find_ending) {       /* a prompt behind a long line of output */
        raw += n - VT_LINE_MAX;
        n = VT_LINE_MAX;
    }
    if (n > VT_LINE_MAX || p->count == 0 || !line_init(&l, raw, n))
        return NULL;
    const struct vt_learned *hit = find(p, l.shown, l.n);
    line_fini(&l);
    return hit;
}

const struct vt_learned *vt_prompts_equal(const struct vt_prompts *p, const char *line, size_t n)
{
    return look_up(p, line, n, equal_shown);
}

const struct vt_learned *vt_prompts_ending(const struct vt_prompts *p, const char *line, size_t n)
{
    const struct vt_learned *hit = look_up(p, line, n, equal_shown);
    return hit != NULL ? hit : look_up(p, line, n, find_ending);
}

const struct vt_learned *vt_prompts_beginning(const struct vt_prompts *p, const char *line, size_t n)
{
    return look_up(p, line, n, find_beginning);
}

/* ---- what the last line looks like ---- */

static int matches(const char *raw, size_t n, vt_match_fn match, void *ctx)
{
    struct line l;
    if (n > VT_LINE_MAX || !line_init(&l, raw, n))
        return 0;
    int hit = match(ctx, l.shown, l.n);
    line_fini(&l);
    return hit;
}

/* A prompt that ends with a newline leaves a blank last line: its block tells. */
static const struct vt_learned *ends_with_block(const struct vt_prompts *p, const char *text, size_t n)
{
    for (int i = 0; i < p->count; i++) {
        const struct vt_learned *l = &p->list[i];
        if (l->shown_len == 0 && l->block_len > 0 && !vt_is_blank(l->block, l->block_len)
            && n >= l->block_len && memcmp(text + n - l->block_len, l->block, l->block_len) == 0)
            return l;
    }
    return NULL;
}

/* Looks at the last few lines for one that begins with a prompt and goes on. */
static const struct vt_learned *overrun(const struct vt_prompts *p, const char *text, size_t n)
{
    for (int lines = 0; lines < 4 && n > 0; lines++) {
        size_t at = vt_last_line(text, n);
        const struct vt_learned *l = vt_prompts_beginning(p, text + at, n - at);
        if (l != NULL && l->shown_len >= VT_SUFFIX_MIN)
            return l;
        n = at > 0 ? at - 1 : 0;
    }
    return NULL;
}

static enum vt_rc classify_rest(const struct vt_prompts *p, const char *text, size_t n, int hit,
                                enum vt_kind kind, struct vt_seen *seen)
{
    if (hit > 0)
        seen->kind = kind;
    else if (hit == 0 && (seen->which = overrun(p, text, n)) != NULL)
        seen->kind = VT_KIND_OVERRUN;
    return hit < 0 ? VT_INTR : VT_OK;
}

static enum vt_rc classify_blank(const struct vt_prompts *p, const char *text, size_t n,
                                 vt_match_fn match, void *ctx, struct vt_seen *seen)
{
    seen->which = ends_with_block(p, text, n);
    if (seen->which != NULL) {
        seen->kind = VT_KIND_EXACT;
        return VT_OK;
    }
    size_t begin, end;
    if (!vt_last_nonblank(text, n, &begin, &end))
        return VT_OK;
    int hit = matches(text + begin, end - begin, match, ctx);
    return classify_rest(p, text, n, hit, VT_KIND_OLD, seen);
}

enum vt_rc vt_prompts_classify(const struct vt_prompts *p, const char *text, size_t n,
                               vt_match_fn match, void *ctx, struct vt_seen *seen)
{
    *seen = (struct vt_seen){VT_KIND_NONE, NULL};
    size_t at = vt_last_line(text, n);
    const char *line = text + at;
    size_t len = n - at;
    if (len > 0 && (seen->which = vt_prompts_equal(p, line, len)) != NULL) {
        seen->kind = VT_KIND_EXACT;
        return VT_OK;
    }
    if (len <= VT_LINE_MAX && vt_is_blank(line, len))
        return classify_blank(p, text, n, match, ctx, seen);
    if ((seen->which = look_up(p, line, len, find_ending)) != NULL) {
        seen->kind = seen->which->shown_len >= VT_SUFFIX_MIN ? VT_KIND_SUFFIX : VT_KIND_SHORT;
        return VT_OK;
    }
    if (len > VT_LINE_MAX)
        return VT_OK;
    return classify_rest(p, text, n, matches(line, len, match, ctx), VT_KIND_WEAK, seen);
}

/* ---- cutting the prompt off ---- */

static bool ends_with(const char *text, size_t n, const char *tail, size_t m)
{
    return n >= m && m > 0 && memcmp(text + n - m, tail, m) == 0;
}

/* Where the block's earlier lines begin, if text[0..n) (the last line is cut already)
 * ends with lines that differ from them in digits only. */
static size_t cut_lines(const struct vt_learned *l, const char *text, size_t n)
{
    size_t head = vt_last_line(l->block, l->block_len);     /* block without its last line */
    if (head == 0)
        return n;
    if (ends_with(text, n, l->block, head))
        return n - head;
    size_t at = n;
    for (size_t i = head; i > 0 && at > 0; i--)             /* as many lines back */
        if (l->block[i - 1] == '\n')
            at = vt_last_line(text, at - 1);
    return n > 0 && text[n - 1] == '\n' && same_shape(text + at, n - at, l->block, head) ? at : n;
}

/* Where the tail begins in text if nothing visible follows it, near the end; else n. */
static size_t find_last(const char *text, size_t n, const char *tail, size_t m)
{
    if (m == 0 || m > n)
        return n;
    for (size_t at = n - m, left = UNSEEN_MAX; left > 0; at--, left--) {
        if (memcmp(text + at, tail, m) == 0)
            return vt_is_blank(text + at + m, n - at - m) ? at : n;
        if (at == 0)
            break;
    }
    return n;
}

/* Raw length of the last line's end that shows the prompt.  The raw bytes are those of
 * the block as a rule; if not, go back as far as the shown text asks.  A line editor may
 * have sent what nobody sees behind it. */
static size_t cut_suffix(const struct vt_learned *l, const char *line, size_t n)
{
    size_t at = vt_last_line(l->block, l->block_len);
    size_t found = find_last(line, n, l->block + at, l->block_len - at);
    if (found == n)
        found = find_last(line, n, l->shown, l->shown_len);
    return found < n ? found : 0;
}

/* Length of a last line's begin that is output although it shows nothing: escape
 * sequences before the prompt's own bytes.  (One with a CR is a line editor's.) */
static size_t unseen_output(const struct vt_learned *l, const char *line, size_t n)
{
    size_t at = vt_last_line(l->block, l->block_len), raw = l->block_len - at;
    if (n <= raw || !ends_with(line, n, l->block + at, raw))
        return 0;
    n -= raw;
    size_t off = n >= PASTE_OFF_LEN && memcmp(line, PASTE_OFF, PASTE_OFF_LEN) == 0 ? PASTE_OFF_LEN : 0;
    line += off;
    bool is_output = memchr(line, '\033', n - off) != NULL && memchr(line, '\r', n - off) == NULL;
    return is_output ? n : 0;
}

size_t vt_prompts_cut(const struct vt_prompts *p, const struct vt_seen *seen, const char *text, size_t n)
{
    const struct vt_learned *l = seen->which;
    size_t at = vt_last_line(text, n), begin, end, unseen;
    switch (seen->kind) {
    case VT_KIND_EXACT:
        if (l->shown_len == 0)
            return n - l->block_len;
        unseen = unseen_output(l, text + at, n - at);
        return unseen > 0 ? at + unseen : cut_lines(l, text, at);
    case VT_KIND_SUFFIX:
    case VT_KIND_SHORT:
        return at + cut_suffix(l, text + at, n - at);
    case VT_KIND_OLD:
        return vt_last_nonblank(text, n, &begin, &end) ? begin : at;
    case VT_KIND_OVERRUN:
        while (at > 0 && vt_prompts_beginning(p, text + at, n - at) == NULL) {
            n = at - 1;
            at = vt_last_line(text, n);
        }
        return at;
    default:
        return p->count > 0 ? cut_lines(&p->list[0], text, at) : at;
    }
}
