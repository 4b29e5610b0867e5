/* tcp.h - a session over TCP: raw, as netcat gives it and the remote shell of Windows
 * guests serves it, or Telnet. */
#ifndef VT_TCP_H
#define VT_TCP_H

#include "transport/transport.h"

/* Connects.  As vt_connect: VT_RESOLVE, VT_CONNECT (e->sys), VT_TIMEOUT, VT_INTR. */
enum vt_rc vt_tcp_open(const char *host, int port, bool telnet, struct vt_waiter *w, vt_time deadline,
                       struct vt_transport **out, struct vt_err *e) VT_MUST_CHECK;

#endif
