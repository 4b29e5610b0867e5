/* identity.c - kinds of private key files: PEM, PKCS#8, OpenSSH's own. */
#include "transport/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD 4096                   /* the header and the public part of any key */
#define OPENSSH "-----BEGIN OPENSSH PRIVATE KEY-----"

struct span { const unsigned char *p, *end; };

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

/* Takes a string of RFC 4251 off the span; an empty one if there is none. */
static struct span take(struct span *s)
{
    struct span none = {s->end, s->end};
    if (s->end - s->p < 4)
        return none;
    uint32_t n = (uint32_t)s->p[0] << 24 | (uint32_t)s->p[1] << 16 | (uint32_t)s->p[2] << 8 | s->p[3];
    if (n > (size_t)(s->end - s->p) - 4)
        return none;
    struct span got = {s->p + 4, s->p + 4 + n};
    s->p = got.end;
    return got;
}

static bool is(struct span s, const char *text)
{
    return (size_t)(s.end - s.p) == strlen(text) && memcmp(s.p, text, strlen(text)) == 0;
}

/* openssh-key-v1: magic, cipher, KDF, its options, number of keys, public key. */
static bool openssh_usable(const char *body, bool *is_rsa, char *text, size_t cap)
{
    static const char magic[] = "openssh-key-v1";       /* its NUL included */
    unsigned char data[HEAD];
    struct span s = {data, data + decode(body, data, sizeof data)};
    if ((size_t)(s.end - s.p) < sizeof magic || memcmp(s.p, magic, sizeof magic) != 0) {
        snprintf(text, cap, "is damaged");
        return false;
    }
    s.p += sizeof magic;
    struct span cipher = take(&s);
    (void)take(&s), (void)take(&s);
    s.p = s.end - s.p < 4 ? s.end : s.p + 4;
    struct span public = take(&s);
    *is_rsa = is(take(&public), "ssh-rsa");
    if (is(cipher, "none"))
        return true;
    snprintf(text, cap, "is protected by a passphrase");
    return false;
}

static bool text_usable(const char *head, bool *is_rsa, char *text, size_t cap)
{
    const char *begin = strstr(head, "-----BEGIN ");
    *is_rsa = false;
    if (begin == NULL) {
        bool public = strncmp(head, "ssh-", 4) == 0 || strncmp(head, "ecdsa-", 6) == 0;
        snprintf(text, cap, public ? "is a public key, not a private one" : "is no private key");
        return false;
    }
    if (strncmp(begin, OPENSSH, sizeof OPENSSH - 1) == 0)
        return openssh_usable(begin + sizeof OPENSSH - 1, is_rsa, text, cap);
    *is_rsa = strstr(begin, "BEGIN RSA") != NULL || strstr(begin, "BEGIN PRIVATE KEY") != NULL;
    if (strstr(begin, "ENCRYPTED") == NULL)
        return true;
    snprintf(text, cap, "is protected by a passphrase");
    return false;
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

bool vt_identity_usable(const char *path, bool *is_rsa, char *text, size_t cap)
{
    char head[HEAD];
    errno = 0;
    ssize_t n = read_head(path, head, sizeof head);
    *is_rsa = false;
    if (n < 0) {
        snprintf(text, cap, "cannot be read: %s", strerror(errno));
        return false;
    }
    head[n] = '\0';
    bool usable = text_usable(head, is_rsa, text, cap);
    explicit_bzero(head, sizeof head);
    return usable;
}
