/* test_telnet.c - Telnet as a well-behaved client speaks it. */
#include "transport/telnet.h"

#include "check.h"

#include <string.h>

struct run {
    struct vt_telnet telnet;
    struct vt_buf text, reply;
};

static void run_init(struct run *r)
{
    memset(r, 0, sizeof *r);
    vt_buf_init(&r->text, 4096);
    vt_buf_init(&r->reply, 4096);
}

static void run_fini(struct run *r)
{
    vt_buf_fini(&r->text);
    vt_buf_fini(&r->reply);
}

static int has(const struct vt_buf *b, const char *expected, size_t n)
{
    return b->len == n && (n == 0 || memcmp(b->data, expected, n) == 0);
}
#define HAS(buf, text) CHECK(has(&(buf), text, sizeof text - 1))

/* Feeds the bytes one by one, so that every state is left and entered again. */
static void feed(struct run *r, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK(vt_telnet_decode(&r->telnet, data + i, 1, &r->text, &r->reply) == VT_OK);
}
#define FEED(r, data) feed(r, data, sizeof data - 1)

static void test_text_passes(void)
{
    struct run r;
    run_init(&r);
    FEED(&r, "login: \xff\xff x\r\ny\r\0z\xff\xf1!");       /* IAC IAC, CR LF, CR NUL, IAC NOP */
    HAS(r.text, "login: \xff x\r\ny\rz!");
    HAS(r.reply, "");
    run_fini(&r);
}

/* Whether the server echoes what is typed, as far as it has said: option 1. */
static int echoes(const struct vt_telnet *t)
{
    return t->server[0] >> 1 & 1;
}

static void test_welcome_options_are_agreed_to_once(void)
{
    struct run r;
    run_init(&r);
    FEED(&r, "\xff\xfb\x01\xff\xfb\x03\xff\xfb\x01");           /* WILL ECHO, WILL SGA, WILL ECHO */
    HAS(r.reply, "\xff\xfd\x01\xff\xfd\x03");
    CHECK(echoes(&r.telnet));
    vt_buf_clear(&r.reply);
    FEED(&r, "\xff\xfc\x01\xff\xfc\x01");                       /* WONT ECHO, twice */
    HAS(r.reply, "\xff\xfe\x01");
    CHECK(!echoes(&r.telnet));
    run_fini(&r);
}

static void test_others_are_refused(void)
{
    struct run r;
    run_init(&r);
    FEED(&r, "\xff\xfd\x27\xff\xfb\x26\xff\xfe\x27\xff\xfc\x26");   /* DO and WILL, DONT and WONT of what is off */
    HAS(r.reply, "\xff\xfc\x27\xff\xfe\x26");
    run_fini(&r);
}

static void test_terminal_type_and_size_are_told(void)
{
    struct run r;
    run_init(&r);
    FEED(&r, "\xff\xfa\x18\x01\xff\xf0");                       /* asked before it was agreed on: nothing */
    HAS(r.reply, "");
    FEED(&r, "\xff\xfd\x18\xff\xfa\x18\x01\xff\xf0");
    HAS(r.reply, "\xff\xfb\x18\xff\xfa\x18\x00" "dumb\xff\xf0");
    vt_buf_clear(&r.reply);
    FEED(&r, "\xff\xfd\x1f");
    HAS(r.reply, "\xff\xfb\x1f\xff\xfa\x1f\x00\x00\x00\x00\xff\xf0");
    run_fini(&r);
}

static void test_a_new_size_is_told_once_it_is_asked_for(void)
{
    struct run r;
    run_init(&r);
    CHECK(vt_telnet_resize(&r.telnet, 24, 80, &r.reply) == VT_OK);
    HAS(r.reply, "");
    FEED(&r, "\xff\xfd\x1f");
    HAS(r.reply, "\xff\xfb\x1f\xff\xfa\x1f\x00\x50\x00\x18\xff\xf0");
    vt_buf_clear(&r.reply);
    CHECK(vt_telnet_resize(&r.telnet, 511, 65535, &r.reply) == VT_OK);
    HAS(r.reply, "\xff\xfa\x1f\xff\xff\xff\xff\x01\xff\xff\xff\xf0");
    run_fini(&r);
}

static void test_a_subnegotiation_without_end_is_bounded(void)
{
    struct run r;
    run_init(&r);
    FEED(&r, "\xff\xfa\x18");
    for (int i = 0; i < 10000; i++)
        FEED(&r, "x\xff\xff");
    CHECK(r.telnet.sub_len <= VT_TELNET_SUB_MAX);
    FEED(&r, "\xff\xf0ok");
    HAS(r.text, "ok");
    run_fini(&r);
}

static void test_answers_are_bounded(void)
{
    struct run r;
    enum vt_rc rc = VT_OK;
    run_init(&r);
    for (int i = 0; rc == VT_OK && i < 10000; i++)
        rc = vt_telnet_decode(&r.telnet, "\xff\xfd\x2a", 3, &r.text, &r.reply);
    CHECK(rc == VT_TOOBIG);
    run_fini(&r);
}

static void test_encoding(void)
{
    struct vt_buf wire;
    vt_buf_init(&wire, 4096);
    CHECK(vt_telnet_encode("a\xff" "b\r\nc\rd\r", 9, &wire) == VT_OK);
    HAS(wire, "a\xff\xff" "b\r\nc\r\0d\r\0");
    vt_buf_fini(&wire);
}

CHECK_MAIN(
    TEST(test_text_passes),
    TEST(test_welcome_options_are_agreed_to_once),
    TEST(test_others_are_refused),
    TEST(test_terminal_type_and_size_are_told),
    TEST(test_a_new_size_is_told_once_it_is_asked_for),
    TEST(test_a_subnegotiation_without_end_is_bounded),
    TEST(test_answers_are_bounded),
    TEST(test_encoding))
