/* server.h - the keeper: it holds the terminals of processes that outlive the one that
 * started them. */
#ifndef VT_KEEPER_SERVER_H
#define VT_KEEPER_SERVER_H

/* Serves `listener` (SOCK_SEQPACKET, listening, non-blocking) until the last session was
 * closed, then removes `name` from `folder` and returns.  A start is under way while the
 * file "lock" in it is locked: nobody is left waiting. */
void vt_keeper_serve(int listener, int folder, const char *name);

#endif
