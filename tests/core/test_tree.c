/* Removing a local tree, which a guest may have made as large as it likes. */
#include "transfer/clean_up.h"
#include "transfer/tree.h"

#include "check.h"

#include <fcntl.h>
#include <stdlib.h>

#define FILES 300

static char top[64];
static int top_fd;

/* top/t/in/0, 1, ... */
static void setup(void)
{
    char name[64];
    strcpy(top, "/tmp/virtvm-tree-XXXXXX");
    CHECK(mkdtemp(top) != NULL);
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_INT(mkdirat(top_fd, "t", 0700), 0);
    CHECK_INT(mkdirat(top_fd, "t/in", 0700), 0);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "t/in/%d", i);
        close(openat(top_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600));
    }
    CHECK_INT(fchmodat(top_fd, "t/in", 0, 0), 0);           /* a server gave it that */
}

static void teardown(void)
{
    struct vt_waiter w = {0};
    CHECK_RC(vt_tree_remove(top_fd, "t", &w, VT_FOREVER), VT_OK);
    CHECK_RC(vt_tree_remove(top_fd, "t", &w, VT_FOREVER), VT_OK);       /* it is not there */
    close(top_fd);
    CHECK_INT(rmdir(top), 0);
}

static bool is_there(const char *name)
{
    return faccessat(top_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int left_in_it(void)
{
    struct vt_walk walk;
    struct vt_entry e;
    int n = 0;
    CHECK_RC(vt_walk_begin(&walk, openat(top_fd, "t/in", O_RDONLY | O_DIRECTORY | O_CLOEXEC), false, NULL), VT_OK);
    while (vt_walk_next(&walk, &e))
        n++;
    vt_walk_end(&walk);
    return n;
}

/* Looked at as often as can be, and a signal comes at the last of so many looks. */
static int countdown(void *ctx)
{
    usleep(2000);                   /* so that it is time for a look at the next file again */
    return --*(int *)ctx <= 0;
}

static struct vt_waiter interrupted_at(int *look)
{
    return (struct vt_waiter){.interrupted = countdown, .ctx = look, .slice_ms = 1, .checked_at = 1};
}

static void test_deadline_that_has_come(void)
{
    setup();
    struct vt_waiter w = {0};
    CHECK_RC(vt_tree_remove(top_fd, "t", &w, vt_now()), VT_TIMEOUT);
    CHECK(is_there("t/in"));
    teardown();
}

static void test_deadline_amid_it(void)
{
    setup();
    int never = 1000000;
    struct vt_waiter w = interrupted_at(&never);
    /* Each look takes 2 ms at least: more than all the files have. */
    CHECK_RC(vt_tree_remove(top_fd, "t", &w, vt_now() + FILES * VT_MS), VT_TIMEOUT);
    CHECK(is_there("t/in"));
    teardown();
}

static void test_signal_amid_it(void)
{
    setup();
    int look = 10;
    struct vt_waiter w = interrupted_at(&look);
    CHECK_RC(vt_tree_remove(top_fd, "t", &w, VT_FOREVER), VT_INTR);
    CHECK(is_there("t/in"));
    int left = left_in_it();
    CHECK(left > FILES / 2 && left < FILES);
    teardown();
}

static void test_what_cannot_be_removed(void)
{
    struct vt_waiter w = {0};
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_RC(vt_tree_remove(proc, "version", &w, VT_FOREVER), VT_IO);
    close(proc);
}

static void test_clean_up_after_a_signal_is_soon_over(void)
{
    struct vt_waiter w = {0};
    struct vt_clean_up c;
    vt_clean_up_begin(&c, &w, VT_TIMEOUT);
    CHECK(c.until > vt_now() + 5 * VT_SEC && c.until <= vt_now() + 10 * VT_SEC);
    vt_clean_up_begin(&c, &w, VT_INTR);
    CHECK(c.until <= vt_now() + 3 * VT_SEC);
    CHECK_RC(c.ended, VT_OK);
}

static void test_signal_amid_a_clean_up_lets_what_is_quick_be_removed(void)
{
    setup();
    int look = 10;
    struct vt_waiter w = interrupted_at(&look);
    struct vt_clean_up c;
    vt_clean_up_begin(&c, &w, VT_TIMEOUT);
    CHECK(vt_clean_up_tree(&c, top_fd, "t"));
    CHECK_RC(c.ended, VT_INTR);
    CHECK(c.until <= vt_now() + 3 * VT_SEC);
    CHECK(vt_clean_up_goes_on(&c));
    CHECK_INT(look, 0);             /* who has heard is not told again */
    CHECK(!is_there("t"));
    teardown();
}

static void test_clean_up_whose_time_is_over_removes_nothing(void)
{
    setup();
    struct vt_waiter w = {0};
    struct vt_clean_up c;
    vt_clean_up_begin(&c, &w, VT_OK);
    c.until = vt_now();
    CHECK(!vt_clean_up_goes_on(&c));
    CHECK(!vt_clean_up_tree(&c, top_fd, "t"));
    CHECK_RC(c.ended, VT_OK);
    CHECK(is_there("t/in"));
    teardown();
}

static void test_names_that_are_left(void)
{
    struct vt_left left = {0};
    for (int i = 0; i < VT_LEFT_NAMES + 2; i++)
        vt_left_add(&left, "x");
    CHECK_INT(left.count, VT_LEFT_NAMES + 2);
    CHECK_INT(strcmp(left.names[VT_LEFT_NAMES - 1], "x"), 0);
}

/* Whoever walks over thousands of them has to look up. */
static void test_walk_tells_what_is_left_out(void)
{
    static const char *pattern = "*[0-9]";
    const struct vt_exclude exclude = {&pattern, 1};
    struct vt_walk walk;
    struct vt_entry e;
    int n = 0;
    setup();
    CHECK_INT(fchmodat(top_fd, "t/in", 0700, 0), 0);
    CHECK_RC(vt_walk_begin(&walk, openat(top_fd, "t/in", O_RDONLY | O_DIRECTORY | O_CLOEXEC), false, &exclude), VT_OK);
    for (; vt_walk_next(&walk, &e); n++)
        CHECK(e.kind == VT_ENTRY_LEFT_OUT);
    vt_walk_end(&walk);
    CHECK_INT(n, FILES);
    teardown();
}

CHECK_MAIN(TEST(test_deadline_that_has_come), TEST(test_deadline_amid_it), TEST(test_signal_amid_it),
           TEST(test_what_cannot_be_removed), TEST(test_clean_up_after_a_signal_is_soon_over),
           TEST(test_signal_amid_a_clean_up_lets_what_is_quick_be_removed),
           TEST(test_clean_up_whose_time_is_over_removes_nothing), TEST(test_names_that_are_left),
           TEST(test_walk_tells_what_is_left_out))
