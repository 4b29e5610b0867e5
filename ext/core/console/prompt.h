/* prompt.h - which text is a prompt: the learned ones, and what the last line of the
 * output looks like beside them.  No input or output here, and no clock.
 *
 * Words: P is the shown text of a prompt's last line; a block is all that a shell
 * prints between a command's output and its readiness, raw (earlier lines of a prompt
 * of several lines, then P).  A learned prompt is proved once it followed the numbered
 * reply of a status command.
 */
#ifndef VT_PROMPT_H
#define VT_PROMPT_H

#include "base/err.h"
#include "console/lead.h"

#include <stdbool.h>
#include <stddef.h>

#define VT_LEARNED 8            /* prompts remembered */
#define VT_LINE_MAX 4096        /* a longer last line is no prompt, but may end with one */
#define VT_BLOCK_MAX 8192       /* a longer block is not remembered */
#define VT_SUFFIX_MIN 4         /* shorter prompts are weak evidence within a line */

struct vt_learned {
    char *shown;                /* P */
    size_t shown_len;
    char *block;                /* raw; ends with the line that shows P */
    size_t block_len;
    bool proved;
};

struct vt_prompts {
    struct vt_learned list[VT_LEARNED];     /* newest first */
    int count;
    bool has_shape;             /* the newest two differ in digits only */
    char *before;               /* shown text of the line that the command was typed behind */
    size_t before_len;
    struct vt_lead lead;
};

void vt_prompts_fini(struct vt_prompts *p);     /* accepts zeroed */
void vt_prompts_forget(struct vt_prompts *p);

/* Puts the prompt that the block ends with at the head.  VT_NOMEM, VT_TOOBIG (a block
 * over VT_BLOCK_MAX is cut to its last line first). */
enum vt_rc vt_prompts_learn(struct vt_prompts *p, const char *block, size_t n, bool proved) VT_MUST_CHECK;

/* What the last line says.  Each wants its own wait before it is believed. */
enum vt_kind {
    VT_KIND_NONE,       /* no prompt */
    VT_KIND_EXACT,      /* it is a learned prompt */
    VT_KIND_SUFFIX,     /* it ends with one of at least VT_SUFFIX_MIN characters */
    VT_KIND_SHORT,      /* it ends with a shorter one */
    VT_KIND_WEAK,       /* only the pattern matches */
    VT_KIND_OLD,        /* blank, and the pattern matches the last non-blank line */
    VT_KIND_OVERRUN,    /* a learned prompt begins a line, text follows */
};

/* The pattern of the caller.  1: matches, 0: does not, -1: an error, give up. */
typedef int (*vt_match_fn)(void *ctx, const char *line, size_t n);

struct vt_seen {
    enum vt_kind kind;
    const struct vt_learned *which;     /* EXACT, SUFFIX, SHORT, OVERRUN: the prompt; else NULL */
};

/* Classifies the end of text (a command's output so far, or its newest part).
 * VT_INTR if the pattern failed. */
enum vt_rc vt_prompts_classify(const struct vt_prompts *p, const char *text, size_t n,
                               vt_match_fn match, void *ctx, struct vt_seen *seen) VT_MUST_CHECK;

/* Notes the line that the next command is typed behind: its prompt, most likely.  VT_NOMEM. */
enum vt_rc vt_prompts_note(struct vt_prompts *p, const char *line, size_t n) VT_MUST_CHECK;

/* ---- cutting a prompt off (cut.c) ---- */

/* What is known beside the prompts' own texts. */
struct vt_hint {
    bool after;         /* the newest prompt is the one that followed */
    const int *status;  /* the command's, which a prompt may show; or NULL */
};

/* Length of text without the prompt at its end: the learned block if text ends with
 * it, or one that differs in digits, or has the newest two's beginning and end; else the last
 * line, unless it is known to be more than a prompt.  kind as vt_prompts_classify said.
 * VT_NOMEM. */
enum vt_rc vt_prompts_cut(const struct vt_prompts *p, const struct vt_seen *seen, const struct vt_hint *hint,
                          const char *text, size_t n, size_t *left) VT_MUST_CHECK;

/* Whether text begins with the shape but for the runs of digits in both; end: where that ends. */
bool vt_begins_alike(const char *shape, size_t len, const char *text, size_t n, size_t *end);

/* How many of the n bytes at the end of shown are like the prompt but for their digits; 0: none.
 * If the prompt begins with digits, known (may be NULL) chooses how many of them are its own. */
struct vt_digits { const char *before; size_t before_len; const int *status; };
size_t vt_shape_ending(const char *prompt, size_t len, const char *shown, size_t n, const struct vt_digits *known);

/* Whether the shown text of the line ends with a learned prompt; begins with one. */
const struct vt_learned *vt_prompts_ending(const struct vt_prompts *p, const char *line, size_t n);
const struct vt_learned *vt_prompts_beginning(const struct vt_prompts *p, const char *line, size_t n);
const struct vt_learned *vt_prompts_equal(const struct vt_prompts *p, const char *line, size_t n);

#endif
