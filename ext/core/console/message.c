/* message.c - what the kernel and the init system write onto a console. */
#include "console/message.h"

#include "base/ascii.h"
#include "console/text.h"

#include <string.h>

/* "[   12.345678] ", as the kernel's clock has it, with six digits behind the point; it may be
 * followed by who wrote it, "[  T123]".  The length, or 0. */
static size_t stamp_len(const char *text, size_t n)
{
    size_t i = 1, point;
    while (i < n && text[i] == ' ' && i < 12)
        i++;
    for (point = i; point < n && vt_is_digit(text[point]); point++)
        ;
    size_t end = point + 7;
    if (point == i || end + 1 >= n || text[point] != '.' || text[end] != ']')
        return 0;
    for (size_t k = point + 1; k < end; k++)
        if (!vt_is_digit(text[k]))
            return 0;
    if (text[end + 1] == '[') {
        size_t most = n - end - 1 < 20 ? n - end - 1 : 20;
        const char *last = memchr(text + end + 1, ']', most);
        return last == NULL ? 0 : (size_t)(last - text) + 1;
    }
    return text[end + 1] == ' ' ? end + 2 : 0;
}

/* "[  OK  ] " and its kin, whatever their colours. */
static size_t unit_len(const char *text, size_t n)
{
    static const char *const words[] = {"  OK  ", "FAILED", "DEPEND", " INFO ", " WARN ", " TIME ", " SKIP "};
    size_t i = 1, len = 0;
    char word[8];
    for (; i < n && i < 64 && text[i] != ']' && len < sizeof word; i++) {
        size_t seq = text[i] == '\033' ? vt_escape_len(text + i, n - i) : 0;
        if (seq > 0)
            i += seq - 1;
        else
            word[len++] = text[i];
    }
    if (i + 1 >= n || text[i] != ']' || text[i + 1] != ' ' || len != 6)
        return 0;
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++)
        if (memcmp(word, words[w], len) == 0)
            return i + 2;
    return 0;
}

size_t vt_message_len(const char *text, size_t n, bool *open)
{
    *open = false;
    if (n < 4 || text[0] != '[')
        return 0;
    if (stamp_len(text, n) == 0 && unit_len(text, n) == 0)
        return 0;
    const char *lf = memchr(text, '\n', n);
    *open = lf == NULL;
    return lf == NULL ? n : (size_t)(lf - text) + 1;
}

size_t vt_messages_leave_out(const char *text, size_t n, char *out, uint32_t *map, bool *some)
{
    size_t len = 0, at = 0;
    *some = false;
    while (at < n) {
        bool open;
        size_t skip = text[at] == '[' ? vt_message_len(text + at, n - at, &open) : 0;
        *some = *some || skip > 0;
        at += skip;
        if (skip > 0 || at == n)
            continue;
        map[len] = (uint32_t)at;
        out[len++] = text[at++];
    }
    map[len] = (uint32_t)n;
    return len;
}

bool vt_messages_near_end(const char *text, size_t n)
{
    for (int lines = 0; lines < 3 && n > 0; lines++) {
        size_t at = vt_last_line(text, n);
        for (const char *hit = text + at; (hit = memchr(hit, '[', (size_t)(text + n - hit))) != NULL; hit++) {
            bool open;
            if (vt_message_len(hit, (size_t)(text + n - hit), &open) > 0)
                return true;
        }
        n = at > 0 ? at - 1 : 0;
    }
    return false;
}
