/* dial.h - finding a keeper, and starting one. */
#ifndef VT_KEEPER_DIAL_H
#define VT_KEEPER_DIAL_H

#include "io.h"

/* Connects to the keeper of this process's namespaces in that folder, starting it if there
 * is none.  *fd is non-blocking. */
enum vt_rc vt_keeper_dial(const char *folder, struct vt_waiter *w, vt_time deadline, int *fd,
                          struct vt_err *e) VT_MUST_CHECK;

/* Calls ask(ctx, fd) with a connection to one keeper of that folder after the other until it
 * says something else than VT_CONNECT; the descriptor is ask's.  VT_CONNECT at the end. */
enum vt_rc vt_keeper_ask_all(const char *folder, struct vt_waiter *w, vt_time deadline,
                             enum vt_rc (*ask)(void *ctx, int fd), void *ctx, struct vt_err *e) VT_MUST_CHECK;

#endif
