/* candidate.c - waiting until the last line may be the prompt. */
#include "shell/run.h"

#include "console/text.h"
#include "shell/echo.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_SUFFIX (10 * VT_MS)
#define WAIT_FLOOD (20 * VT_MS)     /* where the question is echoed, and FLOOD bytes came */
#define FLOOD 4096
#define WAIT_OLD VT_SEC
#define WAIT_UNREAD VT_SEC          /* a prompt that is drawn anew, and the command is not echoed */
#define WAIT_OVERRUN (500 * VT_MS)
#define WAIT_COVERED (100 * VT_MS)  /* a prompt seen through messages, however they go on */
#define WAIT_NOISY VT_SEC           /* a prompt under lines of any kind, however they go on */
#define WITHIN_MIN 6                /* a shorter prompt in the midst of a line is none */
#define DRAWN_MAX 8192              /* bytes that drawing a command may take */
#define SAFE_STEP (500 * VT_MS)

/* ---- looking at the store ---- */

/* The newest bytes from offset on, at most VT_TAIL of them. */
const char *vt_run_tail(const struct vt_session *s, uint64_t offset, uint64_t *from, size_t *n)
{
    if (s->store.total - offset > VT_TAIL)
        offset = s->store.total - VT_TAIL;
    return vt_store_window(&s->store, offset, from, n);
}

enum vt_rc vt_run_read(const struct vt_session *s, uint64_t begin, uint64_t end, struct vt_piece *p)
{
    *p = (struct vt_piece){.from = begin, .n = (size_t)(end - begin)};
    p->text = malloc(p->n + 1);
    if (p->text == NULL)
        return VT_NOMEM;
    enum vt_rc rc = vt_store_read(&s->store, begin, p->text, p->n);
    if (rc != VT_OK) {
        free(p->text);
        p->text = NULL;
    }
    return rc;
}

/* ---- the echo of what was typed ---- */

/* Where output begins behind the echo of the command, text being the n bytes since `sent`: with
 * messages in it, they are left out. */
static enum vt_rc align_through(struct vt_run *r, const char *text, size_t n, enum vt_echo *echo, size_t *end)
{
    struct vt_view v;
    *echo = vt_echo_align(r->c->text, r->c->len, text, n, end);
    if (*echo == VT_ECHO_NONE) {
        const struct vt_prompts *p = &r->s->prompts;
        if (vt_echo_drawn(p->before, p->before_len, r->c->text, r->c->len, text, n, end))
            *echo = VT_ECHO_DONE;
        else if (memchr(text, '\n', n) == NULL && n < DRAWN_MAX && r->s->echo != VT_ECHOES_OFF)
            *echo = VT_ECHO_MORE;       /* it is being drawn */
    }
    if (*echo != VT_ECHO_NONE || memchr(text, '[', n) == NULL)
        return VT_OK;
    enum vt_rc rc = vt_view_init(&v, text, n);
    if (rc == VT_OK && v.some) {
        *echo = vt_echo_align(r->c->text, r->c->len, v.text, v.n, end);
        *end = *echo == VT_ECHO_DONE ? v.map[*end] : 0;
    }
    vt_view_fini(&v);
    return rc;
}

/* Whether the echo is the command and nothing else but "> " for its lines, as a terminal's is. */
static bool is_bare(struct vt_command *c, const char *text, size_t n)
{
    size_t at = 0;
    c->echo_prompts = 0;
    for (size_t i = 0; i < c->len; i++, at++) {
        while (c->text[i] == '\n' && at < n && text[at] == '\r')
            at++;
        for (; n - at >= 2 && at < n && text[at] == '>' && text[at + 1] == ' ' && c->text[i] != '>'; at += 2)
            c->echo_prompts++;
        if (at >= n || text[at] != c->text[i])
            return false;
    }
    return true;
}

static enum vt_rc align_echo(struct vt_run *r, const char *text, size_t n)
{
    size_t end;
    enum vt_echo echo;
    enum vt_rc rc = align_through(r, text, n, &echo, &end);
    if (rc != VT_OK || echo == VT_ECHO_MORE)
        return rc;
    r->echo_open = false;
    r->c->echo_cut = echo == VT_ECHO_DONE;
    r->c->echo_bare = r->c->echo_cut && is_bare(r->c, text, end);
    if (echo == VT_ECHO_DONE)
        r->start = r->sent + end;
    else
        r->echo_late = r->s->echo == VT_ECHOES_ON || (r->s->echo == VT_ECHOES_UNKNOWN && r->s->t->ops->echo);
    return VT_OK;
}

