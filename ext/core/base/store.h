/* store.h - a session's scrollback: all that it has received, in bounded memory and on bounded
 * disk.
 *
 * Bytes have absolute offsets from the session's start.  The newest stay in memory
 * (the window); past the bound older ones move to an unlinked file, from which they
 * can still be read.  The file is a ring of VT_STORE_FILE_MAX bytes: past it, or if it
 * can't be written, the oldest are forgotten; `first` tells.
 */
#ifndef VT_STORE_H
#define VT_STORE_H

#include "base/err.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#define VT_STORE_FILE_MAX ((uint64_t)1 << 30)

/* One thread writes; any may read at the same time, by vt_store_read and _copy.  In a fork's child
 * only reading is left, without the lock: a thread that is not there may hold it. */
struct vt_store {
    pthread_mutex_t lock;   /* for readers: held while the writer moves or counts bytes */
    pid_t pid;              /* whose lock it is */
    char *mem;              /* the window: bytes [total - len, total) */
    size_t len, cap, bound;
    uint64_t total;         /* bytes ever received */
    uint64_t first;         /* offset of the oldest byte that is still readable */
    int fd;                 /* the file: bytes [first, total - len); -1 until needed */
    uint64_t file_max;      /* its size at most: byte n is at n modulo this */
};

/* bound: bytes of memory that the window may take; at least half of it always holds
 * the newest bytes.  The writer's functions are those up to vt_store_window. */
void vt_store_init(struct vt_store *s, size_t bound);
void vt_store_fini(struct vt_store *s);         /* accepts zeroed */

/* Room for n (at most bound / 4) bytes behind the window, to be filled by the caller
 * and then committed.  VT_NOMEM. */
enum vt_rc vt_store_room(struct vt_store *s, size_t n, char **at) VT_MUST_CHECK;
void vt_store_commit(struct vt_store *s, size_t n);

/* The window's bytes from offset on (clamped to the window's begin, which goes to
 * *from); n is what follows, up to the newest byte.  Valid until the next room(). */
const char *vt_store_window(const struct vt_store *s, uint64_t offset, uint64_t *from, size_t *n);

/* Copies n bytes from offset on, from the file and the window.  VT_INVALID outside
 * [first, total), VT_IO. */
enum vt_rc vt_store_read(const struct vt_store *s, uint64_t offset, void *data, size_t n) VT_MUST_CHECK;

/* Copies [*begin, end), which must not reach beyond total, while another thread may write: what
 * is forgotten meanwhile is left out, and *begin moves behind it (to end: all of it).  data has
 * room for end - *begin bytes as it was.  VT_IO. */
enum vt_rc vt_store_copy(const struct vt_store *s, uint64_t *begin, uint64_t end, char *data) VT_MUST_CHECK;

/* Gives the file back: only the window can be read from then on. */
void vt_store_shrink(struct vt_store *s);

/* What can be read now: [*first, *total). */
void vt_store_range(const struct vt_store *s, uint64_t *first, uint64_t *total);

#endif
