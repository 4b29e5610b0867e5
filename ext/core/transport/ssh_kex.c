/* ssh_kex.c - the key exchange: the methods that we ask for, and why it failed. */
#include "transport/ssh_private.h"

#include "transport/kexinit.h"
#include "transport/keystream.h"

#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#define KIND_AT 5                   /* of a packet that is not encrypted: RFC 4253, section 6 */
#define KEXINIT 20
#define EARLY_MAX (16 * 1024)       /* bytes of the key exchange kept to explain a failure */

/* What is cheap here and there comes first.
 * Its ciphers run 16 bytes at a time: counter mode costs least. */
#define CIPHERS "aes128-ctr,aes192-ctr,aes256-ctr,chacha20-poly1305@openssh.com," \
                "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-cbc,aes256-cbc,3des-cbc"
#define MACS "hmac-sha2-256,hmac-sha2-256-etm@openssh.com,hmac-sha2-512," \
             "hmac-sha2-512-etm@openssh.com,hmac-sha1,hmac-sha1-etm@openssh.com"

static const struct { int method; const char *names; } preferences[] = {
    {LIBSSH2_METHOD_CRYPT_CS, CIPHERS},
    {LIBSSH2_METHOD_CRYPT_SC, CIPHERS},
    {LIBSSH2_METHOD_MAC_CS, MACS},
    {LIBSSH2_METHOD_MAC_SC, MACS},
};

/* libssh2 1.11: by default it gives up waiting after 60 s by itself. */
extern void libssh2_session_set_read_timeout(LIBSSH2_SESSION *, long) __attribute__((weak));

static const struct { int method; const char *name; } lists[VT_KEXINIT_LISTS] = {
    [VT_KEXINIT_KEX] = {LIBSSH2_METHOD_KEX, "key exchange method"},
    [VT_KEXINIT_HOSTKEY] = {LIBSSH2_METHOD_HOSTKEY, "kind of host key"},
    [VT_KEXINIT_CIPHER_CS] = {LIBSSH2_METHOD_CRYPT_CS, "cipher"},
    [VT_KEXINIT_CIPHER_SC] = {LIBSSH2_METHOD_CRYPT_SC, "cipher"},
    [VT_KEXINIT_MAC_CS] = {LIBSSH2_METHOD_MAC_CS, "MAC"},
    [VT_KEXINIT_MAC_SC] = {LIBSSH2_METHOD_MAC_SC, "MAC"},
};

static bool knows(const char **known, int n, const char *name, size_t len)
{
    for (int i = 0; i < n; i++)
        if (strlen(known[i]) == len && memcmp(known[i], name, len) == 0)
            return true;
    return false;
}

/* libssh2_session_method_pref leaves out unknown names by itself, but 1.10 does so with a
 * memcpy over overlapping memory. */
void vt_ssh_prefer(LIBSSH2_SESSION *session, int kind, const char *names)
{
    const char **known = NULL;
    int n = libssh2_session_supported_algs(session, kind, &known);
    struct vt_buf list;
    vt_buf_init(&list, 4096);
    enum vt_rc rc = VT_OK;
    while (rc == VT_OK && *names != '\0') {
        size_t len = strcspn(names, ",");
        if (knows(known, n, names, len))
            rc = vt_buf_addf(&list, "%s%.*s", list.len > 0 ? "," : "", (int)len, names);
        names += len + (names[len] == ',');
    }
    if (rc == VT_OK && list.len > 0)
        libssh2_session_method_pref(session, kind, list.data);
    if (n > 0)
        libssh2_free(session, known);
    vt_buf_fini(&list);
}

/* ---- key exchange methods ---- */

/* Of a group that the server sends the modulus may have 16,384 bits: libssh2 computes with it twice, for
 * seconds, in one call that neither a deadline nor a signal reaches. */
static bool is_of_any_group(const char *method)
{
    return strncmp(method, "diffie-hellman-group-exchange-", 30) == 0;
}

/* Flags, which stand among the methods' names. */
static bool is_flag(const char *method)
{
    return strncmp(method, "ext-info-", 9) == 0 || strncmp(method, "kex-strict-", 11) == 0;
}

/* libssh2 1.11.1, and later, puts its flags before each list by itself. */
static bool has_own_flags(const char **known, int n)
{
    static const char strict[] = "kex-strict-c-v00@openssh.com";
    return knows(known, n, strict, sizeof strict - 1);
}

/* Whether the block is libssh2's copy of the list, perhaps with flags before it. */
static bool is_copy(const char *block, const char *list)
{
    size_t len = block == NULL ? 0 : strnlen(block, malloc_usable_size((void *)block)), own = strlen(list);
    if (len < own || len == malloc_usable_size((void *)block) || strcmp(block + len - own, list) != 0)
        return false;
    const char *at = block;
    while (at < block + len - own && is_flag(at))
        at += strcspn(at, ",") + 1;
    return at == block + len - own;
}

void vt_ssh_offer_sent(struct vt_ssh *ssh, const char *packet, size_t n)
{
    char *from = ssh->methods, *to = from, *begin = from;
    if (from == NULL || n <= KIND_AT || packet[KIND_AT] != KEXINIT)
        return;
    while (*from != '\0') {
        size_t len = strcspn(from, ","), step = len + (from[len] == ',');
        if (!is_flag(from)) {
            if (to > begin)
                *to++ = ',';
            memmove(to, from, len);
            to += len;
        }
        from += step;
    }
    *to = '\0';
    ssh->methods = NULL;
}

