/* The file protocol of Windows guests: what it comes to does not depend on the pieces it
 * comes in, nothing is read that was not given, and safe names stay where they are. */
#include "fuzz.h"

#include "transfer/rss_wire.h"

struct sum {
    struct vt_rss_parser p;
    uint64_t hash, data;
    bool is_over;
};

static void mix(struct sum *s, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s->hash = (s->hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
}

static void check_text(const struct vt_rss_parser *p)
{
    HOLDS(p->text_len <= VT_RSS_TEXT_MAX && p->text[p->text_len] == '\0');
    if (!vt_rss_name_is_safe(p->text, p->text_len))
        return;
    HOLDS(p->text_len > 0 && strlen(p->text) == p->text_len && strchr(p->text, '/') == NULL);
    HOLDS(strcmp(p->text, ".") != 0 && strcmp(p->text, "..") != 0);
}

/* Data may come in any pieces: its bytes are hashed, not how many came at a time. */
static void on_event(struct sum *s, enum vt_rss_event event, const char *from, const char *to)
{
    struct vt_rss_parser *p = &s->p;
    if (event == VT_RSS_GOT_DATA) {
        HOLDS(p->n > 0 && p->bytes >= from && p->bytes + p->n <= to);
        mix(s, p->bytes, p->n);
        s->data += p->n;
        return;
    }
    mix(s, &event, sizeof event);
    if (event == VT_RSS_GOT_FILE || event == VT_RSS_GOT_FOLDER || event == VT_RSS_GOT_ERROR) {
        check_text(p);
        mix(s, p->text, p->text_len);
    }
    s->is_over = event == VT_RSS_GOT_ERROR || event == VT_RSS_GOT_BAD;
}

static void feed(struct sum *s, const char *data, size_t n)
{
    const char *at = data, *end = data + n;
    enum vt_rss_event event = VT_RSS_GOT_OK;
    while (event != VT_RSS_GOT_NOTHING && !s->is_over) {
        event = vt_rss_parse(&s->p, &at, &n);
        HOLDS(at + n == end);
        if (event != VT_RSS_GOT_NOTHING)
            on_event(s, event, data, end);
    }
    HOLDS(s->is_over || n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct sum whole = {0}, bytes = {0};
    feed(&whole, "SSR\0", 4);
    bytes = whole;
    feed(&whole, (const char *)data, n);
    for (size_t i = 0; i < n; i++)
        feed(&bytes, (const char *)data + i, 1);
    HOLDS(whole.hash == bytes.hash && whole.data == bytes.data && whole.is_over == bytes.is_over);
    HOLDS(whole.p.counted == bytes.p.counted);
    return 0;
}
