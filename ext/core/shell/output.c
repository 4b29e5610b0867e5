/* output.c - what of all that came is the command's output. */
#include "shell/run.h"

#include "base/ascii.h"
#include "console/message.h"
#include "console/text.h"
#include "shell/echo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OVERRUN_LINES 64            /* messages of the kernel's after a prompt */
#define DRAWN_MAX 8192              /* bytes that an editor draws beside the command, */
#define DRAWN_GROWTH 16             /* and for each of its own; a title may have it, too, with %20 for a blank */

/* ---- what came between the candidate and the reply ---- */

/* vt_echo_find, through messages. */
static enum vt_rc find_echo(const char *typed, size_t len, const struct vt_piece *p, size_t *begin, size_t *end,
                            bool *found)
{
    struct vt_view v;
    *found = vt_echo_find(typed, len, p->text, p->n, begin, end);
    if (*found || memchr(p->text, '[', p->n) == NULL)
        return VT_OK;
    enum vt_rc rc = vt_view_init(&v, p->text, p->n);
    if (rc == VT_OK && v.some && vt_echo_find(typed, len, v.text, v.n, begin, end)) {
        *found = true;
        *begin = v.map[*begin];
        *end = v.map[*end];
    }
    vt_view_fini(&v);
    return rc;
}

/* The question's echo at once behind the candidate, as a line editor draws it. */
static enum vt_rc find_drawn(struct vt_run *r, const struct vt_asked *a, uint64_t begin, uint64_t end,
                             struct vt_span *out, int *count)
{
    struct vt_piece p;
    size_t len;
    const struct vt_prompts *prompts = &r->s->prompts;
    *count = 0;
    if (begin >= end || prompts->count == 0)
        return VT_OK;
    enum vt_rc rc = vt_run_read(r->s, begin, end - begin > VT_CHUNK ? begin + VT_CHUNK : end, &p);
    if (rc != VT_OK)
        return rc;
    /* A prompt that is printed anew was printed behind a command: the question was typed ahead. */
    const char *lf = memchr(p.text, '\n', p.n);
    const struct vt_learned *l = &prompts->list[0];
    bool anew = lf == NULL || l->block_len == 0
                || memmem(p.text, (size_t)(lf - p.text), l->block, l->block_len) != NULL;
    for (int i = 0; i < prompts->count && *count == 0 && !anew; i++)
        if (vt_echo_drawn(prompts->list[i].shown, prompts->list[i].shown_len, a->text, a->len, p.text, p.n, &len))
            out[(*count)++] = (struct vt_span){begin, begin + len};
    free(p.text);
    return VT_OK;
}

/* The typed questions that the far end echoed in [begin, end): into out, in order. */
enum vt_rc vt_find_echoes(struct vt_run *r, const struct vt_asked *a, uint64_t begin, uint64_t end,
                              struct vt_span *out, int max, int *count)
{
    enum vt_rc rc = find_drawn(r, a, begin, end, out, count);
    if (rc == VT_OK && *count > 0)
        begin = out[0].end;
    while (rc == VT_OK && begin < end && *count < max) {
        struct vt_piece p;
        uint64_t stop = end - begin > VT_CHUNK ? begin + VT_CHUNK : end;
        if ((rc = vt_wait_check(r->w, VT_FOREVER)) != VT_OK || (rc = vt_run_read(r->s, begin, stop, &p)) != VT_OK)
            return rc;
        size_t b, e;
        bool found;
        if ((rc = find_echo(a->text, a->len, &p, &b, &e, &found)) == VT_OK && found) {
            out[(*count)++] = (struct vt_span){begin + b, begin + e};
            begin += e;
        } else {
            begin = stop == end ? end : stop - VT_STATUS_MAX;
        }
        free(p.text);
    }
    return rc;
}