static enum vt_rc decide_echo(struct vt_run *r)
{
    uint64_t from;
    size_t n;
    struct vt_piece p;
    const char *text = vt_store_window(&r->s->store, r->sent, &from, &n);
    if (from == r->sent)
        return align_echo(r, text, n);
    /* So much came at once that its beginning has left the window. */
    uint64_t all = r->s->store.total - r->sent;
    enum vt_rc rc = vt_run_read(r->s, r->sent, r->sent + (all < VT_CHUNK ? all : VT_CHUNK), &p);
    if (rc == VT_INVALID)           /* not even the file has it */
        rc = VT_OK;
    else if (rc == VT_OK)
        rc = align_echo(r, p.text, p.n);
    free(p.text);
    r->echo_open = false;           /* more came than an echo can be */
    return rc;
}

/* ---- is the last line a prompt? ---- */

/* A terminal echoes what is typed amid a flood in pieces, which could not be told from the
 * output: there a question waits for a pause. */
static vt_time wait_exact(const struct vt_run *r)
{
    if (!r->seen.which->proved && !r->c->want_status)
        return VT_WAIT_SILENCE;
    /* A slow guest's flood may begin with little. */
    bool may_flood = r->s->store.total - r->start > FLOOD || r->c->patience > 1;
    return r->s->echo != VT_ECHOES_OFF && may_flood ? WAIT_FLOOD : 0;
}

/* Whether a question proves what the candidate is, so that too early a one does no harm. */
static bool can_prove(const struct vt_run *r)
{
    bool proved = r->seen.which != NULL && r->seen.which->proved;
    return proved && (r->c->want_status || r->s->posix);
}

/* Whether a shell that echoes has not even begun a new line since the command was sent: it draws its prompt anew,
 * and has not read the command. */
static bool is_unread(const struct vt_run *r)
{
    uint64_t from;
    size_t n;
    if (r->s->echo != VT_ECHOES_ON || r->seen.kind != VT_KIND_EXACT)
        return false;
    const char *text = vt_store_window(&r->s->store, r->sent, &from, &n);
    return from == r->sent && memchr(text, '\n', n) == NULL;
}

static vt_time usual_wait(const struct vt_run *r)
{
    const struct vt_seen *seen = &r->seen;
    if (r->echo_open)
        return is_unread(r) ? WAIT_UNREAD : VT_WAIT_SILENCE;
    if (r->covered)
        return can_prove(r) ? WAIT_COVERED : WAIT_OVERRUN;
    switch (seen->kind) {
    case VT_KIND_EXACT:
        return wait_exact(r);
    case VT_KIND_SUFFIX:
        return WAIT_SUFFIX;
    case VT_KIND_OLD:
        return r->c->want_status ? VT_WAIT_SILENCE : WAIT_OLD;
    case VT_KIND_OVERRUN:
        return WAIT_OVERRUN;
    default:
        return VT_WAIT_SILENCE;
    }
}

/* For a guest that is slow: what it says in one go comes with pauses. */
static vt_time wait_for(const struct vt_run *r)
{
    return usual_wait(r) * (r->c->patience > 1 ? r->c->patience : 1);
}

/* When the candidate is believed.  What is written over a prompt may go on for ever: then it
 * counts how long the prompt itself has stood. */
static vt_time believe_at(struct vt_run *r, uint64_t end)
{
    vt_time now = vt_now(), at = now + wait_for(r);
    if (end != r->stands) {
        r->stands = end;
        r->since = now;
    }
    if (r->covered)
        return r->since + wait_for(r);
    if (r->seen.kind == VT_KIND_OVERRUN && can_prove(r) && r->since + WAIT_NOISY < at)
        return r->since + WAIT_NOISY;
    return at;
}

/* Output without a newline, a prompt, and what somebody wrote over that. */
static const char *find_within(const struct vt_run *r, const char *line, size_t n)
{
    const struct vt_learned *l = r->s->prompts.count > 0 ? &r->s->prompts.list[0] : NULL;
    if (l == NULL || !l->proved || l->shown_len < WITHIN_MIN || n <= l->shown_len)
        return NULL;
    return memmem(line, n - 1, l->shown, l->shown_len);
}

