/* width.h - characters and the columns that they take. */
#ifndef VT_WIDTH_H
#define VT_WIDTH_H

#include <stddef.h>
#include <stdint.h>

/* Length (1 to 4) of the UTF-8 character that text begins with, and its code; a byte that
 * begins none is a character of its own.  n > 0. */
size_t vt_character(const char *text, size_t n, uint32_t *code);

/* Columns of a terminal that a printable character takes: 0 (combining), 1 or 2. */
int vt_width(uint32_t code);

#endif
