/* boot.h - connecting to guests that may still boot.
 *
 * A place is a host and a port.  What is known of it, and what was opened there, outlives one
 * login: the next one takes the connections over.  A hypervisor's class may tell more of it;
 * of a place of which nobody told anything loopback is taken for user networking, all else
 * for a direct way.  boot_plan.h decides when what is opened.
 *
 * Any thread may call any of these.  In a forked child all is dropped, without a byte.
 */
#ifndef VT_BOOT_H
#define VT_BOOT_H

#include "transport/boot_plan.h"
#include "base/io.h"
#include "transport/connect.h"

struct vt_places;

struct vt_places *vt_places_new(void);                  /* NULL: no memory */
void vt_places_free(struct vt_places *all);             /* not while somebody waits */
/* Closes all that is kept.  In a forked child: whatever the parent's threads had, too. */
void vt_places_drop(struct vt_places *all);
/* Closes what was kept for long enough; when that is due again: VT_FOREVER if nothing is kept. */
vt_time vt_places_expire(struct vt_places *all);
/* For tests: the clock of all waiting goes so many times as fast. */
void vt_places_pace(struct vt_places *all, int pace);

/* Tells of a place: how it is reached, its canary (canary_port 0: none; a numeric address), and
 * the guest's own port behind it (0: the same), which is for messages.  VT_INVALID, VT_NOMEM.  The others do nothing to a place of which nobody was told. */
enum vt_rc vt_places_tell(struct vt_places *all, const char *host, int port, bool forwarded,
                          const char *canary_host, int canary_port, int guest_port) VT_MUST_CHECK;
void vt_places_alive(struct vt_places *all, const char *host, int port);
void vt_places_reset(struct vt_places *all, const char *host, int port, bool is_up);
void vt_places_forget(struct vt_places *all, const char *host, int port);

/* What is being waited for at a place, in words, and since when in seconds; false: nobody waits. */
bool vt_places_awaits(struct vt_places *all, const char *host, int port, char *words, size_t cap, double *seconds);

/* vt_connect_ssh for one who waits: a peer that is silent or hangs up is tried again until the
 * deadline, by the plan.  Nothing but a refused or unreachable port and another protocol's words
 * ends it before.  VT_LATER: the server refuses us for now (in e->text its own words). */
enum vt_rc vt_boot_connect(struct vt_places *all, const char *host, int port, const char *greeting,
                           struct vt_waiter *w, vt_time deadline, struct vt_connected *out,
                           struct vt_err *e) VT_MUST_CHECK;

/* A connection on which a login ran out of time behind the banner.  Instants are real. */
struct vt_half {
    void *what;
    void (*drop)(void *what);       /* frees it, without a byte */
    vt_time since;                  /* connected */
    vt_time heard;                  /* the peer said something, last */
    vt_time reached;                /* the login came one step further, last */
    bool is_shaken, is_in;          /* behind its key exchange; authenticated */
};

/* The place keeps such ones, a few, for the next logins, as long as other connections.  One is dropped
 * at once if it is from before the place's last reset, or silent for too long, or if it does not get
 * on, whatever the peer says.  take: the first one that fits; NULL: there is none. */
typedef bool (*vt_fits_fn)(const void *what, const void *ctx);
void vt_boot_keep_half(struct vt_places *all, const char *host, int port, const struct vt_half *half);
void *vt_boot_take_half(struct vt_places *all, const char *host, int port, vt_fits_fn fits, const void *ctx);

/* Whether the place's machine was not reset since then (real time), as far as anybody told. */
bool vt_boot_is_current(struct vt_places *all, const char *host, int port, vt_time since);

/* After such a connection: it let us in; or it ended without authentication, with that in *e. */
void vt_boot_let_in(struct vt_places *all, const char *host, int port);
void vt_boot_dropped(struct vt_places *all, const char *host, int port, const struct vt_err *e);

#endif