/* The end of [begin, end) without the spans in cut, at most VT_CHUNK bytes. */
static enum vt_rc read_without(const struct vt_session *s, uint64_t begin, uint64_t end,
                               const struct vt_span *cut, int count, struct vt_piece *p)
{
    if (end - begin > VT_CHUNK)
        begin = end - VT_CHUNK;
    enum vt_rc rc = vt_run_read(s, begin, end, p);
    for (int i = count - 1; rc == VT_OK && i >= 0; i--) {
        if (cut[i].begin < begin)
            break;
        size_t b = (size_t)(cut[i].begin - begin), e = (size_t)(cut[i].end - begin);
        memmove(p->text + b, p->text + e, p->n - e);
        p->n -= e - b;
    }
    return rc;
}

/* ---- what the shell sends before an output ---- */

/* What stands between the last echo of the question and its reply is that; at least, where an editor draws
 * the echo over several rows, what stands before the reply on its line. */
enum vt_rc vt_learn_lead(struct vt_run *r, uint64_t begin, uint64_t end)
{
    struct vt_piece p;
    struct vt_lead *lead = &r->s->prompts.lead;
    bool whole = begin <= end && end - begin <= VT_LEAD_MAX;
    if (!whole)
        begin = end > VT_LEAD_MAX ? end - VT_LEAD_MAX : 0;
    enum vt_rc rc = vt_run_read(r->s, begin, end, &p);
    if (rc == VT_OK && !(whole && vt_lead_learn(lead, p.text, p.n))) {
        size_t at = vt_last_line(p.text, p.n);
        if (at > 0 && at < p.n)
            (void)vt_lead_learn(lead, p.text + at, p.n - at);
    }
    free(p.text);
    return rc == VT_INVALID ? VT_OK : rc;
}

static bool has_lines(const struct vt_command *c)
{
    return c->text != NULL && memchr(c->text, '\n', c->len) != NULL;
}

/* Moves *at, where an echo ends, to where the output begins.  drawn: an editor may have drawn more of the
 * command, on rows of its own, and be followed by the lead alone. */
static enum vt_rc skip_lead(struct vt_run *r, uint64_t *at, uint64_t end, bool drawn)
{
    struct vt_piece p;
    const struct vt_lead *lead = &r->s->prompts.lead;
    uint64_t most = VT_LEAD_MAX + DRAWN_MAX + DRAWN_GROWTH * (uint64_t)r->c->len;
    bool several = has_lines(r->c) && !r->c->echo_cut;
    if (lead->len == 0 || *at >= end)
        return VT_OK;
    enum vt_rc rc = vt_run_read(r->s, *at, end - *at > most ? *at + most : end, &p);
    size_t len = rc == VT_OK && drawn ? vt_lead_find(lead, several, p.text, p.n) : 0;
    r->c->lead_found = r->c->lead_found || len > 0;
    if (rc == VT_OK)
        *at += len > 0 ? len : vt_lead_len(lead, p.text, p.n);
    free(p.text);
    return rc == VT_INVALID ? VT_OK : rc;       /* not even the file has it */
}

/* ---- the output as spans ---- */

void vt_add_span(struct vt_command *c, uint64_t begin, uint64_t end)
{
    if (end > begin && c->spans < VT_SPANS)
        c->output[c->spans++] = (struct vt_span){begin, end};
}

static void drop_end(struct vt_command *c, uint64_t n)
{
    while (n > 0 && c->spans > 0) {
        struct vt_span *last = &c->output[c->spans - 1];
        uint64_t len = last->end - last->begin, some = n < len ? n : len;
        last->end -= some;
        n -= some;
        if (last->end == last->begin)
            c->spans--;
    }
}

/* Whether what stands before an echo at [b, e) is of its drawing, too: the command's begin, or what an editor
 * drew on several rows before the lead.  Messages are not. */
