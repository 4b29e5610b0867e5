/* command.c - one command in a shell, from sending it to its output and status. */
#include "command.h"

#include "console/text.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAIL (32 * 1024)            /* of the output, enough to see any prompt in */
#define CHUNK (64 * 1024)
#define DISCARD_TURNS 64            /* of a MiB: a flood is not waited out */
#define STATUS_MAX 512              /* a longer status command is not numbered */
#define OVERRUN_LINES 64            /* messages of the kernel's after a prompt */
#define TTY_LINE_MAX 4095           /* a tty without a line editor cuts longer lines */

#define WAIT_SUFFIX (10 * VT_MS)
#define WAIT_FLOOD (20 * VT_MS)     /* where the question is echoed, and FLOOD bytes came */
#define FLOOD 4096
#define WAIT_SILENCE (100 * VT_MS)
#define WAIT_OLD VT_SEC
#define WAIT_OVERRUN (500 * VT_MS)
#define WAIT_SETTLED VT_SEC         /* after a reply: for a prompt that nothing fits */
#define WAIT_ANSWER VT_SEC          /* at login: for the first reply */
#define SAFE_STEP (500 * VT_MS)

/* A status command on its way: what was typed, and its reply. */
struct asked {
    char text[STATUS_MAX];
    size_t len;
    char token[24];                 /* "vt7:"; "" if it could not be numbered */
    size_t token_len;
    uint64_t at;                    /* offset where the question was put */
    uint64_t scanned;               /* the reply is not before this */
    uint64_t reply;                 /* where the token of the reply begins */
    uint64_t reply_end;             /* after the reply's newline */
    int status;
    bool crlf;                      /* the reply ended with CR LF */
};

struct run {
    struct vt_session *s;
    struct vt_command *c;
    struct vt_waiter *w;
    uint64_t sent;                  /* offset when the command was sent */
    uint64_t start;                 /* where its output begins */
    bool echo_open;                 /* the echo is not decided yet */
    bool echo_late;                 /* it is there, but something else came before it */
    struct vt_seen seen;            /* the candidate, and where it ends */
    uint64_t candidate;
    int nudges;                     /* empty lines that were sent */
};

/* ---- looking at the store ---- */

/* The newest bytes from offset on, at most TAIL of them. */
static const char *tail(const struct vt_session *s, uint64_t offset, uint64_t *from, size_t *n)
{
    if (s->store.total - offset > TAIL)
        offset = s->store.total - TAIL;
    return vt_store_window(&s->store, offset, from, n);
}

/* A piece of the store, at most CHUNK bytes, in memory of our own. */
struct piece {
    char *text;
    uint64_t from;
    size_t n;
};

