/* test_text.c - what lines show, where echoes end. */
#include "console/text.h"
#include "shell/echo.h"

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
    SHOWS("a\303\244\010b", "ab");          /* half a character is never shown as one */
    SHOWS("\346\274\242\010\010x", "x");     /* a wide one has two columns */
    SHOWS("a\r\314\201x", "x");
    SHOWS("a\007b", "ab");
    SHOWS("~ # \033[6n", "~ # ");
    SHOWS("cut\033[1", "cut");
    SHOWS("root# \017", "root# ");
    SHOWS("x\033]y\033[1mz", "xz");
    SHOWS("x\033[1\ry", "y");
    SHOWS("", "");
}

static void test_shown_follows_the_cursor_along_the_line(void)
{
    SHOWS("vm# \033[K\033[60C[12:34]\033[67D", "vm# ");
    SHOWS("\0337\033[999C\033[8D12:34:56\0338$ ", "$ ");
    SHOWS("ab\033[2Dx", "xb");
    SHOWS("ab\033[5Cc", "ab c");
    SHOWS("%       \r \r\r\033[Jvm# ", "vm# ");
    SHOWS("abc\r\033[2Cx", "abx");
    SHOWS("abcd\r\033[2P", "cd");
    SHOWS("cd\r\033[2@ab", "abcd");
    SHOWS("abc\033[153X\033[153C\r", "abc");
    SHOWS("abc\033[1Gx\033[1K", " c");
}

/* They end as moves of the cursor do, and are none. */
static void test_shown_heeds_no_modes(void)
{
    SHOWS("root# \033[=5u\033[>1u\033[<u\033[?ux", "root# x");
    SHOWS("ab\033[?1049s\033[>4;2m\033[u c", " c");
    SHOWS("ab\033[2 q\033[1 @\033[3 Dc", "abc");
    SHOWS("abc\r\033[?K", "");
}

static void test_shown_tells_where_it_stands(void)
{
    char out[32];
    uint32_t map[32];
    static const char line[] = "\033[1mab\010\033[0mc";
    size_t n = vt_shown_at(line, sizeof line - 1, out, map);
    CHECK(n == 2 && map[0] == 4 && map[1] == sizeof line - 2);
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
    CHECK(align("cat\n123", "cat\r\n12> 3\r\n1\n", &end) == VT_ECHO_DONE && end == 12);
    CHECK(align("cat\n123", "cat\r\n12>", &end) == VT_ECHO_MORE);
    CHECK(align("cat\n123", "cat\r\n> 12> 3\r\n1\n", &end) == VT_ECHO_NONE);
    CHECK(align("long\nline", "\r< line\r\nout", &end) == VT_ECHO_NONE);
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

static void test_marks_are_stripped(void)
{
    char text[] = "\033]3008;start=1;cwd=/\033\\a\n\033]0;title\007b\033]133;D;0\007\033]633;C\033\\\033]3008;cut";
    static const char left[] = "a\n\033]0;title\007b\033]3008;cut";
    CHECK(vt_has_mark(text, sizeof text - 1));
    CHECK(!vt_has_mark("\033]0;title\007\033]13", 14));
    size_t n = vt_strip_marks(text, sizeof text - 1);
    CHECK(n == sizeof left - 1 && memcmp(text, left, n) == 0);
    CHECK_INT(vt_strip_marks(text, 0), 0);
}

static int drawn(const char *cmd, const char *text, size_t *end)
{
    return vt_echo_drawn("vm> ", 4, cmd, strlen(cmd), text, strlen(text), end);
}

static void test_echoes_that_are_drawn(void)
{
    size_t end = 0;
    CHECK(drawn("echo hi", "\rvm> echo \rvm> echo hi\rvm> echo hi\r\nhi\n", &end) && end == 36);
    CHECK(drawn("echo 0123456789", "echo 01234\r0123456789      <\010\r\n", &end));
    CHECK(!drawn("echo hi", "hi\n", &end));
    CHECK(!drawn("echo hi", "\rvm> echo hi", &end));
    CHECK(!drawn("seq 9", "\n", &end));
    /* zsh, 40 columns: a blank beyond the row's end, CR, and the next row over nothing; a right prompt erased */
    CHECK(drawn("echo xxxxxxxxxx", "e\010echo xxx\033[Kxxxxxx \r\033[Kx\033[?1l\r\r\nout", &end));
    CHECK(!drawn("echo xxxxxxxxxx", "e\010echo xxx\033[Kxxxxxx \r\033[Ky\033[?1l\r\r\nout", &end));
    CHECK(align("echo \346\274\242 x", "echo ? x\r\n", &end) == VT_ECHO_DONE && end == 10);
    CHECK(align("cat <<E\nx\nE", "cat <<E\r\nheredoc> x\r\nheredoc> E\r\nx", &end) == VT_ECHO_DONE && end == 33);
}

static enum vt_row row(const char *cmd, const char *text, size_t *head)
{
    return vt_echo_row(cmd, strlen(cmd), text, strlen(text), head);
}

/* What is drawn behind prompts within a command, and behind a shell's own. */
static void test_rows_of_a_command(void)
{
    size_t head = 0;
    CHECK(row("one", "\r\033[Jheredoc> \033[K\033[?1h\033=o\010one\033[?1l\033>\r", &head) == VT_ROW_WITHIN);
    CHECK(row("> two", "> > two", &head) == VT_ROW_WITHIN);
    CHECK(row("", "cmdsubst dquote> ", &head) == VT_ROW_WITHIN);
    CHECK(row("end", "foreach? end", &head) == VT_ROW_WITHIN);
    CHECK(row("abcdefghijkl", "abcdef\rdefghijkl     <\010\010", &head) == VT_ROW_WITHIN);
    CHECK(row("one", "one", &head) == VT_ROW_OTHER);
    CHECK(row("one", "two", &head) == VT_ROW_OTHER);
    CHECK(row("", "", &head) == VT_ROW_OTHER);
    CHECK(row("f", "vm # f", &head) == VT_ROW_HEAD && head == 5);
    CHECK(row("  f", "vm #   f", &head) == VT_ROW_HEAD && head == 5);
    CHECK(row("f", "abc%           \r \r\rvm# \033[Kf\010f", &head) == VT_ROW_HEAD && head == 23);
}

CHECK_MAIN(
    TEST(test_echoes_that_are_drawn),
    TEST(test_rows_of_a_command),
    TEST(test_shown_removes_escapes_and_obeys_the_cursor),
    TEST(test_shown_follows_the_cursor_along_the_line),
    TEST(test_shown_heeds_no_modes),
    TEST(test_shown_tells_where_it_stands),
    TEST(test_last_lines),
    TEST(test_echo_is_followed_through_wraps_and_escapes),
    TEST(test_echo_is_found_in_the_middle),
    TEST(test_echo_decisions_stand_at_every_split),
    TEST(test_stripping),
    TEST(test_marks_are_stripped))
