/* test_rss.c - the file protocol of Windows guests, parsed in any pieces. */
#include "transfer/rss_wire.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

/* What a stream comes to, as text: one letter an event, names after it; data is counted. */
struct trace {
    struct vt_rss_parser p;
    char text[512];
    size_t data;                    /* bytes of the chunks of a file */
    bool is_over;
};

static void note(struct trace *t, const char *what)
{
    size_t at = strlen(t->text);
    snprintf(t->text + at, sizeof t->text - at, "%s", what);
}

static void note_event(struct trace *t, enum vt_rss_event event)
{
    static const char letters[] = "?MKFdefLDEB";
    char line[160];
    if (event == VT_RSS_GOT_DATA) {
        t->data += t->p.n;
        return;
    }
    snprintf(line, sizeof line, "%c", letters[event]);
    note(t, line);
    if (event == VT_RSS_GOT_FILE || event == VT_RSS_GOT_FOLDER || event == VT_RSS_GOT_ERROR)
        snprintf(line, sizeof line, "(%.100s)", t->p.text);
    else if (event == VT_RSS_GOT_FILE_END)
        snprintf(line, sizeof line, "%zu", t->data);
    else
        line[0] = '\0';
    note(t, line);
    if (event == VT_RSS_GOT_FILE_END)
        t->data = 0;
    t->is_over = event == VT_RSS_GOT_ERROR || event == VT_RSS_GOT_BAD;
}

static void feed(struct trace *t, const char *data, size_t n)
{
    char *copy = malloc(n > 0 ? n : 1);     /* so that a sanitizer sees a read too far */
    const char *at = copy;
    CHECK(copy != NULL);
    if (copy == NULL)
        return;
    memcpy(copy, data, n);
    for (enum vt_rss_event event = VT_RSS_GOT_OK; event != VT_RSS_GOT_NOTHING && !t->is_over; )
        if ((event = vt_rss_parse(&t->p, &at, &n)) != VT_RSS_GOT_NOTHING)
            note_event(t, event);
    CHECK(t->is_over || n == 0);
    free(copy);
}

static void add_file(struct vt_buf *b, const char *name, size_t size)
{
    static char chunk[VT_RSS_CHUNK];
    CHECK_RC(vt_rss_add_msg(b, VT_RSS_CREATE_FILE), VT_OK);
    CHECK_RC(vt_rss_add_packet(b, name, (uint32_t)strlen(name)), VT_OK);
    for (; size >= VT_RSS_CHUNK; size -= VT_RSS_CHUNK)
        CHECK_RC(vt_rss_add_packet(b, chunk, VT_RSS_CHUNK), VT_OK);
    CHECK_RC(vt_rss_add_packet(b, chunk, (uint32_t)size), VT_OK);
}

static void add_folder(struct vt_buf *b, const char *name)
{
    CHECK_RC(vt_rss_add_msg(b, VT_RSS_CREATE_DIR), VT_OK);
    CHECK_RC(vt_rss_add_packet(b, name, (uint32_t)strlen(name)), VT_OK);
}

static void add_msg(struct vt_buf *b, uint32_t msg)
{
    CHECK_RC(vt_rss_add_msg(b, msg), VT_OK);
}

#define TREE "MF(a)e3f(dir)F(empty)e0f()LLDF(b)e1DKE(it broke)"

static struct vt_buf tree_stream(void)
{
    struct vt_buf b;
    vt_buf_init(&b, 1 << 20);
    add_msg(&b, VT_RSS_MAGIC);
    add_file(&b, "a", 3);
    add_folder(&b, "dir");
    add_file(&b, "empty", 0);
    add_folder(&b, "");
    add_msg(&b, VT_RSS_LEAVE_DIR);
    add_msg(&b, VT_RSS_LEAVE_DIR);
    add_msg(&b, VT_RSS_DONE);
    add_file(&b, "b", 1);
    add_msg(&b, VT_RSS_DONE);
    add_msg(&b, VT_RSS_OK);
    add_msg(&b, VT_RSS_ERROR);
    CHECK_RC(vt_rss_add_packet(&b, "it broke", 8), VT_OK);
    return b;
}

static void test_a_tree_at_every_split(void)
{
    struct vt_buf b = tree_stream();
    for (size_t first = 0; first <= b.len; first++)
        for (size_t second = first; second <= b.len; second += 7) {
            struct trace t = {0};
            feed(&t, b.data, first);
            feed(&t, b.data + first, second - first);
            feed(&t, b.data + second, b.len - second);
            CHECK_STR(t.text, TREE);
        }
    vt_buf_fini(&b);
}

