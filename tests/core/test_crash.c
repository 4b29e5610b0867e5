/* test_crash.c - the kernel-crash scanner: every text at every split. */
#include "console/crash.h"

#include <stdio.h>
#include <string.h>

static int failures;

struct example {
    const char *log;
    const char *crash;      /* what is to be found, or NULL */
};

static const struct example examples[] = {
    {"", NULL},
    {"BUG: all of it but the end", NULL},
    {"BUG:---[ end trace ]---", NULL},
    {"BUG:---[ end trace  ]---", "BUG:---[ end trace  ]---"},
    {"x BBUG: a\n---[ end trace 1 ]---\n", "BUG: a\n---[ end trace 1 ]---"},
    {"BUG:-----[ end trace 1 ] ]----", "BUG:-----[ end trace 1 ] ]---"},
    {"BUG:1---[ end trace 1 ]--- BUG:2---[ end trace 2 ]--- ]--",
     "BUG:1---[ end trace 1 ]--- BUG:2---[ end trace 2 ]---"},
    {"---[ end trace 1 ]--- BUG: ]---", NULL},
    {"BUG:------[ end---[ end trace---[ end trace x ]---", "BUG:------[ end---[ end trace---[ end trace x ]---"},
};

static void expect(const struct example *e, const struct vt_crash *c, size_t split)
{
    uint64_t begin = 0, end = 0;
    int found = vt_crash_found(c, &begin, &end);
    int right = e->crash == NULL ? !found
                : found && end - begin == strlen(e->crash)
                  && memcmp(e->log + begin, e->crash, strlen(e->crash)) == 0;
    if (!right) {
        printf("split %zu of %s: found %d, %llu to %llu\n", split, e->log, found,
               (unsigned long long)begin, (unsigned long long)end);
        failures++;
    }
}

static void test_every_split(const struct example *e)
{
    size_t length = strlen(e->log);
    for (size_t split = 0; split <= length; split++) {
        struct vt_crash c = {0};
        vt_crash_feed(&c, e->log, split);
        vt_crash_feed(&c, e->log + split, length - split);
        expect(e, &c, split);
    }
}

static void test_byte_by_byte(const struct example *e)
{
    struct vt_crash c = {0};
    for (const char *at = e->log; *at != '\0'; at++)
        vt_crash_feed(&c, at, 1);
    expect(e, &c, 1);
}

/* A second crash moves the end, not the beginning. */
static void test_found_grows(void)
{
    static const char log[] = "BUG:---[ end trace 1 ]--- and ]---";
    const struct example first = {log, "BUG:---[ end trace 1 ]---"}, all = {log, log};
    struct vt_crash c = {0};
    vt_crash_feed(&c, log, 26);
    expect(&first, &c, 26);
    vt_crash_feed(&c, log + 26, sizeof log - 1 - 26);
    expect(&all, &c, sizeof log);
}

int main(void)
{
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        test_every_split(&examples[i]);
        test_byte_by_byte(&examples[i]);
    }
    test_found_grows();
    return failures != 0;
}