/* libssh2's own methods in its own order, without those of any group. */
static void set_methods(struct vt_ssh *ssh)
{
    LIBSSH2_SESSION *session = ssh->session;
    const char **known = NULL;
    int n = libssh2_session_supported_algs(session, LIBSSH2_METHOD_KEX, &known);
    bool flags = !has_own_flags(known, n);
    struct vt_buf list;
    vt_buf_init(&list, 4096);
    enum vt_rc rc = VT_OK;
    for (int i = 0; i < n && rc == VT_OK; i++)
        if (!is_of_any_group(known[i]) && (flags || !is_flag(known[i])))
            rc = vt_buf_addf(&list, "%s%s", list.len > 0 ? "," : "", known[i]);
    if (n > 0)
        libssh2_free(session, known);
    ssh->memory.newest = NULL;
    if (rc == VT_OK && list.len > 0 && libssh2_session_method_pref(session, LIBSSH2_METHOD_KEX, list.data) == 0
        && is_copy(ssh->memory.newest, list.data))
        ssh->methods = ssh->memory.newest;
    vt_buf_fini(&list);
}

void vt_ssh_set_preferences(struct vt_ssh *ssh)
{
    LIBSSH2_SESSION *session = ssh->session;
    set_methods(ssh);
    for (size_t i = 0; i < sizeof preferences / sizeof *preferences; i++)
        vt_ssh_prefer(session, preferences[i].method, preferences[i].names);
    if (libssh2_session_set_read_timeout != NULL)
        libssh2_session_set_read_timeout(session, LONG_MAX / 2);   /* the deadline is ours */
}

/* ---- why it failed ---- */

static bool has_common(struct vt_ssh *ssh, const struct vt_kexinit *k, enum vt_kexinit_list which)
{
    const char **ours = NULL;
    int n = libssh2_session_supported_algs(ssh->session, lists[which].method, &ours);
    bool common = n <= 0;           /* unknown: not to be blamed */
    for (int i = 0; i < n && !common; i++)
        common = vt_kexinit_offers(k, which, ours[i])
                 && (which != VT_KEXINIT_KEX || !(is_of_any_group(ours[i]) || is_flag(ours[i])));
    if (n > 0)
        libssh2_free(ssh->session, ours);
    return common;
}

static void find_reason(struct vt_ssh *ssh, const struct vt_buf *early, char *text, size_t cap)
{
    struct vt_kexinit k;
    char offered[128];
    if (!vt_kexinit_parse(early->data, early->len, &k))
        return;
    for (int i = 0; i < VT_KEXINIT_LISTS; i++) {
        if (has_common(ssh, &k, i))
            continue;
        vt_show(k.list[i].names, k.list[i].len, offered, sizeof offered);
        snprintf(text, cap, "no %s in common, the server offers %s", lists[i].name, offered);
        return;
    }
}

/* What libssh2 says of a failed exchange is general: adds what both sides offered, and who
 * they are. */
static void explain(struct vt_ssh *ssh, const struct vt_buf *early, struct vt_err *e)
{
    char said[sizeof e->text], why[sizeof e->text] = "";
    memcpy(said, e->text, sizeof said);
    find_reason(ssh, early, why, sizeof why);
    snprintf(e->text, sizeof e->text, "%.170s (server %.40s, libssh2 %.12s)", why[0] != '\0' ? why : said,
             ssh->info.banner, libssh2_version(0));
}

/* ---- the exchange ---- */

static int handshake_once(struct vt_ssh *ssh)
{
    struct vt_keystream scope;
    vt_keystream_enter(&scope);
    int rc = libssh2_session_handshake(ssh->session, ssh->fd);
    vt_keystream_leave(&scope);
    return rc;
}

/* *last: libssh2's last answer, which is EAGAIN if it was the wait that ended. */
static enum vt_rc exchange(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline, int *last, struct vt_err *e)
{
    VT_SSH_AWAIT(*last, handshake_once(ssh), ssh, w, deadline, VT_STAGE_KEX,
                 "key exchange", e);
    return *last == 0 ? VT_OK : vt_ssh_failed(ssh, *last, VT_KEX, VT_STAGE_KEX, e);
}

void vt_ssh_abandon(struct vt_ssh *ssh, int last)
{
    ssh->recv_mode = VT_RECV_FAIL;
    ssh->send_closed = true;
    if (last == LIBSSH2_ERROR_EAGAIN)
        (void)libssh2_session_handshake(ssh->session, ssh->fd);
}

enum vt_rc vt_ssh_handshake(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline, struct vt_err *e)
{
    struct vt_buf early;
    int last = 0;
    vt_buf_init(&early, EARLY_MAX);
    ssh->early = vt_buf_add(&early, ssh->in.data, ssh->in.len) == VT_OK ? &early : NULL;
    enum vt_rc rc = exchange(ssh, w, deadline, &last, e);
    ssh->early = NULL;
    const char *banner = libssh2_session_banner_get(ssh->session);
    if (banner != NULL)
        vt_show(banner, strlen(banner), ssh->info.banner, sizeof ssh->info.banner);
    if (rc == VT_KEX)
        explain(ssh, &early, e);
    ssh->halfway = rc == VT_TIMEOUT && last == LIBSSH2_ERROR_EAGAIN;
    if (rc != VT_OK && !ssh->halfway)
        vt_ssh_abandon(ssh, last);
    vt_buf_fini(&early);
    return rc;
}
