/* utf8.c - what of bytes is text, and the rest written out: a guest may send 16 MiB of neither. */
#include "console/utf8.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_tail(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* The second byte says whether the whole is too long a form, a surrogate, or beyond Unicode. */
static bool is_second(unsigned char first, unsigned char c)
{
    switch (first) {
    case 0xe0: return c >= 0xa0 && c <= 0xbf;
    case 0xed: return c >= 0x80 && c <= 0x9f;
    case 0xf0: return c >= 0x90 && c <= 0xbf;
    case 0xf4: return c >= 0x80 && c <= 0x8f;
    default: return is_tail(c);
    }
}

size_t vt_utf8_len(const char *text, size_t n)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t len = n == 0 ? 0 : c[0] < 0x80 ? 1 : c[0] >= 0xc2 && c[0] < 0xe0 ? 2 : c[0] >= 0xe0 && c[0] < 0xf0 ? 3
                 : c[0] >= 0xf0 && c[0] < 0xf5 ? 4 : 0;
    if (len > n || len == 0)
        return 0;
    for (size_t i = 1; i < len; i++)
        if (!(i == 1 ? is_second(c[0], c[1]) : is_tail(c[i])))
            return 0;
    return len;
}

/* How many bytes at the begin are ASCII, in steps of eight. */
static size_t ascii_run(const char *text, size_t n)
{
    size_t i = 0;
    for (uint64_t eight; i + sizeof eight <= n; i += sizeof eight) {
        memcpy(&eight, text + i, sizeof eight);
        if ((eight & UINT64_C(0x8080808080808080)) != 0)
            break;
    }
    return i;
}

size_t vt_escaped_size(const char *text, size_t n)
{
    size_t size = n;
    for (size_t i = 0; i < n;) {
        i += ascii_run(text + i, n - i);
        for (size_t stop = i + 64; i < n && i < stop;) {
            size_t len = vt_utf8_len(text + i, n - i);
            size += len == 0 ? 3 : 0;
            i += len == 0 ? 1 : len;
        }
    }
    return size;
}

void vt_escape(const char *text, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n;) {
        size_t len = vt_utf8_len(text + i, n - i);
        if (len > 0) {
            memcpy(out, text + i, len);
            out += len;
        } else {
            *out++ = '\\';
            *out++ = 'x';
            *out++ = digits[(unsigned char)text[i] >> 4];
            *out++ = digits[text[i] & 15];
        }
        i += len > 0 ? len : 1;
    }
}
