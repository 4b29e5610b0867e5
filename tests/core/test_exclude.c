/* test_exclude.c - patterns of what a copy leaves out. */
#include "transfer/exclude.h"

#include "check.h"

#include <string.h>

static bool is_out(const char *pattern, const char *path, bool is_folder)
{
    return vt_is_excluded(&(struct vt_exclude){&pattern, 1}, path, is_folder);
}

static void test_names(void)
{
    static const struct { const char *pattern, *path; bool is; } cases[] = {
        {"*.o", "a.o", true}, {"*.o", "a/b.o", true}, {"*.o", "a.o/b", false}, {"*.o", ".o", true},
        {"*", ".git", true}, {"*", "a\nb", true}, {"a?c", "abc", true}, {"a?c", "ac", false},
        {"a?c", "a\xc3\xa4" "c", true}, {"a??c", "a\xc3\xa4" "c", false}, {"a??c", "a\xe4\xe4" "c", true},
        {"[a-c]", "b", true}, {"[!a-c]", "b", false}, {"[^a-c]", "d", true}, {"[]]", "]", true}, {"[!]]", "]", false},
        {"[-a]", "-", true}, {"[a-]", "-", true}, {"[\xc3\xa0-\xc3\xa9]", "\xc3\xa4", true}, {"[", "[", true},
        {"[a", "[a", true}, {"[a", "a", false}, {"[*]", "*", true}, {"[*]", "a", false}, {"\\*", "\\a", true},
        {"*a*b*", "xaxbx", true}, {"*a*b*", "xbxax", false}, {"**", "a", true}, {"", "a", false}, {"a", "", false},
        {"\xe4", "\xe4", true}, {"\xe4", "\xc3\xa4", false}, {"[\xe4]", "\xe4", true}, {"x\xc3", "x\xc3", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_INT(is_out(cases[i].pattern, cases[i].path, false), cases[i].is);
}

/* Bytes that only look like a character: longer than need be, surrogates, too large. */
static void test_what_is_no_utf8(void)
{
    static const struct { const char *pattern, *path; bool is; } cases[] = {
        {"A", "\xc1\x81", false}, {"A", "\xe0\x81\x81", false}, {"A", "\xf0\x80\x81\x81", false},
        {"[*]", "\xe0\x80\xaa", false}, {"\xc3\xa4", "\xe0\x83\xa4", false}, {"\xc3\xa4", "\xf0\x80\x83\xa4", false},
        {"\x80", "\xf4\x90\x82\x80", false}, {"\xf4\x90\x82\x80", "\x80", false}, {"?", "\xf4\x90\x80\x80", false},
        {"????", "\xf4\x90\x82\x80", true}, {"???", "\xe0\x81\x81", true}, {"???", "\xed\xa0\x80", true},
        {"?", "\xed\xa0\x80", false}, {"?", "\xed\xbf\xbf", false}, {"\xed\xa0\x80", "\xed\xa0\x80", true},
        {"?", "\xed\x9f\xbf", true}, {"?", "\xee\x80\x80", true}, {"?", "\xe0\xa0\x80", true},
        {"?", "\xf0\x90\x80\x80", true}, {"?", "\xf4\x8f\xbf\xbf", true}, {"?", "\xc2\x80", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_INT(is_out(cases[i].pattern, cases[i].path, false), cases[i].is);
}

static void test_paths(void)
{
    static const struct { const char *pattern, *path; bool is; } cases[] = {
        {"a/b", "a/b", true}, {"a/b", "x/a/b", false}, {"/a", "a", true}, {"/a", "x/a", false}, {"//a", "a", true},
        {"a/*", "a/b", true}, {"a/*", "a/b/c", false}, {"a/*", "a", false}, {"*/b", "a/b", true}, {"*/b", "b", false},
        {"**/b", "b", true}, {"**/b", "x/y/b", true}, {"a/**", "a", false}, {"a/**", "a/b/c", true},
        {"a/**/b", "a/b", true}, {"a/**/b", "a/x/y/b", true}, {"a/**/b", "x/a/b", false}, {"/**", "a/b", true},
        {"**/a/**/b", "a/a/x/b", true}, {"a*c/d", "abc/d", true}, {"a*c/d", "a/c/d", false}, {"/", "a", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_INT(is_out(cases[i].pattern, cases[i].path, true), cases[i].is);
}

static void test_folders_alone(void)
{
    CHECK(is_out("a/", "a", true) && !is_out("a/", "a", false));
    CHECK(is_out("a/", "x/a", true) && is_out("/x/a/", "x/a", true) && !is_out("/x/a/", "x/a", false));
}

static void test_none_and_several(void)
{
    const char *two[] = {"*.o", "/b"};
    CHECK(!vt_is_excluded(&(struct vt_exclude){0}, "a", true));
    CHECK(vt_is_excluded(&(struct vt_exclude){two, 2}, "b", true));
    CHECK(!vt_is_excluded(&(struct vt_exclude){two, 2}, "x/b", true));
}

/* A name that a guest chose for a pattern with many stars. */
static void test_no_name_takes_long(void)
{
    char pattern[256], name[256], path[4096], parts[256];
    for (int i = 0; i < 254; i += 2)
        memcpy(pattern + i, "*a", 2);
    memcpy(pattern + 252, "b", 2);
    memset(name, 'a', 255);
    name[255] = '\0';
    CHECK(!is_out(pattern, name, false));
    for (int i = 0; i + 3 < 4096; i += 2)
        memcpy(path + i, "a/", 3);
    path[4093] = '\0';
    for (int i = 0; i + 5 < 256; i += 5)
        memcpy(parts + i, "**/a/", 6);
    memcpy(parts + 250, "b", 2);
    CHECK(!is_out(parts, path, false));
}

CHECK_MAIN(TEST(test_names), TEST(test_what_is_no_utf8), TEST(test_paths), TEST(test_folders_alone),
           TEST(test_none_and_several), TEST(test_no_name_takes_long))
