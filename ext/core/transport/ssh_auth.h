/* ssh_auth.h - what the methods of authentication share (private to ssh_auth*.c). */
#ifndef VT_SSH_AUTH_H
#define VT_SSH_AUTH_H

#include "transport/ssh_private.h"

#include <string.h>

/* What a method came to: let in, refused (try another), nothing to try it with, or an
 * end with l->rc and l->e. */
enum vt_auth_outcome { LET_IN, REFUSED, SKIPPED, ENDED };

struct vt_auth {
    struct vt_ssh *ssh;
    const struct vt_ssh_options *o;
    struct vt_waiter *w;
    vt_time deadline;
    struct vt_err *e;
    enum vt_rc rc;
    char tried[80];                 /* names of the methods that were refused */
    char note[160];                 /* why, if more is known */
    int agent_keys;                 /* of the agent's, offered so far */
    char offered[128];
    bool is_fresh;                  /* offered is what the server offers now */
    int calls;                      /* of libssh2, begun by this login */
};

/* Why a method was refused or skipped, if nothing is noted yet; format has one %s. */
void vt_auth_note(struct vt_auth *l, const char *format, const char *text);

/* ENDED, with that code. */
enum vt_auth_outcome vt_auth_ended(struct vt_auth *l, enum vt_rc rc);

/* Whether libssh2 is to be called for the method; else *out tells how that went in the login that
 * this one goes on with. */
bool vt_auth_is_to_call(struct vt_auth *l, const char *method, enum vt_auth_outcome *out);

/* libssh2's answer to a method. */
enum vt_auth_outcome vt_auth_answered(struct vt_auth *l, int rc, const char *method);

/* Waits for libssh2.  False: the wait ended; *out tells how the method did. */
bool vt_auth_wait(struct vt_auth *l, const char *method, enum vt_auth_outcome *out);

/* One libssh2 call after another until it no longer returns EAGAIN; returns from the caller if
 * the wait ends. */
#define VT_AUTH_AWAIT(l, rc, call, method)                      \
    do {                                                        \
        enum vt_auth_outcome stopped_;                          \
        while (((rc) = (call)) == LIBSSH2_ERROR_EAGAIN)         \
            if (!vt_auth_wait(l, method, &stopped_))            \
                return stopped_;                                \
    } while (0)

static inline bool vt_auth_may_go_on(enum vt_auth_outcome got)
{
    return got == REFUSED || got == SKIPPED;
}

static inline unsigned vt_auth_user_len(const struct vt_auth *l)
{
    return (unsigned)strlen(l->o->user);
}

/* ---- ssh_auth_key.c ---- */

/* By the identity file; one that is locked, without its passphrase, by an agent that holds it. */
enum vt_auth_outcome vt_auth_by_key(struct vt_auth *l);

/* By the agent's keys. */
enum vt_auth_outcome vt_auth_by_agent(struct vt_auth *l);

#endif
