/* keystream.c - an OpenSSL 3 provider of one cipher. */
#include "transport/keystream.h"

#include <stddef.h>

#ifdef VT_HAVE_LIBCRYPTO

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NAME "virtvm-lookahead"
#define KEY 16
#define BLOCK 16
#define AHEAD 4096                  /* more leaves the cache, less saves less */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static OSSL_LIB_CTX *context;
static EVP_CIPHER *plain;           /* the default provider's */

/* ---- the cipher ---- */

struct cipher {
    EVP_CIPHER_CTX *inner;
    size_t at;                      /* key stream that is used up */
    unsigned char stream[AHEAD];
};

static void *new_cipher(void *provider)
{
    struct cipher *c = OPENSSL_zalloc(sizeof *c);
    (void)provider;
    if (c == NULL || (c->inner = EVP_CIPHER_CTX_new()) == NULL) {
        OPENSSL_free(c);
        return NULL;
    }
    c->at = AHEAD;
    return c;
}

static void free_cipher(void *ctx)
{
    struct cipher *c = ctx;
    if (c == NULL)
        return;
    EVP_CIPHER_CTX_free(c->inner);
    OPENSSL_clear_free(c, sizeof *c);
}

static void *copy_cipher(void *ctx)
{
    const struct cipher *c = ctx;
    struct cipher *copy = new_cipher(NULL);
    if (copy == NULL || !EVP_CIPHER_CTX_copy(copy->inner, c->inner)) {
        free_cipher(copy);
        return NULL;
    }
    copy->at = c->at;
    memcpy(copy->stream, c->stream, AHEAD);
    return copy;
}

static int set_params(void *ctx, const OSSL_PARAM params[])
{
    (void)ctx, (void)params;        /* nothing about it can be changed */
    return 1;
}

/* Counter mode is its own inverse. */
static int init(void *ctx, const unsigned char *key, size_t key_len, const unsigned char *iv, size_t iv_len,
                const OSSL_PARAM params[])
{
    struct cipher *c = ctx;
    (void)params;
    if ((key != NULL && key_len != KEY) || (iv != NULL && iv_len != BLOCK))
        return 0;
    c->at = AHEAD;
    return EVP_EncryptInit_ex2(c->inner, plain, key, iv, NULL);
}

static int make_stream(struct cipher *c)
{
    int n = 0;
    memset(c->stream, 0, AHEAD);
    c->at = 0;
    return EVP_EncryptUpdate(c->inner, c->stream, &n, c->stream, AHEAD) && n == AHEAD;
}

static void add_stream(unsigned char *out, const unsigned char *in, const unsigned char *stream, size_t n)
{
    for (; n >= 8; n -= 8, out += 8, in += 8, stream += 8) {
        unsigned long long a, b;
        memcpy(&a, in, 8);
        memcpy(&b, stream, 8);
        a ^= b;
        memcpy(out, &a, 8);
    }
    while (n-- > 0)
        *out++ = *in++ ^ *stream++;
}

static int update(void *ctx, unsigned char *out, size_t *out_len, size_t out_size, const unsigned char *in, size_t n)
{
    struct cipher *c = ctx;
    if (out_size < n)
        return 0;
    *out_len = n;
    while (n > 0) {
        if (c->at == AHEAD && !make_stream(c))
            return 0;
        size_t some = AHEAD - c->at < n ? AHEAD - c->at : n;
        add_stream(out, in, c->stream + c->at, some);
        c->at += some;
        out += some;
        in += some;
        n -= some;
    }
    return 1;
}

static int final(void *ctx, unsigned char *out, size_t *out_len, size_t out_size)
{
    (void)ctx, (void)out, (void)out_size;
    *out_len = 0;
    return 1;
}

/* ---- what OpenSSL asks about it ---- */

static int set_number(OSSL_PARAM params[], const char *name, size_t n)
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, name);
    return p == NULL || OSSL_PARAM_set_size_t(p, n);
}

static int get_ctx_params(void *ctx, OSSL_PARAM params[])
{
    (void)ctx;
    return set_number(params, OSSL_CIPHER_PARAM_KEYLEN, KEY) && set_number(params, OSSL_CIPHER_PARAM_IVLEN, BLOCK);
}

