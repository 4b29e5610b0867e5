/* ssh_hostkey.c - the server's key: its fingerprint, and whether known_hosts has it.
 *
 * Lines of known_hosts are matched here, since libssh2 knows neither patterns nor markers
 * and ends at the first line that it does not understand; hashed names and the comparison
 * are libssh2's.
 */
#include "transport/ssh_private.h"

#include "base/ascii.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_LEN 300
#define LINE_MAX_LEN (64 * 1024)
#define READ_SIZE (16 * 1024)
#define KEYS_MAX 1000               /* of one host */
#define BLANKS " \t\r\n\v\f"

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

/* A pattern with * and ? in it.  Only the last star that was met is tried further on: many of
 * them cost no more than the product of the lengths. */
static bool matches(const char *pattern, size_t n, const char *name)
{
    const char *end = pattern + n, *star = NULL, *behind = NULL;
    while (*name != '\0') {
        if (pattern < end && *pattern == '*') {
            star = pattern++;
            behind = name;
        } else if (pattern < end && (*pattern == '?' || vt_lower(*pattern) == *name)) {
            pattern++;
            name++;
        } else if (star != NULL) {
            pattern = star + 1;
            name = ++behind;
        } else {
            return false;
        }
    }
    while (pattern < end && *pattern == '*')
        pattern++;
    return pattern == end;
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

/* The name under which the file has the host: [host]:port unless the port is 22.  Brackets
 * that an address came with are no part of it. */
static void name_of(const struct vt_ssh_options *o, char *name, size_t cap)
{
    size_t n = strlen(o->host);
    bool bracketed = n > 2 && o->host[0] == '[' && o->host[n - 1] == ']';
    int len = (int)(bracketed ? n - 2 : n);
    snprintf(name, cap, o->port == 22 ? "%.*s" : "[%.*s]:%d", len, o->host + bracketed, o->port);
    for (; *name != '\0'; name++)
        *name = vt_lower(*name);
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t");
}

/* LIBSSH2_KNOWNHOSTS that has one line more; 0, or libssh2's error. */
static int add_key(LIBSSH2_KNOWNHOSTS *into, const char *name, size_t n, const char *key)
{
    struct vt_buf b;
    size_t kind = strcspn(key, BLANKS);
    const char *blob = skip_blanks(key + kind);
    int rc = LIBSSH2_ERROR_ALLOC;
    vt_buf_init(&b, 2 * LINE_MAX_LEN);
    /* What is behind a key is no part of it: libssh2 would take a CR for such. */
    if (vt_buf_addf(&b, "%.*s %.*s %.*s\n", (int)n, name, (int)kind, key, (int)strcspn(blob, BLANKS), blob) == VT_OK)
        rc = libssh2_knownhost_readline(into, b.data, b.len, LIBSSH2_KNOWNHOST_FILE_OPENSSH);
    vt_buf_fini(&b);
    return rc;
}

static int look_up(LIBSSH2_KNOWNHOSTS *known, const char *name, int bit, const char *key, size_t n)
{
    struct libssh2_knownhost *found = NULL;
    return libssh2_knownhost_checkp(known, name, -1, key, n, LIBSSH2_KNOWNHOST_TYPE_PLAIN
                                    | LIBSSH2_KNOWNHOST_KEYENC_RAW | bit, &found);
}

/* A name that is hashed.  Only libssh2 can tell whose it is, and it would keep them all. */
static bool is_hash_of(struct vt_ssh *ssh, const char *hash, size_t n, const char *name)
{
    LIBSSH2_KNOWNHOSTS *one = libssh2_knownhost_init(ssh->session);
    bool is = one != NULL && add_key(one, hash, n, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB") == 0
        && look_up(one, name, LIBSSH2_KNOWNHOST_KEY_SSHRSA, "none", 4) == LIBSSH2_KNOWNHOST_CHECK_MISMATCH;
    if (one != NULL)
        libssh2_knownhost_free(one);
    return is;
}

/* VT_TOOBIG, VT_NOMEM; a line that says nothing is passed over. */
static enum vt_rc add_line(struct vt_ssh *ssh, const char *line, const char *name, int *count)
{
    LIBSSH2_KNOWNHOSTS *into = ssh->known;
    line = skip_blanks(line);
    if (*line == '@') {
        bool revoked = strncmp(line, "@revoked", 8) == 0;
        line = skip_blanks(line + strcspn(line, " \t"));
        if (!revoked)
            return VT_OK;           /* certificates: libssh2 has none */
        into = ssh->revoked;
    }
    size_t n = strcspn(line, " \t");
    if (n == 0 || *line == '#' || !(*line == '|' ? is_hash_of(ssh, line, n, name) : is_listed(line, n, name)))
        return VT_OK;
    int rc = add_key(into, name, strlen(name), skip_blanks(line + n));
    if (rc == LIBSSH2_ERROR_ALLOC)
        return VT_NOMEM;
    *count += rc == 0;
    return *count > KEYS_MAX ? VT_TOOBIG : VT_OK;
}

void vt_ssh_forget_hosts(struct vt_ssh *ssh)
{
    if (ssh->known != NULL)
        libssh2_knownhost_free(ssh->known);
    if (ssh->revoked != NULL)
        libssh2_knownhost_free(ssh->revoked);
    ssh->known = ssh->revoked = NULL;
}

struct reader {
    int fd;
    struct vt_waiter *w;
    vt_time deadline;
    enum vt_rc rc;                  /* VT_EOF once all is read */
    size_t at, n;
    char data[READ_SIZE], line[LINE_MAX_LEN];
};

/* It may be a pipe, or have no end. */
static bool refill(struct reader *r)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    r->rc = vt_expired(r->deadline) ? VT_TIMEOUT : vt_wait(r->w, &p, 1, r->deadline);
    if (r->rc != VT_OK)
        return false;
    ssize_t n = read(r->fd, r->data, sizeof r->data);
    r->rc = n > 0 ? VT_OK : n == 0 ? VT_EOF : VT_IO;
    r->n = n > 0 ? (size_t)n : 0;
    r->at = 0;
    return n > 0;
}

/* The next line, without its end; one that is too long says nothing, and comes empty. */
static bool read_line(struct reader *r)
{
    size_t n = 0;
    char c = '\0';
    while (c != '\n' && (r->at < r->n || refill(r))) {
        c = r->data[r->at++];
        if (c != '\n' && n < sizeof r->line)
            r->line[n++] = c;
    }
    r->line[n < sizeof r->line ? n : 0] = '\0';
    return r->rc == VT_OK || (r->rc == VT_EOF && n > 0);
}

static enum vt_rc read_all(struct vt_ssh *ssh, struct reader *r, const struct vt_ssh_options *o, const char *name,
                           struct vt_err *e)
{
    int count = 0;
    enum vt_rc rc = VT_OK;
    while (rc == VT_OK && read_line(r))
        rc = add_line(ssh, r->line, name, &count);
    if (rc == VT_TOOBIG)
        return vt_fail(e, VT_HOSTKEY, VT_STAGE_HOSTKEY, 0, "%s has more than %d keys of %s", o->known_hosts, KEYS_MAX,
                       name);
    if (rc == VT_OK && r->rc == VT_IO)
        return vt_fail(e, VT_HOSTKEY, VT_STAGE_HOSTKEY, errno, "cannot read %s: %s", o->known_hosts, strerror(errno));
    if (rc == VT_OK && r->rc == VT_TIMEOUT)
        return vt_fail(e, VT_TIMEOUT, VT_STAGE_HOSTKEY, 0, "the end of %s did not come", o->known_hosts);
    if (rc == VT_OK && r->rc != VT_EOF)
        return vt_ssh_stopped(ssh, r->rc, VT_STAGE_HOSTKEY, NULL, e);
    return rc == VT_OK ? VT_OK : vt_fail(e, rc, VT_STAGE_HOSTKEY, 0, NULL);
}

static enum vt_rc load(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                       const char *name, struct vt_err *e)
{
    struct reader *r = calloc(1, sizeof *r);
    ssh->known = libssh2_knownhost_init(ssh->session);
    ssh->revoked = libssh2_knownhost_init(ssh->session);
    if (r == NULL || ssh->known == NULL || ssh->revoked == NULL) {
        free(r);
        return vt_fail(e, VT_NOMEM, VT_STAGE_HOSTKEY, 0, NULL);
    }
    enum vt_rc rc;
    *r = (struct reader){.fd = open(o->known_hosts, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), .w = w,
                         .deadline = deadline};
    if (r->fd < 0) {
        rc = vt_fail(e, VT_HOSTKEY, VT_STAGE_HOSTKEY, errno, "cannot read %s: %s", o->known_hosts, strerror(errno));
    } else {
        rc = read_all(ssh, r, o, name, e);
        close(r->fd);
    }
    free(r);
    return rc;
}

/* ---- which kind of key ---- */

static const struct { int bit; const char *names; } kinds[] = {
    {LIBSSH2_KNOWNHOST_KEY_ED25519, "ssh-ed25519"},
    {LIBSSH2_KNOWNHOST_KEY_ECDSA_256, "ecdsa-sha2-nistp256"},
    {LIBSSH2_KNOWNHOST_KEY_ECDSA_384, "ecdsa-sha2-nistp384"},
    {LIBSSH2_KNOWNHOST_KEY_ECDSA_521, "ecdsa-sha2-nistp521"},
    {LIBSSH2_KNOWNHOST_KEY_SSHRSA, "rsa-sha2-512,rsa-sha2-256,ssh-rsa"},
};

/* A key that can't be the right one: a mismatch means that one of its kind is known. */
static bool is_kind_known(struct vt_ssh *ssh, const char *name, int bit)
{
    return ssh->known != NULL && look_up(ssh->known, name, bit, "none", 4) == LIBSSH2_KNOWNHOST_CHECK_MISMATCH;
}

enum vt_rc vt_ssh_prefer_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                                 vt_time deadline, struct vt_err *e)
{
    char name[NAME_MAX_LEN], list[256] = "";
    size_t at = 0;
    name_of(o, name, sizeof name);
    if (o->known_hosts != NULL) {
        enum vt_rc rc = load(ssh, o, w, deadline, name, e);
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

static enum vt_rc check(struct vt_ssh *ssh, const struct vt_ssh_options *o, const char *name, struct vt_err *e)
{
    const char *why = verdict(ssh, name);
    if (why == NULL)
        return VT_OK;
    return vt_fail(e, VT_HOSTKEY, VT_STAGE_HOSTKEY, 0, "the host key %s of %s %s (%s)", ssh->info.hostkey, name,
                   why, o->known_hosts);
}

enum vt_rc vt_ssh_check_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_err *e)
{
    char name[NAME_MAX_LEN];
    note_fingerprint(ssh);
    if (o->known_hosts == NULL)
        return VT_OK;
    name_of(o, name, sizeof name);
    return check(ssh, o, name, e);
}

enum vt_rc vt_ssh_recheck_hostkey(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w,
                                  vt_time deadline, struct vt_err *e)
{
    char name[NAME_MAX_LEN];
    if (o->known_hosts == NULL)
        return VT_OK;
    name_of(o, name, sizeof name);
    vt_ssh_forget_hosts(ssh);
    enum vt_rc rc = load(ssh, o, w, deadline, name, e);
    return rc == VT_OK && ssh->is_shaken ? check(ssh, o, name, e) : rc;
}