static enum vt_rc is_drawing(struct vt_run *r, const struct vt_piece *p, size_t b, size_t e, bool *drawn)
{
    struct vt_view v;
    const struct vt_prompts *prompts = &r->s->prompts;
    const struct vt_lead *lead = &prompts->lead;
    /* The prompt, too, where all of the command's lines are drawn again and again. */
    size_t len = prompts->before_len;
    while (len > 0 && prompts->before[len - 1] == ' ')
        len--;
    bool paste = has_lines(r->c) && len > 0 && memmem(p->text, b, prompts->before, len) != NULL;
    *drawn = vt_echo_begun(r->c->text, r->c->len, p->text, b);
    if (*drawn || vt_lead_find(lead, paste, p->text, b) > 0 || vt_lead_find(lead, paste, p->text + e, p->n - e) == 0)
        return VT_OK;
    enum vt_rc rc = vt_view_init(&v, p->text, b);
    *drawn = rc == VT_OK && !v.some;
    vt_view_fini(&v);
    return rc;
}

/* The command's echo behind a message of the kernel's, say: into out, if it is there. */
static enum vt_rc find_late_echo(struct vt_run *r, uint64_t begin, uint64_t end, struct vt_span *out, int *count)
{
    struct vt_piece p;
    size_t b, e;
    bool found;
    *count = 0;
    if (!r->echo_late)
        return VT_OK;
    enum vt_rc rc = vt_run_read(r->s, begin, end - begin > VT_CHUNK ? begin + VT_CHUNK : end, &p);
    if (rc != VT_OK)
        return rc;
    rc = find_echo(r->c->text, r->c->len, &p, &b, &e, &found);
    bool drawn = false;
    if (rc == VT_OK && found)
        rc = is_drawing(r, &p, b, e, &drawn);
    r->c->echo_cut = found;
    if (rc == VT_OK && found)
        out[(*count)++] = (struct vt_span){begin + (drawn ? 0 : b), begin + e};
    free(p.text);
    return rc;
}

/* "[   12.345678] ...", as the kernel begins its messages. */
static bool is_kernel_message(const char *line, size_t n)
{
    size_t i = 0, digits = 0;
    if (n == 0 || line[i++] != '[')
        return false;
    while (i < n && line[i] == ' ')
        i++;
    for (; i < n && (vt_is_digit(line[i]) || (line[i] == '.' && digits > 0)); i++)
        digits++;
    return digits > 0 && i < n && line[i] == ']';
}

/* Where the line begins that a prompt stood on when messages of the kernel's were written
 * over it and below it; n if the text does not end so. */
static size_t find_overrun(const struct vt_prompts *prompts, const char *text, size_t n)
{
    size_t end = n;
    for (int lines = 0; lines < OVERRUN_LINES && end > 0; lines++) {
        size_t at = vt_last_line(text, end), len = end - at;
        if (vt_prompts_beginning(prompts, text + at, len) != NULL
            && (lines == 0 || memchr(text + at, '[', len) != NULL))
            return at;
        if (!vt_is_blank(text + at, len) && !is_kernel_message(text + at, len))
            return n;
        end = at > 0 ? at - 1 : 0;
    }
    return n;
}

/* Length of text without the prompt at its end. */
static enum vt_rc cut_prompt(struct vt_run *r, const char *text, size_t n, size_t *left, enum vt_kind *kind)
{
    struct vt_seen seen;
    struct vt_hint hint = {r->after, r->has_status ? &r->status : NULL};
    enum vt_rc rc = vt_prompts_classify(&r->s->prompts, text, n, r->c->match, r->c->ctx, &seen);
    *kind = seen.kind;
    *left = n;
    return rc != VT_OK ? rc : vt_prompts_cut(&r->s->prompts, &seen, &hint, text, n, left);
}

/* The same where messages were written into the prompt, or over it. */
static enum vt_rc cut_covered(struct vt_run *r, const char *text, size_t n, bool weak, size_t *left)
{
    struct vt_view v;
    enum vt_kind kind;
    size_t cut;
    enum vt_rc rc = vt_view_init(&v, text, n);
    if (rc == VT_OK && v.some)
        rc = cut_prompt(r, v.text, v.n, &cut, &kind);
    if (rc == VT_OK && v.some && (vt_is_known(kind) || (!weak && kind == VT_KIND_WEAK)))
        *left = v.map[cut];
    vt_view_fini(&v);
    return rc;
}

/* What is left of the text without the prompt at its end, and without those before it that
 * answered our own empty lines: a slow guest gets them although its command was under way. */
