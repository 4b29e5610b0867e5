/* test_store.c - all bytes stay readable, in bounded memory. */
#include "base/store.h"

#include "check.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
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
    setenv("TMPDIR", "/proc/none", 1);
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

/* ---- a ring, and a writer that laps its readers ---- */

struct race {
    struct vt_store s;
    atomic_bool over;
};

static void *write_on(void *ctx)
{
    struct race *r = ctx;
    while (!r->over)
        put(&r->s, 16 * 1024);
    return NULL;
}

static int is_whole(const char *data, uint64_t from, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (data[i] != (char)((from + i) * 7 % 251))
            return 0;
    return 1;
}

static void test_a_ring_forgets_its_oldest_turn(void)
{
    struct vt_store s;
    vt_store_init(&s, 64 * 1024);
    s.file_max = 256 * 1024;
    for (int i = 0; i < 300; i++)
        put(&s, 9973);
    CHECK(s.first >= s.total - s.len - s.file_max && s.first <= s.total - s.len);
    CHECK(s.total - s.first > s.file_max - 64 * 1024);
    CHECK(holds(&s, s.first, (size_t)(s.total - s.first)));
    char byte;
    CHECK(vt_store_read(&s, s.first - 1, &byte, 1) == VT_INVALID);
    CHECK(lseek(s.fd, 0, SEEK_END) <= (off_t)s.file_max);
    vt_store_fini(&s);
}

/* Copies what is there; whether the copy was lapped. */
static bool copy_whole(const struct vt_store *s, char *data)
{
    uint64_t first, begin, end;
    vt_store_range(s, &first, &end);
    begin = first;
    CHECK_RC(vt_store_copy(s, &begin, end, data), VT_OK);
    CHECK(begin >= first && begin <= end);
    CHECK(is_whole(data, begin, end - begin));
    return begin > first && begin < end;
}

/* How often it laps anyone is the machine's affair; what it must not do is tear a copy. */
static void test_copies_amid_a_flood_are_whole_from_where_they_begin(void)
{
    struct race r = {.over = false};
    pthread_t writer;
    char *data = malloc(8 << 20);
    vt_store_init(&r.s, 64 * 1024);
    r.s.file_max = 2 << 20;
    CHECK_INT(pthread_create(&writer, NULL, write_on, &r), 0);
    for (int i = 0; i < 20; i++)
        copy_whole(&r.s, data);
    r.over = true;
    pthread_join(writer, NULL);
    vt_store_fini(&r.s);
    free(data);
}

/* A reader asks for its process before it takes the lock: there the writer of this test laps it. */
static struct vt_store *lapped;
static int looks_until_lap;

pid_t getpid(void)
{
    if (lapped != NULL && looks_until_lap-- == 0)
        for (int i = 0; i < 40; i++)
            put(lapped, 32 * 1024);
    return (pid_t)syscall(SYS_getpid);
}

static void test_a_copy_that_is_lapped_begins_later(void)
{
    struct vt_store s;
    char *data = malloc(8 << 20);
    vt_store_init(&s, 64 * 1024);
    s.file_max = 2 << 20;
    for (int i = 0; i < 100; i++)
        put(&s, 32 * 1024);
    for (int look = 1; look <= 3; look++) {         /* the range is the first to ask, at 0 */
        lapped = &s;
        looks_until_lap = look;
        bool moved = copy_whole(&s, data);
        CHECK(moved == (look < 3));                 /* two of its three pieces are in the file */
        lapped = NULL;
    }
    vt_store_fini(&s);
    free(data);
}

CHECK_MAIN(
    TEST(test_a_ring_forgets_its_oldest_turn),
    TEST(test_copies_amid_a_flood_are_whole_from_where_they_begin),
    TEST(test_a_copy_that_is_lapped_begins_later),
    TEST(test_bytes_stay_readable_beyond_the_bound),
    TEST(test_without_a_file_the_oldest_are_forgotten))
