/* rss.h - copying files and folders to and from a Windows guest, by the file protocol of
 * its remote shell server: one connection, many copies one after another.
 *
 * Names are bytes, as they are.  Where a tree comes to lie is the protocol's rule, on both
 * sides: into the target if that is a folder, else the first file or folder becomes the
 * target.
 *
 * Downloads are whole or absent: a file is written beside its place under a temporary name
 * and renamed when its last chunk is there; a folder that is new appears, likewise, when
 * all of it is there.  Nothing outside the target is touched, no link in it followed.
 * Uploads: the server writes in place, so what failed half way is partial there.
 */
#ifndef VT_RSS_H
#define VT_RSS_H

#include "base/err.h"
#include "base/io.h"
#include "transfer/clean_up.h"
#include "transfer/exclude.h"

#include <stdbool.h>
#include <stdint.h>

enum vt_rss_mode { VT_RSS_MODE_NONE, VT_RSS_MODE_PUT, VT_RSS_MODE_GET };

/* What the client was at when it stopped. */
enum vt_rss_doing { VT_RSS_CONNECTING, VT_RSS_GREETING, VT_RSS_SENDING, VT_RSS_RECEIVING, VT_RSS_AT_FILES };

struct vt_rss_options {
    double stall;                   /* seconds without a byte moving: VT_TIMEOUT; 0: no bound */
    uint64_t bytes_max;             /* of a download's files; 0: no bound but the disk's */
    struct vt_exclude exclude;      /* of an upload */
    uint64_t entries_max;           /* files and folders of a download; 0: no bound */
    /* Both are called without any lock, and stop it with VT_INTR by nonzero.  May be NULL. */
    int (*file)(void *ctx, const char *path);           /* a file begins; its local path */
    int (*moved)(void *ctx, uint64_t counted, uint64_t bytes);  /* a packet was; ten times a second */
    void *ctx;
};

struct vt_rss_result {
    uint64_t files, folders, bytes; /* finished, and bytes of files moved */
    char path[4096];                /* local, of the file that was being moved; its end if too long */
    struct vt_left left;            /* of a download */
};

struct vt_rss;

/* Connects, waits for the magic number, sends chunk size and direction.  VT_RESOLVE,
 * VT_CONNECT and VT_TIMEOUT as vt_connect; VT_PROTO: another number came; VT_EOF. *doing
 * says at what. */
enum vt_rc vt_rss_open(const char *host, int port, enum vt_rss_mode mode, struct vt_waiter *w,
                       vt_time deadline, struct vt_rss **out, enum vt_rss_doing *doing,
                       struct vt_err *e) VT_MUST_CHECK;

/* Copies.  After a failure the connection is of no use: close it.  VT_REMOTE: the server's
 * error, see vt_rss_said; VT_EOF, VT_IO, VT_PROTO, VT_TIMEOUT, VT_INTR, VT_CLOSED, VT_NOMEM,
 * VT_TOOBIG (a bound of the options, or too deep), VT_INVALID (several things for a target
 * that is no folder).  vt_rss_doing_of tells a local error from the socket's. */
enum vt_rc vt_rss_put(struct vt_rss *c, const char *const *sources, size_t n, const char *target,
                      const struct vt_rss_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_rss_result *r, struct vt_err *e) VT_MUST_CHECK;
/* Files and folders may come to none: that is no error here. */
enum vt_rc vt_rss_get(struct vt_rss *c, const char *source, const char *target,
                      const struct vt_rss_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_rss_result *r, struct vt_err *e) VT_MUST_CHECK;

enum vt_rss_doing vt_rss_doing_of(const struct vt_rss *c);
const char *vt_rss_said(const struct vt_rss *c, size_t *n);     /* of VT_REMOTE */
uint64_t vt_rss_counted(const struct vt_rss *c);    /* packets' bytes and 4 for each, both ways */

/* Wakes whoever copies, who then fails.  From any thread while vt_rss_free is not called. */
void vt_rss_stop(struct vt_rss *c);
void vt_rss_free(struct vt_rss *c);                 /* accepts NULL */

#endif
