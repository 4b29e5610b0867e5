/* second.h - a second connection that sends the end of a large file.
 *
 * Two connections fill each other's pauses.  The second one works in a thread of its own,
 * from the end of the file towards its beginning, until it meets the first one.  It is
 * a help only: where it fails, the first one sends that part itself.
 */
#ifndef VT_SECOND_H
#define VT_SECOND_H

#include "transport/ssh.h"

struct vt_second;

/* Begins it: path is open for writing on the server already, by the first.  The options and
 * fd are borrowed until vt_second_end.  NULL: it can't be had. */
struct vt_second *vt_second_begin(const struct vt_ssh_options *login, int fd, const char *path, uint64_t size,
                                  vt_time deadline);

/* Where its part begins; the first one has sent all before front, and goes on up to there. */
uint64_t vt_second_limit(struct vt_second *h, uint64_t front);

/* Bytes that have been acknowledged since the last call. */
uint64_t vt_second_moved(struct vt_second *h);

/* Waits until it has ended.  False: not before that time. */
bool vt_second_wait(struct vt_second *h, vt_time until);

/* Stops it if need be, and frees it.  True: all of its part is on the server. */
bool vt_second_end(struct vt_second *h);

#endif
