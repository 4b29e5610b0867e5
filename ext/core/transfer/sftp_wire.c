/* sftp_wire.c - SFTP packets to bytes and back. */
#include "transfer/sftp_wire.h"

#include <string.h>

#define ATTR_EXTENDED 0x80000000u

/* ---- building ---- */

static void put(struct vt_packet *p, const void *data, size_t n)
{
    if (p->rc == VT_OK)
        p->rc = vt_buf_add(p->b, data, n);
}

struct vt_packet vt_packet_begin(struct vt_buf *b, enum vt_fxp type, uint32_t id)
{
    struct vt_packet p = {.b = b, .start = b->len};
    unsigned char kind = (unsigned char)type;
    vt_packet_u32(&p, 0);
    put(&p, &kind, 1);
    vt_packet_u32(&p, id);
    return p;
}

void vt_packet_u32(struct vt_packet *p, uint32_t n)
{
    unsigned char bytes[4];
    vt_put_u32(bytes, n);
    put(p, bytes, sizeof bytes);
}

void vt_packet_u64(struct vt_packet *p, uint64_t n)
{
    vt_packet_u32(p, (uint32_t)(n >> 32));
    vt_packet_u32(p, (uint32_t)n);
}

void vt_packet_bytes(struct vt_packet *p, const void *data, size_t n)
{
    vt_packet_u32(p, (uint32_t)n);
    put(p, data, n);
}

void vt_packet_text(struct vt_packet *p, const char *text)
{
    vt_packet_bytes(p, text, strlen(text));
}

void vt_packet_attrs(struct vt_packet *p, const struct vt_attrs *a)
{
    vt_packet_u32(p, a->flags & ~ATTR_EXTENDED);
    if (a->flags & VT_ATTR_SIZE)
        vt_packet_u64(p, a->size);
    if (a->flags & VT_ATTR_IDS) {
        vt_packet_u32(p, a->uid);
        vt_packet_u32(p, a->gid);
    }
    if (a->flags & VT_ATTR_MODE)
        vt_packet_u32(p, a->mode);
    if (a->flags & VT_ATTR_TIMES) {
        vt_packet_u32(p, a->atime);
        vt_packet_u32(p, a->mtime);
    }
}

void *vt_packet_room(struct vt_packet *p, size_t n)
{
    vt_packet_u32(p, 0);
    if (p->rc == VT_OK)
        p->rc = vt_buf_reserve(p->b, n);
    return p->rc == VT_OK ? p->b->data + p->b->len : NULL;
}

void vt_packet_filled(struct vt_packet *p, size_t n)
{
    if (p->rc != VT_OK)
        return;
    vt_put_u32((unsigned char *)p->b->data + p->b->len - 4, (uint32_t)n);
    p->b->len += n;
}

enum vt_rc vt_packet_end(struct vt_packet *p)
{
    if (p->rc == VT_OK)
        vt_put_u32((unsigned char *)p->b->data + p->start, (uint32_t)(p->b->len - p->start - 4));
    else
        p->b->len = p->start;
    return p->rc;
}

/* ---- parsing ---- */

static void skip_extended(struct vt_cursor *c)
{
    for (uint32_t n = vt_take_u32(c); n > 0 && !c->bad; n--) {
        (void)vt_take_bytes(c);
        (void)vt_take_bytes(c);
    }
}

struct vt_attrs vt_take_attrs(struct vt_cursor *c)
{
    struct vt_attrs a = {.flags = vt_take_u32(c)};
    if (a.flags & VT_ATTR_SIZE)
        a.size = vt_take_u64(c);
    if (a.flags & VT_ATTR_IDS) {
        a.uid = vt_take_u32(c);
        a.gid = vt_take_u32(c);
    }
    if (a.flags & VT_ATTR_MODE)
        a.mode = vt_take_u32(c);
    if (a.flags & VT_ATTR_TIMES) {
        a.atime = vt_take_u32(c);
        a.mtime = vt_take_u32(c);
    }
    if (a.flags & ATTR_EXTENDED)
        skip_extended(c);
    return a;
}

enum vt_rc vt_packet_length(const void *data, size_t n, size_t max, size_t *length)
{
    struct vt_cursor c = vt_cursor_of(data, n);
    uint32_t body = vt_take_u32(&c);
    if (c.bad)
        return VT_AGAIN;
    if (body == 0 || body > max)
        return VT_PROTO;
    *length = (size_t)body + 4;
    return n < *length ? VT_AGAIN : VT_OK;
}

bool vt_name_is_safe(struct vt_span name)
{
    return name.n > 0 && name.n <= 255 && memchr(name.p, '/', name.n) == NULL
        && memchr(name.p, '\0', name.n) == NULL && !vt_span_is(name, ".") && !vt_span_is(name, "..");
}

const char *vt_fx_text(uint32_t status)
{
    static const char *const texts[] = {
        [VT_FX_OK] = "success", [VT_FX_EOF] = "end of file", [VT_FX_NO_SUCH_FILE] = "no such file",
        [VT_FX_PERMISSION_DENIED] = "permission denied", [VT_FX_FAILURE] = "failure",
        [VT_FX_BAD_MESSAGE] = "bad message", [VT_FX_NO_CONNECTION] = "no connection",
        [VT_FX_CONNECTION_LOST] = "connection lost", [VT_FX_OP_UNSUPPORTED] = "operation unsupported",
        [VT_FX_FILE_ALREADY_EXISTS] = "the file is there already",
    };
    return status < sizeof texts / sizeof *texts && texts[status] != NULL ? texts[status] : "unknown status";
}
