/* rss_wire.c - the file protocol of the remote shell server of Windows guests. */
#include "transfer/rss_wire.h"

#include <string.h>

enum state { MAGIC, MSG, TEXT_SIZE, TEXT, CHUNK_SIZE, CHUNK, FILE_ENDS, OVER };

/* ---- parsing ---- */

static enum vt_rss_event bad(struct vt_rss_parser *p, const char *why)
{
    p->state = OVER;
    p->why = why;
    return VT_RSS_GOT_BAD;
}

/* Whether the next word is complete. */
static bool take_word(struct vt_rss_parser *p, const char **data, size_t *n, uint32_t *value)
{
    while (p->word_len < 4 && *n > 0) {
        p->word[p->word_len++] = (unsigned char)**data;
        (*data)++;
        (*n)--;
    }
    if (p->word_len < 4)
        return false;
    p->word_len = 0;
    *value = p->word[0] | (uint32_t)p->word[1] << 8 | (uint32_t)p->word[2] << 16 | (uint32_t)p->word[3] << 24;
    return true;
}

static enum vt_rss_event on_magic(struct vt_rss_parser *p, uint32_t word)
{
    if (word != VT_RSS_MAGIC)
        return bad(p, "wrong magic number");
    p->state = MSG;
    return VT_RSS_GOT_MAGIC;
}

static enum vt_rss_event expect_text(struct vt_rss_parser *p, enum vt_rss_event event)
{
    p->state = TEXT_SIZE;
    p->pending = event;
    return VT_RSS_GOT_NOTHING;
}

static enum vt_rss_event on_msg(struct vt_rss_parser *p, uint32_t word)
{
    switch (word) {
    case VT_RSS_OK: return VT_RSS_GOT_OK;
    case VT_RSS_LEAVE_DIR: return VT_RSS_GOT_LEAVE;
    case VT_RSS_DONE: return VT_RSS_GOT_DONE;
    case VT_RSS_CREATE_FILE: return expect_text(p, VT_RSS_GOT_FILE);
    case VT_RSS_CREATE_DIR: return expect_text(p, VT_RSS_GOT_FOLDER);
    case VT_RSS_ERROR: return expect_text(p, VT_RSS_GOT_ERROR);
    default: return bad(p, "a message of no known meaning");
    }
}

static enum vt_rss_event on_text_size(struct vt_rss_parser *p, uint32_t word)
{
    bool is_error = p->pending == VT_RSS_GOT_ERROR;
    if (word > VT_RSS_NAME_MAX && !is_error)
        return bad(p, "a name that is too long");
    p->state = TEXT;
    p->size = p->left = word;
    p->text_max = word < VT_RSS_TEXT_MAX ? word : VT_RSS_TEXT_MAX;
    p->text_len = 0;
    return VT_RSS_GOT_NOTHING;
}

static enum vt_rss_event text_is_there(struct vt_rss_parser *p)
{
    p->text[p->text_len] = '\0';
    p->counted += 4 + p->text_len;
    p->state = p->pending == VT_RSS_GOT_FILE ? CHUNK_SIZE : p->pending == VT_RSS_GOT_ERROR ? OVER : MSG;
    return p->pending;
}

/* A long error text ends where we stop to keep it: nothing comes after it anyway. */
static enum vt_rss_event on_text(struct vt_rss_parser *p, const char **data, size_t *n)
{
    size_t some = p->text_max - p->text_len;
    some = some < *n ? some : *n;
    memcpy(p->text + p->text_len, *data, some);
    p->text_len += some;
    *data += some;
    *n -= some;
    return p->text_len == p->text_max ? text_is_there(p) : VT_RSS_GOT_NOTHING;
}

static enum vt_rss_event on_chunk_size(struct vt_rss_parser *p, uint32_t word)
{
    if (word > VT_RSS_CHUNK)
        return bad(p, "a packet longer than the chunk size");
    p->size = p->left = word;
    p->counted += 4;
    p->state = word > 0 ? CHUNK : FILE_ENDS;
    return VT_RSS_GOT_NOTHING;
}

static enum vt_rss_event on_chunk(struct vt_rss_parser *p, const char **data, size_t *n)
{
    p->bytes = *data;
    p->n = p->left < *n ? p->left : *n;
    p->left -= (uint32_t)p->n;
    p->counted += p->n;
    *data += p->n;
    *n -= p->n;
    if (p->left == 0)
        p->state = p->size < VT_RSS_CHUNK ? FILE_ENDS : CHUNK_SIZE;
    return VT_RSS_GOT_DATA;
}

static enum vt_rss_event on_file_end(struct vt_rss_parser *p)
{
    p->state = MSG;
    return VT_RSS_GOT_FILE_END;
}

static enum vt_rss_event on_word(struct vt_rss_parser *p, uint32_t word)
{
    switch (p->state) {
    case MAGIC: return on_magic(p, word);
    case MSG: return on_msg(p, word);
    case TEXT_SIZE: return on_text_size(p, word);
    default: return on_chunk_size(p, word);
    }
}

/* One step; *more: it can be followed by another without input. */
static enum vt_rss_event step(struct vt_rss_parser *p, const char **data, size_t *n, bool *more)
{
    uint32_t word;
    *more = true;
    switch (p->state) {
    case TEXT:
        *more = *n > 0 || p->text_len == p->text_max;
        return *more ? on_text(p, data, n) : VT_RSS_GOT_NOTHING;
    case CHUNK:
        *more = *n > 0;
        return *more ? on_chunk(p, data, n) : VT_RSS_GOT_NOTHING;
    case FILE_ENDS: return on_file_end(p);
    case OVER:
        *more = false;
        return *n > 0 ? bad(p, "bytes after the end") : VT_RSS_GOT_NOTHING;
    default:
        *more = take_word(p, data, n, &word);
        return *more ? on_word(p, word) : VT_RSS_GOT_NOTHING;
    }
}

enum vt_rss_event vt_rss_parse(struct vt_rss_parser *p, const char **data, size_t *n)
{
    enum vt_rss_event event;
    bool more;
    do
        event = step(p, data, n, &more);
    while (event == VT_RSS_GOT_NOTHING && more);
    return event;
}

/* ---- names ---- */

/* A genuine server sends bare names that Windows can hold, in its code page.  In the
 * double-byte ones a backslash may be the second byte of a character. */
bool vt_rss_name_is_safe(const char *name, size_t n)
{
    if (n == 0 || (name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.'))))
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        bool is_trail = i > 0 && (unsigned char)name[i - 1] >= 0x80;
        if (c < 0x20 || c == '/' || c == ':' || (c == '\\' && !is_trail))
            return false;
    }
    return true;
}

/* ---- building ---- */

void vt_rss_put_word(unsigned char out[4], uint32_t n)
{
    for (int i = 0; i < 4; i++)
        out[i] = (unsigned char)(n >> 8 * i);
}

enum vt_rc vt_rss_add_msg(struct vt_buf *b, uint32_t msg)
{
    unsigned char word[4];
    vt_rss_put_word(word, msg);
    return vt_buf_add(b, word, sizeof word);
}

enum vt_rc vt_rss_add_packet(struct vt_buf *b, const void *data, uint32_t n)
{
    enum vt_rc rc = vt_buf_reserve(b, 4 + (size_t)n);
    if (rc == VT_OK)
        rc = vt_rss_add_msg(b, n);
    return rc == VT_OK && n > 0 ? vt_buf_add(b, data, n) : rc;
}