static enum vt_rc cut_prompts(struct vt_run *r, const char *text, size_t *n)
{
    enum vt_kind kind;
    size_t left;
    enum vt_rc rc = cut_prompt(r, text, *n, &left, &kind);
    if (rc == VT_OK && !vt_is_known(kind))
        rc = cut_covered(r, text, *n, kind == VT_KIND_WEAK, &left);
    *n = left;
    for (int i = 0; rc == VT_OK && i < r->nudges; i++) {
        size_t line = *n;
        while (line > 0 && (text[line - 1] == '\n' || text[line - 1] == '\r'))
            line--;
        rc = cut_prompt(r, text, line, &left, &kind);
        if (rc == VT_OK && kind != VT_KIND_EXACT)
            left = find_overrun(&r->s->prompts, text, line);
        if (rc != VT_OK || left == line)
            break;
        *n = left;
    }
    return rc;
}

/* [begin, end) without the spans in others, the command's own echo, and the prompt at its
 * end. */
enum vt_rc vt_set_output(struct vt_run *r, uint64_t begin, uint64_t end,
                             const struct vt_span *others, int other_count)
{
    struct vt_span cut[VT_SPANS];
    struct vt_piece p;
    uint64_t at = begin;
    int count;
    r->c->spans = 0;
    enum vt_rc rc = find_late_echo(r, begin, end, cut, &count);
    if (rc == VT_OK)
        rc = skip_lead(r, count > 0 ? &cut[0].end : &at, end, r->s->echo != VT_ECHOES_OFF);
    if (rc != VT_OK)
        return rc;
    begin = at;
    for (int i = 0; i < other_count; i++)
        cut[count++] = others[i];
    for (int i = 0; i < count; i++) {
        if (cut[i].begin < begin)
            continue;
        vt_add_span(r->c, at, cut[i].begin);
        at = cut[i].end;
    }
    vt_add_span(r->c, at, end);
    rc = read_without(r->s, begin, end, cut, count, &p);
    if (rc != VT_OK)
        return rc;
    size_t left = p.n;
    rc = cut_prompts(r, p.text, &left);
    if (rc == VT_OK)
        drop_end(r->c, p.n - left);
    free(p.text);
    return rc;
}

/* Whether text holds a reply to the first question that something tore apart: each of its two
 * parts, in order. */
static bool is_torn(const struct vt_asked *a, const char *text, size_t n)
{
    char token[24];
    size_t len = (size_t)snprintf(token, sizeof token, "vt%u:", a->first);
    for (size_t k = 1; k <= len; k++) {
        const char *head = memmem(text, n, token, k), *tail;
        if (head == NULL)
            return false;
        size_t left = n - (size_t)(head + k - text);
        tail = memmem(head + k, left, token + k, len - k);
        if (tail != NULL && (k < len || left > 0) && tail > head + k - (k == len))
            return true;
    }
    return false;
}

/* A prompt at the end of what came between candidate and reply: the question was typed ahead,
 * the candidate was output. */
static bool is_ahead(const struct vt_run *r, const struct vt_asked *a, const struct vt_piece *pre)
{
    size_t at = vt_last_line(pre->text, pre->n);
    if (vt_prompts_ending(&r->s->prompts, pre->text + at, pre->n - at) == NULL || vt_is_blank(pre->text, pre->n))
        return false;
    return a->answered == a->first || !is_torn(a, pre->text, pre->n);
}

