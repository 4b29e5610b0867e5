/* resolve.h - host names to addresses, against a deadline. */
#ifndef VT_RESOLVE_H
#define VT_RESOLVE_H

#include "base/io.h"

#include <sys/socket.h>

#define VT_ADDRESSES 8

struct vt_addresses {
    int count;
    struct sockaddr_storage list[VT_ADDRESSES];
    socklen_t len[VT_ADDRESSES];
};

/* Numeric addresses are taken as they are; names are looked up by a thread of their own
 * (the resolver knows no deadline), which outlives the call if it must. */
enum vt_rc vt_resolve(const char *host, int port, struct vt_waiter *w, vt_time deadline,
                      struct vt_addresses *out, struct vt_err *e) VT_MUST_CHECK;

#endif
