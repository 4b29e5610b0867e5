/* crash.h - finds the text of a kernel crash in a console log.
 *
 * Exactly what the expression BUG:.*---\[ end trace .* \]--- (any byte matches
 * the dot, greedy) finds: from the first "BUG:" to the last " ]---" that has a
 * "---[ end trace " before it and after the "BUG:".  Each byte is looked at
 * once, in whatever pieces the log arrives.
 */
#ifndef VT_CRASH_H
#define VT_CRASH_H

#include <stddef.h>
#include <stdint.h>

struct vt_crash {
    uint64_t offset;        /* bytes seen so far */
    uint64_t begin;         /* offset of the first "BUG:", once that was seen */
    uint64_t end;           /* offset after the last " ]---", once has_end */
    unsigned char has_end;
    unsigned char mark;     /* which mark is looked for: see crash.c */
    unsigned char seen;     /* how much of it the last bytes were */
};

/* A zeroed struct is ready to use. */
/* Feeds the next n bytes of the log.  Never fails, allocates nothing. */
void vt_crash_feed(struct vt_crash *c, const void *data, size_t n);

/* Whether a crash was seen; then [begin, end) are its offsets in the log. */
int vt_crash_found(const struct vt_crash *c, uint64_t *begin, uint64_t *end);

#endif
