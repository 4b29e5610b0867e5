/* The growing buffer and its limit. */
#include "base/buf.h"

#include "check.h"

#include <stdint.h>
#include <stdlib.h>

static void test_zeroed_takes_nothing_and_can_be_freed(void)
{
    struct vt_buf b = {0};
    CHECK_RC(vt_buf_add(&b, "x", 1), VT_TOOBIG);
    CHECK_INT(b.len, 0);
    vt_buf_fini(&b);
    vt_buf_fini(&b);
}

static void test_add_appends(void)
{
    struct vt_buf b;
    vt_buf_init(&b, 100);
    CHECK_RC(vt_buf_add(&b, "one ", 4), VT_OK);
    CHECK_RC(vt_buf_add(&b, "two", 3), VT_OK);
    CHECK_RC(vt_buf_add(&b, NULL, 0), VT_OK);
    CHECK_MEM(b.data, b.len, "one two");
    vt_buf_fini(&b);
}

static void test_limit_is_reached_exactly_and_not_passed(void)
{
    struct vt_buf b;
    vt_buf_init(&b, 5);
    CHECK_RC(vt_buf_add(&b, "12345", 5), VT_OK);
    CHECK_RC(vt_buf_add(&b, "6", 1), VT_TOOBIG);
    CHECK_RC(vt_buf_reserve(&b, SIZE_MAX), VT_TOOBIG);
    CHECK_MEM(b.data, b.len, "12345");
    CHECK(b.cap <= 5);
    vt_buf_fini(&b);
}

static void test_growth_keeps_the_bytes(void)
{
    struct vt_buf b;
    vt_buf_init(&b, 1 << 20);
    for (int i = 0; i < 100000; i++) {
        char c = (char)('a' + i % 26);
        CHECK_RC(vt_buf_add(&b, &c, 1), VT_OK);
    }
    CHECK_INT(b.len, 100000);
    for (int i = 0; i < 100000; i += 997)
        CHECK_INT(b.data[i], 'a' + i % 26);
    vt_buf_fini(&b);
}

static void test_no_memory_leaves_the_buffer_as_it_was(void)
{
    struct vt_buf b;
    vt_buf_init(&b, SIZE_MAX);
    CHECK_RC(vt_buf_add(&b, "kept", 4), VT_OK);
    CHECK_RC(vt_buf_reserve(&b, SIZE_MAX / 8), VT_NOMEM);
    CHECK_MEM(b.data, b.len, "kept");
    vt_buf_fini(&b);
}

static void test_addf_formats_without_a_nul(void)
{
    struct vt_buf b;
    vt_buf_init(&b, 64);
    CHECK_RC(vt_buf_addf(&b, "%s=%d;", "a", 1), VT_OK);
    CHECK_RC(vt_buf_addf(&b, "%s", ""), VT_OK);
    CHECK_RC(vt_buf_addf(&b, "%c", 'z'), VT_OK);
    CHECK_MEM(b.data, b.len, "a=1;z");
    vt_buf_fini(&b);
}

static void test_addf_past_the_limit_adds_nothing(void)
{
    struct vt_buf b;
    vt_buf_init(&b, 8);
    CHECK_RC(vt_buf_addf(&b, "%s", "1234"), VT_OK);
    CHECK_RC(vt_buf_addf(&b, "%s", "56789"), VT_TOOBIG);
    CHECK_MEM(b.data, b.len, "1234");
    vt_buf_fini(&b);
}

static void test_drop_forgets_the_front(void)
{
    struct vt_buf b;
    vt_buf_init(&b, 16);
    CHECK_RC(vt_buf_add(&b, "abcdef", 6), VT_OK);
    vt_buf_drop(&b, 0);
    CHECK_MEM(b.data, b.len, "abcdef");
    vt_buf_drop(&b, 2);
    CHECK_MEM(b.data, b.len, "cdef");
    vt_buf_drop(&b, 100);
    CHECK_INT(b.len, 0);
    vt_buf_fini(&b);
}

static void test_clear_keeps_the_memory(void)
{
    struct vt_buf b;
    vt_buf_init(&b, 16);
    CHECK_RC(vt_buf_add(&b, "abc", 3), VT_OK);
    size_t cap = b.cap;
    vt_buf_clear(&b);
    CHECK_INT(b.len, 0);
    CHECK_INT(b.cap, cap);
    vt_buf_fini(&b);
    CHECK(b.data == NULL);
}

CHECK_MAIN(
    TEST(test_zeroed_takes_nothing_and_can_be_freed),
    TEST(test_add_appends),
    TEST(test_limit_is_reached_exactly_and_not_passed),
    TEST(test_growth_keeps_the_bytes),
    TEST(test_no_memory_leaves_the_buffer_as_it_was),
    TEST(test_addf_formats_without_a_nul),
    TEST(test_addf_past_the_limit_adds_nothing),
    TEST(test_drop_forgets_the_front),
    TEST(test_clear_keeps_the_memory))
