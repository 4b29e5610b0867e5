/* clean_up.h - how long it may take to remove what a copy has made that did not come to its end.
 *
 * How much that is, the other side has decided, which is not trusted: no removal is without a limit.
 * What is not gone by then is told.
 */
#ifndef VT_CLEAN_UP_H
#define VT_CLEAN_UP_H

#include "base/err.h"
#include "base/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VT_LEFT_NAMES 8

/* Temporary names that could not be removed: how many, and the first of them. */
struct vt_left {
    uint64_t count;
    char names[VT_LEFT_NAMES][512];
};

void vt_left_add(struct vt_left *left, const char *name);

/* On the other side: the more things there are, the later, but never later than the promise of
 * docs/transfers.rst.  ended: why the copy is over. */
vt_time vt_clean_up_until(enum vt_rc ended, size_t things);

/* On this side. */
struct vt_clean_up {
    struct vt_waiter *w, undisturbed;
    vt_time until;
    enum vt_rc ended;               /* what the waiter wanted meanwhile: VT_INTR, VT_CLOSED, or VT_OK */
};

void vt_clean_up_begin(struct vt_clean_up *c, struct vt_waiter *w, enum vt_rc ended);

/* Whether there is time left; a signal shortens it. */
bool vt_clean_up_goes_on(struct vt_clean_up *c);

/* Removes a file, or a folder with all in it.  False: something is left. */
bool vt_clean_up_tree(struct vt_clean_up *c, int folder, const char *name);

#endif
