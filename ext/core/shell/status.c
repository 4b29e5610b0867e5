/* status.c - the numbered status command, its reply, and the prompt behind that. */
#include "shell/run.h"

#include "base/ascii.h"
#include "console/message.h"
#include "console/text.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define ASK_MOST 4                  /* times that a question is put again */
#define WAIT_AGAIN (200 * VT_MS)    /* behind a prompt without a reply, at first */
#define WAIT_MUTE VT_SEC            /* for a program that is no shell */
#define WAIT_BLOCK (3 * VT_SEC)     /* for a prompt among messages */
#define WAIT_SETTLED VT_SEC         /* after a reply: for a prompt that nothing fits */

/* ---- the numbered status command ---- */

bool vt_is_echo_command(const char *command)
{
    return command != NULL && strncmp(command, "echo ", 5) == 0 && strlen(command) < VT_STATUS_MAX - 64;
}

static void set_token(struct vt_asked *a, unsigned number)
{
    if (a->number == number)
        return;
    a->number = number;
    a->token_len = (size_t)snprintf(a->token, sizeof a->token, "vt%u:", number);
}

void vt_ask_anew(struct vt_run *r, struct vt_asked *a)
{
    *a = (struct vt_asked){0};
    a->first = a->last = ++r->s->token;
    set_token(a, a->first);
}

static void put_kept(struct vt_asked *a)
{
    a->len = (size_t)snprintf(a->text, sizeof a->text, "(s=$?; echo %s$s; exit $s)", a->token);
}

/* "echo $?" -> "echo vt7:$?" */
void vt_ask_number(struct vt_run *r, const char *command, struct vt_asked *a)
{
    vt_ask_anew(r, a);
    a->len = (size_t)snprintf(a->text, sizeof a->text, "echo %s%s", a->token, command + 5);
}

/* The same question, put so that $? stays what it was for the caller's next command. */
void vt_ask_kept(struct vt_run *r, struct vt_asked *a)
{
    vt_ask_anew(r, a);
    a->kept = true;
    put_kept(a);
}

static enum vt_rc type_question(struct vt_run *r, const char *text, size_t len, vt_time deadline)
{
    char line[VT_STATUS_MAX + 16];
    size_t sep = r->c->linesep_len < 16 ? r->c->linesep_len : 16;
    memcpy(line, text, len);
    memcpy(line + len, r->c->linesep, sep);
    return vt_session_write(r->s, line, len + sep, r->w, deadline);
}

enum vt_rc vt_ask(struct vt_run *r, struct vt_asked *a, vt_time deadline)
{
    a->at = a->scanned = r->s->store.total;
    return type_question(r, a->text, a->len, deadline);
}

/* The same question with another number, behind a prompt that came without the first one's. */
static enum vt_rc ask_again(struct vt_run *r, struct vt_asked *a, vt_time deadline)
{
    struct vt_asked again = *a;
    set_token(&again, a->last = ++r->s->token);
    if (a->kept)
        put_kept(&again);
    else        /* "echo vt7:$?": all behind the number stays, which may have fewer digits */
        again.len = (size_t)snprintf(again.text, sizeof again.text, "echo %s%s", again.token,
                                     strchr(a->text, ':') + 1);
    return type_question(r, again.text, again.len, deadline);
}

