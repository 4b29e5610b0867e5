/* rss_private.h - what uploads and downloads share: a connection, and one copy on it. */
#ifndef VT_RSS_PRIVATE_H
#define VT_RSS_PRIVATE_H

#include "transfer/rss.h"
#include "transfer/rss_wire.h"

#define VT_RSS_IN (128 * 1024)

struct vt_rss {
    int fd;
    struct vt_rss_parser parser;
    struct vt_buf out;              /* not yet sent, from out_at on */
    size_t out_at;
    const char *in_p;               /* in[], not yet parsed */
    size_t in_n;
    uint64_t sent;                  /* counted bytes of packets that were queued */
    enum vt_rss_doing doing;
    bool stopped;                   /* by vt_rss_stop; written atomically */

    /* Of the copy that is going on; borrowed. */
    const struct vt_rss_options *o;
    struct vt_rss_result *r;
    struct vt_waiter *w;
    struct vt_err *e;
    vt_time deadline, stall, moved_at, looked_up_at, told_at;
    enum vt_rc rc;                  /* what ended it */
    char in[VT_RSS_IN];
};

/* Begins a copy: the first failure is kept in c->rc. */
void vt_rss_begin(struct vt_rss *c, const struct vt_rss_options *o, struct vt_waiter *w, vt_time deadline,
                  struct vt_rss_result *r, struct vt_err *e);

/* Ends it with rc, unless something has before.  Returns c->rc. */
enum vt_rc vt_rss_fail(struct vt_rss *c, enum vt_rc rc, int sys, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same by an error at a local path. */
enum vt_rc vt_rss_fail_at(struct vt_rss *c, int sys, const char *path);

/* While bytes move, or things are left out, there is no wait that would notice a signal or the deadline. */
void vt_rss_look_up(struct vt_rss *c);

/* The next event, waiting for it as need be.  A failure, and what the server says is
 * wrong, is GOT_BAD and in c->rc. */
enum vt_rss_event vt_rss_next(struct vt_rss *c);

/* An event that has no place where it came. */
enum vt_rc vt_rss_unexpected(struct vt_rss *c);

/* Room for a chunk's bytes in the queue, which is sent first if there is none; then how
 * many there are.  Small ones wait for more, a whole one is sent.  NULL: see c->rc. */
char *vt_rss_room(struct vt_rss *c);
void vt_rss_filled(struct vt_rss *c, size_t n);
void vt_rss_msg(struct vt_rss *c, uint32_t msg);
void vt_rss_text(struct vt_rss *c, const char *text);

/* Sends all that is queued.  Anything that the server says meanwhile ends it. */
enum vt_rc vt_rss_flush(struct vt_rss *c);

/* Tells whoever watches. */
void vt_rss_tell_file(struct vt_rss *c, const char *path);
void vt_rss_tell_moved(struct vt_rss *c);

#endif
