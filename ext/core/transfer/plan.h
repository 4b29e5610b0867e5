/* plan.h - scp's naming rules, as pure functions: nothing here looks at a disk or a server. */
#ifndef VT_PLAN_H
#define VT_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#define VT_NO_NAME ((size_t)-1)

/* Whether a path can be nothing but a folder's. */
bool vt_plan_is_folder(const char *path);

/* For each of n paths the last one before it whose last part is the same, or VT_NO_NAME.  Each is
 * the first member of an element of that size.  malloc'ed; NULL: no memory. */
size_t *vt_plan_before(const void *paths, size_t size, size_t n);

#endif
