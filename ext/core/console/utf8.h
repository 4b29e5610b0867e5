/* utf8.h - what of bytes is text, and the rest written out. */
#ifndef VT_UTF8_H
#define VT_UTF8_H

#include <stddef.h>

/* Length of the character that text begins with, by RFC 3629; 0: it begins with none. */
size_t vt_utf8_len(const char *text, size_t n);

/* How long text is with \xNN for each byte that is of no character: n if all are. */
size_t vt_escaped_size(const char *text, size_t n);

/* That text; out has room for vt_escaped_size() bytes. */
void vt_escape(const char *text, size_t n, char *out);

#endif
