/* prompt.c - learned prompts, and what a last line looks like beside them. */
#include "console/prompt.h"

#include "base/ascii.h"
#include "console/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


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
    free(p->before);
    *p = (struct vt_prompts){0};
}

bool vt_begins_alike(const char *shape, size_t len, const char *text, size_t n, size_t *end)
{
    size_t i = 0, at = 0;
    while (i < len && at < n) {
        if (vt_is_digit(shape[i]) && vt_is_digit(text[at])) {
            while (i < len && vt_is_digit(shape[i]))
                i++;
            while (at < n && vt_is_digit(text[at]))
                at++;
        } else if (shape[i++] != text[at++]) {
            return false;
        }
    }
    *end = at;
    return i == len;
}

/* Whether a and b are equal but for the runs of digits in them. */
static bool same_shape(const char *a, size_t n, const char *b, size_t m)
{
    size_t end;
    return vt_begins_alike(a, n, b, m, &end) && end == m;
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

enum vt_rc vt_prompts_note(struct vt_prompts *p, const char *line, size_t n)
{
    p->before_len = 0;
    if (n > VT_LINE_MAX || vt_is_blank(line, n))
        return VT_OK;
    char *grown = realloc(p->before, n);
    if (grown == NULL)
        return VT_NOMEM;
    p->before = grown;
    p->before_len = vt_shown(line, n, grown);
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
    const struct vt_learned *l = longest(p, shown, n, fits_ending);
    if (l == NULL && p->count > 0 && vt_shape_ending(p->list[0].shown, p->list[0].shown_len, shown, n, NULL) > 0)
        l = &p->list[0];
    return l;
}

/* The learned prompt whose raw bytes end the line: what stands before it may be a sequence
 * without its end, which would hide it. */
static const struct vt_learned *find_raw_ending(const struct vt_prompts *p, const char *line, size_t n)
{
    const struct vt_learned *best = NULL;
    for (int i = 0; i < p->count; i++) {
        const struct vt_learned *l = &p->list[i];
        size_t at = vt_last_line(l->block, l->block_len);
        if (l->shown_len > 0 && (vt_ends_with(line, n, l->block + at, l->block_len - at)
                                 || vt_ends_with(line, n, l->shown, l->shown_len))
            && (best == NULL || l->shown_len > best->shown_len))
            best = l;
    }
    return best;
}

/* Most lines begin otherwise, which their first byte shows. */
static bool may_begin(const struct vt_prompts *p, const char *line, size_t n)
{
    if (n == 0 || (unsigned char)line[0] < ' ')
        return n > 0;
    for (int i = 0; i < p->count; i++)
        if (p->list[i].shown_len > 0 && p->list[i].shown[0] == line[0])
            return true;
    return false;
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
    return may_begin(p, line, n) ? look_up(p, line, n, find_beginning) : NULL;
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
        if (l->shown_len == 0 && !vt_is_blank(l->block, l->block_len)
            && vt_ends_with(text, n, l->block, l->block_len))
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
    if (len <= VT_LINE_MAX && vt_is_blank(line, len) && find_raw_ending(p, line, len) == NULL)
        return classify_blank(p, text, n, match, ctx, seen);
    if ((seen->which = look_up(p, line, len, find_ending)) != NULL
        || (seen->which = find_raw_ending(p, line, len)) != NULL) {
        seen->kind = seen->which->shown_len >= VT_SUFFIX_MIN ? VT_KIND_SUFFIX : VT_KIND_SHORT;
        return VT_OK;
    }
    if (len > VT_LINE_MAX)
        return VT_OK;
    return classify_rest(p, text, n, matches(line, len, match, ctx), VT_KIND_WEAK, seen);
}
