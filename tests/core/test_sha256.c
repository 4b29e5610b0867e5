/* test_sha256.c - SHA-256 against known answers (FIPS 180-4's examples), in any pieces. */
#include "transfer/sha256.h"

#include "check.h"

#include <stdlib.h>
#include <string.h>

static const char *sum_of(const char *text, size_t n, size_t piece)
{
    static char digits[2 * VT_SHA256_SIZE + 1];
    unsigned char sum[VT_SHA256_SIZE];
    struct vt_sha256 h;
    vt_sha256_init(&h);
    for (size_t at = 0; at < n; at += piece)
        vt_sha256_add(&h, text + at, n - at < piece ? n - at : piece);
    vt_sha256_end(&h, sum);
    for (size_t i = 0; i < sizeof sum; i++)
        snprintf(digits + 2 * i, 3, "%02x", sum[i]);
    return digits;
}

static void test_known_answers(void)
{
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    CHECK_STR(sum_of("", 0, 1), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK_STR(sum_of("abc", 3, 3), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    for (size_t piece = 1; piece < sizeof two_blocks; piece++)
        CHECK_STR(sum_of(two_blocks, sizeof two_blocks - 1, piece),
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void test_a_million_letters(void)
{
    char *text = malloc(1000000);
    memset(text, 'a', 1000000);
    for (size_t piece = 1000; piece < 1000000; piece = piece * 7 + 1)
        CHECK_STR(sum_of(text, 1000000, piece),
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(text);
}

CHECK_MAIN(TEST(test_known_answers), TEST(test_a_million_letters))
