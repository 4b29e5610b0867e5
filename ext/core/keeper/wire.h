/* wire.h - what a keeper and its clients say to each other.
 *
 * One connection (unix, SOCK_SEQPACKET) is one client of one session.  Each message is a
 * struct vt_keeper_msg, of VT_KEEPER_OUTPUT and _INPUT followed by bytes.  Both ends are
 * processes of one user on one machine; the protocol's version is in the socket's name, so
 * that different versions never meet.
 *
 * The first message is START or ATTACH.  Its answer is HELLO or REFUSED; then comes all
 * output since the start, and what follows as it comes, and ENDED once the process has ended.
 */
#ifndef VT_KEEPER_WIRE_H
#define VT_KEEPER_WIRE_H

#include "base/err.h"

#include <stdint.h>
#include <sys/resource.h>

#define VT_KEEPER_VERSION 1
#define VT_KEEPER_ID_MAX 63
#define VT_KEEPER_PIECE 32768       /* bytes behind a message at most */
#define VT_KEEPER_CREDIT (1024 * 1024)      /* bytes of input that may be under way */
#define VT_KEEPER_REQUEST_MAX (64 * 1024 * 1024)
#define VT_KEEPER_PASS_MAX 200

enum vt_keeper_type {
    VT_KEEPER_START = 1,    /* id; with descriptors: request file, folder, passed ones */
    VT_KEEPER_ATTACH,       /* id */
    VT_KEEPER_INPUT,        /* bytes for the process */
    VT_KEEPER_KILL,         /* number: signal for the process and its descendants */
    VT_KEEPER_MARK,         /* read_at, told: how far this client has come */
    VT_KEEPER_CLOSE,        /* forget the session, end its process; answered by end of stream */

    VT_KEEPER_HELLO,        /* number: process id; total, read_at, told */
    VT_KEEPER_REFUSED,      /* number: errno; id holds a text */
    VT_KEEPER_OUTPUT,       /* bytes of the process */
    VT_KEEPER_TAKEN,        /* number: bytes of input that may be sent anew */
    VT_KEEPER_ENDED,        /* flag: whether the status in number is known */
};

struct vt_keeper_msg {
    uint32_t type;
    int32_t number;
    uint32_t flag;
    uint32_t unused;
    uint64_t total, read_at, told;
    char id[VT_KEEPER_ID_MAX + 1];
};

#define VT_KEEPER_NO_MARK UINT64_MAX    /* in MARK: leave this one as it is */

/* At the begin of START's request file; then the strings of argv and of envp, each with its
 * NUL, then pass_count numbers (int32_t). */
struct vt_keeper_request {
    uint32_t argc, envc, pass_count, echo;
    uint32_t umask, unused;
    struct rlimit limits[RLIM_NLIMITS];
};

#endif
