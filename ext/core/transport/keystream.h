/* keystream.h - AES-128-CTR that makes its key stream ahead, for libssh2's key exchange.
 *
 * libssh2 asks OpenSSL for 16 bytes at a time, and most of what that costs is the call.  A
 * provider of our own, in a library context of its own, makes 4 KiB of key stream at once
 * and then only has to add it.  The context is the thread's default during the handshake
 * alone, when libssh2 chooses its ciphers: the rest of the process keeps its own, and so
 * does a libssh2 that runs on another library.
 */
#ifndef VT_KEYSTREAM_H
#define VT_KEYSTREAM_H

#include <stdbool.h>

struct vt_keystream { bool is_on; void *before; };

/* Around the handshake, on the same thread.  Does nothing without OpenSSL 3 at build time,
 * in FIPS mode, or with VIRTVM_NO_LOOKAHEAD=1 in the environment. */
void vt_keystream_enter(struct vt_keystream *scope);
void vt_keystream_leave(struct vt_keystream *scope);

/* The library context (OSSL_LIB_CTX *); NULL: there is none. */
void *vt_keystream_context(void);

#endif
