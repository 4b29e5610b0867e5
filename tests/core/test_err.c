/* Result codes, stages and recorded detail. */
#include "base/err.h"

#include "check.h"

#include <errno.h>

static void test_every_code_has_name_and_text(void)
{
    for (int rc = VT_OK; rc <= VT_DENIED; rc++) {
        CHECK(vt_rc_text((enum vt_rc)rc) != NULL && vt_rc_text((enum vt_rc)rc)[0] != '\0');
        CHECK(strncmp(vt_rc_name((enum vt_rc)rc), "VT_", 3) == 0);
        CHECK(strcmp(vt_rc_name((enum vt_rc)rc), "VT_?") != 0);
    }
}

static void test_names_are_the_codes_own(void)
{
    CHECK_STR(vt_rc_name(VT_OK), "VT_OK");
    CHECK_STR(vt_rc_name(VT_TIMEOUT), "VT_TIMEOUT");
    CHECK_STR(vt_rc_name(VT_DENIED), "VT_DENIED");
}

static void test_unknown_code_is_said_to_be(void)
{
    CHECK_STR(vt_rc_text((enum vt_rc)1000), "unknown error");
    CHECK_STR(vt_rc_name((enum vt_rc)1000), "VT_?");
    CHECK_STR(vt_stage_name((enum vt_stage)1000), "");
}

static void test_every_stage_but_none_has_a_name(void)
{
    CHECK_STR(vt_stage_name(VT_STAGE_NONE), "");
    for (int stage = VT_STAGE_RESOLVE; stage <= VT_STAGE_CLOSE; stage++)
        CHECK(vt_stage_name((enum vt_stage)stage)[0] != '\0');
}

static void test_fail_records_and_returns_the_code(void)
{
    struct vt_err e = {0};
    CHECK_RC(vt_fail(&e, VT_CONNECT, VT_STAGE_CONNECT, ECONNREFUSED, "port %d", 22), VT_CONNECT);
    CHECK_RC(e.rc, VT_CONNECT);
    CHECK_INT(e.stage, VT_STAGE_CONNECT);
    CHECK_INT(e.sys, ECONNREFUSED);
    CHECK_STR(e.text, "port 22");
}

static void test_fail_without_stage_keeps_the_stage(void)
{
    struct vt_err e = {.stage = VT_STAGE_AUTH};
    (void)vt_fail(&e, VT_TIMEOUT, VT_STAGE_NONE, 0, NULL);
    CHECK_INT(e.stage, VT_STAGE_AUTH);
}

static void test_fail_without_text_forgets_the_old_text(void)
{
    struct vt_err e = {.text = "stale"};
    (void)vt_fail(&e, VT_IO, VT_STAGE_COMMAND, EIO, NULL);
    CHECK_STR(e.text, "");
}

static void test_fail_cuts_a_long_text(void)
{
    struct vt_err e = {0};
    char big[2 * sizeof e.text];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    (void)vt_fail(&e, VT_REMOTE, VT_STAGE_NONE, 0, "%s", big);
    CHECK_INT(strlen(e.text), sizeof e.text - 1);
}

static void test_fail_accepts_nowhere_to_write(void)
{
    CHECK_RC(vt_fail(NULL, VT_PROTO, VT_STAGE_KEX, 0, "%s", "unread"), VT_PROTO);
}

CHECK_MAIN(
    TEST(test_every_code_has_name_and_text),
    TEST(test_names_are_the_codes_own),
    TEST(test_unknown_code_is_said_to_be),
    TEST(test_every_stage_but_none_has_a_name),
    TEST(test_fail_records_and_returns_the_code),
    TEST(test_fail_without_stage_keeps_the_stage),
    TEST(test_fail_without_text_forgets_the_old_text),
    TEST(test_fail_cuts_a_long_text),
    TEST(test_fail_accepts_nowhere_to_write))
