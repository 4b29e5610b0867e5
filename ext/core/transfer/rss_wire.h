/* rss_wire.h - the file protocol of the remote shell server of Windows guests, parsed.
 *
 * Words are 4 bytes, little-endian.  A message is a word; a packet is a word N and N bytes.
 * A file is its name's packet and chunks: packets of exactly the chunk size, the first
 * shorter one ends it.  Nothing here allocates: names and error texts have bounds, chunks
 * are handed on as they come.
 */
#ifndef VT_RSS_WIRE_H
#define VT_RSS_WIRE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define VT_RSS_MAGIC 0x525353u
#define VT_RSS_CHUNK 65536u
#define VT_RSS_NAME_MAX 1024        /* bytes of a name; Windows has 255 characters at most */
#define VT_RSS_TEXT_MAX 1024        /* of an error text that are kept */

enum vt_rss_msg {
    VT_RSS_OK = 1, VT_RSS_ERROR = 2, VT_RSS_UPLOAD = 3, VT_RSS_DOWNLOAD = 4, VT_RSS_SET_PATH = 5,
    VT_RSS_CREATE_FILE = 6, VT_RSS_CREATE_DIR = 7, VT_RSS_LEAVE_DIR = 8, VT_RSS_DONE = 9,
};

enum vt_rss_event {
    VT_RSS_GOT_NOTHING,             /* all input is used up: more is needed */
    VT_RSS_GOT_MAGIC,
    VT_RSS_GOT_OK,
    VT_RSS_GOT_FILE,                /* text: its name */
    VT_RSS_GOT_DATA,                /* bytes: some of the file's */
    VT_RSS_GOT_FILE_END,
    VT_RSS_GOT_FOLDER,              /* text: its name */
    VT_RSS_GOT_LEAVE,
    VT_RSS_GOT_DONE,
    VT_RSS_GOT_ERROR,               /* text: what the server says, cut; nothing follows */
    VT_RSS_GOT_BAD,                 /* wrong: why; nothing follows */
};

struct vt_rss_parser {
    int state;                      /* zeroed: before the magic number */
    unsigned char word[4];
    unsigned word_len;
    enum vt_rss_event pending;      /* what the packet belongs to */
    uint32_t size, left;            /* of the packet: bytes, and those to come */
    char text[VT_RSS_TEXT_MAX + 1];     /* with a NUL behind it */
    size_t text_len, text_max;
    const char *bytes;              /* of DATA: in the input that was given */
    size_t n;
    const char *why;                /* of BAD, in words */
    uint64_t counted;               /* packets' bytes, and 4 for each packet */
};

/* Takes from *data, of which *n are left, until something is complete. */
enum vt_rss_event vt_rss_parse(struct vt_rss_parser *p, const char **data, size_t *n);

/* Whether a name is a bare one that may be made in a folder here. */
bool vt_rss_name_is_safe(const char *name, size_t n);

/* ---- building: VT_TOOBIG and VT_NOMEM leave the buffer as it was ---- */

void vt_rss_put_word(unsigned char out[4], uint32_t n);
enum vt_rc vt_rss_add_msg(struct vt_buf *b, uint32_t msg) VT_MUST_CHECK;
enum vt_rc vt_rss_add_packet(struct vt_buf *b, const void *data, uint32_t n) VT_MUST_CHECK;

#endif
