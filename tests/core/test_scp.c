/* test_scp.c - scp's protocol, parsed in pieces of any size. */
#include "transfer/scp_wire.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

/* Feeds all of it in pieces; writes what was understood as text. */
static void understand(const char *bytes, size_t n, size_t piece, char *out, size_t cap)
{
    struct vt_scp_parser x = {0};
    size_t at = 0, len = 0;
    bool bad = false;
    out[0] = '\0';
    while (at < n && !bad) {
        const unsigned char *p = (const unsigned char *)bytes + at;
        size_t some = n - at < piece ? n - at : piece, left = some;
        while (left > 0 && !bad) {
            enum vt_scp_event event = vt_scp_feed(&x, &p, &left);
            char *to = out + len;
            size_t room = cap - len;
            switch (event) {
            case VT_SCP_MORE: break;
            case VT_SCP_FILE:
                snprintf(to, room, "file %o %llu %s;", x.mode, (unsigned long long)x.size, x.name);
                vt_scp_expect_data(&x);
                break;
            case VT_SCP_FOLDER: snprintf(to, room, "folder %o %s;", x.mode, x.name); break;
            case VT_SCP_LEAVE: snprintf(to, room, "leave;"); break;
            case VT_SCP_TIMES: snprintf(to, room, "times %lld %lld;", (long long)x.mtime, (long long)x.atime); break;
            case VT_SCP_SAID: snprintf(to, room, "said %s;", x.text); break;
            case VT_SCP_DATA: snprintf(to, room, "%.*s", (int)x.data_len, (const char *)x.data); break;
            case VT_SCP_DONE: snprintf(to, room, "done;"); break;
            case VT_SCP_DONE_BADLY: snprintf(to, room, "badly %s;", x.text); break;
            case VT_SCP_BAD:
                snprintf(to, room, "bad;");
                bad = true;
                break;
            }
            len = strlen(out);
        }
        at += some - left;
    }
}

static void check_text(const char *bytes, size_t n, const char *expected)
{
    char out[4096];
    for (size_t piece = 1; piece <= n; piece++) {
        understand(bytes, n, piece, out, sizeof out);
        CHECK_STR(out, expected);
    }
}
#define UNDERSTOOD(bytes, expected) check_text(bytes, sizeof bytes - 1, expected)

static void test_files_and_folders(void)
{
    UNDERSTOOD("C0644 4 name\ntext\0", "file 644 4 name;textdone;");
    UNDERSTOOD("C4755 0 with blank\n\0", "file 4755 0 with blank;done;");
    UNDERSTOOD("D0755 0 d\nC0600 2 f\nab\0E\n", "folder 755 d;file 600 2 f;abdone;leave;");
    UNDERSTOOD("T10 0 20 0\nC0644 1 f\nx\0", "times 10 20;file 644 1 f;xdone;");
}

static void test_bytes_of_a_file_are_no_lines(void)
{
    UNDERSTOOD("C0644 6 f\nE\nC0\1\n\0E\n", "file 644 6 f;E\nC0\1\ndone;leave;");
}

static void test_complaints(void)
{
    UNDERSTOOD("\1scp: f: No such file\n", "said scp: f: No such file;");
    UNDERSTOOD("\2fatal\nE\n", "said fatal;leave;");
    UNDERSTOOD("C0644 2 f\nab\1read error\nE\n", "file 644 2 f;abbadly read error;leave;");
}

static void test_nonsense(void)
{
    UNDERSTOOD("Welcome\n", "bad;");
    UNDERSTOOD("\n", "bad;");
    UNDERSTOOD("C644 4 f\n", "bad;");
    UNDERSTOOD("C06444 4 f\n", "bad;");
    UNDERSTOOD("C0688 4 f\n", "bad;");
    UNDERSTOOD("C0644 -1 f\n", "bad;");
    UNDERSTOOD("C0644 9999999999999999999 f\n", "bad;");
    UNDERSTOOD("C0644 4 \n", "bad;");
    UNDERSTOOD("C0644 4\n", "bad;");
    UNDERSTOOD("C0644 4 f\0g\n", "bad;");
    UNDERSTOOD("Ex\n", "bad;");
    UNDERSTOOD("T1 2 3\n", "bad;");
    UNDERSTOOD("T1 2 3 4 5\n", "bad;");
    UNDERSTOOD("C0644 1 f\nabc", "file 644 1 f;abad;");
}

static void test_line_without_end(void)
{
    struct vt_scp_parser x = {0};
    enum vt_scp_event event = VT_SCP_MORE;
    unsigned n = 0;
    for (; event == VT_SCP_MORE && n < 10000; n++) {
        const unsigned char *p = (const unsigned char *)"C";
        size_t one = 1;
        event = vt_scp_feed(&x, &p, &one);
    }
    CHECK_INT(event, VT_SCP_BAD);
    CHECK(n <= VT_SCP_LINE);
}

static void test_answers(void)
{
    struct vt_scp_answers a = {0};
    CHECK_INT(vt_scp_answer(&a, 0), VT_SCP_ACK_OK);
    const char refusal[] = "\1scp: no\n";
    enum vt_scp_ack last = VT_SCP_ACK_MORE;
    for (size_t i = 0; i < sizeof refusal - 1; i++) {
        CHECK_INT(last, VT_SCP_ACK_MORE);
        last = vt_scp_answer(&a, (unsigned char)refusal[i]);
    }
    CHECK_INT(last, VT_SCP_ACK_REFUSED);
    CHECK_STR(a.text, "scp: no");
    CHECK_INT(vt_scp_answer(&a, 0), VT_SCP_ACK_OK);
}

static void test_answers_are_cut(void)
{
    struct vt_scp_answers a = {0};
    CHECK_INT(vt_scp_answer(&a, 'W'), VT_SCP_ACK_MORE);
    for (int i = 0; i < 100000; i++)
        CHECK(vt_scp_answer(&a, 'x') == VT_SCP_ACK_MORE);
    CHECK_INT(vt_scp_answer(&a, '\n'), VT_SCP_ACK_FATAL);
    CHECK_INT(strlen(a.text), sizeof a.text - 1);
}

CHECK_MAIN(TEST(test_files_and_folders), TEST(test_bytes_of_a_file_are_no_lines), TEST(test_complaints),
           TEST(test_nonsense), TEST(test_line_without_end), TEST(test_answers), TEST(test_answers_are_cut))
