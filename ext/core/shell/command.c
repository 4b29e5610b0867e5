/* command.c - one command in a shell, from sending it to its output and status. */
#include "shell/run.h"

#include "console/text.h"

#include <stdio.h>
#include <string.h>

#define DISCARD_TURNS 64            /* of a MiB: a flood is not waited out */
#define TTY_LINE_MAX 4095           /* a tty without a line editor cuts longer lines */

static const char *status_command(const struct vt_run *r)
{
    const char *command = r->c->status_command;
    return command == NULL || command[0] == '\0' ? "echo $?" : command;
}

/* Whether the shell can be asked so that its $? stays: always where a reply may be torn, and has
 * to be asked for again. */
static bool keeps(const struct vt_run *r, const char *command)
{
    return r->s->posix && r->s->t->ops->echo && strcmp(command, "echo $?") == 0;
}

static enum vt_rc finish_by_number(struct vt_run *r, const char *command)
{
    struct vt_asked a;
    if (keeps(r, command))
        vt_ask_kept(r, &a);
    else
        vt_ask_number(r, command, &a);
    enum vt_rc rc = vt_prove(r, &a);
    r->c->has_status = rc == VT_OK && r->has_status;
    r->c->status = a.status;
    return rc == VT_OK && !r->has_status ? VT_TIMEOUT : rc;
}

static enum vt_rc finish(struct vt_run *r)
{
    struct vt_asked a;
    const char *command = status_command(r);
    bool proved = r->seen.which != NULL && r->seen.which->proved;
    r->c->found = true;
    if (r->c->want_status && r->s->mute && !proved) {
        r->mute = true;
        return VT_TIMEOUT;          /* it was asked before, and did not understand */
    }
    if (r->c->want_status)
        return vt_is_echo_command(command) ? finish_by_number(r, command) : vt_prove_by_digits(r, command);
    if (proved && r->s->posix) {
        vt_ask_kept(r, &a);
        return vt_prove(r, &a);
    }
    r->s->echo = r->s->echo == VT_ECHOES_ON ? VT_ECHOES_ON : VT_ECHOES_UNKNOWN;
    return vt_set_output(r, r->start, r->candidate, NULL, 0);
}

/* ---- sending ---- */

