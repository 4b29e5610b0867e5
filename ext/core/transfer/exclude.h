/* exclude.h - which of the things in a folder a copy leaves out; pure. */
#ifndef VT_EXCLUDE_H
#define VT_EXCLUDE_H

#include <stdbool.h>
#include <stddef.h>

/* Patterns: "*" is anything in a name, "?" a character, "[a-z]" and "[!a-z]" one of or none of some.  One
 * with a slash in it, or before it, is for a path below the source, and "**" there for any folders;
 * one without is for a name anywhere below.  One that ends in a slash is for folders alone. */
struct vt_exclude { const char *const *patterns; size_t n; };   /* zeroed: nothing is left out */

/* Whether that path below a source ("a/b") is left out.  is_folder: it is one, as far as is known. */
bool vt_is_excluded(const struct vt_exclude *x, const char *path, bool is_folder);

#endif
