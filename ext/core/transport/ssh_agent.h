/* ssh_agent.h - an SSH agent: what it holds, and its signatures (the protocol of
 * draft-miller-ssh-agent).  libssh2's own client waits without a deadline. */
#ifndef VT_AGENT_H
#define VT_AGENT_H

#include "base/buf.h"
#include "base/io.h"

#include <stdbool.h>
#include <stdint.h>

struct vt_agent {
    int fd;
    struct vt_waiter *w;
    vt_time deadline;
    struct vt_buf keys;             /* the answer with all keys */
    size_t at;                      /* the next one in it */
    uint32_t left, count;
};

struct vt_agent_key { const unsigned char *blob; size_t len; };

/* Connects to the agent at path (NULL: $SSH_AUTH_SOCK) and asks for its keys.  VT_IO with
 * errno, VT_PROTO, VT_TIMEOUT, VT_INTR, VT_CLOSED.  w is kept until vt_agent_close. */
enum vt_rc vt_agent_open(struct vt_agent *a, const char *path, struct vt_waiter *w, vt_time deadline) VT_MUST_CHECK;
void vt_agent_close(struct vt_agent *a);

/* Whether $SSH_AUTH_SOCK names one. */
bool vt_agent_is_named(void);

/* The next key, valid until close; false after the last.  rewind: from the first one again. */
void vt_agent_rewind(struct vt_agent *a);
bool vt_agent_next(struct vt_agent *a, struct vt_agent_key *key);

/* Appends the agent's signature to out: string with algorithm and signature, without its
 * outer length.  flags: 2 for rsa-sha2-256, 4 for rsa-sha2-512, else 0. */
enum vt_rc vt_agent_sign(struct vt_agent *a, const struct vt_agent_key *key, const void *data, size_t n,
                         uint32_t flags, struct vt_buf *out) VT_MUST_CHECK;

#endif
