/* identity.h - a look at a private key file before libssh2 gets it: its errors say little. */
#ifndef VT_IDENTITY_H
#define VT_IDENTITY_H

#include "err.h"

#include <stdbool.h>

/* Whether the file can be a private key without a passphrase; if not, text says why.
 * *is_rsa: it is an RSA key, or may be one.  Reads at most a few KiB. */
bool vt_identity_usable(const char *path, bool *is_rsa, char *text, size_t cap);

#endif
