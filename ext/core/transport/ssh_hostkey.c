/* ssh_hostkey.c - the server's key: its fingerprint, and whether known_hosts has it.
 *
 * Lines of known_hosts are matched here, since libssh2 knows neither patterns nor markers
 * and ends at the first line that it does not understand; hashed names and the comparison
 * are libssh2's.
 */
#include "transport/ssh_private.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 300

/* base64 without padding, as OpenSSH prints fingerprints */
static void base64(const unsigned char *in, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0, have = 0;
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | in[i];
        for (have += 8; have >= 6; have -= 6)
            *out++ = digits[bits >> (have - 6) & 63];
    }
    if (have > 0)
        *out++ = digits[bits << (6 - have) & 63];
    *out = '\0';
}

static void note_fingerprint(struct vt_ssh *ssh)
{
    const char *hash = libssh2_hostkey_hash(ssh->session, LIBSSH2_HOSTKEY_HASH_SHA256);
    if (hash == NULL)
        return;
    memcpy(ssh->info.hostkey, "SHA256:", 7);
    base64((const unsigned char *)hash, 32, ssh->info.hostkey + 7);
}

/* ---- reading known_hosts ---- */

static bool matches(const char *pattern, size_t n, const char *name)
{
    if (n == 0)
        return *name == '\0';
    if (*pattern == '*') {
        do {
            if (matches(pattern + 1, n - 1, name))
                return true;
        } while (*name++ != '\0');
        return false;
    }
    bool same = *name != '\0' && (*pattern == '?' || tolower((unsigned char)*pattern) == *name);
    return same && matches(pattern + 1, n - 1, name + 1);
}

/* Patterns with commas between them; one with "!" that matches excludes the name. */
static bool is_listed(const char *list, size_t n, const char *name)
{
    bool found = false;
    const char *end = list + n;
    while (list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        size_t len = (size_t)((comma != NULL ? comma : end) - list);
        bool without = len > 0 && *list == '!';
        if (matches(list + without, len - without, name)) {
            if (without)
                return false;
            found = true;
        }
        list += len + 1;
    }
    return found;
}

/* The name under which the file has the host: [host]:port unless the port is 22. */
static void name_of(const struct vt_ssh_options *o, char *name, size_t cap)
{
    snprintf(name, cap, o->port == 22 ? "%s" : "[%s]:%d", o->host, o->port);
    for (; *name != '\0'; name++)
        *name = (char)tolower((unsigned char)*name);
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

static void add_line(struct vt_ssh *ssh, const char *line, const char *name)
{
    LIBSSH2_KNOWNHOSTS *into = ssh->known;
    line = skip_blanks(line);
    if (*line == '@') {
        bool revoked = strncmp(line, "@revoked", 8) == 0;
        line = skip_blanks(line + strcspn(line, " \t"));
        if (!revoked)
            return;                 /* certificates: libssh2 has none */
        into = ssh->revoked;
    }
    size_t n = strcspn(line, " \t\n");
    if (n == 0 || *line == '#')
        return;
    if (*line == '|') {
        (void)libssh2_knownhost_readline(into, line, strlen(line), LIBSSH2_KNOWNHOST_FILE_OPENSSH);
    } else if (is_listed(line, n, name)) {
        struct vt_buf b;
        vt_buf_init(&b, 64 * 1024);
        if (vt_buf_addf(&b, "%s%s", name, line + n) == VT_OK)
            (void)libssh2_knownhost_readline(into, b.data, b.len, LIBSSH2_KNOWNHOST_FILE_OPENSSH);
        vt_buf_fini(&b);
    }
}

static enum vt_rc load(struct vt_ssh *ssh, const struct vt_ssh_options *o, const char *name, struct vt_err *e)
{
    char *line = NULL;
    size_t cap = 0;
    FILE *f = fopen(o->known_hosts, "re");
    if (f == NULL)
        return vt_fail(e, VT_HOSTKEY, VT_STAGE_HOSTKEY, errno, "cannot read %s: %s", o->known_hosts,
                       strerror(errno));
    ssh->known = libssh2_knownhost_init(ssh->session);
    ssh->revoked = libssh2_knownhost_init(ssh->session);
    bool ok = ssh->known != NULL && ssh->revoked != NULL;
    while (ok && getline(&line, &cap, f) > 0)
        add_line(ssh, line, name);
    free(line);
    fclose(f);
    return ok ? VT_OK : vt_fail(e, VT_NOMEM, VT_STAGE_HOSTKEY, 0, NULL);
}

/* ---- which kind of key ---- */

static const struct { int bit; const char *names; } kinds[] = {
    {LIBSSH2_KNOWNHOST_KEY_ED25519, "ssh-ed25519"},
    {LIBSSH2_KNOWNHOST_KEY_ECDSA_256, "ecdsa-sha2-nistp256"},
    {LIBSSH2_KNOWNHOST_KEY_ECDSA_384, "ecdsa-sha2-nistp384"},
    {LIBSSH2_KNOWNHOST_KEY_ECDSA_521, "ecdsa-sha2-nistp521"},
    {LIBSSH2_KNOWNHOST_KEY_SSHRSA, "rsa-sha2-512,rsa-sha2-256,ssh-rsa"},
};

static int look_up(LIBSSH2_KNOWNHOSTS *known, const char *name, int bit, const char *key, size_t n)
{
    struct libssh2_knownhost *found = NULL;
    return libssh2_knownhost_checkp(known, name, -1, key, n, LIBSSH2_KNOWNHOST_TYPE_PLAIN
                                    | LIBSSH2_KNOWNHOST_KEYENC_RAW | bit, &found);
}

/* A key that can't be the right one: a mismatch means that one of its kind is known. */
static bool is_kind_known(struct vt_ssh *ssh, const char *name, int bit)
{
    return ssh->known != NULL && look_up(ssh->known, name, bit, "none", 4) == LIBSSH2_KNOWNHOST_CHECK_MISMATCH;
}

enum vt_rc vt_ssh_prefer_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_err *e)
{
    char name[NAME_MAX_LEN], list[256] = "";
    size_t at = 0;
    name_of(o, name, sizeof name);
    if (o->known_hosts != NULL) {
        enum vt_rc rc = load(ssh, o, name, e);
        if (rc != VT_OK)
            return rc;
    }
    for (int known = 1; known >= 0; known--)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (is_kind_known(ssh, name, kinds[i].bit) == (known == 1))
                at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", at > 0 ? "," : "", kinds[i].names);
    vt_ssh_prefer(ssh->session, LIBSSH2_METHOD_HOSTKEY, list);
    return VT_OK;
}