static enum vt_rc piece_read(const struct vt_session *s, uint64_t begin, uint64_t end, struct piece *p)
{
    *p = (struct piece){.from = begin, .n = (size_t)(end - begin)};
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

/* text: the n bytes since `sent`. */
static void align_echo(struct run *r, const char *text, size_t n)
{
    size_t end;
    switch (vt_echo_align(r->c->text, r->c->len, text, n, &end)) {
    case VT_ECHO_DONE:
        r->start = r->sent + end;
        r->echo_open = false;
        break;
    case VT_ECHO_NONE:
        r->echo_open = false;
        r->echo_late = r->s->echo == VT_ECHOES_ON || (r->s->echo == VT_ECHOES_UNKNOWN && r->s->t->ops->echo);
        break;
    default:
        break;
    }
}

static enum vt_rc decide_echo(struct run *r)
{
    uint64_t from;
    size_t n;
    struct piece p;
    const char *text = vt_store_window(&r->s->store, r->sent, &from, &n);
    if (from == r->sent) {
        align_echo(r, text, n);
        return VT_OK;
    }
    /* So much came at once that its beginning has left the window. */
    uint64_t all = r->s->store.total - r->sent;
    enum vt_rc rc = piece_read(r->s, r->sent, r->sent + (all < CHUNK ? all : CHUNK), &p);
    if (rc == VT_INVALID)           /* not even the file has it */
        rc = VT_OK;
    else if (rc == VT_OK)
        align_echo(r, p.text, p.n);
    free(p.text);
    r->echo_open = false;           /* more came than an echo can be */
    return rc;
}

/* ---- is the last line a prompt? ---- */

/* A terminal echoes what is typed amid a flood in pieces, which could not be told from the
 * output: there a question waits for a pause. */
static vt_time wait_exact(const struct run *r)
{
    if (!r->seen.which->proved && !r->c->want_status)
        return WAIT_SILENCE;
    return r->s->echo != VT_ECHOES_OFF && r->s->store.total - r->start > FLOOD ? WAIT_FLOOD : 0;
}

static vt_time wait_for(const struct run *r)
{
    const struct vt_seen *seen = &r->seen;
    if (r->echo_open)
        return WAIT_SILENCE;
    switch (seen->kind) {
    case VT_KIND_EXACT:
        return wait_exact(r);
    case VT_KIND_SUFFIX:
        return WAIT_SUFFIX;
    case VT_KIND_OLD:
        return r->c->want_status ? WAIT_SILENCE : WAIT_OLD;
    case VT_KIND_OVERRUN:
        return WAIT_OVERRUN;
    default:
        return WAIT_SILENCE;
    }
}

static enum vt_rc look(struct run *r)
{
    uint64_t from;
    size_t n;
    enum vt_rc rc = r->echo_open ? decide_echo(r) : VT_OK;
    if (rc != VT_OK)
        return rc;
    const char *text = tail(r->s, r->start, &from, &n);
    r->candidate = r->s->store.total;
    return vt_prompts_classify(&r->s->prompts, text, n, r->c->match, r->c->ctx, &r->seen);
}

/* Reads until a last line has stood long enough to be worth a question.  Its text must
 * be newer than `sent`: with nothing received there is nothing to look at. */
static enum vt_rc find_candidate(struct run *r)
{
    vt_time believe = VT_FOREVER, nudge = r->c->safe ? vt_now() + SAFE_STEP : VT_FOREVER;
    for (;;) {
        vt_time until = believe < nudge ? believe : nudge;
        bool ours = until < r->c->deadline;
        enum vt_rc rc = vt_session_fill(r->s, r->w, ours ? until : r->c->deadline, NULL);
        if (rc == VT_TIMEOUT && ours && until == believe)
            return VT_OK;
        if (rc == VT_TIMEOUT && ours) {
            rc = vt_session_write(r->s, r->c->linesep, r->c->linesep_len, r->w, r->c->deadline);
            r->nudges++;
            nudge = vt_now() + SAFE_STEP;
        } else if (rc == VT_OK) {
            rc = look(r);
            if (rc == VT_OK && r->seen.kind != VT_KIND_NONE) {
                vt_time wait = wait_for(r);
                if (wait == 0)
                    return VT_OK;
                believe = vt_now() + wait;
            } else {
                believe = VT_FOREVER;
            }
        }
        if (rc != VT_OK)
            return rc;
    }
}

/* ---- the numbered status command ---- */

static bool is_echo(const char *command)
{
    return command != NULL && strncmp(command, "echo ", 5) == 0 && strlen(command) < STATUS_MAX - 64;
}

/* "echo $?" -> "echo vt7:$?" */
static void number(struct run *r, const char *command, struct asked *a)
{
    unsigned token = ++r->s->token;
    *a = (struct asked){0};
    a->token_len = (size_t)snprintf(a->token, sizeof a->token, "vt%u:", token);
    a->len = (size_t)snprintf(a->text, sizeof a->text, "echo %s%s", a->token, command + 5);
}

/* The same question, put so that $? stays what it was for the caller's next command. */
static void number_kept(struct run *r, struct asked *a)
{
    unsigned token = ++r->s->token;
    *a = (struct asked){0};
    a->token_len = (size_t)snprintf(a->token, sizeof a->token, "vt%u:", token);
    a->len = (size_t)snprintf(a->text, sizeof a->text, "(s=$?; echo %s$s; exit $s)", a->token);
}

static enum vt_rc ask(struct run *r, struct asked *a, vt_time deadline)
{
    char line[STATUS_MAX + 16];
    size_t sep = r->c->linesep_len < 16 ? r->c->linesep_len : 16;
    memcpy(line, a->text, a->len);
    memcpy(line + a->len, r->c->linesep, sep);
    a->at = a->scanned = r->s->store.total;
    return vt_session_write(r->s, line, a->len + sep, r->w, deadline);
}

/* "-12\r\n" after the token: 1 complete, 0 cut off, -1 no number (an echo, say). */
static int parse_reply(const char *text, size_t n, struct asked *a, size_t *len)
{
    size_t i = 0;
    long value = 0;
    bool minus = n > 0 && text[0] == '-';
    if (minus)
        i++;
    size_t first = i;
    for (; i < n && text[i] >= '0' && text[i] <= '9' && i - first < 11; i++)
        value = value * 10 + (text[i] - '0');
    if (i < n && i == first)
        return -1;
    size_t cr = i;
    while (i < n && text[i] == '\r')
        i++;
    if (i == n)
        return 0;
    if (text[i] != '\n')
        return -1;
    a->status = (int)(minus ? -value : value);
    if (!minus && value > INT_MAX)              /* %errorlevel% of an NTSTATUS */
        a->status = (int)(unsigned)value;
    a->crlf = i > cr;
    *len = i + 1;
    return 1;
}

/* Looks for the reply in what came since the last look. */
static bool find_reply(struct run *r, struct asked *a)
{
    uint64_t from;
    size_t n, len;
    const char *text = vt_store_window(&r->s->store, a->scanned, &from, &n);
    size_t at = 0;
    for (;;) {
        const char *hit = at < n ? memmem(text + at, n - at, a->token, a->token_len) : NULL;
        if (hit == NULL) {
            size_t keep = n < a->token_len ? n : a->token_len;
            a->scanned = from + n - keep;
            return false;
        }
        size_t after = (size_t)(hit - text) + a->token_len;
        int got = parse_reply(text + after, n - after, a, &len);
        if (got > 0) {
            a->reply = from + (uint64_t)(hit - text);
            a->reply_end = from + after + len;
            return true;
        }
        if (got == 0) {
            a->scanned = from + (uint64_t)(hit - text);
            return false;
        }
        at = after;
    }
}

static enum vt_rc wait_reply(struct run *r, struct asked *a, vt_time deadline)
{
    while (!find_reply(r, a)) {
        enum vt_rc rc = vt_session_fill(r->s, r->w, deadline, NULL);
        if (rc != VT_OK)
            return rc;
    }
    return VT_OK;
}

/* ---- the prompt after a reply ---- */

/* How long the text after a reply must stand to be taken for the prompt; -1: it is
 * none yet. */
static enum vt_rc judge_block(struct run *r, const char *text, size_t n, vt_time *wait)
{
    size_t at = vt_last_line(text, n), begin, end;
    const char *line = text + at;
    size_t len = n - at;
    *wait = WAIT_SETTLED;
    if (len > VT_LINE_MAX || !vt_last_nonblank(text, n, &begin, &end))
        return VT_OK;
    if (vt_prompts_equal(&r->s->prompts, line, len) != NULL
        || vt_prompts_beginning(&r->s->prompts, line, len) != NULL) {
        *wait = 0;
        return VT_OK;
    }
    struct vt_prompts none = {0};
    struct vt_seen seen;
    enum vt_rc rc = vt_prompts_classify(&none, text, n, r->c->match, r->c->ctx, &seen);
    if (seen.kind == VT_KIND_WEAK)
        *wait = VT_MS;
    else if (seen.kind == VT_KIND_OLD)
        *wait = WAIT_SILENCE;
    return rc;
}

/* Reads the block: all that follows the reply until the shell is ready.  The reply
 * proves that only a prompt can follow (a message of the kernel may, too). */
static enum vt_rc read_block(struct run *r, const struct asked *a, vt_time deadline)
{
    for (;;) {
        uint64_t from;
        size_t n;
        vt_time wait;
        const char *text = tail(r->s, a->reply_end, &from, &n);
        enum vt_rc rc = judge_block(r, text, n, &wait);
        if (rc != VT_OK || wait == 0)
            return rc;
        vt_time until = vt_sooner(deadline, wait);
        rc = vt_session_fill(r->s, r->w, until, NULL);
        if (rc == VT_TIMEOUT)
            return VT_OK;           /* the status is known: a strange prompt is no failure */
        if (rc != VT_OK)
            return rc;
    }
}

/* Learns the block, less a message written over its last line. */
static enum vt_rc learn_block(struct run *r, const struct asked *a)
{
    uint64_t from;
    size_t n;
    struct vt_seen seen;
    const char *text = tail(r->s, a->reply_end, &from, &n);
    enum vt_rc rc = vt_prompts_classify(&r->s->prompts, text, n, r->c->match, r->c->ctx, &seen);
    if (rc != VT_OK || seen.kind == VT_KIND_NONE || seen.kind == VT_KIND_OVERRUN || from != a->reply_end)
        return rc;
    if (seen.kind == VT_KIND_SUFFIX || seen.kind == VT_KIND_SHORT)
        return VT_OK;               /* "message $ ": the prompt itself is known */
    return vt_prompts_learn(&r->s->prompts, text, n, true);
}

static void note_manners(struct vt_session *s, const struct asked *a, bool echoed)
{
    if (echoed)
        s->echo = VT_ECHOES_ON;
    else if (s->echo == VT_ECHOES_ON && s->t->ops->echo)
        s->echo = VT_ECHOES_UNKNOWN;    /* a message of the kernel's may have come into it */
    else
        s->echo = VT_ECHOES_OFF;
    s->crlf = a->crlf;
}

/* ---- what came between the candidate and the reply ---- */

/* The typed questions that the far end echoed in [begin, end): into out, in order. */
static enum vt_rc find_echoes(const struct vt_session *s, const struct asked *a, uint64_t begin,
                              uint64_t end, struct vt_span *out, int max, int *count)
{
    enum vt_rc rc = VT_OK;
    *count = 0;
    while (begin < end && *count < max) {
        struct piece p;
        uint64_t stop = end - begin > CHUNK ? begin + CHUNK : end;
        if ((rc = piece_read(s, begin, stop, &p)) != VT_OK)
            return rc;
        size_t b, e;
        if (vt_echo_find(a->text, a->len, p.text, p.n, &b, &e)) {
            out[(*count)++] = (struct vt_span){begin + b, begin + e};
            begin += e;
        } else {
            begin = stop == end ? end : stop - STATUS_MAX;
        }
        free(p.text);
    }
    return rc;
}

/* The end of [begin, end) without the spans in cut, at most CHUNK bytes. */
static enum vt_rc read_without(const struct vt_session *s, uint64_t begin, uint64_t end,
                               const struct vt_span *cut, int count, struct piece *p)
{
    if (end - begin > CHUNK)
        begin = end - CHUNK;
    enum vt_rc rc = piece_read(s, begin, end, p);
    for (int i = count - 1; rc == VT_OK && i >= 0; i--) {
        if (cut[i].begin < begin)
            break;
        size_t b = (size_t)(cut[i].begin - begin), e = (size_t)(cut[i].end - begin);
        memmove(p->text + b, p->text + e, p->n - e);
        p->n -= e - b;
    }
    return rc;
}

/* ---- the output as spans ---- */

static void add_span(struct vt_command *c, uint64_t begin, uint64_t end)
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

/* The command's echo behind a message of the kernel's, say: into out, if it is there. */
static enum vt_rc find_late_echo(struct run *r, uint64_t begin, uint64_t end, struct vt_span *out, int *count)
{
    struct piece p;
    size_t b, e;
    *count = 0;
    if (!r->echo_late)
        return VT_OK;
    enum vt_rc rc = piece_read(r->s, begin, end - begin > CHUNK ? begin + CHUNK : end, &p);
    if (rc != VT_OK)
        return rc;
    if (vt_echo_find(r->c->text, r->c->len, p.text, p.n, &b, &e))
        out[(*count)++] = (struct vt_span){begin + b, begin + e};
    free(p.text);
    return VT_OK;
}

/* "[   12.345678] ...", as the kernel begins its messages. */
static bool is_kernel_message(const char *line, size_t n)
{
    size_t i = 0, digits = 0;
    if (n == 0 || line[i++] != '[')
        return false;
    while (i < n && line[i] == ' ')
        i++;
    for (; i < n && ((line[i] >= '0' && line[i] <= '9') || (line[i] == '.' && digits > 0)); i++)
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

/* What is left of the text without the prompt at its end, and without those before it that
 * answered our own empty lines: a slow guest gets them although its command was under way. */
static enum vt_rc cut_prompts(struct run *r, const char *text, size_t *n)
{
    struct vt_seen seen;
    enum vt_rc rc = vt_prompts_classify(&r->s->prompts, text, *n, r->c->match, r->c->ctx, &seen);
    if (rc == VT_OK)
        *n = vt_prompts_cut(&r->s->prompts, &seen, text, *n);
    for (int i = 0; rc == VT_OK && i < r->nudges; i++) {
        size_t line = *n;
        while (line > 0 && (text[line - 1] == '\n' || text[line - 1] == '\r'))
            line--;
        rc = vt_prompts_classify(&r->s->prompts, text, line, r->c->match, r->c->ctx, &seen);
        if (rc != VT_OK)
            break;
        size_t at = seen.kind == VT_KIND_EXACT ? vt_prompts_cut(&r->s->prompts, &seen, text, line)
                  : find_overrun(&r->s->prompts, text, line);
        if (at == line)
            break;
        *n = at;
    }
    return rc;
}

/* [begin, end) without the spans in others, the command's own echo, and the prompt at its
 * end. */
static enum vt_rc set_output(struct run *r, uint64_t begin, uint64_t end,
                             const struct vt_span *others, int other_count)
{
    struct vt_span cut[VT_SPANS];
    struct piece p;
    uint64_t at = begin;
    int count;
    r->c->spans = 0;
    enum vt_rc rc = find_late_echo(r, begin, end, cut, &count);
    if (rc != VT_OK)
        return rc;
    for (int i = 0; i < other_count; i++)
        cut[count++] = others[i];
    for (int i = 0; i < count; i++) {
        if (cut[i].begin < begin)
            continue;
        add_span(r->c, at, cut[i].begin);
        at = cut[i].end;
    }
    add_span(r->c, at, end);
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

/* Decides what the candidate was, by what came between it and the reply. */
static enum vt_rc settle(struct run *r, const struct asked *a)
{
    struct vt_span echoes[VT_SPANS - 1];
    struct piece pre;
    int count;
    enum vt_rc rc = find_echoes(r->s, a, r->candidate, a->reply, echoes, VT_SPANS - 1, &count);
    if (rc == VT_OK)
        rc = read_without(r->s, r->candidate, a->reply, echoes, count, &pre);
    if (rc != VT_OK)
        return rc;
    size_t at = vt_last_line(pre.text, pre.n);
    /* A prompt at its end: the question was typed ahead, the candidate was output. */
    bool ahead = vt_prompts_ending(&r->s->prompts, pre.text + at, pre.n - at) != NULL
                 && !vt_is_blank(pre.text, pre.n);
    free(pre.text);
    note_manners(r->s, a, count > 0);
    if (ahead)
        return set_output(r, r->start, a->reply, echoes, count);
    return set_output(r, r->start, r->candidate, NULL, 0);
}

/* ---- proof ---- */

static enum vt_rc prove(struct run *r, struct asked *a)
{
    vt_time deadline = r->c->deadline, later = vt_sooner(VT_FOREVER, r->c->status_wait);
    if (deadline < later)
        deadline = later;
    enum vt_rc rc = ask(r, a, deadline);
    if (rc == VT_OK)
        rc = wait_reply(r, a, deadline);
    if (rc == VT_OK)
        rc = read_block(r, a, deadline);
    if (rc == VT_OK)
        rc = learn_block(r, a);
    return rc == VT_OK ? settle(r, a) : rc;
}

/* A status command that can't be numbered: the first line of digits, as the original
 * has it, once the prompt stands still behind it. */
static bool digits_line(const char *text, size_t n, int *status)
{
    while (n > 0) {
        const char *lf = memchr(text, '\n', n);
        size_t len = lf == NULL ? n : (size_t)(lf - text), i = 0, end = len;
        while (i < end && (text[i] == ' ' || text[i] == '\r' || text[i] == '\t'))
            i++;
        while (end > i && (text[end - 1] == ' ' || text[end - 1] == '\r' || text[end - 1] == '\t'))
            end--;
        size_t first = i + (i < end && text[i] == '-');
        long value = 0;
        size_t d = first;
        for (; d < end && text[d] >= '0' && text[d] <= '9' && d - first < 10; d++)
            value = value * 10 + (text[d] - '0');
        if (d == end && d > first) {
            *status = (int)(first > i ? -value : value);
            return true;
        }
        if (lf == NULL)
            return false;
        text += len + 1;
        n -= len + 1;
    }
    return false;
}

static enum vt_rc prove_by_digits(struct run *r, const char *command)
{
    vt_time deadline = vt_sooner(VT_FOREVER, r->c->status_wait);
    struct run q = *r;
    if (deadline < r->c->deadline)
        deadline = r->c->deadline;
    struct vt_command question = *r->c;
    question.text = command;
    question.len = strlen(command);
    question.deadline = deadline;
    question.safe = false;
    q.c = &question;
    q.sent = q.start = r->s->store.total;
    q.echo_open = true;
    enum vt_rc rc = vt_session_write(r->s, command, question.len, r->w, deadline);
    if (rc == VT_OK)
        rc = vt_session_write(r->s, r->c->linesep, r->c->linesep_len, r->w, deadline);
    if (rc == VT_OK)
        rc = find_candidate(&q);
    if (rc != VT_OK)
        return rc;
    uint64_t from;
    size_t n;
    const char *text = tail(r->s, q.start, &from, &n);
    r->c->has_status = digits_line(text, n, &r->c->status);
    return set_output(r, r->start, r->candidate, NULL, 0);
}

static enum vt_rc finish(struct run *r)
{
    struct asked a;
    const char *command = r->c->status_command;
    if (command == NULL || command[0] == '\0')
        command = "echo $?";
    bool proved = r->seen.which != NULL && r->seen.which->proved;
    enum vt_rc rc;
    r->c->found = true;
    if (r->c->want_status && is_echo(command)) {
        number(r, command, &a);
        rc = prove(r, &a);
        r->c->has_status = rc == VT_OK;
        r->c->status = a.status;
        return rc;
    }
    if (r->c->want_status)
        return prove_by_digits(r, command);
    if (proved && r->s->posix) {
        number_kept(r, &a);
        return prove(r, &a);
    }
    r->s->echo = r->s->echo == VT_ECHOES_ON ? VT_ECHOES_ON : VT_ECHOES_UNKNOWN;
    return set_output(r, r->start, r->candidate, NULL, 0);
}

/* ---- sending ---- */

/* Drops what nobody has read: it belongs to no command of the caller's. */
static enum vt_rc discard(struct run *r)
{
    enum vt_rc rc = VT_OK;
    for (int turn = 0; rc == VT_OK && turn < DISCARD_TURNS; turn++)
        rc = vt_session_fill(r->s, r->w, vt_now(), NULL);
    return rc == VT_TIMEOUT ? VT_OK : rc;
}

static bool is_too_long(const char *text, size_t n)
{
    while (n > TTY_LINE_MAX) {
        const char *lf = memchr(text, '\n', n);
        size_t len = lf == NULL ? n : (size_t)(lf - text);
        if (len > TTY_LINE_MAX || lf == NULL)
            return true;
        text += len + 1;
        n -= len + 1;
    }
    return false;
}

static enum vt_rc send_command(struct run *r)
{
    struct vt_buf line;
    enum vt_rc rc = discard(r);
    r->sent = r->start = r->s->store.total;     /* nothing before is this command's */
    if (rc != VT_OK)
        return rc;
    vt_log_break(&r->s->log);
    r->echo_open = r->s->echo != VT_ECHOES_OFF;
    vt_buf_init(&line, r->c->len + r->c->linesep_len);
    rc = vt_buf_add(&line, r->c->text, r->c->len);
    if (rc == VT_OK)
        rc = vt_buf_add(&line, r->c->linesep, r->c->linesep_len);
    if (rc == VT_OK)
        rc = vt_session_write(r->s, line.data, line.len, r->w, r->c->deadline);
    vt_buf_fini(&line);
    return rc;
}

/* Asks the shell whether it reads its lines with readline, which takes any length. */
static enum vt_rc ask_editor(struct run *r, bool *has_editor)
{
    struct asked a = {0};
    unsigned token = ++r->s->token;
    a.token_len = (size_t)snprintf(a.token, sizeof a.token, "vt%u:", token);
    a.len = (size_t)snprintf(a.text, sizeof a.text, "echo %s${BASH_VERSION:+1}0", a.token);
    vt_time deadline = vt_sooner(r->c->deadline, WAIT_ANSWER);
    enum vt_rc rc = ask(r, &a, deadline);
    if (rc == VT_OK)
        rc = wait_reply(r, &a, deadline);
    if (rc == VT_OK)
        rc = read_block(r, &a, deadline);
    *has_editor = rc == VT_OK && a.status == 10;
    return rc == VT_TIMEOUT ? VT_OK : rc;
}

static enum vt_rc check_length(struct run *r)
{
    bool has_editor = false;
    enum vt_rc rc = VT_OK;
    if (!is_too_long(r->c->text, r->c->len))
        return VT_OK;
    if (r->s->posix && r->s->prompts.count > 0)
        rc = ask_editor(r, &has_editor);
    return rc == VT_OK && !has_editor ? VT_TOOBIG : rc;
}

enum vt_rc vt_session_command(struct vt_session *s, struct vt_command *c, struct vt_waiter *w)
{
    struct run r = {.s = s, .c = c, .w = w};
    c->spans = 0;
    c->found = c->has_status = false;
    enum vt_rc rc = check_length(&r);
    if (rc != VT_OK)
        return rc;
    rc = send_command(&r);
    if (rc == VT_OK && (rc = find_candidate(&r)) == VT_OK)
        rc = finish(&r);
    if (rc != VT_OK && c->found && c->spans == 0)
        (void)!set_output(&r, r.start, r.candidate, NULL, 0);
    else if (rc != VT_OK && c->spans == 0)
        add_span(c, r.start, s->store.total);
    if (rc != VT_OK && s->echo == VT_ECHOES_OFF)
        s->echo = VT_ECHOES_UNKNOWN;    /* who knows what runs there now */
    s->read_at = s->store.total;
    return rc;
}

/* ---- the result ---- */

size_t vt_command_size(const struct vt_command *c)
{
    size_t n = 0;
    for (int i = 0; i < c->spans; i++)
        n += (size_t)(c->output[i].end - c->output[i].begin);
    return n;
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

enum vt_rc vt_command_read(const struct vt_session *s, const struct vt_command *c, char *out, size_t *n)
{
    size_t len = 0;
    for (int i = 0; i < c->spans; i++) {
        uint64_t begin = c->output[i].begin, end = c->output[i].end;
        if (begin < s->store.first)         /* forgotten: the disk was full */
            begin = s->store.first < end ? s->store.first : end;
        enum vt_rc rc = vt_store_read(&s->store, begin, out + len, (size_t)(end - begin));
        if (rc != VT_OK)
            return rc;
        len += (size_t)(end - begin);
    }
    if (s->crlf)
        len = vt_strip_cr(out, len);
    if (has_paste(s))
        len = vt_strip_paste(out, len, s->echo == VT_ECHOES_ON);
    *n = len;
    return VT_OK;
}

/* ---- login ---- */

/* Puts the numbered question to whatever stands there.  VT_OK: proved; VT_TIMEOUT: no
 * reply, it may be anything. */
static enum vt_rc login_ask(struct run *r, const char *command)
{
    struct asked a;
    number(r, command, &a);
    r->sent = r->s->store.total;
    enum vt_rc rc = ask(r, &a, r->c->deadline);
    if (rc == VT_OK)
        rc = wait_reply(r, &a, vt_sooner(r->c->deadline, WAIT_ANSWER));
    if (rc == VT_OK)
        rc = read_block(r, &a, r->c->deadline);
    if (rc == VT_OK)
        rc = learn_block(r, &a);
    if (rc != VT_OK)
        return rc;
    struct vt_span echo;
    int count;
    rc = find_echoes(r->s, &a, a.at, a.reply, &echo, 1, &count);
    note_manners(r->s, &a, count > 0);
    r->s->posix = strcmp(command, "echo $?") == 0;
    return rc;
}

/* No shell that we know: an empty line shows the prompt once more. */
static enum vt_rc login_learn(struct run *r)
{
    uint64_t asked = r->s->store.total, from;
    size_t n;
    enum vt_rc rc = vt_session_write(r->s, r->c->linesep, r->c->linesep_len, r->w, r->c->deadline);
    if (rc == VT_OK)
        rc = vt_session_quiet(r->s, r->w, WAIT_SILENCE, r->c->deadline);
    if (rc != VT_OK)
        return rc;
    const char *text = tail(r->s, asked, &from, &n);
    size_t at = 0;
    while (at < n && (text[at] == '\r' || text[at] == '\n'))
        at++;
    return at < n ? vt_prompts_learn(&r->s->prompts, text + at, n - at, false) : VT_OK;
}

/* Waits until the pattern matches the last non-blank line and nothing is pending. */
static enum vt_rc login_wait(struct run *r, vt_time silence)
{
    vt_time believe = VT_FOREVER;
    r->seen = (struct vt_seen){VT_KIND_NONE, NULL};
    for (;;) {
        uint64_t from;
        size_t n;
        const char *text = tail(r->s, r->start, &from, &n);
        struct vt_prompts none = {0};
        enum vt_rc rc = vt_prompts_classify(&none, text, n, r->c->match, r->c->ctx, &r->seen);
        if (rc != VT_OK)
            return rc;
        if (r->seen.kind == VT_KIND_WEAK && silence == 0)
            return VT_OK;
        believe = r->seen.kind == VT_KIND_NONE ? VT_FOREVER
                : vt_now() + (silence > 0 ? silence : WAIT_SILENCE);
        bool ours = believe < r->c->deadline;
        rc = vt_session_fill(r->s, r->w, ours ? believe : r->c->deadline, NULL);
        if (rc == VT_TIMEOUT && ours)
            return VT_OK;
        if (rc != VT_OK)
            return rc;
    }
}

/* Where the last non-blank line before offset begins: a caller who read it may have
 * seen the prompt there already. */
static uint64_t line_begin(const struct vt_session *s, uint64_t offset)
{
    uint64_t back = offset > TAIL ? offset - TAIL : 0, from;
    size_t n, begin, end;
    const char *text = vt_store_window(&s->store, back, &from, &n);
    if (from >= offset || !vt_last_nonblank(text, (size_t)(offset - from), &begin, &end))
        return offset;
    return from + begin;
}

enum vt_rc vt_session_find_prompt(struct vt_session *s, struct vt_command *c, struct vt_waiter *w)
{
    struct run r = {.s = s, .c = c, .w = w, .start = line_begin(s, s->read_at)};
    const char *command = is_echo(c->status_command) ? c->status_command : "echo $?";
    vt_prompts_forget(&s->prompts);
    s->posix = false;
    enum vt_rc rc = discard(&r);
    if (rc == VT_OK)
        rc = login_wait(&r, 0);
    if (rc == VT_OK) {
        rc = login_ask(&r, command);
        for (int again = 0; rc == VT_TIMEOUT && again < 1 && !vt_expired(c->deadline); again++) {
            /* Typed ahead, swallowed by a getty that flushed its input, or no shell. */
            rc = login_wait(&r, WAIT_SILENCE);
            if (rc == VT_OK && (rc = login_ask(&r, command)) == VT_TIMEOUT && !vt_expired(c->deadline))
                rc = login_learn(&r);
        }
    }
    c->spans = 0;
    add_span(c, r.start, rc == VT_OK ? r.sent : s->store.total);    /* less question and reply */
    s->read_at = s->store.total;
    return rc;
}
