/* ssh_auth_key.c - authentication by keys: the agent's, and the identity file's. */
#include "transport/ssh_auth.h"

#include "base/wire.h"
#include "transport/ssh_agent.h"
#include "transport/ssh_identity.h"

#include <errno.h>
#include <stdio.h>

/* ---- the agent ---- */

struct signer {
    struct vt_auth *l;
    struct vt_agent *agent;
    struct vt_agent_key key;
    enum vt_rc rc;
};

/* What is signed holds the algorithm's name (RFC 4252, 7): session, 50, user, service,
 * "publickey", true, name, key. */
static uint32_t flags_of(const unsigned char *data, size_t n)
{
    struct vt_cursor c = vt_cursor_of(data, n);
    (void)vt_take_bytes(&c), (void)vt_take_u8(&c), (void)vt_take_bytes(&c), (void)vt_take_bytes(&c);
    (void)vt_take_bytes(&c), (void)vt_take_u8(&c);
    struct vt_span name = vt_take_bytes(&c);
    return name.n < 12 ? 0 : memcmp(name.p, "rsa-sha2-512", 12) == 0 ? 4
         : memcmp(name.p, "rsa-sha2-256", 12) == 0 ? 2 : 0;
}

/* libssh2 wants the bare signature: what follows the algorithm's name, without lengths. */
static int hand_over(struct signer *s, const struct vt_buf *signature, unsigned char **out, size_t *out_len)
{
    struct vt_cursor c = vt_cursor_of(signature->data, signature->len);
    (void)vt_take_bytes(&c), (void)vt_take_u32(&c);
    if (c.bad)
        return -1;
    *out_len = vt_cursor_left(&c);
    *out = vt_ssh_memory_alloc(&s->l->ssh->memory, *out_len);
    if (*out == NULL)
        return -1;
    memcpy(*out, c.p, *out_len);
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

static enum vt_auth_outcome by_agent_key(struct vt_auth *l, struct signer *s)
{
    void *abstract = s;
    enum vt_auth_outcome before;
    int rc;
    l->agent_keys++;
    if (!vt_auth_is_to_call(l, "agent", &before))
        return before;
    VT_AUTH_AWAIT(l, rc, libssh2_userauth_publickey(l->ssh->session, l->o->user, s->key.blob, s->key.len, sign,
                                            &abstract), "agent");
    if (s->rc == VT_TIMEOUT || s->rc == VT_INTR || s->rc == VT_CLOSED)
        return vt_auth_ended(l, vt_ssh_stopped(l->ssh, s->rc, VT_STAGE_AUTH, "request for the agent's signature",
                                               l->e));
    return vt_auth_answered(l, rc, "agent");
}

static bool is_key(const struct vt_agent_key *key, const struct vt_identity *id)
{
    return id->blob_len > 0 && key->len == id->blob_len && memcmp(key->blob, id->blob, key->len) == 0;
}

/* The agent's keys that are the identity's, or those that are not. */
static enum vt_auth_outcome by_keys_of(struct vt_auth *l, struct signer *s, const struct vt_identity *id, bool same)
{
    enum vt_auth_outcome got = SKIPPED;
    vt_agent_rewind(s->agent);
    while (vt_auth_may_go_on(got) && vt_agent_next(s->agent, &s->key))
        if (is_key(&s->key, id) == same)
            got = by_agent_key(l, s);
    return got;
}

/* The identity's key first, or alone. */
static enum vt_auth_outcome by_keys(struct vt_auth *l, struct signer *s, const struct vt_identity *id, bool alone)
{
    enum vt_auth_outcome got = by_keys_of(l, s, id, true);
    if (alone && got == SKIPPED)
        vt_auth_note(l, "the SSH agent does not hold that key%s", "");
    if (alone || !vt_auth_may_go_on(got))
        return got;
    enum vt_auth_outcome others = by_keys_of(l, s, id, false);
    return others == SKIPPED ? got : others;
}

static enum vt_auth_outcome by_agent_with(struct vt_auth *l, const struct vt_identity *id, bool alone)
{
    struct vt_agent agent;
    struct signer s = {.l = l, .agent = &agent};
    enum vt_auth_outcome got = SKIPPED;
    enum vt_rc rc = vt_agent_open(&agent, NULL, l->w, l->deadline);
    if (rc == VT_TIMEOUT || rc == VT_INTR || rc == VT_CLOSED)
        got = vt_auth_ended(l, vt_ssh_stopped(l->ssh, rc, VT_STAGE_AUTH, "request for the agent's keys", l->e));
    else if (rc != VT_OK)
        vt_auth_note(l, "no SSH agent is there: %s", rc == VT_IO ? strerror(errno) : vt_rc_text(rc));
    else if (agent.count == 0)
        vt_auth_note(l, "the SSH agent holds no key%s", "");
    else
        got = by_keys(l, &s, id, alone);
    vt_agent_close(&agent);
    return got;
}

enum vt_auth_outcome vt_auth_by_agent(struct vt_auth *l)
{
    struct vt_identity id = {0};
    char unused[96];
    if (l->o->identity_file != NULL)
        vt_identity_look(l->o->identity_file, &id, unused, sizeof unused);
    return by_agent_with(l, &id, id.kind == VT_IDENTITY_PUBLIC);
}

/* ---- the identity file ---- */

static bool has_passphrase(const struct vt_auth *l)
{
    return l->o->passphrase != NULL && l->o->passphrase[0] != '\0';
}

static enum vt_auth_outcome try_key(struct vt_auth *l, const struct vt_identity *id)
{
    enum vt_auth_outcome before;
    int rc;
    if (!vt_auth_is_to_call(l, "publickey", &before))
        return before;
    VT_AUTH_AWAIT(l, rc, libssh2_userauth_publickey_fromfile_ex(l->ssh->session, l->o->user, vt_auth_user_len(l), NULL,
                                                        l->o->identity_file,
                                                        has_passphrase(l) ? l->o->passphrase : ""), "publickey");
    if (rc == LIBSSH2_ERROR_FILE && id->kind == VT_IDENTITY_LOCKED)
        vt_auth_note(l, "the passphrase does not open the key in %.100s", l->o->identity_file);
    else if (rc == LIBSSH2_ERROR_FILE)
        vt_auth_note(l, "libssh2 cannot use the key in %.100s", l->o->identity_file);
    else if (rc != 0 && id->is_rsa && libssh2_version(0x010b00) == NULL)
        vt_auth_note(l, "libssh2 %s signs for RSA keys with SHA-1 only, which servers of today refuse",
                 libssh2_version(0));
    return vt_auth_answered(l, rc, "publickey");
}

static enum vt_auth_outcome by_file(struct vt_auth *l, const struct vt_identity *id)
{
    l->ssh->memory.uses_key = true;
    enum vt_auth_outcome got = try_key(l, id);
    l->ssh->memory.uses_key = false;
    return got;
}

/* The key of the agent's that a public one names. */
static enum vt_auth_outcome by_public(struct vt_auth *l, const struct vt_identity *id)
{
    enum vt_auth_outcome got = by_agent_with(l, id, true);
    char why[sizeof l->note];
    memcpy(why, l->note, sizeof why);
    if (got == SKIPPED)
        snprintf(l->note, sizeof l->note, "%.70s is a public key: %.70s", l->o->identity_file, why);
    return got;
}

/* A locked key without its passphrase: an agent may hold it. */
enum vt_auth_outcome vt_auth_by_key(struct vt_auth *l)
{
    struct vt_identity id;
    char why[96] = "is protected by a passphrase, and none is given";
    if (l->o->identity_file == NULL) {
        vt_auth_note(l, "no identity file is given%s", "");
        return SKIPPED;
    }
    vt_identity_look(l->o->identity_file, &id, why, sizeof why);
    bool locked = id.kind == VT_IDENTITY_LOCKED && !has_passphrase(l);
    enum vt_auth_outcome got = SKIPPED;
    if (id.kind == VT_IDENTITY_PUBLIC)
        return by_public(l, &id);
    if (!locked && id.kind != VT_IDENTITY_UNUSABLE)
        return by_file(l, &id);
    if (locked && id.blob_len > 0 && vt_agent_is_named())
        got = by_agent_with(l, &id, true);
    if (got == SKIPPED)
        snprintf(l->note, sizeof l->note, "%.80s %.70s", l->o->identity_file, why);
    return got;
}
