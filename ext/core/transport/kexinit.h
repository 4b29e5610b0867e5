/* kexinit.h - what an SSH server offers in its first packet (RFC 4253, 7.1). */
#ifndef VT_KEXINIT_H
#define VT_KEXINIT_H

#include <stdbool.h>
#include <stddef.h>

enum vt_kexinit_list {
    VT_KEXINIT_KEX, VT_KEXINIT_HOSTKEY,
    VT_KEXINIT_CIPHER_CS, VT_KEXINIT_CIPHER_SC,
    VT_KEXINIT_MAC_CS, VT_KEXINIT_MAC_SC,
    VT_KEXINIT_LISTS,
};

/* Comma-separated names, pointing into the bytes that were parsed. */
struct vt_kexinit {
    struct { const char *names; size_t len; } list[VT_KEXINIT_LISTS];
};

/* Finds the lists in the first n bytes that a server sent, version string included.
 * False when they are not all there, or are not what they should be. */
bool vt_kexinit_parse(const void *data, size_t n, struct vt_kexinit *out);

/* Whether the list has that name. */
bool vt_kexinit_offers(const struct vt_kexinit *k, enum vt_kexinit_list which, const char *name);

#endif