/* Drops what nobody has read: it belongs to no command of the caller's. */
enum vt_rc vt_run_discard(struct vt_run *r)
{
    enum vt_rc rc = VT_OK;
    for (int turn = 0; rc == VT_OK && turn < DISCARD_TURNS; turn++) {
        rc = vt_session_fill(r->s, r->w, vt_now(), NULL);
        if (rc == VT_OK && vt_wait_check(r->w, r->c->deadline) == VT_TIMEOUT)
            break;
    }
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

/* The line that the command is typed behind. */
static enum vt_rc note_prompt(struct vt_run *r)
{
    uint64_t from;
    size_t n;
    const char *text = vt_store_window(&r->s->store,
                                       r->sent - (r->sent < VT_LINE_MAX ? r->sent : VT_LINE_MAX), &from, &n);
    size_t at = vt_last_line(text, n);
    return vt_prompts_note(&r->s->prompts, text + at, n - at);
}

static enum vt_rc send_command(struct vt_run *r)
{
    struct vt_buf line;
    enum vt_rc rc = vt_run_discard(r);
    r->sent = r->start = r->s->store.total;     /* nothing before is this command's */
    if (rc != VT_OK)
        return rc;
    if ((rc = note_prompt(r)) != VT_OK)
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
static enum vt_rc ask_editor(struct vt_run *r, bool *has_editor)
{
    struct vt_asked a;
    vt_ask_anew(r, &a);
    a.len = (size_t)snprintf(a.text, sizeof a.text, "echo %s${BASH_VERSION:+1}0", a.token);
    vt_time deadline = vt_sooner(r->c->deadline, VT_WAIT_ANSWER);
    enum vt_rc rc = vt_ask(r, &a, deadline);
    if (rc == VT_OK)
        rc = vt_wait_reply(r, &a, deadline);
    if (rc == VT_OK)
        rc = vt_read_block(r, &a, deadline);
    *has_editor = rc == VT_OK && a.status == 10;
    return rc == VT_TIMEOUT ? VT_OK : rc;
}

static enum vt_rc check_length(struct vt_run *r)
{
    bool has_editor = false;
    enum vt_rc rc = VT_OK;
    if (!is_too_long(r->c->text, r->c->len))
        return VT_OK;
    if (r->s->posix && r->s->prompts.count > 0)
        rc = ask_editor(r, &has_editor);
    return rc == VT_OK && !has_editor ? VT_TOOBIG : rc;
}

/* The last command was cut off, or the caller typed something: what that prints from now on, and
 * its prompt, are nobody's.  The shell's answer to a question says where it ends.  If another
 * program's prompt stands there and does not answer, that one gets the command. */
static enum vt_rc catch_up(struct vt_run *r, const char *command)
{
    struct vt_asked a;
    if (r->s->posix)
        vt_ask_kept(r, &a);
    else
        vt_ask_number(r, command, &a);
    r->start = r->s->store.total;
    enum vt_rc rc = vt_ask(r, &a, r->c->deadline);
    if (rc == VT_OK)
        rc = vt_wait_reply(r, &a, r->c->deadline);
    if (rc == VT_OK)
        rc = vt_read_block(r, &a, r->c->deadline);
    bool other = rc == VT_TIMEOUT && r->mute;
    r->mute = false;
    r->s->cut_off = rc != VT_OK && !other;
    return other ? VT_OK : rc;
}

/* Whether the line that stands there asks for something: no shell reads what is typed then. */
static bool is_question(const char *line, size_t n)
{
    while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
        n--;
    return n > 0 && strchr(":?>)]", line[n - 1]) != NULL;
}

/* Whether a shell may be reading, or will be: no other program's line stands there.  That
 * of one which the pattern matches is asked only where a status is wanted. */
static enum vt_rc may_ask(struct vt_run *r, bool *yes)
{
    uint64_t from, end, begin = r->s->typed ? r->s->typed_at : r->s->store.total;
    size_t n;
    struct vt_seen seen;
    bool covered;
    const char *text = vt_run_tail(r->s, begin, &from, &n);
    size_t at = vt_last_line(text, n);
    bool asks = !vt_is_blank(text + at, n - at) && is_question(text + at, n - at);
    enum vt_rc rc = vt_run_classify(r, begin, &seen, &covered, &end);
    bool proved = seen.which != NULL && seen.which->proved;
    if (seen.kind == VT_KIND_WEAK || (vt_is_known(seen.kind) && !proved))
        *yes = r->s->cut_off && r->c->want_status;
    else
        *yes = proved || !asks;
    return rc;
}

static bool knows_shell(const struct vt_session *s)
{
    for (int i = 0; i < s->prompts.count; i++)
        if (s->prompts.list[i].proved)
            return true;
    return false;
}

/* What is still to come of what ran or was typed before is waited for. */
static enum vt_rc settle_down(struct vt_run *r)
{
    const char *command = status_command(r);
    bool yes = false, can = r->s->posix || vt_is_echo_command(command);
    if (!(r->s->cut_off || r->s->typed) || !knows_shell(r->s) || !can)
        return VT_OK;
    enum vt_rc rc = vt_run_discard(r);
    if (rc == VT_OK && r->s->typed && r->s->store.total == r->s->typed_at)
        rc = vt_run_fill(r, vt_sooner(r->c->deadline, VT_WAIT_SILENCE), r->c->deadline);
    if (rc == VT_OK || (rc == VT_TIMEOUT && !vt_expired(r->c->deadline)))
        rc = may_ask(r, &yes);
    return rc == VT_OK && yes ? catch_up(r, command) : rc;
}

static enum vt_rc prepare(struct vt_run *r)
{
    enum vt_rc rc = settle_down(r);
    r->s->typed = r->s->typed && rc != VT_OK;
    return rc == VT_OK ? check_length(r) : rc;
}

enum vt_rc vt_session_command(struct vt_session *s, struct vt_command *c, struct vt_waiter *w)
{
    struct vt_run r = {.s = s, .c = c, .w = w, .start = s->store.total};
    c->spans = 0;
    c->found = c->has_status = c->too_much = false;
    c->echo_cut = c->echo_bare = c->lead_found = false;
    while (c->len > 0 && c->text[c->len - 1] == '\n')      /* each would be a line of its own */
        c->len--;
    enum vt_rc rc = prepare(&r);
    if (rc == VT_TOOBIG && !c->too_much)
        return rc;
    if (rc == VT_OK)
        rc = send_command(&r);
    if (rc == VT_OK && (rc = vt_run_find_candidate(&r)) == VT_OK)
        rc = finish(&r);
    if (rc != VT_OK && c->found && c->spans == 0)
        (void)!vt_set_output(&r, r.start, r.candidate, NULL, 0);
    else if (rc != VT_OK && c->spans == 0)
        vt_add_span(c, r.start, s->store.total);
    if (rc != VT_OK && s->echo == VT_ECHOES_OFF)
        s->echo = VT_ECHOES_UNKNOWN;    /* who knows what runs there now */
    s->cut_off = rc != VT_OK && !r.mute && !r.after;
    if (r.mute)
        s->mute = true;
    s->read_at = s->store.total;
    c->lost = vt_command_lost(s, c);
    return rc == VT_OK && c->lost > 0 ? VT_TOOBIG : rc;
}
