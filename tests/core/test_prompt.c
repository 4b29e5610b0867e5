/* test_prompt.c - learned prompts, and what last lines look like beside them. */
#include "console/prompt.h"

#include "check.h"

#include <stdio.h>
#include <string.h>

/* The default pattern, [\#\$]\s*$, by hand. */
static int ends_with_sign(void *ctx, const char *line, size_t n)
{
    (void)ctx;
    while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
        n--;
    return n > 0 && (line[n - 1] == '$' || line[n - 1] == '#');
}

static void learn(struct vt_prompts *p, const char *block)
{
    CHECK(vt_prompts_learn(p, block, strlen(block), true) == VT_OK);
}

static struct vt_seen classify(const struct vt_prompts *p, const char *text)
{
    struct vt_seen seen;
    CHECK(vt_prompts_classify(p, text, strlen(text), ends_with_sign, NULL, &seen) == VT_OK);
    return seen;
}

static size_t cut(const struct vt_prompts *p, const char *text)
{
    struct vt_seen seen = classify(p, text);
    size_t left = 0;
    CHECK(vt_prompts_cut(p, &seen, NULL, text, strlen(text), &left) == VT_OK);
    return left;
}

static void test_kinds(void)
{
    struct vt_prompts p = {0};
    learn(&p, "root@vm:~# ");
    CHECK(classify(&p, "out\nroot@vm:~# ").kind == VT_KIND_EXACT);
    CHECK(classify(&p, "foo\033[1mroot@vm:~# \033[0m").kind == VT_KIND_SUFFIX);
    CHECK(classify(&p, "total $ ").kind == VT_KIND_WEAK);
    CHECK(classify(&p, "total $ \n").kind == VT_KIND_OLD);
    CHECK(classify(&p, "root@vm:~# [  1.2] usb 1-1").kind == VT_KIND_OVERRUN);
    CHECK(classify(&p, "root@vm:~# late\n").kind == VT_KIND_OVERRUN);
    CHECK(classify(&p, "nothing").kind == VT_KIND_NONE);
    CHECK(classify(&p, "").kind == VT_KIND_NONE);
    vt_prompts_fini(&p);
    learn(&p, "$ ");
    CHECK(classify(&p, "total $ ").kind == VT_KIND_SHORT);
    vt_prompts_fini(&p);
}

static void test_cutting_keeps_output_without_newline(void)
{
    struct vt_prompts p = {0};
    learn(&p, "root@vm:~# ");
    CHECK(cut(&p, "foo\nroot@vm:~# ") == 4);
    CHECK(cut(&p, "fooroot@vm:~# ") == 3);
    CHECK(cut(&p, "out\nroot@vm:~# [ 1.2] usb\nmore\n") == 4);
    vt_prompts_fini(&p);
}

static void test_prompts_of_several_lines(void)
{
    struct vt_prompts p = {0};
    learn(&p, "root@vm 10:30\n$ ");
    CHECK(cut(&p, "out\nroot@vm 10:30\n$ ") == 4);
    CHECK(cut(&p, "out\nroot@vm 10:31\n$ ") == 4);
    CHECK(cut(&p, "outroot@vm 10:30\n$ ") == 3);
    CHECK(cut(&p, "other\n$ ") == 6);
    vt_prompts_fini(&p);
    learn(&p, "\n$ ");
    CHECK(cut(&p, "out\n\n$ ") == 4);
    vt_prompts_fini(&p);
    learn(&p, "$\n");
    CHECK(classify(&p, "out\n$\n").kind == VT_KIND_EXACT);
    CHECK(cut(&p, "out\n$\n") == 4);
    vt_prompts_fini(&p);
}

static void test_shape_of_counters_and_clocks(void)
{
    struct vt_prompts p = {0};
    learn(&p, "[9]$ ");
    CHECK(classify(&p, "[11]$ ").kind == VT_KIND_SUFFIX);    /* one is enough to ask */
    learn(&p, "[10]$ ");
    CHECK(p.has_shape);
    CHECK(classify(&p, "[11]$ ").kind == VT_KIND_EXACT);
    CHECK(classify(&p, "[x]$ ").kind == VT_KIND_WEAK);
    learn(&p, "root# ");
    CHECK(!p.has_shape);
    vt_prompts_fini(&p);
}

