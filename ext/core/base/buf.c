/* buf.c - a growing byte buffer. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vt_buf_init(struct vt_buf *b, size_t limit)
{
    *b = (struct vt_buf){.limit = limit};
}

void vt_buf_fini(struct vt_buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}

enum vt_rc vt_buf_reserve(struct vt_buf *b, size_t n)
{
    if (n > b->limit - b->len)          /* cannot wrap while len <= limit holds */
        return VT_TOOBIG;
    size_t need = b->len + n;
    if (need <= b->cap)
        return VT_OK;
    size_t cap = b->cap < 256 ? 256 : b->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > b->limit)
        cap = b->limit;
    char *data = realloc(b->data, cap);
    if (data == NULL)
        return VT_NOMEM;
    b->data = data;
    b->cap = cap;
    return VT_OK;
}

enum vt_rc vt_buf_add(struct vt_buf *b, const void *data, size_t n)
{
    enum vt_rc rc = vt_buf_reserve(b, n);
    if (rc == VT_OK && n > 0) {
        memcpy(b->data + b->len, data, n);
        b->len += n;
    }
    return rc;
}

enum vt_rc vt_buf_addf(struct vt_buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    enum vt_rc rc = n < 0 ? VT_INVALID : vt_buf_reserve(b, (size_t)n + 1);
    if (rc == VT_OK) {
        vsnprintf(b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;            /* the NUL is not part of the text */
    }
    va_end(again);
    return rc;
}

void vt_buf_drop(struct vt_buf *b, size_t n)
{
    if (n >= b->len) {
        b->len = 0;
    } else if (n > 0) {
        memmove(b->data, b->data + n, b->len - n);
        b->len -= n;
    }
}

void vt_buf_clear(struct vt_buf *b)
{
    b->len = 0;
}
