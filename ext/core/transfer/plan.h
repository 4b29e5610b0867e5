/* plan.h - scp's naming rules, as pure functions: nothing here looks at a disk or a server. */
#ifndef VT_PLAN_H
#define VT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VT_NO_NAME ((size_t)-1)

/* Whether a path can be nothing but a folder's. */
bool vt_plan_is_folder(const char *path);

/* For each of n paths the last one before it whose last part is the same, or VT_NO_NAME.  Each is
 * the first member of an element of that size.  malloc'ed; NULL: no memory. */
size_t *vt_plan_before(const void *paths, size_t size, size_t n);

/* Whether a time says what it seems to.  SFTP has 32 bits for it: one before 1970 comes out as one behind
 * 2038, in which of the two a file's time lies nobody knows, and which was kept by a copy neither. */
bool vt_plan_is_sure_time(int64_t seconds);

#endif
