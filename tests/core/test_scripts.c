/* test_scripts.c - the shell text of transfers: parsed by each shell, and harmless if cut. */
#include "transfer/scripts.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *const shells[] = {"sh", "dash", "bash", "busybox ash"};
#define MARK "virtvm-aaaaaaaa"

static const char *const hostile[] = {
    "/tmp/Bob's/d", "-rf", "~root", "a b\nc", "$(touch injected)", "`touch injected`", "}\ntouch injected\n{", "'; touch injected; '",
};

/* Runs a shell in the folder with input; returns its status, what it printed in out. */
static int run_shell(const char *shell, const char *option, const char *folder, const char *text, size_t n, char *out,
                     size_t cap)
{
    int in[2], back[2];
    char data[4096];
    size_t len = 0;
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(back[1], 1);
        dup2(open("/dev/null", O_WRONLY), 2);
        if (chdir(folder) < 0)
            _exit(126);
        if (strcmp(shell, "busybox ash") == 0)
            execlp("busybox", "busybox", "ash", option, (char *)NULL);
        else
            execlp(shell, shell, option, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(back[1]);
    for (size_t at = 0; at < n; ) {
        ssize_t some = write(in[1], text + at, n - at);
        if (some <= 0)
            break;
        at += (size_t)some;
    }
    close(in[1]);
    for (ssize_t some; (some = read(back[0], data, sizeof data)) > 0; )
        for (ssize_t i = 0; i < some && len < cap - 1; i++)
            out[len++] = data[i];
    out[len] = '\0';
    close(back[0]);
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Everything that is ever sent, in one script. */
static void write_all(struct vt_script *x)
{
    size_t line = 0;
    vt_script_look(x, "it's");
    vt_script_sources(x, hostile, sizeof hostile / sizeof *hostile);
    vt_script_exists(x, "it's");
    vt_script_content(x);
    vt_script_has_content(x, "it's");
    vt_script_holes(x, "it's");
    vt_script_cat(x, "it's");
    vt_script_folders(x, "it's");
    vt_script_owner(x, "it's", 1, 2, true, 3);
    vt_script_names(x);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        vt_script_mode(x, hostile[i], 04755);
        vt_script_file(x, hostile[i], "it's", 7, 0644, VT_FIT_ALL, (unsigned)i);
        vt_script_link(x, hostile[i], "it's", i % 2 ? "other" : NULL, (unsigned)i);
        vt_script_folder(x, hostile[i], "it's", i % 2, (unsigned)i);
        vt_script_remove(x, hostile[i]);
    }
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++)
        vt_script_rm(x, hostile[i], &line);
    vt_script_rm_folder(x, "it's");
    vt_script_gone(x);
    vt_script_is_gone(x, "it's");
    vt_script_sums(x);
    vt_script_sum(x, "it's");
}

static void guarded(struct vt_script *x, struct vt_buf *out)
{
    vt_buf_init(out, 1024 * 1024);
    CHECK_RC(vt_script_guard(x, MARK, out), VT_OK);
    vt_script_fini(x);
}

static void test_each_shell_parses_all_of_it(void)
{
    struct vt_script x;
    struct vt_buf text;
    char out[64];
    vt_script_init(&x);
    write_all(&x);
    guarded(&x, &text);
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        CHECK_INT(run_shell(shells[i], "-n", "/", text.data, text.len, out, sizeof out), 0);
    vt_buf_fini(&text);
}

static void make_file(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static bool is_there(const char *folder, const char *name)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return lstat(path, &st) == 0;
}

/* A script that would remove "Bob" wherever it is cut behind that word, given to each shell cut
 * at each byte. */
static void test_what_is_cut_does_nothing(void)
{
    char folder[] = "/tmp/virtvm-scripts-XXXXXX", out[256], path[64];
    struct vt_script x;
    struct vt_buf text;
    size_t line = 0;
    CHECK(mkdtemp(folder) != NULL);
    vt_script_init(&x);
    vt_script_names(&x);
    vt_script_rm(&x, "Bob's/temporary", &line);
    vt_script_rm_folder(&x, "Bob's folder");
    vt_script_file(&x, "Bob's new file", "Bob's", 3, 0644, VT_FIT_ALL, 1);
    vt_script_mode(&x, "Bob's", 0);
    guarded(&x, &text);
    make_file(folder, "Bob", "precious");
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        alarm(CHECK_SECONDS);
        for (size_t n = 0; n < text.len - 1; n++) {         /* its last byte is a line break */
            (void)run_shell(shells[i], "-s", folder, text.data, n, out, sizeof out);
            CHECK_STR(out, "");
        }
        CHECK(is_there(folder, "Bob"));
        (void)run_shell(shells[i], "-s", folder, text.data, text.len, out, sizeof out);
        CHECK_STR(out, MARK "\n1\n");
    }
    vt_buf_fini(&text);
    snprintf(path, sizeof path, "%s/Bob", folder);
    unlink(path);
    CHECK(rmdir(folder) == 0);
}

