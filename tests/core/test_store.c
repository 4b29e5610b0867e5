/* test_store.c - all bytes stay readable, in bounded memory. */
#include "store.h"

#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(struct vt_store *s, size_t n)
{
    char *at;
    CHECK(vt_store_room(s, n, &at) == VT_OK);
    for (size_t i = 0; i < n; i++)
        at[i] = (char)((s->total + i) * 7 % 251);
    vt_store_commit(s, n);
}

static int holds(const struct vt_store *s, uint64_t at, size_t n)
{
    char *data = malloc(n + 1);
    int ok = vt_store_read(s, at, data, n) == VT_OK;
    for (size_t i = 0; ok && i < n; i++)
        ok = data[i] == (char)((at + i) * 7 % 251);
    free(data);
    return ok;
}

static void test_bytes_stay_readable_beyond_the_bound(void)
{
    struct vt_store s;
    uint64_t from;
    size_t n;
    vt_store_init(&s, 64 * 1024);
    for (int i = 0; i < 1000; i++)
        put(&s, (size_t)(i % 13) * 997 + 1);
    CHECK(s.len <= 64 * 1024 && s.cap <= 128 * 1024);
    CHECK(holds(&s, 0, (size_t)s.total));
    CHECK(holds(&s, s.total / 2, 100000));
    CHECK(holds(&s, s.total, 0));
    vt_store_window(&s, 0, &from, &n);
    CHECK(from == s.total - n && n >= 32 * 1024);
    char byte;
    CHECK(vt_store_read(&s, s.total, &byte, 1) == VT_INVALID);
    vt_store_fini(&s);
}

static void test_without_a_file_the_oldest_are_forgotten(void)
{
    struct vt_store s;
    setenv("TMPDIR", "/nonexistent", 1);
    vt_store_init(&s, 64 * 1024);
    for (int i = 0; i < 100; i++)
        put(&s, 10000);
    CHECK(s.first > 0 && s.first <= s.total - s.len);
    CHECK(holds(&s, s.first, (size_t)(s.total - s.first)));
    char byte;
    CHECK(vt_store_read(&s, 0, &byte, 1) == VT_INVALID);
    unsetenv("TMPDIR");
    vt_store_fini(&s);
}

CHECK_MAIN(
    TEST(test_bytes_stay_readable_beyond_the_bound),
    TEST(test_without_a_file_the_oldest_are_forgotten))
