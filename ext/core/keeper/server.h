/* server.h - the keeper: it holds the terminals of processes that outlive the one that
 * started them. */
#ifndef VT_KEEPER_SERVER_H
#define VT_KEEPER_SERVER_H

#include <stdint.h>

/* Where a keeper is reached. */
struct vt_keeper_place {
    int listener;                   /* SOCK_SEQPACKET, listening, non-blocking */
    int folder;
    const char *name;               /* of the socket's file in it, */
    uint64_t device, inode;         /* and which file that is */
};

/* Serves the listener until the last session was closed, then removes the socket's file,
 * unless that is another's by now, and returns.  A start is under way while the file "lock"
 * in the folder is locked: nobody is left waiting. */
void vt_keeper_serve(const struct vt_keeper_place *place);

#endif
