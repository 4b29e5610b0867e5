/* exclude.c - patterns of what is left out. */
#include "transfer/exclude.h"

#include <stdint.h>
#include <string.h>

#define A_BYTE 0x110000             /* of what is no UTF-8: a character of its own */

/* ---- one name ---- */

/* Whether UTF-8 has that character, in so many bytes: no longer than need be, no surrogate, none too large. */
static bool is_character(uint32_t c, size_t n)
{
    static const uint32_t least[] = {[2] = 0x80, [3] = 0x800, [4] = 0x10000};
    return c >= least[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
}

static uint32_t take(const char **at, const char *end)
{
    const unsigned char *p = (const unsigned char *)*at;
    size_t n = p[0] < 0xc2 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 1;
    bool whole = n > 1 && (size_t)(end - *at) >= n;
    uint32_t c = p[0] & (0xff >> (n + 1));
    for (size_t i = 1; i < n && whole; i++) {
        whole = (p[i] & 0xc0) == 0x80;
        c = c << 6 | (p[i] & 0x3f);
    }
    whole = whole && is_character(c, n);
    *at += whole ? n : 1;
    return whole ? c : p[0] + (p[0] < 0x80 ? 0u : A_BYTE);
}

/* Whether the character is among those in the brackets that *p is at.  -1: they have no end, so
 * that they are no such thing. */
static int in_brackets(const char **p, const char *end, uint32_t c)
{
    const char *at = *p + 1;
    bool none_of = at < end && (*at == '!' || *at == '^'), found = false;
    at += none_of;
    for (bool first = true; at < end && (first || *at != ']'); first = false) {
        uint32_t from = take(&at, end), to = from;
        if (end - at >= 2 && at[0] == '-' && at[1] != ']') {
            at++;
            to = take(&at, end);
        }
        found |= from <= c && c <= to;
    }
    if (at >= end)
        return -1;
    *p = at + 1;
    return found != none_of;
}

/* Whether what the pattern has at *p, which is no star, is for the character. */
static bool is_for(const char **p, const char *end, uint32_t c)
{
    int in = **p == '[' ? in_brackets(p, end, c) : -1;
    if (in >= 0)
        return in;
    if (**p != '?')
        return take(p, end) == c;
    ++*p;
    return true;
}

/* Only the last star that was met is tried further on: many of them cost no more than the product
 * of the lengths. */
static bool matches_name(const char *p, size_t p_len, const char *name, size_t name_len)
{
    const char *p_end = p + p_len, *end = name + name_len, *star = NULL, *behind = NULL;
    while (name < end) {
        const char *next_p = p, *next = name;
        if (p < p_end && *p == '*') {
            star = ++p;
            behind = name;
        } else if (p < p_end && is_for(&next_p, p_end, take(&next, end))) {
            p = next_p;
            name = next;
        } else if (star != NULL) {
            (void)take(&behind, end);
            name = behind;
            p = star;
        } else {
            return false;
        }
    }
    while (p < p_end && *p == '*')
        p++;
    return p == p_end;
}

/* ---- one path ---- */

static size_t part(const char *at, const char *end)
{
    const char *slash = memchr(at, '/', (size_t)(end - at));
    return slash != NULL ? (size_t)(slash - at) : (size_t)(end - at);
}

static const char *behind_part(const char *at, const char *end)
{
    at += part(at, end);
    return at < end ? at + 1 : end;
}

/* The same with names for characters, and "**" for a star. */
static bool matches_path(const char *p, const char *p_end, const char *path)
{
    const char *end = path + strlen(path), *star = NULL, *behind = NULL;
    while (path < end) {
        size_t n = p < p_end ? part(p, p_end) : 0;
        if (n == 2 && memcmp(p, "**", 2) == 0) {
            star = p = behind_part(p, p_end);
            behind = path;
        } else if (p < p_end && matches_name(p, n, path, part(path, end))) {
            p = behind_part(p, p_end);
            path = behind_part(path, end);
        } else if (star != NULL) {
            path = behind = behind_part(behind, end);
            p = star;
        } else {
            return false;
        }
    }
    return p == p_end;
}

static bool is_for_path(const char *pattern, const char *path, bool is_folder)
{
    const char *end = pattern + strlen(pattern), *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    if (end > pattern && end[-1] == '/' && !is_folder)
        return false;
    while (end > pattern && end[-1] == '/')
        end--;
    if (memchr(pattern, '/', (size_t)(end - pattern)) == NULL)
        return end > pattern && matches_name(pattern, (size_t)(end - pattern), name, strlen(name));
    while (*pattern == '/')
        pattern++;
    return matches_path(pattern, end, path);
}

bool vt_is_excluded(const struct vt_exclude *x, const char *path, bool is_folder)
{
    for (size_t i = 0; i < x->n; i++)
        if (is_for_path(x->patterns[i], path, is_folder))
            return true;
    return false;
}
