/* ssh_auth.c - authentication (RFC 4252, 4256): the methods that the options name, in
 * their order; what the server offers is asked only after a refusal. */
#include "transport/ssh_auth.h"

#include <stdio.h>

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    while (*list != '\0') {
        size_t len = strcspn(list, ", ");
        if (len == n && memcmp(list, word, n) == 0)
            return true;
        list += len;
        list += strspn(list, ", ");
    }
    return false;
}

void vt_auth_note(struct vt_auth *l, const char *format, const char *text)
{
    if (l->note[0] == '\0')
        snprintf(l->note, sizeof l->note, format, text);
}

static void add_tried(struct vt_auth *l, const char *method)
{
    size_t at = strlen(l->tried);
    if (!has_word(l->tried, method))
        snprintf(l->tried + at, sizeof l->tried - at, "%s%s", at > 0 ? ", " : "", method);
    l->is_fresh = false;
}

enum vt_auth_outcome vt_auth_ended(struct vt_auth *l, enum vt_rc rc)
{
    l->rc = rc;
    return ENDED;
}

/* The server ended the connection.  Its last words, or the refusals before, make that a
 * refusal: servers do so after too many.  Without either it hung up on a method: OpenSSH does
 * so on an account that PAM denies. */
static enum vt_auth_outcome hung_up(struct vt_auth *l, const char *method)
{
    if (method != NULL && l->tried[0] == '\0' && l->ssh->said[0] == '\0') {
        add_tried(l, method);
        vt_auth_note(l, "the server hung up on the authentication%s", "");
        return vt_auth_ended(l, VT_DENIED);
    }
    if (l->tried[0] == '\0' && l->ssh->said[0] == '\0')
        return vt_auth_ended(l, vt_ssh_stopped(l->ssh, l->ssh->ended != VT_OK ? l->ssh->ended : VT_EOF,
                                       VT_STAGE_AUTH, NULL, l->e));
    if (method != NULL)
        add_tried(l, method);
    vt_auth_note(l, "the server ended the connection%s", "");
    if (l->ssh->said[0] != '\0')
        snprintf(l->note, sizeof l->note, "the server ended the connection: %s", l->ssh->said);
    if (l->agent_keys > 1)
        snprintf(l->note, sizeof l->note, "the server ended the connection after %d of the SSH agent's keys:"
                 " name one by its .pub file as the identity (%.40s)", l->agent_keys, l->ssh->said);
    return vt_auth_ended(l, VT_AUTH);
}

/* The server has answered the call that is under way, and not by letting us in. */
static void note_answer(struct vt_auth *l)
{
    struct vt_ssh_answers *a = &l->ssh->answers;
    if (l->calls <= VT_SSH_ANSWERS) {
        a->list[l->calls - 1].method = a->pending;
        memcpy(a->list[l->calls - 1].offered, l->offered, sizeof l->offered);
        a->count = l->calls;
    }
    a->pending = NULL;
    vt_ssh_reached(l->ssh);
}

/* What is tried depends on files and on the agent, too: it may have become other calls. */
bool vt_auth_is_to_call(struct vt_auth *l, const char *method, enum vt_auth_outcome *out)
{
    struct vt_ssh_answers *a = &l->ssh->answers;
    int at = l->calls++;
    const char *then = at < a->count ? a->list[at].method : a->pending;
    *out = REFUSED;
    if (then != NULL && strcmp(then, method) != 0) {
        *out = vt_auth_ended(l, vt_fail(l->e, VT_IO, VT_STAGE_AUTH, 0, "the login before tried %s here", then));
        return false;
    }
    if (at >= a->count) {
        a->pending = method;
        return true;
    }
    if (strcmp(method, "none") == 0) {
        memcpy(l->offered, a->list[at].offered, sizeof l->offered);
        l->is_fresh = true;
    } else {
        add_tried(l, method);
    }
    return false;
}

enum vt_auth_outcome vt_auth_answered(struct vt_auth *l, int rc, const char *method)
{
    if (rc == 0) {
        snprintf(l->ssh->info.method, sizeof l->ssh->info.method, "%s", method);
        return LET_IN;
    }
    if (l->ssh->disconnected)
        return hung_up(l, method);
    enum vt_rc failed = vt_ssh_failed(l->ssh, rc, VT_AUTH, VT_STAGE_AUTH, l->e);
    if (failed != VT_AUTH)
        return vt_auth_ended(l, failed);
    if (rc == LIBSSH2_ERROR_PASSWORD_EXPIRED || l->ssh->expired) {
        vt_auth_note(l, "the password has expired%s", "");
        l->rc = VT_DENIED;
    }
    add_tried(l, method);
    note_answer(l);
    return REFUSED;
}

