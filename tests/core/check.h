/* check.h - assertions and a main for the core's tests.
 *
 * A test is a function `static void test_<behaviour>(void)`; a file ends with
 *
 *     CHECK_MAIN(TEST(test_this), TEST(test_that))
 *
 * A check that fails prints what was seen and goes on; the program then exits 1.
 */
#ifndef CHECK_H
#define CHECK_H

#include "base/err.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static atomic_int check_count, check_failed;      /* tests check in several threads */

#define CHECK_SECONDS 800       /* what a file of tests may take: ends one that hangs */

struct check_test { const char *name; void (*run)(void); };

#define TEST(function) {#function, function}

static inline int check_say(int ok, const char *file, int line, const char *what)
{
    check_count++;
    if (!ok) {
        check_failed++;
        printf("%s:%d: %s", file, line, what);
    }
    return ok;
}

/* The condition holds. */
#define CHECK(condition) \
    do { \
        if (!check_say((condition) != 0, __FILE__, __LINE__, #condition)) \
            printf(": false\n"); \
    } while (0)

/* Two integers are equal. */
#define CHECK_INT(actual, expected) \
    do { \
        long long a_ = (long long)(actual), e_ = (long long)(expected); \
        if (!check_say(a_ == e_, __FILE__, __LINE__, #actual)) \
            printf(": %lld, not %lld\n", a_, e_); \
    } while (0)

/* Two result codes are equal; prints them by name. */
#define CHECK_RC(actual, expected) \
    do { \
        enum vt_rc a_ = (actual), e_ = (expected); \
        if (!check_say(a_ == e_, __FILE__, __LINE__, #actual)) \
            printf(": %s, not %s\n", vt_rc_name(a_), vt_rc_name(e_)); \
    } while (0)

/* Two texts are equal; NULL equals only NULL. */
#define CHECK_STR(actual, expected) \
    do { \
        const char *a_ = (actual), *e_ = (expected); \
        int same_ = a_ == NULL || e_ == NULL ? a_ == e_ : strcmp(a_, e_) == 0; \
        if (!check_say(same_, __FILE__, __LINE__, #actual)) \
            printf(": \"%s\", not \"%s\"\n", a_ ? a_ : "(null)", e_ ? e_ : "(null)"); \
    } while (0)

/* n bytes are those of a string literal. */
#define CHECK_MEM(data, n, literal) \
    do { \
        size_t n_ = (n); \
        const char *d_ = (data); \
        int same_ = n_ == sizeof literal - 1 && (n_ == 0 || memcmp(d_, literal, n_) == 0); \
        if (!check_say(same_, __FILE__, __LINE__, #data)) \
            printf(": \"%.*s\", not \"%s\"\n", (int)n_, d_ ? d_ : "", literal); \
    } while (0)

static inline int check_main(const char *file, const struct check_test *tests, size_t n)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    alarm(CHECK_SECONDS);               /* a test that hangs is a failure */
    for (size_t i = 0; i < n; i++) {
        int before = check_failed;
        tests[i].run();
        if (check_failed != before)
            printf("FAILED %s\n", tests[i].name);
    }
    printf("%s: %zu tests, %d checks, %d failed\n", file, n, check_count, check_failed);
    return check_failed != 0;
}

#define CHECK_MAIN(...) \
    int main(void) \
    { \
        static const struct check_test tests[] = {__VA_ARGS__}; \
        return check_main(__FILE__, tests, sizeof tests / sizeof *tests); \
    }

#endif
