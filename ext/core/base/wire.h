/* wire.h - the data types of SSH's packets (RFC 4251, 5): numbers are big-endian, a string has
 * its length before it.  Keys, agents and SFTP use them, too.
 *
 * Reading takes spans of the input; what is not there reads as nothing and marks the cursor
 * bad, and so does all that is read after it.
 */
#ifndef VT_WIRE_H
#define VT_WIRE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct vt_span { const unsigned char *p; size_t n; };
struct vt_cursor { const unsigned char *p, *end; bool bad; };

/* ---- reading ---- */

static inline struct vt_cursor vt_cursor_of(const void *data, size_t n)
{
    return (struct vt_cursor){.p = data, .end = (const unsigned char *)data + n};
}

static inline size_t vt_cursor_left(const struct vt_cursor *c)
{
    return c->bad ? 0 : (size_t)(c->end - c->p);
}

/* The next n bytes; NULL if they are not there. */
static inline const unsigned char *vt_take_raw(struct vt_cursor *c, size_t n)
{
    if (c->bad || n > (size_t)(c->end - c->p)) {
        c->bad = true;
        return NULL;
    }
    const unsigned char *at = c->p;
    c->p += n;
    return at;
}

static inline unsigned vt_take_u8(struct vt_cursor *c)
{
    const unsigned char *p = vt_take_raw(c, 1);
    return p != NULL ? *p : 0;
}

static inline uint32_t vt_take_u32(struct vt_cursor *c)
{
    const unsigned char *p = vt_take_raw(c, 4);
    return p == NULL ? 0 : (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t vt_take_u64(struct vt_cursor *c)
{
    uint64_t high = vt_take_u32(c);
    return high << 32 | vt_take_u32(c);
}

/* A string. */
static inline struct vt_span vt_take_bytes(struct vt_cursor *c)
{
    uint32_t n = vt_take_u32(c);
    const unsigned char *p = vt_take_raw(c, n);
    return p == NULL ? (struct vt_span){(const unsigned char *)"", 0} : (struct vt_span){p, n};
}

static inline bool vt_span_is(struct vt_span s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

/* ---- writing ---- */

static inline void vt_put_u32(unsigned char *to, uint32_t n)
{
    to[0] = (unsigned char)(n >> 24);
    to[1] = (unsigned char)(n >> 16);
    to[2] = (unsigned char)(n >> 8);
    to[3] = (unsigned char)n;
}

static inline enum vt_rc vt_buf_add_u32(struct vt_buf *b, uint32_t n)
{
    unsigned char bytes[4];
    vt_put_u32(bytes, n);
    return vt_buf_add(b, bytes, sizeof bytes);
}

/* A string. */
static inline enum vt_rc vt_buf_add_string(struct vt_buf *b, const void *data, size_t n)
{
    enum vt_rc rc = vt_buf_add_u32(b, (uint32_t)n);
    return rc == VT_OK ? vt_buf_add(b, data, n) : rc;
}

#endif
