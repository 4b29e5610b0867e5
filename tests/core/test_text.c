/* test_text.c - what lines show, where echoes end. */
#include "console/text.h"

#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int shows(const char *line, size_t n, const char *expected)
{
    char out[256];
    size_t len = vt_shown(line, n, out);
    return len == strlen(expected) && memcmp(out, expected, len) == 0;
}
#define SHOWS(line, expected) CHECK(shows(line, sizeof line - 1, expected))

static void test_shown_removes_escapes_and_obeys_the_cursor(void)
{
    SHOWS("plain $ ", "plain $ ");
    SHOWS("\033[1;32muser\033[0m$ ", "user$ ");
    SHOWS("\033]0;title\007root# ", "root# ");
    SHOWS("\033]0;title\033\\root# ", "root# ");
    SHOWS("====\rroot$ ", "root$ ");
    SHOWS("abc\rx", "xbc");
    SHOWS("abc\r\033[Kx", "x");
    SHOWS("ab\010c", "ac");
    SHOWS("a\303\244\010b", "ab\244");      /* half a character is never shown as one */
    SHOWS("a\007b", "ab");
    SHOWS("~ # \033[6n", "~ # ");
    SHOWS("cut\033[1", "cut");
    SHOWS("", "");
}

static void test_last_lines(void)
{
    size_t b = 0, e = 0;
    CHECK(vt_last_line("a\nbc", 4) == 2);
    CHECK(vt_last_line("a\n", 2) == 2);
    CHECK(vt_last_line("", 0) == 0);
    CHECK(vt_last_nonblank("a\nb\n \n", 6, &b, &e) && b == 2 && e == 3);
    CHECK(!vt_last_nonblank("\n \r\n\033[0m", 8, &b, &e));
    CHECK(vt_is_blank(" \r\n\033[?2004h", 11));
    CHECK(!vt_is_blank(" x", 2));
}

static enum vt_echo align(const char *cmd, const char *text, size_t *end)
{
    return vt_echo_align(cmd, strlen(cmd), text, strlen(text), end);
}

static void test_echo_is_followed_through_wraps_and_escapes(void)
{
    size_t end = 0;
    CHECK(align("ls -l", "ls -l\r\nout", &end) == VT_ECHO_DONE && end == 7);
    CHECK(align("ls -l", "ls -l", &end) == VT_ECHO_MORE);
    CHECK(align("ls -l", "total 4\n", &end) == VT_ECHO_NONE);
    CHECK(align("", "\r\nx", &end) == VT_ECHO_DONE && end == 2);
    CHECK(align("abcdef", "abc\r\ndef\r\nx", &end) == VT_ECHO_DONE && end == 10);
    CHECK(align("abcdef", "abc \rdef\r\nx", &end) == VT_ECHO_DONE && end == 10);
    CHECK(align("abcdef", "abcd\rdef\r\nx", &end) == VT_ECHO_DONE && end == 10);
    CHECK(align("abc", "\033[?2004habc\033[?2004l\r\nx", &end) == VT_ECHO_DONE && end == 21);
    CHECK(align("for\ndo", "for\r\n> do\r\n1\n", &end) == VT_ECHO_DONE && end == 11);
    CHECK(align("for\nx\ndo", "for\r\nx\r\n> > do\r\n1\n", &end) == VT_ECHO_DONE && end == 16);
    CHECK(align("cat\n> x", "cat\r\n> x\r\n1\n", &end) == VT_ECHO_DONE && end == 10);
    CHECK(align("cat\n> x", "cat\r\n> > x\r\n1\n", &end) == VT_ECHO_DONE && end == 12);
    CHECK(align("long line", "\r< line\r\nout", &end) == VT_ECHO_DONE && end == 9);
}

static void test_echo_is_found_in_the_middle(void)
{
    static const char text[] = "out echo\necho vt1:$?\r\nmore";
    size_t b = 0, e = 0;
    CHECK(vt_echo_find("echo vt1:$?", 11, text, sizeof text - 1, &b, &e) && b == 9 && e == 22);
    CHECK(!vt_echo_find("echo vt2:$?", 11, text, sizeof text - 1, &b, &e));
}

/* Whatever a guest sends: no read beyond its end (the sanitizers watch), and a decision
 * that stands is not taken back when more comes. */
static void test_echo_decisions_stand_at_every_split(void)
{
    static const char text[] = "echo a\rab \033[Kcd\r\nout\n$ ";
    for (size_t n = 0; n < sizeof text; n++) {
        char *exact = malloc(n + 1);
        size_t end = 0, all = 0;
        memcpy(exact, text, n);
        enum vt_echo now = vt_echo_align("echo abcd", 9, exact, n, &end);
        enum vt_echo last = vt_echo_align("echo abcd", 9, text, sizeof text - 1, &all);
        CHECK(now == VT_ECHO_MORE || (now == last && end == all));
        free(exact);
    }
}

static void test_stripping(void)
{
    char cr[] = "a\r\nb\r\r\nc\rd\r", paste[] = "\033[?2004la\033[?2004h$ \033[?2004l\r\nb";
    size_t n = vt_strip_cr(cr, sizeof cr - 1);
    CHECK(n == 8 && memcmp(cr, "a\nb\nc\rd\r", n) == 0);
    n = vt_strip_paste(paste, sizeof paste - 1, false);
    CHECK(n == 4 && memcmp(paste, "a$ b", n) == 0);
}

CHECK_MAIN(
    TEST(test_shown_removes_escapes_and_obeys_the_cursor),
    TEST(test_last_lines),
    TEST(test_echo_is_followed_through_wraps_and_escapes),
    TEST(test_echo_is_found_in_the_middle),
    TEST(test_echo_decisions_stand_at_every_split),
    TEST(test_stripping))
