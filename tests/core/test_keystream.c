/* test_keystream.c - the look-ahead cipher against known answers, and against OpenSSL's. */
#include "transport/keystream.h"

#include "check.h"

#ifdef VT_HAVE_LIBCRYPTO

#include <openssl/evp.h>
#include <openssl/provider.h>
#include <stdlib.h>

/* NIST SP 800-38A, F.5.1: CTR-AES128.Encrypt */
static const unsigned char key[16] = {0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
                                      0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c};
static const unsigned char counter[16] = {0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7,
                                          0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff};
static const unsigned char text[32] = {
    0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96, 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a,
    0xae, 0x2d, 0x8a, 0x57, 0x1e, 0x03, 0xac, 0x9c, 0x9e, 0xb7, 0x6f, 0xac, 0x45, 0xaf, 0x8e, 0x51};
static const unsigned char secret[32] = {
    0x87, 0x4d, 0x61, 0x91, 0xb6, 0x20, 0xe3, 0x26, 0x1b, 0xef, 0x68, 0x64, 0x99, 0x0d, 0xb6, 0xce,
    0x98, 0x06, 0xf6, 0x6b, 0x79, 0x70, 0xfd, 0xff, 0x86, 0x17, 0x18, 0x7b, 0xb9, 0xff, 0xfd, 0xff};

static EVP_CIPHER_CTX *begin(OSSL_LIB_CTX *library, const unsigned char *iv, bool ours)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(library, "AES-128-CTR", ours ? NULL : "provider=default");
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    CHECK(cipher != NULL);
    const char *name = OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(cipher));
    CHECK((strcmp(name, "virtvm-lookahead") == 0) == ours);
    CHECK(EVP_CipherInit_ex2(c, cipher, key, iv, 1, NULL));
    EVP_CIPHER_free(cipher);
    return c;
}

static void run(EVP_CIPHER_CTX *c, unsigned char *out, const unsigned char *in, size_t n, size_t piece)
{
    int got;
    for (size_t at = 0; at < n; at += piece)
        CHECK(EVP_CipherUpdate(c, out + at, &got, in + at, (int)(n - at < piece ? n - at : piece)));
}

static void test_known_answers(void)
{
    unsigned char out[sizeof text];
    for (size_t piece = 1; piece <= sizeof text; piece++) {
        EVP_CIPHER_CTX *c = begin(vt_keystream_context(), counter, true);
        run(c, out, text, sizeof text, piece);
        CHECK(memcmp(out, secret, sizeof secret) == 0);
        CHECK(EVP_CipherInit_ex2(c, NULL, key, counter, 0, NULL));      /* and back */
        run(c, out, secret, sizeof secret, piece);
        CHECK(memcmp(out, text, sizeof text) == 0);
        EVP_CIPHER_CTX_free(c);
    }
}

static void test_same_as_openssl_over_many_pieces_and_a_full_counter(void)
{
    static const unsigned char last[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                           0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0};
    enum { N = 100000 };
    unsigned char *in = malloc(N), *ours = malloc(N), *theirs = malloc(N);
    for (size_t i = 0; i < N; i++)
        in[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t piece = 1; piece < N; piece = piece * 3 + 5) {
        EVP_CIPHER_CTX *a = begin(vt_keystream_context(), last, true);
        EVP_CIPHER_CTX *b = begin(NULL, last, false);
        run(a, ours, in, N, piece);
        run(b, theirs, in, N, N);
        CHECK(memcmp(ours, theirs, N) == 0);
        EVP_CIPHER_CTX_free(a);
        EVP_CIPHER_CTX_free(b);
    }
    free(in);
    free(ours);
    free(theirs);
}

static void test_copy_goes_on_by_itself(void)
{
    unsigned char one[16], other[16];
    EVP_CIPHER_CTX *c = begin(vt_keystream_context(), counter, true), *copy = EVP_CIPHER_CTX_new();
    run(c, one, text, 5, 5);
    CHECK(EVP_CIPHER_CTX_copy(copy, c));
    run(c, one, text + 5, 11, 11);
    run(copy, other, text + 5, 11, 3);
    CHECK(memcmp(one, other, 11) == 0 && memcmp(one, secret + 5, 11) == 0);
    EVP_CIPHER_CTX_free(c);
    EVP_CIPHER_CTX_free(copy);
}

static bool is_default_ours(void)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-128-CTR", NULL);
    bool ours = strcmp(OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(cipher)), "virtvm-lookahead") == 0;
    EVP_CIPHER_free(cipher);
    return ours;
}

static void test_only_inside_the_scope_and_only_if_wanted(void)
{
    struct vt_keystream scope;
    unsetenv("VIRTVM_NO_LOOKAHEAD");
    CHECK(!is_default_ours());
    vt_keystream_enter(&scope);
    CHECK(is_default_ours());
    vt_keystream_leave(&scope);
    CHECK(!is_default_ours());
    setenv("VIRTVM_NO_LOOKAHEAD", "1", 1);
    vt_keystream_enter(&scope);
    CHECK(!is_default_ours());
    vt_keystream_leave(&scope);
}

CHECK_MAIN(TEST(test_known_answers), TEST(test_same_as_openssl_over_many_pieces_and_a_full_counter),
           TEST(test_copy_goes_on_by_itself), TEST(test_only_inside_the_scope_and_only_if_wanted))

#else

static void test_without_openssl_there_is_none(void)
{
    struct vt_keystream scope = {.is_on = true};
    vt_keystream_enter(&scope);
    CHECK(!scope.is_on && vt_keystream_context() == NULL);
    vt_keystream_leave(&scope);
}

CHECK_MAIN(TEST(test_without_openssl_there_is_none))

#endif
