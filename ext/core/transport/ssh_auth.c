/* ssh_auth.c - authentication (RFC 4252, 4256): the methods that the options name, in
 * their order; what the server offers is asked only after a refusal. */
#include "transport/ssh_private.h"

#include "transport/agent.h"
#include "transport/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What a method came to: let in, refused (try another), nothing to try it with, or an
 * end with l->rc and l->e. */
enum outcome { LET_IN, REFUSED, SKIPPED, ENDED };

struct login {
    struct vt_ssh *ssh;
    const struct vt_ssh_options *o;
    struct vt_waiter *w;
    vt_time deadline;
    struct vt_err *e;
    enum vt_rc rc;
    char tried[80];                 /* names of the methods that were refused */
    char note[160];                 /* why, if more is known */
    char offered[128];
    bool is_fresh;                  /* offered is what the server offers now */
};

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

static unsigned user_len(const struct login *l)
{
    return (unsigned)strlen(l->o->user);
}

static void add_note(struct login *l, const char *format, const char *text)
{
    if (l->note[0] == '\0')
        snprintf(l->note, sizeof l->note, format, text);
}

static void add_tried(struct login *l, const char *method)
{
    size_t at = strlen(l->tried);
    if (!has_word(l->tried, method))
        snprintf(l->tried + at, sizeof l->tried - at, "%s%s", at > 0 ? ", " : "", method);
    l->is_fresh = false;
}

static enum outcome ended(struct login *l, enum vt_rc rc)
{
    l->rc = rc;
    return ENDED;
}

/* The server ended the connection.  Its last words, or the refusals before, make that a
 * refusal: servers do so after too many. */
static enum outcome left(struct login *l, const char *method)
{
    if (l->tried[0] == '\0' && l->ssh->said[0] == '\0')
        return ended(l, vt_ssh_stopped(l->ssh, l->ssh->ended != VT_OK ? l->ssh->ended : VT_EOF,
                                       VT_STAGE_AUTH, NULL, l->e));
    if (method != NULL)
        add_tried(l, method);
    add_note(l, "the server ended the connection%s", "");
    if (l->ssh->said[0] != '\0')
        snprintf(l->note, sizeof l->note, "the server ended the connection: %s", l->ssh->said);
    return ended(l, VT_AUTH);
}

/* libssh2's answer to a method. */
static enum outcome answered(struct login *l, int rc, const char *method)
{
    if (rc == 0) {
        snprintf(l->ssh->info.method, sizeof l->ssh->info.method, "%s", method);
        return LET_IN;
    }
    if (l->ssh->disconnected)
        return left(l, method);
    enum vt_rc failed = vt_ssh_failed(l->ssh, rc, VT_AUTH, VT_STAGE_AUTH, l->e);
    if (failed != VT_AUTH)
        return ended(l, failed);
    if (rc == LIBSSH2_ERROR_PASSWORD_EXPIRED)
        add_note(l, "the password has expired%s", "");
    add_tried(l, method);
    return REFUSED;
}

/* Waits for libssh2.  False: the wait ended; *out tells how the method did. */
static bool wait_more(struct login *l, const char *method, enum outcome *out)
{
    enum vt_rc rc = vt_ssh_wait(l->ssh, l->w, l->deadline);
    if (rc == VT_OK)
        return true;
    if (rc == VT_EOF || rc == VT_IO)
        *out = left(l, method);
    else
        *out = ended(l, vt_ssh_stopped(l->ssh, rc, VT_STAGE_AUTH, "authentication", l->e));
    return false;
}

#define AWAIT(l, rc, call, method)                              \
    do {                                                        \
        enum outcome stopped_;                                  \
        while (((rc) = (call)) == LIBSSH2_ERROR_EAGAIN)         \
            if (!wait_more(l, method, &stopped_))               \
                return stopped_;                                \
    } while (0)

/* ---- methods ---- */

static enum outcome by_password(struct login *l)
{
    const char *password = l->o->password == NULL ? "" : l->o->password;
    int rc;
    AWAIT(l, rc, libssh2_userauth_password_ex(l->ssh->session, l->o->user, user_len(l), password,
                                              (unsigned)strlen(password), NULL), "password");
    return answered(l, rc, "password");
}

/* Every prompt that is not to be seen gets the password; others get nothing. */
static void respond(const char *name, int name_len, const char *instruction, int instruction_len,
                    int count, const LIBSSH2_USERAUTH_KBDINT_PROMPT *prompts,
                    LIBSSH2_USERAUTH_KBDINT_RESPONSE *responses, void **abstract)
{
    struct vt_ssh *ssh = *abstract;
    (void)name, (void)name_len, (void)instruction, (void)instruction_len;
    for (int i = 0; i < count; i++) {
        const char *text = prompts[i].echo || ssh->password == NULL ? "" : ssh->password;
        responses[i].text = vt_ssh_alloc(ssh, strlen(text) + 1);
        if (responses[i].text == NULL)
            continue;
        memcpy(responses[i].text, text, strlen(text) + 1);
        responses[i].length = (unsigned)strlen(text);
    }
}