/* "-12\r\n" after the token: 1 complete, 0 cut off, -1 no number (an echo, say). */
static int parse_reply(const char *text, size_t n, struct vt_asked *a, size_t *len)
{
    size_t i = 0;
    long value = 0;
    bool minus = n > 0 && text[0] == '-';
    if (minus)
        i++;
    size_t first = i;
    for (; i < n && vt_is_digit(text[i]) && i - first < 11; i++)
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

/* The reply to one question within text: 1 with its place in *at and *end, 0 if it is cut off by the
 * end (*at tells where), -1 if there is none. */
static int find_token(struct vt_asked *a, const char *text, size_t n, size_t *at, size_t *end)
{
    for (size_t from = 0; from < n;) {
        const char *hit = memmem(text + from, n - from, a->token, a->token_len);
        if (hit == NULL)
            return -1;
        size_t len = 0, after = (size_t)(hit - text) + a->token_len;
        int got = parse_reply(text + after, n - after, a, &len);
        *at = (size_t)(hit - text);
        *end = after + len;
        if (got >= 0)
            return got;
        from = after;
    }
    return -1;
}

/* Looks for the reply in what came since the last look. */
static bool find_bare_reply(struct vt_run *r, struct vt_asked *a)
{
    uint64_t from;
    size_t n, at = 0, end = 0;
    const char *text = vt_store_window(&r->s->store, a->scanned, &from, &n);
    int got = find_token(a, text, n, &at, &end);
    if (got < 0)
        at = n - (n < a->token_len ? n : a->token_len);
    if (got > 0) {
        a->reply = from + at;
        a->reply_end = from + end;
    } else {
        a->scanned = from + at;
    }
    return got > 0;
}

/* Looks for one that messages of the console's came into. */
static enum vt_rc find_torn_reply(struct vt_run *r, struct vt_asked *a, bool *found)
{
    uint64_t from;
    size_t n, at, end;
    struct vt_view v;
    const char *text = vt_run_tail(r->s, a->at, &from, &n);
    *found = false;
    if (memchr(text, '[', n) == NULL)
        return VT_OK;
    enum vt_rc rc = vt_view_init(&v, text, n);
    if (rc == VT_OK && v.some && find_token(a, v.text, v.n, &at, &end) > 0) {
        a->reply = from + v.map[at];
        a->reply_end = from + v.map[end];
        *found = true;
    }
    vt_view_fini(&v);
    return rc;
}

/* The first answer to any of the questions. */
static enum vt_rc find_answer(struct vt_run *r, struct vt_asked *a, bool *found)
{
    enum vt_rc rc = VT_OK;
    uint64_t scanned = a->scanned;
    *found = false;
    for (unsigned number = a->first; number <= a->last && !*found && rc == VT_OK; number++) {
        a->scanned = number == a->first ? scanned : a->at;
        set_token(a, number);
        *found = find_bare_reply(r, a);
        if (number == a->first)
            scanned = a->scanned;
        if (!*found)
            rc = find_torn_reply(r, a, found);
        a->answered = number;
    }
    a->scanned = scanned;
    return rc;
}

/* ---- a prompt where the reply should be ---- */

struct standing {
    uint64_t end;               /* where the prompt ends */
    vt_time since;
    bool proved;
};

/* Whether what came since the question ends with a prompt, and since when. */
static enum vt_rc look_standing(struct vt_run *r, const struct vt_asked *a, struct standing *st)
{
    struct vt_seen seen;
    bool covered;
    uint64_t end;
    enum vt_rc rc = vt_run_classify(r, a->at, &seen, &covered, &end);
    if (rc != VT_OK)
        return rc;
    bool is_prompt = seen.kind != VT_KIND_NONE && seen.kind != VT_KIND_OLD && seen.kind != VT_KIND_OVERRUN;
    if (!is_prompt)
        *st = (struct standing){0};
    else if (st->end != end)
        *st = (struct standing){end, vt_now(), seen.which != NULL && seen.which->proved};
    return VT_OK;
}

/* When to ask again or to give up.  A shell's own prompt says that the reply was lost, or that the
 * question is typed ahead of a command that prints such a thing; another program's, that it
 * doesn't understand. */
static vt_time patience_ends(const struct vt_run *r, const struct vt_asked *a, const struct standing *st)
{
    unsigned tries = a->last - a->first;
    if (st->end == 0 || (st->proved && tries >= ASK_MOST))
        return VT_FOREVER;
    vt_time wait = st->proved && a->kept ? WAIT_AGAIN << tries : WAIT_MUTE << (st->proved ? tries : 0);
    return st->since + wait * (r->c->patience > 1 ? r->c->patience : 1);
}

static enum vt_rc unanswered(struct vt_run *r, struct vt_asked *a, struct standing *st, vt_time deadline)
{
    r->mute = !st->proved || a->once;
    st->since = vt_now();
    return r->mute ? VT_TIMEOUT : ask_again(r, a, deadline);
}

/* The answers to the other questions, which are not to be taken for a later command's output. */
static enum vt_rc wait_others(struct vt_run *r, struct vt_asked *a, vt_time deadline)
{
    struct vt_asked last = *a;
    enum vt_rc rc = VT_OK;
    vt_time until = vt_sooner(deadline, VT_WAIT_ANSWER);
    set_token(&last, a->last);
    last.scanned = a->reply_end;
    while (rc == VT_OK && !find_bare_reply(r, &last))
        rc = vt_run_fill(r, until, until);
    if (rc == VT_OK)
        a->reply_end = last.reply_end;
    return rc == VT_TIMEOUT ? VT_OK : rc;
}

enum vt_rc vt_wait_reply(struct vt_run *r, struct vt_asked *a, vt_time deadline)
{
    struct standing st = {0};
    bool found;
    for (;;) {
        enum vt_rc rc = find_answer(r, a, &found);
        if (rc == VT_OK && !found)
            rc = look_standing(r, a, &st);
        if (rc != VT_OK || found)
            return rc != VT_OK || a->answered == a->last ? rc : wait_others(r, a, deadline);
        vt_time until = patience_ends(r, a, &st);
        rc = vt_run_fill(r, until < deadline ? until : deadline, deadline);
        if (rc == VT_TIMEOUT && !r->late && until < deadline)
            rc = unanswered(r, a, &st, deadline);
        else if (rc == VT_TIMEOUT && st.end != 0 && !st.proved)
            r->mute = true;             /* it had most of a second */
        if (rc != VT_OK)
            return rc;
    }
}

/* ---- the prompt after a reply ---- */

/* How long the text after a reply must stand to be taken for the prompt. */
static enum vt_rc judge_block(struct vt_run *r, uint64_t begin, vt_time *wait)
{
    uint64_t from, stop;
    size_t n;
    struct vt_seen seen;
    bool covered;
    const char *text = vt_run_tail(r->s, begin, &from, &n);
    size_t at = vt_last_line(text, n), first, end;
    *wait = WAIT_SETTLED;
    if (!vt_last_nonblank(text, n, &first, &end))
        return VT_OK;
    if (vt_prompts_beginning(&r->s->prompts, text + at, n - at) != NULL) {
        *wait = 0;
        return VT_OK;
    }
    enum vt_rc rc = vt_run_classify(r, begin, &seen, &covered, &stop);
    if (seen.kind == VT_KIND_EXACT || covered)
        *wait = 0;
    else if (seen.kind == VT_KIND_WEAK || seen.kind == VT_KIND_SUFFIX || seen.kind == VT_KIND_SHORT)
        *wait = VT_MS;
    else if (seen.kind == VT_KIND_OLD)
        *wait = VT_WAIT_SILENCE;
    return rc;
}

/* Reads the block: all that follows the reply until the shell is ready.  The reply
 * proves that only a prompt can follow (a message of the kernel's may, too, and more of them
 * without end). */
enum vt_rc vt_read_block(struct vt_run *r, const struct vt_asked *a, vt_time deadline)
{
    vt_time limit = vt_sooner(deadline, WAIT_BLOCK);
    for (;;) {
        vt_time wait;
        enum vt_rc rc = judge_block(r, a->reply_end, &wait);
        if (rc != VT_OK || wait == 0)
            return rc;
        rc = vt_run_fill(r, vt_sooner(limit, wait), limit);
        if (rc == VT_TIMEOUT)
            return VT_OK;           /* the status is known: a strange prompt is no failure */
        if (rc != VT_OK)
            return rc;
    }
}

/* Whether the candidate ended with that line, too.  "(venv) $ " is a new prompt then, "message $ "
 * is none: the prompt itself is known.  Counters need not be equal. */
static bool stood_before(struct vt_run *r, const char *line, size_t n)
{
    uint64_t from;
    size_t have;
    const struct vt_learned *l = r->s->prompts.count > 0 ? &r->s->prompts.list[0] : NULL;
    if (l != NULL && vt_shape_ending(l->shown, l->shown_len, line, n, NULL) > 0)
        return true;
    if (r->candidate < n || n == 0)
        return false;
    const char *text = vt_store_window(&r->s->store, r->candidate - n, &from, &have);
    return from == r->candidate - n && have >= n && memcmp(text, line, n) == 0;
}

/* Learns the block, less messages in it or over its last line. */
enum vt_rc vt_learn_block(struct vt_run *r, const struct vt_asked *a)
{
    uint64_t from;
    size_t n;
    struct vt_seen seen;
    struct vt_view v;
    const char *text = vt_run_tail(r->s, a->reply_end, &from, &n);
    if (from != a->reply_end)
        return VT_OK;
    enum vt_rc rc = VT_OK;
    v = (struct vt_view){0};
    if (n > 0 && memchr(text, '[', n) != NULL)
        rc = vt_view_init(&v, text, n);
    if (rc != VT_OK)
        return rc;
    if (v.n > 0) {          /* else what looks like a message, and has no end, is the prompt */
        text = v.text;
        n = v.n;
    }
    rc = vt_prompts_classify(&r->s->prompts, text, n, r->c->match, r->c->ctx, &seen);
    bool is_new = seen.kind == VT_KIND_EXACT || seen.kind == VT_KIND_WEAK || seen.kind == VT_KIND_OLD;
    if (seen.kind == VT_KIND_SUFFIX || seen.kind == VT_KIND_SHORT)
        is_new = stood_before(r, text + vt_last_line(text, n), n - vt_last_line(text, n));
    if (rc == VT_OK && is_new)
        rc = vt_session_learn(r->s, text, n, true);
    vt_view_fini(&v);
    return rc;
}

void vt_note_manners(struct vt_session *s, const struct vt_asked *a, bool echoed)
{
    if (echoed)
        s->echo = VT_ECHOES_ON;
    else if (s->echo == VT_ECHOES_ON && s->t->ops->echo)
        s->echo = VT_ECHOES_UNKNOWN;    /* a message of the kernel's may have come into it */
    else
        s->echo = VT_ECHOES_OFF;
    s->crlf = a->crlf;
}

/* ---- proof ---- */

/* The status has `status_wait` even where the command has taken all of its time. */
static vt_time status_deadline(const struct vt_run *r)
{
    vt_time later = vt_sooner(VT_FOREVER, r->c->status_wait);
    return r->c->deadline < later ? later : r->c->deadline;
}

enum vt_rc vt_prove(struct vt_run *r, struct vt_asked *a)
{
    vt_time deadline = status_deadline(r);
    enum vt_rc rc = vt_ask(r, a, deadline);
    if (rc == VT_OK)
        rc = vt_wait_reply(r, a, deadline);
    if (rc == VT_OK)
        rc = vt_read_block(r, a, deadline);
    if (rc == VT_OK)
        rc = vt_learn_block(r, a);
    if (rc != VT_OK)
        return rc;
    r->status = a->status;
    r->has_status = a->kept || a->answered == a->first;    /* else it is that of our own question */
    return vt_settle(r, a);
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
        for (; d < end && vt_is_digit(text[d]) && d - first < 10; d++)
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

enum vt_rc vt_prove_by_digits(struct vt_run *r, const char *command)
{
    vt_time deadline = status_deadline(r);
    struct vt_run q = *r;
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
        rc = vt_run_find_candidate(&q);
    if (rc != VT_OK)
        return rc;
    uint64_t from;
    size_t n;
    const char *text = vt_run_tail(r->s, q.start, &from, &n);
    r->c->has_status = digits_line(text, n, &r->c->status);
    return vt_set_output(r, r->start, r->candidate, NULL, 0);
}
