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

bool vt_lead_learn(struct vt_lead *l, const char *text, size_t n)
{
    size_t at = 0;
    for (size_t len; (len = item_len(text + at, n - at)) > 0;)
        at += len;
    if (at < n || n > sizeof l->text)
        return false;
    if (n > 0)
        memcpy(l->text, text, n);
    l->len = n;
    return true;
}

/* As vt_lead_len(), of the lead's items from `next` on. */
static size_t lead_len(const struct vt_lead *l, size_t next, const char *text, size_t n)
{
    size_t at = 0;
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

size_t vt_lead_len(const struct vt_lead *l, const char *text, size_t n)
{
    return lead_len(l, 0, text, n);
}

static bool ends_paste(const char *seq, size_t n)
{
    static const char off[] = "\033[?2004l";
    return n == sizeof off - 1 && memcmp(seq, off, n) == 0;
}

/* Where the lead's next string begins, from `from` on, and its length (0: there is none). */
static size_t next_string(const struct vt_lead *l, bool paste, size_t from, size_t *len)
{
    for (; (*len = item_len(l->text + from, l->len - from)) > 0; from += *len)
        if ((*len > 2 && l->text[from + 1] == ']') || (paste && ends_paste(l->text + from, *len)))
            break;
    return from;
}

/* Where the lead ends, if the sequences at text's begin have all its strings in them. */
static size_t strings_end(const struct vt_lead *l, bool paste, const char *text, size_t n)
{
    size_t own, at = 0, next = next_string(l, paste, 0, &own);
    for (size_t len; own > 0; at += len) {
        if ((len = item_len(text + at, n - at)) == 0)
            return 0;
        if (vt_same_sequence(text + at, len, l->text + next, own)) {
            size_t behind = next + own;
            next = next_string(l, paste, behind, &own);
            if (own == 0)
                return at + len + lead_len(l, behind, text + at + len, n - at - len);
        }
    }
    return 0;
}

size_t vt_lead_find(const struct vt_lead *l, bool paste, const char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t len = strings_end(l, paste, text + at, n - at);
        if (len > 0)
            return at + len;
        const char *lf = memchr(text + at, '\n', n - at);
        at = lf == NULL ? n : (size_t)(lf - text) + 1;
    }
    return 0;
}
