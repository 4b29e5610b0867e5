/* ssh_memory.h - the memory of one libssh2 session.
 *
 * Each block is one of malloc's, from its first byte on: libssh2 1.11.1 gives back by
 * OpenSSL's free what it got from here (its ECDSA signatures), and that must work. What
 * belongs to a block is kept beside it:
 *
 *   - the sum of all sizes, which is bounded: a peer makes libssh2 allocate;
 *   - the set of the blocks that are out, to be freed at the end: libssh2 forgets some
 *     (host keys at each new key exchange, in 1.10). What it allocates while it uses a key
 *     file is not in the set, since that may be gone without a word.
 */
#ifndef VT_SSH_MEMORY_H
#define VT_SSH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define VT_SSH_MEMORY_MAX ((size_t)256 * 1024 * 1024)
#define VT_SSH_STRANGER_MAX ((size_t)16 * 1024 * 1024)      /* of a server that has not let us in */

/* While authenticating.  libssh2 1.10 copies the name in a keyboard-interactive request
 * by a length that it does not check: no block is larger than this, and each has as much
 * room behind it. */
#define VT_SSH_AUTH_BLOCK_MAX ((size_t)64 * 1024)

struct vt_ssh_memory {
    void **slots;                   /* a hash set: open addressing, at most half full */
    size_t cap, used;
    size_t bytes;
    void *newest;                   /* the last block that was given; it may be gone */
    bool is_stranger;
    bool refused;                   /* a block was, for a bound */
    bool authenticating;            /* secrets are about: freed memory is wiped */
    bool uses_key;                  /* blocks may be freed without a word */
};

/* NULL past the bounds, too. */
void *vt_ssh_memory_alloc(struct vt_ssh_memory *m, size_t n);
void *vt_ssh_memory_realloc(struct vt_ssh_memory *m, void *p, size_t n);

/* Frees any block of malloc's, also one that it never gave. */
void vt_ssh_memory_free(struct vt_ssh_memory *m, void *p);

/* Frees what libssh2 has forgotten, once its session is freed. */
void vt_ssh_memory_fini(struct vt_ssh_memory *m);

#endif
