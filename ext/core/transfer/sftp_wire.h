/* sftp_wire.h - packets of SFTP version 3 (draft-ietf-secsh-filexfer-02), built and parsed.
 *
 * Building appends to a buffer; the first failure sticks until the packet's end.  Parsing is
 * base/wire.h's.
 */
#ifndef VT_SFTP_WIRE_H
#define VT_SFTP_WIRE_H

#include "base/wire.h"

enum vt_fxp {
    VT_FXP_INIT = 1, VT_FXP_VERSION = 2, VT_FXP_OPEN = 3, VT_FXP_CLOSE = 4, VT_FXP_READ = 5,
    VT_FXP_WRITE = 6, VT_FXP_LSTAT = 7, VT_FXP_FSTAT = 8, VT_FXP_SETSTAT = 9, VT_FXP_FSETSTAT = 10,
    VT_FXP_OPENDIR = 11, VT_FXP_READDIR = 12, VT_FXP_REMOVE = 13, VT_FXP_MKDIR = 14,
    VT_FXP_RMDIR = 15, VT_FXP_REALPATH = 16, VT_FXP_STAT = 17, VT_FXP_RENAME = 18,
    VT_FXP_READLINK = 19, VT_FXP_SYMLINK = 20,
    VT_FXP_STATUS = 101, VT_FXP_HANDLE = 102, VT_FXP_DATA = 103, VT_FXP_NAME = 104,
    VT_FXP_ATTRS = 105, VT_FXP_EXTENDED = 200, VT_FXP_EXTENDED_REPLY = 201,
};

enum vt_fx {
    VT_FX_OK = 0, VT_FX_EOF = 1, VT_FX_NO_SUCH_FILE = 2, VT_FX_PERMISSION_DENIED = 3,
    VT_FX_FAILURE = 4, VT_FX_BAD_MESSAGE = 5, VT_FX_NO_CONNECTION = 6, VT_FX_CONNECTION_LOST = 7,
    VT_FX_OP_UNSUPPORTED = 8, VT_FX_FILE_ALREADY_EXISTS = 11,      /* of version 6, but used */
};

enum { VT_FXF_READ = 1, VT_FXF_WRITE = 2, VT_FXF_CREAT = 8, VT_FXF_TRUNC = 16, VT_FXF_EXCL = 32 };

enum { VT_ATTR_SIZE = 1, VT_ATTR_IDS = 2, VT_ATTR_MODE = 4, VT_ATTR_TIMES = 8 };

struct vt_attrs {
    uint32_t flags;                 /* which of these are there */
    uint64_t size;
    uint32_t uid, gid, mode, atime, mtime;
};

/* ---- building ---- */

struct vt_packet {
    struct vt_buf *b;
    size_t start;
    enum vt_rc rc;
};

struct vt_packet vt_packet_begin(struct vt_buf *b, enum vt_fxp type, uint32_t id);
void vt_packet_u32(struct vt_packet *p, uint32_t n);
void vt_packet_u64(struct vt_packet *p, uint64_t n);
void vt_packet_bytes(struct vt_packet *p, const void *data, size_t n);     /* a string, with its length */
void vt_packet_text(struct vt_packet *p, const char *text);
void vt_packet_attrs(struct vt_packet *p, const struct vt_attrs *a);

/* Room for n bytes to be filled in by the caller, who then says how many there are: at
 * most n.  NULL: see p->rc. */
void *vt_packet_room(struct vt_packet *p, size_t n);
void vt_packet_filled(struct vt_packet *p, size_t n);

/* Sets the length.  A packet that failed is taken out of the buffer again. */
enum vt_rc vt_packet_end(struct vt_packet *p) VT_MUST_CHECK;

/* ---- parsing ---- */

struct vt_attrs vt_take_attrs(struct vt_cursor *c);

/* How long the first packet in n bytes is, its length field included: VT_AGAIN if it is
 * not all there, VT_PROTO if it is empty or longer than max. */
enum vt_rc vt_packet_length(const void *data, size_t n, size_t max, size_t *length) VT_MUST_CHECK;

/* Whether a name in a folder's listing is one: not empty, not "." or "..", without "/" and
 * NUL, at most 255 bytes. */
bool vt_name_is_safe(struct vt_span name);

const char *vt_fx_text(uint32_t status);

#endif