static void test_a_tree_byte_by_byte(void)
{
    struct vt_buf b = tree_stream();
    struct trace t = {0};
    for (size_t i = 0; i < b.len; i++)
        feed(&t, b.data + i, 1);
    CHECK_STR(t.text, TREE);
    vt_buf_fini(&b);
}

static void test_whole_chunks_need_an_empty_one_at_the_end(void)
{
    struct vt_buf b;
    struct trace t = {0};
    vt_buf_init(&b, 1 << 20);
    add_msg(&b, VT_RSS_MAGIC);
    add_file(&b, "two", 2 * VT_RSS_CHUNK);
    feed(&t, b.data, b.len - 4);
    CHECK_STR(t.text, "MF(two)");
    feed(&t, b.data + b.len - 4, 4);
    CHECK_STR(t.text, "MF(two)e131072");
    /* 4 + 3 of the name, two chunks, 4 of each of the three packets. */
    CHECK_INT(t.p.counted, 7 + 2 * VT_RSS_CHUNK + 3 * 4);
    vt_buf_fini(&b);
}

/* Feeds the magic number and words, then what they come to. */
static const char *come_to(struct trace *t, const uint32_t *words, size_t n)
{
    struct vt_buf b;
    *t = (struct trace){0};
    vt_buf_init(&b, 4096);
    add_msg(&b, VT_RSS_MAGIC);
    for (size_t i = 0; i < n; i++)
        add_msg(&b, words[i]);
    feed(t, b.data, b.len);
    vt_buf_fini(&b);
    return t->text;
}
#define COME_TO(t, ...) come_to(t, (uint32_t[]){__VA_ARGS__}, sizeof (uint32_t[]){__VA_ARGS__} / 4)

static void test_lies_end_it(void)
{
    struct trace t;
    CHECK_STR(COME_TO(&t, 0), "MB");
    CHECK_STR(COME_TO(&t, VT_RSS_UPLOAD), "MB");
    CHECK_STR(COME_TO(&t, 0xffffffff), "MB");
    CHECK_STR(COME_TO(&t, VT_RSS_CREATE_FILE, 0xffffffff), "MB");
    CHECK_STR(COME_TO(&t, VT_RSS_CREATE_DIR, VT_RSS_NAME_MAX + 1), "MB");
    CHECK_STR(COME_TO(&t, VT_RSS_CREATE_FILE, 0, VT_RSS_CHUNK + 1), "MF()B");
    CHECK_STR(t.p.why, "a packet longer than the chunk size");
    t = (struct trace){0};
    feed(&t, "SSH-", 4);
    CHECK_STR(t.text, "B");
}

static void test_nothing_comes_after_the_end(void)
{
    struct trace t;
    const char *at = "x";
    size_t n = 0;
    COME_TO(&t, VT_RSS_ERROR, 0);
    CHECK_STR(t.text, "ME()");
    CHECK_INT(vt_rss_parse(&t.p, &at, &n), VT_RSS_GOT_NOTHING);
    n = 1;
    CHECK_INT(vt_rss_parse(&t.p, &at, &n), VT_RSS_GOT_BAD);
}

/* The text is told when the part of it that is kept has come. */
static void test_an_error_text_without_end_is_cut(void)
{
    struct trace t;
    char text[VT_RSS_TEXT_MAX];
    memset(text, 'x', sizeof text);
    COME_TO(&t, VT_RSS_ERROR, 0xffffffff);
    feed(&t, text, sizeof text - 1);
    CHECK_STR(t.text, "M");
    feed(&t, text, 1);
    CHECK_INT(t.text[1], 'E');
    CHECK_INT(t.p.text_len, VT_RSS_TEXT_MAX);
}

static bool is_safe(const char *name)
{
    return vt_rss_name_is_safe(name, strlen(name));
}

static void test_names(void)
{
    CHECK(is_safe("a") && is_safe("...") && is_safe(".profile") && is_safe("a b") && is_safe("\xff\xfe"));
    CHECK(is_safe("\x83\x5c.txt"));             /* in code page 932 one character, two bytes */
    CHECK(!is_safe("") && !is_safe(".") && !is_safe("..") && !is_safe("/") && !is_safe("../x"));
    CHECK(!is_safe("/etc/passwd") && !is_safe("a/b") && !is_safe("a\\b") && !is_safe("C:") && !is_safe("a:b"));
    CHECK(!is_safe("a\nb") && !is_safe("\x1b[2J") && !vt_rss_name_is_safe("a\0b", 3));
}

CHECK_MAIN(
    TEST(test_a_tree_at_every_split),
    TEST(test_a_tree_byte_by_byte),
    TEST(test_whole_chunks_need_an_empty_one_at_the_end),
    TEST(test_lies_end_it),
    TEST(test_nothing_comes_after_the_end),
    TEST(test_an_error_text_without_end_is_cut),
    TEST(test_names))
