/* dial.h - finding a keeper, and starting one. */
#ifndef VT_KEEPER_DIAL_H
#define VT_KEEPER_DIAL_H

#include "base/io.h"

/* Connects to the keeper of this process's namespaces in that folder, starting it if there
 * is none.  *fd is non-blocking. */
enum vt_rc vt_keeper_dial(const char *folder, struct vt_waiter *w, vt_time deadline, int *fd,
                          struct vt_err *e) VT_MUST_CHECK;

#define VT_KEEPERS_MAX 64

/* Connects to all keepers of that folder: *n of them. */
enum vt_rc vt_keeper_dial_all(const char *folder, struct vt_waiter *w, vt_time deadline, int fds[VT_KEEPERS_MAX],
                              int *n, struct vt_err *e) VT_MUST_CHECK;

#endif