/* Decides what the candidate was, by what came between it and the reply. */
enum vt_rc vt_settle(struct vt_run *r, const struct vt_asked *a)
{
    struct vt_span echoes[VT_SPANS - 1];
    struct vt_piece pre;
    int count;
    enum vt_rc rc = vt_find_echoes(r, a, r->candidate, a->reply, echoes, VT_SPANS - 1, &count);
    if (rc == VT_OK)
        rc = vt_learn_lead(r, count > 0 ? echoes[count - 1].end : r->candidate, a->reply);
    for (int i = 0; i < count && rc == VT_OK; i++)
        rc = skip_lead(r, &echoes[i].end, a->reply, false);
    if (rc == VT_OK)
        rc = read_without(r->s, r->candidate, a->reply, echoes, count, &pre);
    if (rc != VT_OK)
        return rc;
    bool ahead = is_ahead(r, a, &pre);
    free(pre.text);
    vt_note_manners(r->s, a, count > 0);
    r->after = true;
    if (ahead)
        return vt_set_output(r, r->start, a->reply, echoes, count);
    uint64_t end = r->seen.kind == VT_KIND_OVERRUN && r->over > r->start ? r->over : r->candidate;
    return vt_set_output(r, r->start, end, NULL, 0);
}

/* ---- the result ---- */

size_t vt_command_size(const struct vt_command *c)
{
    size_t n = 0;
    for (int i = 0; i < c->spans; i++)
        n += (size_t)(c->output[i].end - c->output[i].begin);
    return n;
}

/* Bytes [from, from + n) of the output of c, into out. */
static void slice(const struct vt_command *c, uint64_t from, uint64_t n, struct vt_command *out)
{
    *out = *c;
    out->spans = 0;
    for (int i = 0; i < c->spans && n > 0; i++) {
        struct vt_span span = c->output[i];
        uint64_t len = span.end - span.begin;
        if (from >= len) {
            from -= len;
            continue;
        }
        uint64_t some = len - from < n ? len - from : n;
        vt_add_span(out, span.begin + from, span.begin + from + some);
        n -= some;
        from = 0;
    }
}

uint64_t vt_command_ends(const struct vt_command *c, uint64_t each, struct vt_command *head,
                         struct vt_command *tail)
{
    uint64_t all = vt_command_size(c);
    bool whole = all <= 2 * each;
    slice(c, 0, whole ? all : each, head);
    slice(c, all - each, whole ? 0 : each, tail);
    return whole ? 0 : all - 2 * each;
}

static bool has_paste(const struct vt_session *s)
{
    static const char mark[] = "\033[?2004";
    for (int i = 0; i < s->prompts.count; i++) {
        const struct vt_learned *l = &s->prompts.list[i];
        if (memmem(l->block, l->block_len, mark, sizeof mark - 1) != NULL)
            return true;
    }
    return false;
}

static bool has_marks(const struct vt_session *s)
{
    for (int i = 0; i < s->prompts.count; i++)
        if (vt_has_mark(s->prompts.list[i].block, s->prompts.list[i].block_len))
            return true;
    return false;
}

uint64_t vt_command_lost(const struct vt_session *s, const struct vt_command *c)
{
    uint64_t n = 0, first = s->store.first;
    for (int i = 0; i < c->spans && c->output[i].begin < first; i++)
        n += (c->output[i].end < first ? c->output[i].end : first) - c->output[i].begin;
    return n;
}

/* Length of the learned prompt that text begins with; 0: none of those that are long enough. */
static size_t prompt_len(const struct vt_prompts *p, const char *text, size_t n)
{
    size_t best = 0, end;
    for (int i = 0; i < p->count; i++) {
        const struct vt_learned *l = &p->list[i];
        if (!l->proved || l->shown_len < VT_SUFFIX_MIN)
            continue;
        if ((l->block_len > 0 && vt_begins_alike(l->block, l->block_len, text, n, &end))
            || vt_begins_alike(l->shown, l->shown_len, text, n, &end))
            best = end > best ? end : best;
    }
    return best;
}

static size_t line_end(const char *text, size_t n, size_t at)
{
    const char *lf = memchr(text + at, '\n', n - at);
    return lf == NULL ? n : (size_t)(lf - text) + 1;
}

/* How many prompts the text begins with, at most so many, and how long they are: the shell's own, and those
 * within a command. */
static size_t prompts_before(const struct vt_prompts *p, const char *text, size_t n, size_t most, size_t *at)
{
    size_t count = 0;
    for (size_t own; count < most; *at += own, count++) {
        bool within = n - *at >= 2 && text[*at] == '>' && text[*at + 1] == ' ';
        own = within ? 2 : prompt_len(p, text + *at, n - *at);
        if (own == 0)
            break;
    }
    return count;
}