static void test_the_longest_and_the_newest_are_kept(void)
{
    struct vt_prompts p = {0};
    char name[32];
    learn(&p, "$ ");
    learn(&p, "host:~$ ");
    struct vt_seen seen = classify(&p, "xhost:~$ ");
    CHECK(seen.which != NULL && strcmp(seen.which->block, "host:~$ ") == 0);
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "name-%c$ ", 'a' + i);
        learn(&p, name);
    }
    CHECK(p.count == VT_LEARNED);
    int newest = 0;
    for (int i = 0; i < p.count; i++)
        newest += p.list[i].shown_len == strlen(name) && memcmp(p.list[i].shown, name, strlen(name)) == 0;
    CHECK_INT(newest, 1);
    CHECK(classify(&p, "host:~$ ").kind == VT_KIND_WEAK);
    vt_prompts_fini(&p);
}

static size_t cut_after(const struct vt_prompts *p, const char *text, const int *status)
{
    struct vt_seen seen = classify(p, text);
    struct vt_hint hint = {true, status};
    size_t left = 0;
    CHECK(vt_prompts_cut(p, &seen, &hint, text, strlen(text), &left) == VT_OK);
    return left;
}

/* The newest prompt is the one that followed; output has no newline at its end. */
static void test_prompts_that_change_lose_no_output(void)
{
    struct vt_prompts p = {0};
    int status = 3;
    learn(&p, "10$ ");
    learn(&p, "12$ ");
    CHECK(cut_after(&p, "abc11$ ", NULL) == 3);
    CHECK(cut_after(&p, "12311$ ", NULL) == 3);
    CHECK(cut_after(&p, "a\n11$ ", NULL) == 2);
    vt_prompts_fini(&p);
    learn(&p, "0 vm$ ");
    CHECK(cut_after(&p, "abc3 vm$ ", &status) == 3);
    CHECK(cut_after(&p, "123 vm$ ", &status) == 2);
    vt_prompts_fini(&p);
    learn(&p, "[ok] vm$ ");
    learn(&p, "[bad] vm$ ");
    CHECK(cut_after(&p, "abc[worse] vm$ ", NULL) == 3);
    vt_prompts_fini(&p);
    learn(&p, "one $ ");
    learn(&p, "two $ ");
    CHECK(cut_after(&p, "abcthree $ ", NULL) == strlen("abcthree $ "));    /* rather too much */
    vt_prompts_fini(&p);
}

static void test_what_hides_a_prompt_is_output(void)
{
    struct vt_prompts p = {0};
    learn(&p, "root@vm:~# ");
    CHECK(classify(&p, "x\033_yroot@vm:~# ").kind == VT_KIND_SUFFIX);
    CHECK(cut(&p, "x\033_yroot@vm:~# ") == 4);
    CHECK(cut(&p, "x\033[root@vm:~# ") == 3);
    CHECK(cut(&p, "x\rroot@vm:~# ") == 2);
    CHECK(cut(&p, "x\n\rroot@vm:~# ") == 3);       /* no shell with a prompt of text alone sends that */
    CHECK(cut(&p, "x\n\007root@vm:~# ") == 3);
    vt_prompts_fini(&p);
    learn(&p, "\033]133;D;0\007\033]133;A\007vm# ");
    CHECK(cut(&p, "abc\033]133;D;1\007\033]133;A\007vm# ") == 3);
    CHECK(cut(&p, "\033[1m\033]133;D;1\007\033]133;A\007vm# ") == 4);
    CHECK(cut(&p, "x\n\t\033]133;A\007vm# ") == 3);
    CHECK(cut(&p, "x\n\r\033]133;A\007vm# ") == 2);
#define MARK "\033[1m#\033[0m            \r \r\r\033[J"      /* zsh's, and what the output ends with */
    learn(&p, MARK "zsh 1# \033[K");
    CHECK(cut(&p, "out\033[1m" MARK "zsh 2# \033[K") == 7);
    CHECK(cut(&p, "out" MARK "zsh 2# \033[K") == 3);
    vt_prompts_fini(&p);
}

CHECK_MAIN(
    TEST(test_prompts_that_change_lose_no_output),
    TEST(test_what_hides_a_prompt_is_output),
    TEST(test_kinds),
    TEST(test_cutting_keeps_output_without_newline),
    TEST(test_prompts_of_several_lines),
    TEST(test_shape_of_counters_and_clocks),
    TEST(test_the_longest_and_the_newest_are_kept))
