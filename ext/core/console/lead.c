/* lead.c - what a shell sends between a command's echo and its output. */
#include "console/lead.h"

#include "console/text.h"

#include <string.h>

/* Length of the sequence or CR at the begin; 0: something else. */
static size_t item_len(const char *text, size_t n)
{
    if (n == 0)
        return 0;
    return text[0] == '\033' ? vt_escape_len(text, n) : text[0] == '\r';
}

void vt_lead_learn(struct vt_lead *l, const char *text, size_t n)
{
    size_t at = 0;
    for (size_t len; (len = item_len(text + at, n - at)) > 0;)
        at += len;
    if (at < n || n > sizeof l->text)
        return;
    if (n > 0)
        memcpy(l->text, text, n);
    l->len = n;
}

size_t vt_lead_len(const struct vt_lead *l, const char *text, size_t n)
{
    size_t at = 0, next = 0;
    for (size_t len; (len = item_len(text + at, n - at)) > 0; at += len) {
        size_t from = next, own = 0;
        for (; (own = item_len(l->text + from, l->len - from)) > 0; from += own)
            if (vt_same_sequence(text + at, len, l->text + from, own))
                break;
        if (own == 0)
            break;
        next = from + own;
    }
    return at;
}