/* A command of several lines gets a prompt for each but the first: the shell's own between
 * commands, "> " within one.  Where nothing is echoed they stand at the begin of lines of output. */
static size_t strip_continuations(const struct vt_prompts *p, char *out, size_t n, size_t count, bool echoes)
{
    size_t own = 0, to = 0, skip = 0, begin = prompts_before(p, out, n, count, &skip);
    if (begin == count || echoes) {             /* else they were read with the echo */
        skip = begin == count ? skip : 0;
        memmove(out, out + skip, n - skip);
        return n - skip;
    }
    for (size_t at = 0; at < n && own < count; at = line_end(out, n, at))
        own += prompt_len(p, out + at, n - at) > 0;
    size_t within = count - own;
    bool follows = true;                /* the begin, or a prompt */
    for (size_t at = 0, end; at < n; at = end) {
        for (size_t len; own > 0 && (len = prompt_len(p, out + at, n - at)) > 0; own--, follows = true)
            at += len;
        for (; follows && within > 0 && at + 2 <= n && out[at] == '>' && out[at + 1] == ' '; within--)
            at += 2;
        follows = false;
        end = line_end(out, n, at);
        memmove(out + to, out + at, end - at);
        to += end - at;
    }
    return to;
}

/* ---- the echoes of a command's lines ---- */

struct lines {
    const struct vt_prompts *p;
    const char *cmd, *stop;     /* the command's lines that were not seen yet */
    char *out;
    size_t to;                  /* of it so much is output */
    bool follows;               /* the last row was such a line */
};

static size_t cmd_line(const struct lines *l)
{
    const char *lf = memchr(l->cmd, '\n', (size_t)(l->stop - l->cmd));
    return (size_t)((lf == NULL ? l->stop : lf) - l->cmd);
}

/* The pattern is not asked here: learned prompts alone. */
static int no_match(void *ctx, const char *line, size_t n)
{
    (void)ctx, (void)line, (void)n;
    return 0;
}

/* Whether the text at `to` up to `head`, with the output before, ends with a shell's prompt: then the output is what
 * stands before that. */
static bool cut_own(struct lines *l, size_t head)
{
    struct vt_seen seen;
    struct vt_hint hint = {false, NULL};
    size_t left, n = l->to + head;
    if (vt_prompts_classify(l->p, l->out, n, no_match, NULL, &seen) != VT_OK || !vt_is_known(seen.kind)
        || !seen.which->proved || (seen.which->shown_len < VT_SUFFIX_MIN && !l->follows)
        || vt_prompts_cut(l->p, &seen, &hint, l->out, n, &left) != VT_OK || left > n)
        return false;
    l->to = left;
    return true;
}

/* Whether the row of n bytes at `to` is the echo of the command's next line. */
static bool is_line(struct lines *l, size_t n, bool first)
{
    size_t head = 0, len = cmd_line(l);
    const char *row = l->out + l->to;
    if (first && (vt_echo_drawn(l->p->before, l->p->before_len, l->cmd, len, row, n, &head)
                  || vt_echo_drawn("", 0, l->cmd, len, row, n, &head)))
        return true;
    n -= n > 0 && row[n - 1] == '\n';
    enum vt_row what = vt_echo_row(l->cmd, len, row, n, &head);
    return (what == VT_ROW_WITHIN && l->follows) || (what == VT_ROW_HEAD && cut_own(l, head));
}

static void next_line(struct lines *l)
{
    size_t len = cmd_line(l);
    l->cmd += len + (l->cmd + len < l->stop);
}

/* The same of any line but the first, which is the next one then: nobody knows how many are before the output. */
static bool is_later_line(struct lines *l, size_t n)
{
    struct lines any = *l;
    for (next_line(&any); any.cmd < any.stop; next_line(&any)) {
        if (is_line(&any, n, false)) {
            *l = any;
            return true;
        }
    }
    return false;
}

