/* clean_up.c - removing what is temporary, for a short while. */
#include "transfer/clean_up.h"

#include "transfer/tree.h"

#include <stdio.h>

#define SOON (2 * VT_SEC)
#define MOST (10 * VT_SEC)
#define SOON_AT_ONCE (1500 * VT_MS)         /* somebody wants to go */
#define MOST_AT_ONCE (3 * VT_SEC)
#define EACH (25 * VT_MS)                   /* more for each thing */

void vt_left_add(struct vt_left *left, const char *name)
{
    if (left->count < VT_LEFT_NAMES)
        snprintf(left->names[left->count], sizeof left->names[0], "%s", name);
    left->count++;
}

static bool is_at_once(enum vt_rc ended)
{
    return ended == VT_INTR || ended == VT_CLOSED;
}

static vt_time most_for(enum vt_rc ended)
{
    return is_at_once(ended) ? MOST_AT_ONCE : MOST;
}

vt_time vt_clean_up_until(enum vt_rc ended, size_t things)
{
    vt_time wanted = (is_at_once(ended) ? SOON_AT_ONCE : SOON) + (vt_time)things * EACH;
    return vt_sooner(vt_now() + wanted, most_for(ended));
}

void vt_clean_up_begin(struct vt_clean_up *c, struct vt_waiter *w, enum vt_rc ended)
{
    *c = (struct vt_clean_up){.w = w, .until = vt_now() + most_for(ended)};
    if (is_at_once(ended))
        c->w = &c->undisturbed;     /* it would only say so again */
}

/* Whoever wants to go is let go soon, but not before what can be removed quickly is gone. */
static bool is_hurried(struct vt_clean_up *c, enum vt_rc rc)
{
    if (!is_at_once(rc))
        return false;
    c->ended = rc;
    c->w = &c->undisturbed;
    c->until = vt_sooner(c->until, MOST_AT_ONCE);
    return true;
}

bool vt_clean_up_goes_on(struct vt_clean_up *c)
{
    enum vt_rc rc = vt_wait_check(c->w, c->until);
    return rc == VT_OK || (is_hurried(c, rc) && vt_now() < c->until);
}

bool vt_clean_up_tree(struct vt_clean_up *c, int folder, const char *name)
{
    enum vt_rc rc = vt_tree_remove(folder, name, c->w, c->until);
    if (is_hurried(c, rc))
        rc = vt_tree_remove(folder, name, c->w, c->until);
    return rc == VT_OK;
}