static enum outcome by_keyboard(struct login *l)
{
    int rc;
    AWAIT(l, rc, libssh2_userauth_keyboard_interactive_ex(l->ssh->session, l->o->user, user_len(l), respond),
          "keyboard-interactive");
    return answered(l, rc, "keyboard-interactive");
}

static enum outcome by_key(struct login *l)
{
    char why[96];
    bool is_rsa;
    int rc;
    if (l->o->identity_file == NULL) {
        add_note(l, "no identity file is given%s", "");
        return SKIPPED;
    }
    if (!vt_identity_usable(l->o->identity_file, &is_rsa, why, sizeof why)) {
        snprintf(l->note, sizeof l->note, "%.80s %.70s", l->o->identity_file, why);
        return SKIPPED;
    }
    AWAIT(l, rc, libssh2_userauth_publickey_fromfile_ex(l->ssh->session, l->o->user, user_len(l), NULL,
                                                        l->o->identity_file, ""), "publickey");
    if (rc == LIBSSH2_ERROR_FILE)
        add_note(l, "libssh2 cannot use the key in %.100s", l->o->identity_file);
    else if (rc != 0 && is_rsa && libssh2_version(0x010b00) == NULL)
        add_note(l, "libssh2 %s signs for RSA keys with SHA-1 only, which servers of today refuse",
                 libssh2_version(0));
    return answered(l, rc, "publickey");
}

/* ---- the agent ---- */

struct signer {
    struct login *l;
    struct vt_agent *agent;
    struct vt_agent_key key;
    enum vt_rc rc;
};

static bool skip_string(const unsigned char **p, const unsigned char *end)
{
    if (end - *p < 4)
        return false;
    uint32_t n = (uint32_t)(*p)[0] << 24 | (uint32_t)(*p)[1] << 16 | (uint32_t)(*p)[2] << 8 | (*p)[3];
    if (n > (size_t)(end - *p) - 4)
        return false;
    *p += 4 + n;
    return true;
}

/* What is signed holds the algorithm's name (RFC 4252, 7): session, 50, user, service,
 * "publickey", true, name, key. */
static uint32_t flags_of(const unsigned char *p, size_t n)
{
    const unsigned char *end = p + n;
    if (!skip_string(&p, end) || p++ >= end || !skip_string(&p, end) || !skip_string(&p, end)
        || !skip_string(&p, end) || p++ >= end || end - p < 16)
        return 0;
    return memcmp(p + 4, "rsa-sha2-512", 12) == 0 ? 4 : memcmp(p + 4, "rsa-sha2-256", 12) == 0 ? 2 : 0;
}

/* libssh2 wants the bare signature: what follows the algorithm's name, without lengths. */
static int hand_over(struct signer *s, const struct vt_buf *signature, unsigned char **out, size_t *out_len)
{
    const unsigned char *p = (unsigned char *)signature->data, *end = p + signature->len;
    if (!skip_string(&p, end) || end - p < 4)
        return -1;
    *out_len = (size_t)(end - p) - 4;
    *out = vt_ssh_alloc(s->l->ssh, *out_len);
    if (*out == NULL)
        return -1;
    memcpy(*out, p + 4, *out_len);
    return 0;
}

static int sign(LIBSSH2_SESSION *session, unsigned char **out, size_t *out_len, const unsigned char *data,
                size_t n, void **abstract)
{
    struct signer *s = *abstract;
    struct vt_buf signature;
    (void)session;
    vt_buf_init(&signature, 64 * 1024);
    s->rc = vt_agent_sign(s->agent, &s->key, data, n, flags_of(data, n), &signature);
    int failed = s->rc == VT_OK ? hand_over(s, &signature, out, out_len) : -1;
    vt_buf_fini(&signature);
    return failed;
}

static enum outcome by_agent_key(struct login *l, struct signer *s)
{
    void *abstract = s;
    int rc;
    AWAIT(l, rc, libssh2_userauth_publickey(l->ssh->session, l->o->user, s->key.blob, s->key.len, sign,
                                            &abstract), "agent");
    if (s->rc == VT_TIMEOUT || s->rc == VT_INTR || s->rc == VT_CLOSED)
        return ended(l, vt_ssh_stopped(l->ssh, s->rc, VT_STAGE_AUTH, "request for the agent's signature", l->e));
    return answered(l, rc, "agent");
}

static enum outcome by_agent(struct login *l)
{
    struct vt_agent agent;
    struct signer s = {.l = l, .agent = &agent};
    enum outcome got = SKIPPED;
    enum vt_rc rc = vt_agent_open(&agent, NULL, l->w, l->deadline);
    if (rc == VT_TIMEOUT || rc == VT_INTR || rc == VT_CLOSED)
        got = ended(l, vt_ssh_stopped(l->ssh, rc, VT_STAGE_AUTH, "request for the agent's keys", l->e));
    else if (rc != VT_OK)
        add_note(l, "no SSH agent is there: %s", rc == VT_IO ? strerror(errno) : vt_rc_text(rc));
    else if (agent.left == 0)
        add_note(l, "the SSH agent holds no key%s", "");
    else
        got = REFUSED;
    while (got == REFUSED && vt_agent_next(&agent, &s.key))
        got = by_agent_key(l, &s);
    vt_agent_close(&agent);
    return got;
}

