/* holes.h - where a file of the server's has data, so that a download leaves out its holes.
 *
 * SFTP has no word for it: a script asks by SEEK_DATA, where the server has Python or Perl.
 */
#ifndef VT_HOLES_H
#define VT_HOLES_H

#include "transfer/sftp.h"

struct vt_extent { uint64_t at, n; };

/* As it was when it was asked: of use only while the file has that size and time. */
struct vt_holes {
    struct vt_extent *list;         /* NULL: nothing is known */
    size_t n;
    uint64_t size, data;            /* bytes in all, and of data */
    uint32_t mtime;
};

/* Asks.  False: the server can't tell, of this file at least; *never: of none. */
bool vt_holes_ask(struct vt_sftp *s, const char *path, struct vt_holes *h, bool *never);
void vt_holes_free(struct vt_holes *h);         /* accepts zeroed */

/* What the script prints: "SIZE MTIME NOW", then "AT LENGTH" of each piece of data, in order.
 * False: it is something else, or of no use: a file that has just been written may be
 * written, or replaced, again within the second that its time tells. */
bool vt_holes_parse(struct vt_holes *h, const char *text);

/* From an offset on: where the next data begins (the file's size: nowhere), and how much it is. */
struct vt_extent vt_holes_next(const struct vt_holes *h, uint64_t at);

#endif