bool vt_auth_wait(struct vt_auth *l, const char *method, enum vt_auth_outcome *out)
{
    enum vt_rc rc = vt_ssh_wait(l->ssh, l->w, l->deadline);
    if (rc == VT_OK)
        return true;
    l->ssh->halfway = rc == VT_TIMEOUT && l->agent_keys == 0 && l->calls <= VT_SSH_ANSWERS;
    if (rc == VT_EOF || rc == VT_IO)
        *out = hung_up(l, method);
    else
        *out = vt_auth_ended(l, vt_ssh_stopped(l->ssh, rc, VT_STAGE_AUTH, "authentication", l->e));
    return false;
}

/* ---- methods ---- */

static enum vt_auth_outcome by_password(struct vt_auth *l)
{
    const char *password = l->o->password == NULL ? "" : l->o->password;
    enum vt_auth_outcome before;
    int rc;
    if (!vt_auth_is_to_call(l, "password", &before))
        return before;
    VT_AUTH_AWAIT(l, rc, libssh2_userauth_password_ex(l->ssh->session, l->o->user, vt_auth_user_len(l), password,
                                                      (unsigned)strlen(password), NULL), "password");
    return vt_auth_answered(l, rc, "password");
}

/* Whether a new password is asked for: the old one has expired. */
static bool asks_for_new(const LIBSSH2_USERAUTH_KBDINT_PROMPT *prompt)
{
    const char *text = (const char *)prompt->text;
    return text != NULL && prompt->length >= 12
        && (memmem(text, prompt->length, "New password", 12) != NULL
            || memmem(text, prompt->length, "new password", 12) != NULL);
}

/* Every prompt that is not to be seen gets the password; others get nothing. */
static void respond(const char *name, int name_len, const char *instruction, int instruction_len,
                    int count, const LIBSSH2_USERAUTH_KBDINT_PROMPT *prompts,
                    LIBSSH2_USERAUTH_KBDINT_RESPONSE *responses, void **abstract)
{
    struct vt_ssh *ssh = *abstract;
    (void)name, (void)name_len, (void)instruction, (void)instruction_len;
    for (int i = 0; i < count; i++) {
        ssh->expired |= asks_for_new(&prompts[i]);
        const char *text = prompts[i].echo || ssh->password == NULL || ssh->expired ? "" : ssh->password;
        responses[i].text = vt_ssh_memory_alloc(&ssh->memory, strlen(text) + 1);
        if (responses[i].text == NULL)
            continue;
        memcpy(responses[i].text, text, strlen(text) + 1);
        responses[i].length = (unsigned)strlen(text);
    }
}

static enum vt_auth_outcome by_keyboard(struct vt_auth *l)
{
    enum vt_auth_outcome before;
    int rc;
    if (!vt_auth_is_to_call(l, "keyboard-interactive", &before))
        return before;
    VT_AUTH_AWAIT(l, rc, libssh2_userauth_keyboard_interactive_ex(l->ssh->session, l->o->user, vt_auth_user_len(l),
                                                                  respond), "keyboard-interactive");
    return vt_auth_answered(l, rc, "keyboard-interactive");
}

/* ---- which methods ---- */

/* Asks by the method "none" what the server offers.  LET_IN if that was all it wanted. */
static enum vt_auth_outcome ask_methods(struct vt_auth *l)
{
    char *list;
    enum vt_auth_outcome stopped;
    if (!vt_auth_is_to_call(l, "none", &stopped))
        return stopped;
    while ((list = libssh2_userauth_list(l->ssh->session, l->o->user, vt_auth_user_len(l))) == NULL) {
        if (libssh2_userauth_authenticated(l->ssh->session))
            return vt_auth_answered(l, 0, "none");
        if (l->ssh->disconnected)
            return hung_up(l, NULL);
        int rc = libssh2_session_last_errno(l->ssh->session);
        if (rc != LIBSSH2_ERROR_EAGAIN)
            return vt_auth_ended(l, vt_ssh_failed(l->ssh, rc, VT_PROTO, VT_STAGE_AUTH, l->e));
        if (!vt_auth_wait(l, NULL, &stopped))
            return stopped;
    }
    vt_show(list, strlen(list), l->offered, sizeof l->offered);
    l->is_fresh = true;
    note_answer(l);
    return REFUSED;
}

static const struct { const char *name, *wire; enum vt_auth_outcome (*try)(struct vt_auth *); } methods[] = {
    {"publickey", "publickey", vt_auth_by_key},
    {"agent", "publickey", vt_auth_by_agent},
    {"password", "password", by_password},
    {"keyboard-interactive", "keyboard-interactive", by_keyboard},
};