/* ---- which methods ---- */

/* Asks by the method "none" what the server offers.  LET_IN if that was all it wanted. */
static enum outcome ask_methods(struct login *l)
{
    char *list;
    enum outcome stopped;
    while ((list = libssh2_userauth_list(l->ssh->session, l->o->user, user_len(l))) == NULL) {
        if (libssh2_userauth_authenticated(l->ssh->session))
            return answered(l, 0, "none");
        if (l->ssh->disconnected)
            return left(l, NULL);
        int rc = libssh2_session_last_errno(l->ssh->session);
        if (rc != LIBSSH2_ERROR_EAGAIN)
            return ended(l, vt_ssh_failed(l->ssh, rc, VT_PROTO, VT_STAGE_AUTH, l->e));
        if (!wait_more(l, NULL, &stopped))
            return stopped;
    }
    vt_show(list, strlen(list), l->offered, sizeof l->offered);
    l->is_fresh = true;
    return REFUSED;
}

static const struct { const char *name, *wire; enum outcome (*try)(struct login *); } methods[] = {
    {"publickey", "publickey", by_key},
    {"agent", "publickey", by_agent},
    {"password", "password", by_password},
    {"keyboard-interactive", "keyboard-interactive", by_keyboard},
};

static enum outcome try_named(struct login *l, const char *name, size_t n, bool only_offered)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (strlen(methods[i].name) != n || memcmp(methods[i].name, name, n) != 0)
            continue;
        return only_offered && !has_word(l->offered, methods[i].wire) ? SKIPPED : methods[i].try(l);
    }
    vt_fail(l->e, VT_INVALID, VT_STAGE_AUTH, 0, "unknown authentication method '%.*s'", (int)n, name);
    return ended(l, VT_INVALID);
}

static bool may_go_on(enum outcome got)
{
    return got == REFUSED || got == SKIPPED;
}

/* The methods of a comma-separated list, in its order. */
static enum outcome try_list(struct login *l, const char *list, bool only_offered)
{
    enum outcome got = SKIPPED;
    while (may_go_on(got) && *list != '\0') {
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
static enum outcome try_rest(struct login *l, const char *list)
{
    enum outcome got = l->is_fresh ? REFUSED : ask_methods(l);
    bool accepted_one = (has_word(l->tried, "password") && !has_word(l->offered, "password"))
        || (has_word(l->tried, "keyboard-interactive") && !has_word(l->offered, "keyboard-interactive"));
    return may_go_on(got) && accepted_one ? try_list(l, list, true) : got;
}

static enum outcome try_named_methods(struct login *l)
{
    enum outcome got = try_list(l, l->o->auth, false);
    return may_go_on(got) ? try_rest(l, l->o->auth) : got;
}

/* Without a word on methods: the key if there is one, the password, and the password by
 * keyboard-interactive where that alone is offered (where both are, they ask the same of
 * the same).  With neither: whether none is needed, or an empty password. */
static enum outcome try_default(struct login *l)
{
    bool has_password = l->o->password != NULL && l->o->password[0] != '\0';
    enum outcome got = SKIPPED;
    if (l->o->identity_file != NULL)
        got = by_key(l);
    if (may_go_on(got) && has_password)
        got = by_password(l);
    if (!may_go_on(got) || !may_go_on(got = ask_methods(l)))
        return got;
    bool may_keyboard = has_password && !has_word(l->offered, "password");
    if (may_keyboard && has_word(l->offered, "keyboard-interactive"))
        got = by_keyboard(l);
    else if (!has_password && l->o->identity_file == NULL && has_word(l->offered, "password"))
        got = by_password(l);
    return may_go_on(got) && l->tried[0] != '\0' ? try_rest(l, "publickey") : got;
}

static void tell_refusal(struct login *l)
{
    char user[64];
    vt_show(l->o->user, strlen(l->o->user), user, sizeof user);
    vt_fail(l->e, VT_AUTH, VT_STAGE_AUTH, 0, "%s%s for user %s%s%s",
            l->tried[0] != '\0' ? l->tried : "nothing to authenticate with",
            l->tried[0] != '\0' ? " refused" : "", user, l->note[0] != '\0' ? ": " : "", l->note);
    if (l->e != NULL)
        memcpy(l->e->methods, l->offered, sizeof l->e->methods);
}

enum vt_rc vt_ssh_authenticate(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                               vt_time deadline, struct vt_err *e)
{
    struct login l = {.ssh = ssh, .o = o, .w = w, .deadline = deadline, .e = e, .rc = VT_AUTH};
    ssh->authenticating = true;
    ssh->password = o->password;
    enum outcome got = o->auth != NULL && o->auth[0] != '\0' ? try_named_methods(&l) : try_default(&l);
    ssh->password = NULL;
    ssh->authenticating = false;
    if (got == LET_IN)
        return VT_OK;
    if (l.rc == VT_AUTH)
        tell_refusal(&l);
    return l.rc;
}
