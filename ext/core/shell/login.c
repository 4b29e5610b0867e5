/* login.c - the first prompt of a session. */
#include "shell/run.h"

#include "console/message.h"
#include "console/text.h"

#include <string.h>

/* On a console each question is put so that it can be put again, which is to be understood: csh
 * knows `echo $?`, but not the rest. */
static enum vt_rc login_check(struct vt_run *r)
{
    struct vt_asked a;
    vt_ask_kept(r, &a);
    a.once = true;
    enum vt_rc rc = vt_ask(r, &a, r->c->deadline);
    if (rc == VT_OK)
        rc = vt_wait_reply(r, &a, vt_sooner(r->c->deadline, VT_WAIT_ANSWER));
    if (rc == VT_OK)
        rc = vt_read_block(r, &a, r->c->deadline);
    else
        r->s->posix = false;
    r->mute = false;
    return rc == VT_TIMEOUT ? VT_OK : rc;
}

/* Puts the numbered question to whatever stands there.  VT_OK: proved; VT_TIMEOUT: no
 * reply, it may be anything. */
static enum vt_rc login_ask(struct vt_run *r, const char *command)
{
    struct vt_asked a;
    vt_ask_number(r, command, &a);
    r->sent = r->s->store.total;
    enum vt_rc rc = vt_ask(r, &a, r->c->deadline);
    if (rc == VT_OK)
        rc = vt_wait_reply(r, &a, vt_sooner(r->c->deadline, VT_WAIT_ANSWER));
    if (rc == VT_OK)
        rc = vt_read_block(r, &a, r->c->deadline);
    if (rc == VT_OK)
        rc = vt_learn_block(r, &a);
    if (rc != VT_OK)
        return rc;
    struct vt_span echo;
    int count;
    rc = vt_find_echoes(r, &a, a.at, a.reply, &echo, 1, &count);
    if (rc == VT_OK && count > 0)
        rc = vt_learn_lead(r, echo.end, a.reply);
    vt_note_manners(r->s, &a, count > 0);
    r->s->posix = strcmp(command, "echo $?") == 0;
    return rc != VT_OK || !r->s->posix || !r->s->t->ops->echo ? rc : login_check(r);
}

/* No shell that we know: a prompt stands behind the question that it did not understand, or an empty
 * line shows it once more. */
static enum vt_rc login_learn(struct vt_run *r)
{
    uint64_t asked = r->sent, from;
    size_t n;
    enum vt_rc rc = VT_OK;
    if (!r->mute) {
        asked = r->s->store.total;
        rc = vt_session_write(r->s, r->c->linesep, r->c->linesep_len, r->w, r->c->deadline);
        if (rc == VT_OK)
            rc = vt_session_quiet(r->s, r->w, VT_WAIT_SILENCE, 0, r->c->deadline);
    }
    if (rc != VT_OK)
        return rc;
    const char *text = vt_run_tail(r->s, asked, &from, &n);
    size_t at = r->mute ? vt_last_line(text, n) : 0;
    while (at < n && (text[at] == '\r' || text[at] == '\n'))
        at++;
    return at < n ? vt_session_learn(r->s, text + at, n - at, false) : VT_OK;
}

/* Waits until the pattern matches the last non-blank line, whatever messages stand over it, and
 * nothing is pending, or for so long. */
static enum vt_rc login_wait(struct vt_run *r, vt_time silence)
{
    vt_time believe = VT_FOREVER;
    for (;;) {
        uint64_t end;
        enum vt_rc rc = vt_run_classify(r, r->start, &r->seen, &r->covered, &end);
        if (rc != VT_OK)
            return rc;
        if (r->seen.kind == VT_KIND_WEAK && silence == 0)
            return VT_OK;
        if (r->seen.kind == VT_KIND_NONE)
            believe = VT_FOREVER;
        else if (!r->covered || end != r->stands)
            believe = vt_now() + (silence > 0 ? silence : VT_WAIT_SILENCE);
        r->stands = end;
        rc = vt_run_fill(r, believe, r->c->deadline);
        if (rc == VT_TIMEOUT && !r->late && believe < r->c->deadline)
            return VT_OK;
        if (rc != VT_OK)
            return rc;
    }
}

/* Where the last non-blank line before offset begins that is no message of the console's: a
 * caller who read it may have seen the prompt there already. */
static uint64_t line_begin(const struct vt_session *s, uint64_t offset)
{
    uint64_t back = offset > VT_TAIL ? offset - VT_TAIL : 0, from;
    size_t n, begin, end;
    bool open;
    const char *text = vt_store_window(&s->store, back, &from, &n);
    if (from >= offset)
        return offset;
    n = (size_t)(offset - from);
    while (vt_last_nonblank(text, n, &begin, &end)) {
        if (vt_message_len(text + begin, end - begin, &open) == 0)
            return from + begin;
        n = begin > 0 ? begin - 1 : 0;
    }
    return offset;
}

/* The question for the line that stands there: a pattern that cmd.exe's prompt matches may be one for all. */
static const char *login_question(const struct vt_run *r)
{
    uint64_t from;
    size_t n, begin, end;
    const char *command = vt_is_echo_command(r->c->status_command) ? r->c->status_command : "echo $?";
    const char *text = vt_run_tail(r->s, r->start, &from, &n);
    if (strcmp(command, "echo %errorlevel%") != 0 || !vt_last_nonblank(text, n, &begin, &end))
        return command;
    char shown[VT_LINE_MAX];
    size_t len = end - begin > sizeof shown ? 0 : vt_shown(text + begin, end - begin, shown);
    while (len > 0 && shown[len - 1] == ' ')
        len--;
    return len > 0 && strchr("#$%", shown[len - 1]) != NULL ? "echo $?" : command;
}

enum vt_rc vt_session_find_prompt(struct vt_session *s, struct vt_command *c, struct vt_waiter *w)
{
    struct vt_run r = {.s = s, .c = c, .w = w, .start = line_begin(s, s->read_at)};
    c->too_much = false;
    vt_session_forget(s);
    s->posix = false;
    enum vt_rc rc = vt_run_discard(&r);
    if (rc == VT_OK)
        rc = login_wait(&r, 0);
    if (rc == VT_OK && s->mute) {
        r.mute = true;                  /* it was asked before */
        r.sent = r.start;
        rc = login_learn(&r);
    } else if (rc == VT_OK) {
        rc = login_ask(&r, login_question(&r));
        if (rc == VT_TIMEOUT && r.mute)
            rc = login_learn(&r);
        for (int again = 0; rc == VT_TIMEOUT && again < 1 && !vt_expired(c->deadline); again++) {
            /* Typed ahead, swallowed by a getty that flushed its input, or no shell. */
            rc = login_wait(&r, VT_WAIT_SILENCE);
            if (rc == VT_OK && (rc = login_ask(&r, login_question(&r))) == VT_TIMEOUT && !vt_expired(c->deadline))
                rc = login_learn(&r);
        }
    }
    s->cut_off = s->cut_off && rc != VT_OK;
    s->typed = false;
    if (r.mute)
        s->mute = true;
    c->spans = 0;
    vt_add_span(c, r.start, rc == VT_OK ? r.sent : s->store.total);    /* less question and reply */
    s->read_at = s->store.total;
    return rc;
}
