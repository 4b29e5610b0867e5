/* ssh_identity.h - a look at a key file before libssh2 gets it: its errors say little. */
#ifndef VT_IDENTITY_H
#define VT_IDENTITY_H

#include "base/err.h"

#include <stdbool.h>

#define VT_IDENTITY_MAX 4096        /* bytes looked at: the header and the public part of any key */

enum vt_identity_kind {
    VT_IDENTITY_UNUSABLE,
    VT_IDENTITY_PUBLIC,             /* names a key that an agent holds */
    VT_IDENTITY_PRIVATE,
    VT_IDENTITY_LOCKED,             /* private, protected by a passphrase */
};

struct vt_identity {
    enum vt_identity_kind kind;
    bool is_rsa;                    /* or may be */
    size_t blob_len;                /* of the public key; 0: not known */
    unsigned char blob[VT_IDENTITY_MAX];
};

/* What the file is.  UNUSABLE: text says why.  The public key of a private one is taken from
 * the file itself, or else from the one beside it whose name ends with .pub. */
void vt_identity_look(const char *path, struct vt_identity *id, char *text, size_t cap);

#endif