static void test_names_mean_themselves(void)
{
    char folder[] = "/tmp/virtvm-scripts-XXXXXX", out[4096];
    CHECK(mkdtemp(folder) != NULL);
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        struct vt_script x;
        struct vt_buf text;
        vt_script_init(&x);
        vt_script_names(&x);
        for (size_t k = 1; k < sizeof hostile / sizeof *hostile; k++) {
            make_file(folder, hostile[k], "1234567");
            vt_script_file(&x, hostile[k], "new", 7, 0644, VT_FIT_ALL, (unsigned)k);
            vt_script_file(&x, "new", hostile[k], 7, 0644, VT_FIT_ALL, (unsigned)k + 100);
        }
        guarded(&x, &text);
        CHECK_INT(run_shell(shells[i], "-s", folder, text.data, text.len, out, sizeof out), 0);
        CHECK_STR(out, MARK "\n");
        CHECK(!is_there(folder, "injected") && !is_there(folder, "new"));
        for (size_t k = 1; k < sizeof hostile / sizeof *hostile; k++) {
            char path[512];
            snprintf(path, sizeof path, "%s/%s", folder, hostile[k]);
            CHECK_INT(unlink(path), 0);
        }
        vt_buf_fini(&text);
    }
    CHECK(rmdir(folder) == 0);
}

/* All modes that an old file may have. */
static void test_what_replaces_a_file_gets_its_mode(void)
{
    char folder[] = "/tmp/virtvm-scripts-XXXXXX", out[4096], path[512];
    static const mode_t modes[] = {0640, 0600, 0444, 0, 0777, 0751, 04755, 02755, 06711, 0642, 0124};
    CHECK(mkdtemp(folder) != NULL);
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        struct vt_script x;
        struct vt_buf text;
        vt_script_init(&x);
        vt_script_names(&x);
        for (size_t k = 0; k < sizeof modes / sizeof *modes; k++) {
            char old[32], new[32];
            snprintf(old, sizeof old, "-old %zu", k);
            snprintf(new, sizeof new, "new*%zu", k);
            make_file(folder, old, "old");
            make_file(folder, new, "newer");
            snprintf(path, sizeof path, "%s/%s", folder, old);
            CHECK_INT(chmod(path, modes[k]), 0);
            vt_script_file(&x, new, old, 5, 0644, VT_FIT_ALL, (unsigned)k);
        }
        guarded(&x, &text);
        CHECK_INT(run_shell(shells[i], "-s", folder, text.data, text.len, out, sizeof out), 0);
        CHECK_STR(out, MARK "\n");
        for (size_t k = 0; k < sizeof modes / sizeof *modes; k++) {
            struct stat st = {0};
            snprintf(path, sizeof path, "%s/-old %zu", folder, k);
            CHECK_INT(stat(path, &st), 0);
            CHECK_INT(st.st_mode & 07777, modes[k]);
            CHECK_INT(st.st_size, 5);
            unlink(path);
        }
        vt_buf_fini(&text);
    }
    CHECK(rmdir(folder) == 0);
}

/* The mode that was asked for, and what a file gets that replaces none. */
static void test_modes_of_new_files(void)
{
    static const struct { enum vt_script_fit fit; bool is_there; mode_t wanted; } cases[] = {
        {VT_FIT_ALL, false, 04751}, {VT_FIT_MODE, false, 04751}, {VT_FIT_OWN, false, 04751},
        {VT_FIT_ALL, true, 0640}, {VT_FIT_MODE, true, 0640}, {VT_FIT_OWN, true, 04751},
    };
    char folder[] = "/tmp/virtvm-scripts-XXXXXX", out[4096], path[512];
    CHECK(mkdtemp(folder) != NULL);
    for (size_t i = 0; i < sizeof shells / sizeof *shells * (sizeof cases / sizeof *cases); i++) {
        size_t k = i % (sizeof cases / sizeof *cases);
        struct vt_script x;
        struct vt_buf text;
        struct stat st = {0};
        vt_script_init(&x);
        vt_script_names(&x);
        make_file(folder, "new", "new");
        if (cases[k].is_there)
            make_file(folder, "old", "older");
        vt_script_file(&x, "new", "old", 3, 04751, cases[k].fit, 1);
        guarded(&x, &text);
        CHECK_INT(run_shell(shells[i / (sizeof cases / sizeof *cases)], "-s", folder, text.data, text.len, out, sizeof out), 0);
        CHECK_STR(out, MARK "\n");
        snprintf(path, sizeof path, "%s/old", folder);
        CHECK_INT(stat(path, &st), 0);
        CHECK_INT(st.st_mode & 07777, cases[k].wanted);
        CHECK_INT(st.st_size, 3);
        unlink(path);
        vt_buf_fini(&text);
    }
    CHECK(rmdir(folder) == 0);
}

CHECK_MAIN(TEST(test_modes_of_new_files), TEST(test_each_shell_parses_all_of_it), TEST(test_what_is_cut_does_nothing),
           TEST(test_names_mean_themselves), TEST(test_what_replaces_a_file_gets_its_mode))
