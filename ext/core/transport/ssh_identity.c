/* ssh_identity.c - kinds of key files: PEM, PKCS#8, OpenSSH's own, and public ones. */
#include "transport/ssh_identity.h"

#include "base/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD VT_IDENTITY_MAX
#define OPENSSH "-----BEGIN OPENSSH PRIVATE KEY-----"
#define PKCS8 "-----BEGIN PRIVATE KEY-----"

static int digit(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26
         : c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes base64 up to the first byte that is neither that nor white space. */
static size_t decode(const char *text, unsigned char *out, size_t cap)
{
    unsigned bits = 0, have = 0;
    size_t n = 0;
    for (; *text != '\0' && n < cap; text++) {
        if (*text == '\n' || *text == '\r')
            continue;
        int d = digit(*text);
        if (d < 0)
            break;
        bits = bits << 6 | (unsigned)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (unsigned char)(bits >> have);
        }
    }
    return n;
}

/* Takes over a public key: its kind, and numbers. */
static void set_blob(struct vt_identity *id, struct vt_span public)
{
    struct vt_cursor c = vt_cursor_of(public.p, public.n);
    id->blob_len = public.n;
    memcpy(id->blob, public.p, public.n);
    id->is_rsa = vt_span_is(vt_take_bytes(&c), "ssh-rsa");
}

static void unusable(struct vt_identity *id, char *text, size_t cap, const char *why)
{
    id->kind = VT_IDENTITY_UNUSABLE;
    snprintf(text, cap, "%s", why);
}

/* openssh-key-v1: magic, cipher, KDF, its options, number of keys, public key. */
static void look_openssh(const char *body, struct vt_identity *id, char *text, size_t cap)
{
    static const char magic[] = "openssh-key-v1";       /* its NUL included */
    unsigned char data[HEAD];
    struct vt_cursor c = vt_cursor_of(data, decode(body, data, sizeof data));
    const unsigned char *begin = vt_take_raw(&c, sizeof magic);
    if (begin == NULL || memcmp(begin, magic, sizeof magic) != 0) {
        unusable(id, text, cap, "is damaged");
        return;
    }
    struct vt_span cipher = vt_take_bytes(&c);
    (void)vt_take_bytes(&c), (void)vt_take_bytes(&c), (void)vt_take_u32(&c);
    set_blob(id, vt_take_bytes(&c));
    id->kind = vt_span_is(cipher, "none") ? VT_IDENTITY_PRIVATE : VT_IDENTITY_LOCKED;
    explicit_bzero(data, sizeof data);
}

/* PKCS#8 begins with a version and the kind of key, an OID. */
static void look_pkcs8(const char *body, struct vt_identity *id, char *text, size_t cap)
{
    static const unsigned char rsa[] = {6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1};
    static const unsigned char ed25519[] = {6, 3, 0x2b, 0x65, 0x70};
    unsigned char data[40];
    size_t n = decode(body, data, sizeof data);
    id->kind = VT_IDENTITY_PRIVATE;
    id->is_rsa = memmem(data, n, rsa, sizeof rsa) != NULL;
    if (memmem(data, n, ed25519, sizeof ed25519) != NULL)
        unusable(id, text, cap, "is an ed25519 key in PKCS#8 form; libssh2 reads those of ssh-keygen");
    explicit_bzero(data, sizeof data);
}

static bool is_public_kind(const char *line)
{
    return strncmp(line, "ssh-", 4) == 0 || strncmp(line, "ecdsa-", 6) == 0 || strncmp(line, "sk-", 3) == 0;
}

/* A public key: its kind, its numbers in base64, a comment. */
static void look_public(const char *line, struct vt_identity *id, char *text, size_t cap)
{
    unsigned char data[HEAD];
    size_t n = strcspn(line, " \t\r\n");
    struct vt_span blob = {data, 0};
    if (!is_public_kind(line)) {
        unusable(id, text, cap, "is no private key");
        return;
    }
    if (line[n] != '\0')
        blob.n = decode(line + n + 1, data, sizeof data);
    struct vt_cursor c = vt_cursor_of(blob.p, blob.n);
    struct vt_span kind = vt_take_bytes(&c);
    if (kind.n != n || memcmp(kind.p, line, n) != 0) {
        unusable(id, text, cap, "is a damaged public key");
        return;
    }
    set_blob(id, blob);
    id->kind = VT_IDENTITY_PUBLIC;
}

static void look_text(const char *head, struct vt_identity *id, char *text, size_t cap)
{
    const char *begin = strstr(head, "-----BEGIN ");
    if (begin == NULL) {
        look_public(head, id, text, cap);
    } else if (strncmp(begin, OPENSSH, sizeof OPENSSH - 1) == 0) {
        look_openssh(begin + sizeof OPENSSH - 1, id, text, cap);
    } else if (strncmp(begin, PKCS8, sizeof PKCS8 - 1) == 0) {
        look_pkcs8(begin + sizeof PKCS8 - 1, id, text, cap);
    } else {
        id->is_rsa = strstr(begin, "BEGIN RSA") != NULL;
        id->kind = strstr(begin, "ENCRYPTED") != NULL ? VT_IDENTITY_LOCKED : VT_IDENTITY_PRIVATE;
    }
}

static ssize_t read_head(const char *path, char *head, size_t cap)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    ssize_t n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, head, cap - 1) : -1;
    if (n < 0 && errno == 0)
        errno = EINVAL;
    int sys = errno;
    close(fd);
    errno = sys;
    return n;
}

static bool look_file(const char *path, struct vt_identity *id, char *text, size_t cap)
{
    char head[HEAD];
    errno = 0;
    ssize_t n = read_head(path, head, sizeof head);
    if (n < 0)
        return false;
    head[n] = '\0';
    look_text(head, id, text, cap);
    explicit_bzero(head, sizeof head);
    return true;
}

/* The public half, out of the file beside the private one. */
static void look_beside(const char *path, struct vt_identity *id)
{
    char beside[PATH_MAX], unused[16];
    struct vt_identity public = {0};
    int n = snprintf(beside, sizeof beside, "%s.pub", path);
    if (n < 0 || (size_t)n >= sizeof beside || !look_file(beside, &public, unused, sizeof unused)
        || public.kind != VT_IDENTITY_PUBLIC)
        return;
    id->blob_len = public.blob_len;
    memcpy(id->blob, public.blob, public.blob_len);
}

void vt_identity_look(const char *path, struct vt_identity *id, char *text, size_t cap)
{
    *id = (struct vt_identity){0};
    if (!look_file(path, id, text, cap))
        snprintf(text, cap, "cannot be read: %s", strerror(errno));
    else if (id->kind != VT_IDENTITY_UNUSABLE && id->blob_len == 0)
        look_beside(path, id);
}