static enum vt_auth_outcome try_named(struct vt_auth *l, const char *name, size_t n, bool only_offered)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strlen(methods[i].name) != n || memcmp(methods[i].name, name, n) != 0)
            continue;
        return only_offered && !has_word(l->offered, methods[i].wire) ? SKIPPED : methods[i].try(l);
    }
    vt_fail(l->e, VT_INVALID, VT_STAGE_AUTH, 0, "unknown authentication method '%.*s'", (int)n, name);
    return vt_auth_ended(l, VT_INVALID);
}

/* The methods of a comma-separated list, in its order. */
static enum vt_auth_outcome try_list(struct vt_auth *l, const char *list, bool only_offered)
{
    enum vt_auth_outcome got = SKIPPED;
    while (vt_auth_may_go_on(got) && *list != '\0') {
        size_t n = strcspn(list, ", ");
        if (n > 0)
            got = try_named(l, list, n, only_offered);
        list += n;
        list += strspn(list, ", ");
    }
    return got;
}

/* A server that wants several methods one after the other no longer offers one that it has
 * accepted: then another one, refused before, may have its turn now. */
static enum vt_auth_outcome try_rest(struct vt_auth *l, const char *list)
{
    enum vt_auth_outcome got = l->is_fresh ? REFUSED : ask_methods(l);
    bool accepted_one = (has_word(l->tried, "password") && !has_word(l->offered, "password"))
        || (has_word(l->tried, "keyboard-interactive") && !has_word(l->offered, "keyboard-interactive"));
    return vt_auth_may_go_on(got) && accepted_one ? try_list(l, list, true) : got;
}

static enum vt_auth_outcome try_named_methods(struct vt_auth *l)
{
    enum vt_auth_outcome got = try_list(l, l->o->auth, false);
    return vt_auth_may_go_on(got) ? try_rest(l, l->o->auth) : got;
}

/* Without a word on methods: the key if there is one, the password, and the password by
 * keyboard-interactive where that alone is offered (where both are, they ask the same of
 * the same).  With neither: whether none is needed, or an empty password. */
static enum vt_auth_outcome try_default(struct vt_auth *l)
{
    bool has_password = l->o->password != NULL && l->o->password[0] != '\0';
    enum vt_auth_outcome got = SKIPPED;
    if (l->o->identity_file != NULL)
        got = vt_auth_by_key(l);
    if (vt_auth_may_go_on(got) && has_password)
        got = by_password(l);
    if (!vt_auth_may_go_on(got) || !vt_auth_may_go_on(got = ask_methods(l)))
        return got;
    bool may_keyboard = has_password && !has_word(l->offered, "password");
    if (may_keyboard && has_word(l->offered, "keyboard-interactive"))
        got = by_keyboard(l);
    else if (!has_password && l->o->identity_file == NULL && has_word(l->offered, "password"))
        got = by_password(l);
    return vt_auth_may_go_on(got) && l->tried[0] != '\0' ? try_rest(l, "publickey") : got;
}

static void tell_refusal(struct vt_auth *l)
{
    char user[64];
    vt_show(l->o->user, strlen(l->o->user), user, sizeof user);
    vt_fail(l->e, l->rc, VT_STAGE_AUTH, 0, "%s%s for user %s%s%s",
            l->tried[0] != '\0' ? l->tried : "nothing to authenticate with",
            l->tried[0] != '\0' ? " refused" : "", user, l->note[0] != '\0' ? ": " : "", l->note);
    if (l->e != NULL)
        memcpy(l->e->methods, l->offered, sizeof l->e->methods);
}

enum vt_rc vt_ssh_authenticate(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                               vt_time deadline, struct vt_err *e)
{
    struct vt_auth l = {.ssh = ssh, .o = o, .w = w, .deadline = deadline, .e = e,
                        .rc = ssh->expired ? VT_DENIED : VT_AUTH};
    memcpy(l.note, ssh->answers.note, sizeof l.note);
    ssh->memory.authenticating = true;
    ssh->password = o->password;
    ssh->keeps_banners = true;
    enum vt_auth_outcome got = o->auth != NULL && o->auth[0] != '\0' ? try_named_methods(&l) : try_default(&l);
    ssh->password = NULL;
    memcpy(ssh->answers.note, l.note, sizeof l.note);
    ssh->memory.authenticating = false;
    ssh->memory.is_stranger = got != LET_IN;
    ssh->keeps_banners = got != LET_IN;
    if (got == LET_IN)
        return VT_OK;
    if (l.rc == VT_AUTH || l.rc == VT_DENIED)
        tell_refusal(&l);
    return l.rc;
}