/* ---- the check ---- */

static int key_bit(int type)
{
    switch (type) {
    case LIBSSH2_HOSTKEY_TYPE_RSA: return LIBSSH2_KNOWNHOST_KEY_SSHRSA;
    case LIBSSH2_HOSTKEY_TYPE_DSS: return LIBSSH2_KNOWNHOST_KEY_SSHDSS;
    case LIBSSH2_HOSTKEY_TYPE_ECDSA_256: return LIBSSH2_KNOWNHOST_KEY_ECDSA_256;
    case LIBSSH2_HOSTKEY_TYPE_ECDSA_384: return LIBSSH2_KNOWNHOST_KEY_ECDSA_384;
    case LIBSSH2_HOSTKEY_TYPE_ECDSA_521: return LIBSSH2_KNOWNHOST_KEY_ECDSA_521;
    case LIBSSH2_HOSTKEY_TYPE_ED25519: return LIBSSH2_KNOWNHOST_KEY_ED25519;
    default: return LIBSSH2_KNOWNHOST_KEY_UNKNOWN;
    }
}

static const char *verdict(struct vt_ssh *ssh, const char *name)
{
    size_t n = 0;
    int type = 0;
    const char *key = libssh2_session_hostkey(ssh->session, &n, &type);
    int bit = key_bit(type);
    if (key == NULL)
        return "cannot be had";
    if (look_up(ssh->revoked, name, bit, key, n) == LIBSSH2_KNOWNHOST_CHECK_MATCH)
        return "is revoked";
    switch (look_up(ssh->known, name, bit, key, n)) {
    case LIBSSH2_KNOWNHOST_CHECK_MATCH: return NULL;
    case LIBSSH2_KNOWNHOST_CHECK_MISMATCH: return "is not the known one";
    case LIBSSH2_KNOWNHOST_CHECK_NOTFOUND: return "is not known";
    default: return "cannot be checked";
    }
}

enum vt_rc vt_ssh_check_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_err *e)
{
    char name[NAME_MAX_LEN];
    note_fingerprint(ssh);
    if (o->known_hosts == NULL)
        return VT_OK;
    name_of(o, name, sizeof name);
    const char *why = verdict(ssh, name);
    if (why == NULL)
        return VT_OK;
    return vt_fail(e, VT_HOSTKEY, VT_STAGE_HOSTKEY, 0, "the host key %s of %s %s (%s)", ssh->info.hostkey, name,
                   why, o->known_hosts);
}