static int get_params(OSSL_PARAM params[])
{
    OSSL_PARAM *mode = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_MODE);
    return (mode == NULL || OSSL_PARAM_set_uint(mode, EVP_CIPH_CTR_MODE)) && get_ctx_params(NULL, params)
        && set_number(params, OSSL_CIPHER_PARAM_BLOCK_SIZE, 1);
}

static const OSSL_PARAM *ctx_params(void *ctx, void *provider)
{
    static const OSSL_PARAM params[] = {
        OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL), OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
        OSSL_PARAM_END,
    };
    (void)ctx, (void)provider;
    return params;
}

static const OSSL_DISPATCH functions[] = {
    {OSSL_FUNC_CIPHER_NEWCTX, (void (*)(void))new_cipher},
    {OSSL_FUNC_CIPHER_FREECTX, (void (*)(void))free_cipher},
    {OSSL_FUNC_CIPHER_DUPCTX, (void (*)(void))copy_cipher},
    {OSSL_FUNC_CIPHER_ENCRYPT_INIT, (void (*)(void))init},
    {OSSL_FUNC_CIPHER_DECRYPT_INIT, (void (*)(void))init},
    {OSSL_FUNC_CIPHER_UPDATE, (void (*)(void))update},
    {OSSL_FUNC_CIPHER_FINAL, (void (*)(void))final},
    {OSSL_FUNC_CIPHER_CIPHER, (void (*)(void))update},
    {OSSL_FUNC_CIPHER_GET_PARAMS, (void (*)(void))get_params},
    {OSSL_FUNC_CIPHER_GET_CTX_PARAMS, (void (*)(void))get_ctx_params},
    {OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, (void (*)(void))ctx_params},
    {OSSL_FUNC_CIPHER_SET_CTX_PARAMS, (void (*)(void))set_params},
    {0, NULL},
};

/* ---- the provider ---- */

/* AES-256-CTR is not among them: the context's own random generator would take it. */
static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
    static const OSSL_ALGORITHM ciphers[] = {
        {"AES-128-CTR", "provider=" NAME, functions, NULL},
        {NULL, NULL, NULL, NULL},
    };
    (void)provider;
    *no_cache = 0;
    return operation == OSSL_OP_CIPHER ? ciphers : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                         void **provider)
{
    static const OSSL_DISPATCH table[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
        {0, NULL},
    };
    (void)handle, (void)in;
    *out = table;
    *provider = (void *)&context;   /* it must not be NULL */
    return 1;
}

static bool fill(OSSL_LIB_CTX *c)
{
    return OSSL_PROVIDER_load(c, "default") != NULL
        && (plain = EVP_CIPHER_fetch(c, "AES-128-CTR", "provider=default")) != NULL
        && OSSL_PROVIDER_add_builtin(c, NAME, provider_init) && OSSL_PROVIDER_load(c, NAME) != NULL
        && EVP_set_default_properties(c, "?provider=" NAME);
}

static void make_context(void)
{
    OSSL_LIB_CTX *c = EVP_default_properties_is_fips_enabled(NULL) ? NULL : OSSL_LIB_CTX_new();
    if (c == NULL || fill(c)) {
        context = c;
        return;
    }
    EVP_CIPHER_free(plain);
    OSSL_LIB_CTX_free(c);
}

void *vt_keystream_context(void)
{
    pthread_once(&once, make_context);
    return context;
}

void vt_keystream_enter(struct vt_keystream *scope)
{
    const char *off = getenv("VIRTVM_NO_LOOKAHEAD");
    scope->is_on = (off == NULL || strcmp(off, "1") != 0) && vt_keystream_context() != NULL;
    if (scope->is_on)
        scope->before = OSSL_LIB_CTX_set0_default(context);
}

void vt_keystream_leave(struct vt_keystream *scope)
{
    if (scope->is_on)
        OSSL_LIB_CTX_set0_default(scope->before);
    scope->is_on = false;
}

#else

void *vt_keystream_context(void)
{
    return NULL;
}

void vt_keystream_enter(struct vt_keystream *scope)
{
    scope->is_on = false;
}

void vt_keystream_leave(struct vt_keystream *scope)
{
    scope->is_on = false;
}

#endif
