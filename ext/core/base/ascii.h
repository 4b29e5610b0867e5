/* ascii.h - letters, digits and blanks of names and protocols, which are the same in any locale: ctype.h
 * and strcasecmp() ask the process's own, and in Turkish an I is no i. */
#ifndef VT_ASCII_H
#define VT_ASCII_H

#include <stdbool.h>

static inline char vt_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline bool vt_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool vt_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Whether they differ in nothing, or in capitals only. */
static inline bool vt_same_name(const char *a, const char *b)
{
    while (*a != '\0' && vt_lower(*a) == vt_lower(*b))
        a++, b++;
    return vt_lower(*a) == vt_lower(*b);
}

#endif
