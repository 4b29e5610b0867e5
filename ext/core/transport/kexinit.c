/* kexinit.c - parses a server's SSH_MSG_KEXINIT. */
#include "transport/kexinit.h"

#include "base/wire.h"

#include <string.h>

#define MSG_KEXINIT 20
#define HEADER (4 + 1 + 1 + 16)     /* lengths of packet and padding, type, cookie */

/* The bytes after the version string's line, or NULL. */
static const unsigned char *after_version(const unsigned char *p, const unsigned char *end)
{
    while (end - p >= 4) {
        const unsigned char *newline = memchr(p, '\n', (size_t)(end - p));
        if (newline == NULL)
            return NULL;
        bool is_version = memcmp(p, "SSH-", 4) == 0;
        p = newline + 1;
        if (is_version)
            return p;
    }
    return NULL;
}

bool vt_kexinit_parse(const void *data, size_t n, struct vt_kexinit *out)
{
    const unsigned char *end = (const unsigned char *)data + n;
    const unsigned char *p = after_version(data, end);
    if (p == NULL || end - p < HEADER || p[5] != MSG_KEXINIT)
        return false;
    struct vt_cursor c = {.p = p + HEADER, .end = end};
    for (int i = 0; i < VT_KEXINIT_LISTS; i++) {
        struct vt_span names = vt_take_bytes(&c);
        out->list[i].names = (const char *)names.p;
        out->list[i].len = names.n;
    }
    return !c.bad;
}

bool vt_kexinit_offers(const struct vt_kexinit *k, enum vt_kexinit_list which, const char *name)
{
    const char *p = k->list[which].names, *end = p + k->list[which].len;
    size_t n = strlen(name);
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        size_t len = (size_t)((comma != NULL ? comma : end) - p);
        if (len == n && memcmp(p, name, n) == 0)
            return true;
        p += len + 1;
    }
    return false;
}
