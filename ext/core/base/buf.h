/* buf.h - a growing byte buffer that is born with a limit.  Zeroed is empty, but
 * a limit of 0 takes nothing: call vt_buf_init. */
#ifndef VT_BUF_H
#define VT_BUF_H

#include "base/err.h"

#include <stddef.h>

struct vt_buf {
    char *data;
    size_t len, cap, limit;
};

void vt_buf_init(struct vt_buf *b, size_t limit);
void vt_buf_fini(struct vt_buf *b);             /* accepts zeroed; leaves it empty */

/* Makes room for n more bytes at data + len.  VT_TOOBIG past the limit, VT_NOMEM;
 * on failure nothing has changed. */
enum vt_rc vt_buf_reserve(struct vt_buf *b, size_t n) VT_MUST_CHECK;
enum vt_rc vt_buf_add(struct vt_buf *b, const void *data, size_t n) VT_MUST_CHECK;
enum vt_rc vt_buf_addf(struct vt_buf *b, const char *format, ...)
    VT_MUST_CHECK __attribute__((format(printf, 2, 3)));
void vt_buf_drop(struct vt_buf *b, size_t n);   /* forgets the first n bytes */
void vt_buf_clear(struct vt_buf *b);            /* forgets all, keeps the memory */

#endif