/* Length of the whole command's echo that the output begins with; 0: there is none. */
static size_t whole_echo(const struct vt_prompts *p, const struct vt_command *c, const char *out, size_t n)
{
    struct lines l = {.p = p, .cmd = c->text, .stop = c->text + c->len};
    size_t at = 0, head;
    for (bool first = true; at < n && l.cmd < l.stop; first = false) {
        size_t end = line_end(out, n, at), len = cmd_line(&l);
        bool same = first ? vt_echo_drawn("", 0, l.cmd, len, out + at, end - at, &head)
                          : vt_echo_row(l.cmd, len, out + at, end - at - 1, &head) == VT_ROW_WITHIN;
        if (!same || out[end - 1] != '\n')
            return 0;
        next_line(&l);
        at = end;
    }
    return l.cmd == l.stop ? at : 0;
}

/* Takes the echoes of the command's lines out of its output, where each stands on a row behind a prompt: a command
 * that runs before the last line puts its output between them.  False: there is none. */
static bool strip_lines(const struct vt_prompts *p, const struct vt_command *c, char *out, size_t *n)
{
    struct lines l = {.p = p, .cmd = c->text, .stop = c->text + c->len, .out = out, .follows = c->lead_found};
    bool first = true, open;
    size_t at = 0;
    while (at < *n && l.cmd < l.stop) {
        if (l.follows)
            at += vt_lead_len(&p->lead, out + at, *n - at);
        size_t end = line_end(out, *n, at), len = end - at;
        memmove(out + l.to, out + at, len);
        at = end;
        if (first && c->lead_found ? is_later_line(&l, len) : is_line(&l, len, first)) {
            next_line(&l);
            l.follows = true;
            first = false;
        } else if (vt_message_len(out + l.to, len, &open) > 0) {
            l.to += len;
        } else if (first && !c->lead_found) {
            return false;
        } else {
            l.to += len;
            l.follows = false;
        }
    }
    if (l.follows && at < *n)
        at += vt_lead_len(&p->lead, out + at, *n - at);
    memmove(out + l.to, out + at, *n - at);
    *n = l.to + (*n - at);
    return !first;
}

/* Of a command of several lines. */
static size_t strip_several(const struct vt_session *s, const struct vt_command *c, char *out, size_t n, size_t more)
{
    bool echoes = s->echo != VT_ECHOES_OFF;
    /* ksh93's editor shows again what the terminal has shown, if that came before it read. */
    size_t again = c->echo_bare ? whole_echo(&s->prompts, c, out, n) : 0;
    if (again > 0) {
        memmove(out, out + again, n - again);
        return n - again;
    }
    bool terminal = c->echo_bare && c->echo_prompts < more;     /* the shell's prompts are elsewhere */
    if (echoes && (terminal || !c->echo_cut) && strip_lines(&s->prompts, c, out, &n))
        return n;
    return strip_continuations(&s->prompts, out, n, more - (terminal ? c->echo_prompts : 0), echoes && !terminal);
}

enum vt_rc vt_command_read(const struct vt_session *s, const struct vt_command *c, char *out, size_t *n)
{
    size_t len = 0;
    for (int i = 0; i < c->spans; i++) {
        uint64_t begin = c->output[i].begin, end = c->output[i].end;
        if (begin < s->store.first)         /* forgotten: vt_command_lost tells */
            begin = s->store.first < end ? s->store.first : end;
        if (begin == end)
            continue;
        enum vt_rc rc = vt_store_read(&s->store, begin, out + len, (size_t)(end - begin));
        if (rc != VT_OK)
            return rc;
        len += (size_t)(end - begin);
    }
    if (s->crlf)
        len = vt_strip_cr(out, len);
    if (has_paste(s))
        len = vt_strip_paste(out, len, s->echo == VT_ECHOES_ON);
    if (has_marks(s))
        len = vt_strip_marks(out, len);
    size_t more = vt_newlines(c->text == NULL ? "" : c->text, c->text == NULL ? 0 : c->len);
    if (more > 0)
        len = strip_several(s, c, out, len, more);
    *n = len;
    return VT_OK;
}