/* Lines that came since the last look: one that begins with a prompt and goes on may be a prompt
 * that somebody wrote over, however many lines follow. */
static void find_over(struct vt_run *r)
{
    uint64_t from;
    size_t n, at = 0;
    if (r->over_scanned < r->start)
        r->over_scanned = r->start;
    const char *text = vt_store_window(&r->s->store, r->over_scanned, &from, &n);
    for (const char *lf; (lf = memchr(text + at, '\n', n - at)) != NULL; at = (size_t)(lf - text) + 1) {
        size_t len = (size_t)(lf - text) - at;
        const struct vt_learned *l = vt_prompts_beginning(&r->s->prompts, text + at, len);
        const char *within = l == NULL ? find_within(r, text + at, len) : NULL;
        if (within != NULL || (l != NULL && l->proved && l->shown_len >= VT_SUFFIX_MIN)) {
            r->over = within != NULL ? from + (uint64_t)(within - text) : from + at;
            r->over_which = within != NULL ? &r->s->prompts.list[0] : l;
        }
    }
    r->over_scanned = from + at;
}

static bool is_over(struct vt_run *r)
{
    find_over(r);
    if (r->over < r->start || r->over_which == NULL)
        return false;
    r->seen = (struct vt_seen){VT_KIND_OVERRUN, r->over_which};
    if (can_prove(r))
        return true;
    r->seen = (struct vt_seen){VT_KIND_NONE, NULL};
    return false;
}

/* Looks at the end of the output; *at is when what stands there is to be believed. */
static enum vt_rc look(struct vt_run *r, vt_time *at)
{
    uint64_t end;
    enum vt_rc rc = r->echo_open ? decide_echo(r) : VT_OK;
    if (rc == VT_OK)
        rc = vt_run_classify(r, r->start, &r->seen, &r->covered, &end);
    if (rc != VT_OK)
        return rc;
    r->candidate = end;
    if (r->seen.kind == VT_KIND_NONE && is_over(r))
        end = r->over;
    *at = r->seen.kind == VT_KIND_NONE ? VT_FOREVER : believe_at(r, end);
    return VT_OK;
}

enum vt_rc vt_run_look(struct vt_run *r)
{
    vt_time at;
    return look(r, &at);
}

/* One fill of a loop that looks at what came: until `until`, and however much comes, no
 * longer than to the limit in time, and in bytes. */
enum vt_rc vt_run_fill(struct vt_run *r, vt_time until, vt_time limit)
{
    enum vt_rc rc = vt_session_fill(r->s, r->w, until < limit ? until : limit, NULL);
    r->c->too_much = r->c->limit > 0 && r->s->store.total - r->start > r->c->limit;
    r->late = false;
    if (rc != VT_OK || r->c->too_much)
        return rc == VT_OK ? VT_TOOBIG : rc;
    rc = vt_wait_check(r->w, limit);
    r->late = rc == VT_TIMEOUT;
    return rc;
}

/* Reads until a last line has stood long enough to be worth a question.  Its text must
 * be newer than `sent`: with nothing received there is nothing to look at. */
enum vt_rc vt_run_find_candidate(struct vt_run *r)
{
    vt_time believe = VT_FOREVER, nudge = r->c->safe ? vt_now() + SAFE_STEP : VT_FOREVER;
    for (;;) {
        vt_time until = believe < nudge ? believe : nudge;
        enum vt_rc rc = vt_run_fill(r, until, r->c->deadline);
        bool ours = !r->late && until < r->c->deadline;
        if (rc == VT_TIMEOUT && ours && until == believe)
            return VT_OK;
        if (rc == VT_TIMEOUT && ours) {
            rc = vt_session_write(r->s, r->c->linesep, r->c->linesep_len, r->w, r->c->deadline);
            r->nudges++;
            nudge = vt_now() + SAFE_STEP;
        } else if (rc == VT_OK) {
            rc = look(r, &believe);
            if (rc == VT_OK && believe != VT_FOREVER && vt_expired(believe))
                return VT_OK;
        }
        if (rc != VT_OK)
            return rc;
    }
}
