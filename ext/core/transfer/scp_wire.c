/* scp_wire.c - the lines and answers of scp's protocol. */
#include "transfer/scp_wire.h"

#include <string.h>

/* ---- what a source sends ---- */

static bool take_digits(const char **p, unsigned base, size_t most, uint64_t *out)
{
    size_t n = 0;
    for (*out = 0; **p >= '0' && **p < (char)('0' + base) && n < most; n++)
        *out = *out * base + (uint64_t)(*(*p)++ - '0');
    return n > 0;
}

/* C0644 SIZE NAME or D0755 0 NAME */
static bool parse_entry(struct vt_scp_parser *x)
{
    const char *p = x->line + 1;
    uint64_t mode;
    if (!take_digits(&p, 8, 4, &mode) || p != x->line + 5 || *p++ != ' ')
        return false;
    if (!take_digits(&p, 10, 18, &x->size) || *p++ != ' ')
        return false;
    x->mode = (unsigned)mode;
    x->name = p;
    return *p != '\0';
}

/* TMTIME USEC ATIME USEC */
static bool parse_times(struct vt_scp_parser *x)
{
    const char *p = x->line + 1;
    uint64_t mtime, atime, ignored;
    if (!take_digits(&p, 10, 18, &mtime) || *p++ != ' ' || !take_digits(&p, 10, 18, &ignored) || *p++ != ' '
        || !take_digits(&p, 10, 18, &atime) || *p++ != ' ' || !take_digits(&p, 10, 18, &ignored) || *p != '\0')
        return false;
    x->mtime = (int64_t)mtime;
    x->atime = (int64_t)atime;
    return true;
}

static enum vt_scp_event parse_line(struct vt_scp_parser *x)
{
    x->text = x->line;
    switch (x->line[0]) {
    case 'C': return parse_entry(x) ? VT_SCP_FILE : VT_SCP_BAD;
    case 'D': return parse_entry(x) ? VT_SCP_FOLDER : VT_SCP_BAD;
    case 'E': return x->line[1] == '\0' ? VT_SCP_LEAVE : VT_SCP_BAD;
    case 'T': return parse_times(x) ? VT_SCP_TIMES : VT_SCP_BAD;
    case 1: case 2: x->text = x->line + 1; return VT_SCP_SAID;
    default: return VT_SCP_BAD;
    }
}

static enum vt_scp_event end_line(struct vt_scp_parser *x, enum vt_scp_state next)
{
    enum vt_scp_state was = x->state;
    bool has_nul = memchr(x->line, '\0', x->len) != NULL;
    x->line[x->len] = '\0';
    x->len = 0;
    x->state = next;
    if (was == VT_SCP_IN_DATA_WORDS) {
        x->text = x->line;
        return VT_SCP_DONE_BADLY;
    }
    x->text = x->line;
    x->is_line = !has_nul;
    return has_nul ? VT_SCP_BAD : parse_line(x);
}

/* One byte of a line.  A line that never ends is none. */
static enum vt_scp_event take_char(struct vt_scp_parser *x, unsigned char c)
{
    if (c == '\n')
        return end_line(x, VT_SCP_IN_LINE);
    if (x->len == sizeof x->line - 1) {
        x->line[x->len] = '\0';
        x->text = x->line;
        x->is_line = false;
        return VT_SCP_BAD;
    }
    x->line[x->len++] = (char)c;
    return VT_SCP_MORE;
}

static enum vt_scp_event take_data(struct vt_scp_parser *x, const unsigned char **p, size_t *n)
{
    size_t some = x->left < *n ? (size_t)x->left : *n;
    x->data = *p;
    x->data_len = some;
    *p += some;
    *n -= some;
    x->left -= some;
    if (x->left == 0)
        x->state = VT_SCP_AT_DATA_END;
    return VT_SCP_DATA;
}

static enum vt_scp_event take_data_end(struct vt_scp_parser *x, unsigned char c)
{
    x->state = c == 0 ? VT_SCP_IN_LINE : VT_SCP_IN_DATA_WORDS;
    x->len = 0;
    if (c > 2) {
        x->text = "more bytes than the file has";
        x->is_line = false;
        return VT_SCP_BAD;
    }
    return c == 0 ? VT_SCP_DONE : VT_SCP_MORE;
}

enum vt_scp_event vt_scp_feed(struct vt_scp_parser *x, const unsigned char **p, size_t *n)
{
    enum vt_scp_event event = VT_SCP_MORE;
    while (*n > 0 && event == VT_SCP_MORE) {
        if (x->state == VT_SCP_IN_DATA)
            return take_data(x, p, n);
        unsigned char c = *(*p)++;
        --*n;
        event = x->state == VT_SCP_AT_DATA_END ? take_data_end(x, c) : take_char(x, c);
    }
    return event;
}

void vt_scp_expect_data(struct vt_scp_parser *x)
{
    x->left = x->size;
    x->state = x->size > 0 ? VT_SCP_IN_DATA : VT_SCP_AT_DATA_END;
}

/* ---- what a sink answers ---- */

enum vt_scp_ack vt_scp_answer(struct vt_scp_answers *a, unsigned char c)
{
    if (!a->in_text) {
        if (c == 0)
            return VT_SCP_ACK_OK;
        a->in_text = true;
        a->len = 0;
        /* What is no answer at all comes from a start-up file, or an error message. */
        a->kind = c == 1 ? VT_SCP_ACK_REFUSED : VT_SCP_ACK_FATAL;
        if (c == 1 || c == 2)
            return VT_SCP_ACK_MORE;
    }
    if (c != '\n') {
        if (a->len < sizeof a->text - 1)
            a->text[a->len++] = (char)c;
        return VT_SCP_ACK_MORE;
    }
    a->text[a->len] = '\0';
    a->in_text = false;
    return a->kind;
}
