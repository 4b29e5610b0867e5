/* crash.c - finds the text of a kernel crash in a console log.
 *
 * Three marks are looked for, one after the other: the crash begins at the first
 * "BUG:"; behind it, one "---[ end trace " shows that a trace ends; behind that, the
 * last " ]---" ends the crash.  Each mark is matched as bytes come: all that is kept
 * between pieces is how much of it has been seen.
 */
#include "console/crash.h"

#include <string.h>

enum { BUG, TRACE, END, MARKS };

static const struct { const char *text; unsigned char length; } marks[MARKS] = {
    [BUG] = {"BUG:", 4}, [TRACE] = {"---[ end trace ", 15}, [END] = {" ]---", 5},
};

/* How much of the mark is still seen when the byte behind `seen` does not fit.  Only
 * "---" starts with an end of its own: a fourth dash leaves two. */
static unsigned char fall_back(int mark, unsigned char seen)
{
    return mark == TRACE && seen > 1 && seen <= 3 ? seen - 1 : 0;
}

/* Takes the next byte; 1 when it completes the mark. */
static int match(struct vt_crash *c, char byte)
{
    while (c->seen > 0 && marks[c->mark].text[c->seen] != byte)
        c->seen = fall_back(c->mark, c->seen);
    if (marks[c->mark].text[c->seen] == byte)
        c->seen++;
    if (c->seen < marks[c->mark].length)
        return 0;
    c->seen = 0;
    return 1;
}

/* A mark ended at this offset. */
static void record(struct vt_crash *c, uint64_t offset)
{
    if (c->mark == BUG)
        c->begin = offset - marks[BUG].length;
    if (c->mark == END) {
        c->end = offset;
        c->has_end = 1;
    } else {
        c->mark++;
    }
}

void vt_crash_feed(struct vt_crash *c, const void *data, size_t n)
{
    const char *at = data, *end = at + n;
    while (at < end) {
        if (c->seen == 0) {             /* skip what can't start the mark */
            const char *start = memchr(at, marks[c->mark].text[0], (size_t)(end - at));
            at = start != NULL ? start : end;
            if (start == NULL)
                break;
        }
        if (match(c, *at++))
            record(c, c->offset + (uint64_t)(at - (const char *)data));
    }
    c->offset += n;
}

int vt_crash_found(const struct vt_crash *c, uint64_t *begin, uint64_t *end)
{
    if (!c->has_end)
        return 0;
    *begin = c->begin;
    *end = c->end;
    return 1;
}
