/* Names that differ in capitals only, in any locale. */
#include "base/ascii.h"

#include "check.h"

#include <locale.h>

static void test_only_ascii_letters_have_another_case(void)
{
    for (int c = 0; c < 256; c++)
        CHECK_INT((unsigned char)vt_lower((char)c), c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static void test_names(void)
{
    CHECK(vt_same_name("", ""));
    CHECK(vt_same_name("FILES-I.example", "files-i.EXAMPLE"));
    CHECK(!vt_same_name("files", "files-"));
    CHECK(!vt_same_name("files-", "files"));
    CHECK(!vt_same_name("a[", "a{"));
}

static void test_blanks(void)
{
    for (int c = 0; c < 256; c++)
        CHECK_INT(vt_is_space((char)c), c == ' ' || (c >= 9 && c <= 13));
}

static void test_digits(void)
{
    for (int c = 0; c < 256; c++)
        CHECK_INT(vt_is_digit((char)c), c >= 48 && c <= 57);
}

static void test_in_any_locale(void)
{
    static const char *const locales[] = {"tr_TR.UTF-8", "tr_TR.ISO-8859-9", "C"};
    for (int i = 0; i < 3; i++) {
        setlocale(LC_ALL, locales[i]);          /* where it is there */
        test_only_ascii_letters_have_another_case();
        test_names();
        test_blanks();
        test_digits();
    }
}

CHECK_MAIN(TEST(test_in_any_locale))
