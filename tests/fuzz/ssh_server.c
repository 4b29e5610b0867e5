#include "ssh_server.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define VERSION "SSH-2.0-fuzz"
#define PACKET_MAX 70000
#define CHANGE 6                        /* bytes of the script for one change */
#define ROUNDS 400                      /* messages that one server sends at most */

enum {
    DISCONNECT = 1, IGNORE = 2, SERVICE_REQUEST = 5, SERVICE_ACCEPT = 6, KEXINIT = 20, NEWKEYS = 21,
    KEX_INIT = 30, KEX_REPLY = 31,
    AUTH_REQUEST = 50, AUTH_FAILURE = 51, AUTH_SUCCESS = 52, AUTH_BANNER = 53, AUTH_INFO_REQUEST = 60,
    AUTH_INFO_RESPONSE = 61, GLOBAL_REQUEST = 80, REQUEST_SUCCESS = 81, CHANNEL_OPEN = 90,
    CHANNEL_CONFIRM = 91, CHANNEL_ADJUST = 93, CHANNEL_DATA = 94, CHANNEL_EXTENDED = 95, CHANNEL_EOF = 96,
    CHANNEL_CLOSE = 97, CHANNEL_REQUEST = 98, CHANNEL_SUCCESS = 99,
};

/* What a change does to the message whose number it names. */
enum {
    SET_BYTE, SET_LENGTH, CUT, GROW, PUT_BEFORE, DROP, REPEAT, REKEY_BEFORE, SET_TYPE, SPOIL_PACKET, HANG_UP,
    REPLACE, CHANGES
};

struct bytes { uint8_t *p; size_t n, cap; };

/* One direction's keys. */
struct keys {
    bool on;
    EVP_CIPHER_CTX *cipher;
    uint8_t mac[32];
    uint32_t sequence;
};

struct ssh_server {
    int fd;
    struct bytes in, out;
    const uint8_t *script, *rest;
    size_t script_n, rest_n, rest_at;
    unsigned flags, sent, number;
    bool greeted, closing, has_kexinit, rekeyed;
    struct bytes client_version, client_kexinit, own_kexinit;
    uint8_t session_id[32], hash[32], shared[300];
    size_t shared_n;
    bool has_session_id;
    EVP_PKEY *host;
    struct keys receive, send;
    int refusals;
};

/* ---- bytes ---- */

static void add(struct bytes *b, const void *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
    }
    if (n > 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void add_u8(struct bytes *b, unsigned v)
{
    uint8_t c = (uint8_t)v;
    add(b, &c, 1);
}

static void add_u32(struct bytes *b, uint32_t v)
{
    uint8_t c[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    add(b, c, 4);
}

static void add_string(struct bytes *b, const void *p, size_t n)
{
    add_u32(b, (uint32_t)n);
    add(b, p, n);
}

static void add_text(struct bytes *b, const char *text)
{
    add_string(b, text, strlen(text));
}

static void add_mpint(struct bytes *b, const uint8_t *p, size_t n)
{
    while (n > 0 && *p == 0)
        p++, n--;
    add_u32(b, (uint32_t)(n + (n > 0 && *p & 0x80)));
    if (n > 0 && *p & 0x80)
        add_u8(b, 0);
    add(b, p, n);
}

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The next string of a client's message. */
static const uint8_t *take_string(const uint8_t **p, const uint8_t *end, size_t *n)
{
    *n = 0;
    if (end - *p < 4 || u32(*p) > (size_t)(end - *p - 4))
        return *p = end;
    *n = u32(*p);
    const uint8_t *got = *p + 4;
    *p = got + *n;
    return got;
}

/* Some of the script's last bytes: a program's output, a name. */
static const uint8_t *some(struct ssh_server *s, size_t most, size_t *n)
{
    size_t left = s->rest_n - s->rest_at;
    *n = left < most ? left : most;
    const uint8_t *p = s->rest + s->rest_at;
    s->rest_at += *n;
    return p;
}

/* ---- packets ---- */

static void mac_of(const struct keys *k, const uint8_t *p, size_t n, uint8_t *out)
{
    struct bytes all = {0};
    unsigned len = 32;
    add_u32(&all, k->sequence);
    add(&all, p, n);
    HMAC(EVP_sha256(), k->mac, 32, all.p, all.n, out, &len);
    free(all.p);
}

static void send_packet(struct ssh_server *s, const uint8_t *p, size_t n, bool spoil)
{
    struct bytes b = {0};
    size_t block = s->send.on ? 16 : 8, pad = block - (n + 5) % block;
    uint8_t mac[32];
    int len;
    if (pad < 4)
        pad += block;
    add_u32(&b, (uint32_t)(n + pad + 1));
    add_u8(&b, (unsigned)pad);
    add(&b, p, n);
    add(&b, "padding padding padding padding ", pad);
    if (spoil)
        b.p[s->number % 5] ^= (uint8_t)(s->flags | 1);
    if (s->send.on) {
        mac_of(&s->send, b.p, b.n, mac);
        EVP_EncryptUpdate(s->send.cipher, b.p, &len, b.p, (int)b.n);
        add(&b, mac, sizeof mac);
    }
    s->send.sequence++;
    s->sent++;
    add(&s->out, b.p, b.n);
    free(b.p);
}

static void send_kexinit(struct ssh_server *s);

static const uint8_t *change_of(const struct ssh_server *s, unsigned number, size_t nth)
{
    for (size_t at = 0; at + CHANGE <= s->script_n; at += CHANGE)
        if (s->script[at] == (number & 0xff) && nth-- == 0)
            return s->script + at;
    return NULL;
}

static void set_length(struct bytes *m, size_t at, unsigned how)
{
    static const uint32_t odd[] = {0, 1, 0x7fffffff, 0xffffffff, 0x80000000, 0xfffffffb, 35000, 0x10000};
    uint32_t v = odd[how % 8];
    for (int i = 0; i < 4 && at + (size_t)i < m->n; i++)
        m->p[at + (size_t)i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Does to the message what the script says.  False: it is not sent. */
static bool change(struct ssh_server *s, struct bytes *m, const uint8_t *c, bool *spoil)
{
    size_t at = m->n > 0 ? ((size_t)c[2] << 8 | c[3]) % m->n : 0, n;
    const uint8_t *p;
    switch (c[1] % CHANGES) {
    case SET_BYTE: m->p[at] = c[4]; break;
    case SET_LENGTH: set_length(m, at, c[4]); break;
    case CUT: m->n = at + 1; break;
    case GROW:
        for (unsigned i = 0; i < (unsigned)c[4] * c[5] && m->n < 60000; i++)
            add_u8(m, c[5]);
        break;
    case PUT_BEFORE: {
        struct bytes other = {0};
        add_u8(&other, c[4]);
        p = some(s, c[5], &n);
        add(&other, p, n);
        send_packet(s, other.p, other.n, false);
        free(other.p);
        break;
    }
    case DROP: return false;
    case REPEAT: send_packet(s, m->p, m->n, false); break;
    case REKEY_BEFORE:
        if (s->has_session_id && !s->rekeyed) {
            s->rekeyed = true;
            send_kexinit(s);
        }
        break;
    case SET_TYPE: m->p[0] = c[4]; break;
    case SPOIL_PACKET: *spoil = true; break;
    case HANG_UP: s->closing = true; break;
    default:
        p = some(s, c[4], &n);
        m->n = at + 1;
        add(m, p, n);
    }
    return true;
}

static void say(struct ssh_server *s, struct bytes *m)
{
    bool spoil = false, sends = true;
    const uint8_t *c;
    unsigned number = s->number++;
    for (size_t nth = 0; nth < 4 && (c = change_of(s, number, nth)) != NULL; nth++)
        sends = change(s, m, c, &spoil) && sends;
    if (sends && s->sent < ROUNDS)
        send_packet(s, m->p, m->n, spoil);
    free(m->p);
}

/* ---- key exchange ---- */

/* None with a group of the server's choice: the client refuses those. */
static const char *const methods[] = {"curve25519-sha256", "ecdh-sha2-nistp256", "diffie-hellman-group14-sha256",
                                      "curve25519-sha256@libssh.org"};
enum { NISTP256 = 1, GROUP14 = 2 };

static const char *method_of(const struct ssh_server *s)
{
    return methods[s->flags & 3];
}

static void send_kexinit(struct ssh_server *s)
{
    struct bytes m = {0};
    add_u8(&m, KEXINIT);
    add(&m, "sixteen bytes..!", 16);
    add_text(&m, method_of(s));
    add_text(&m, "ssh-ed25519");
    for (int i = 0; i < 2; i++)
        add_text(&m, "aes128-ctr");
    for (int i = 0; i < 2; i++)
        add_text(&m, "hmac-sha2-256");
    for (int i = 0; i < 2; i++)
        add_text(&m, "none");
    add_u32(&m, 0), add_u32(&m, 0);
    add_u8(&m, 0), add_u32(&m, 0);
    s->own_kexinit.n = 0;
    add(&s->own_kexinit, m.p, m.n);     /* as it should be: the hash goes wrong where it was spoilt */
    say(s, &m);
    s->has_kexinit = true;
}

/* The secret shared with the peer's key, and our public one. */
static bool agree_curve(struct ssh_server *s, EVP_PKEY *own, const uint8_t *theirs, size_t n, struct bytes *public)
{
    EVP_PKEY *peer = EVP_PKEY_new();
    uint8_t *mine = NULL;
    size_t len = EVP_PKEY_get1_encoded_public_key(own, &mine);
    bool good = EVP_PKEY_copy_parameters(peer, own) == 1
        && EVP_PKEY_set1_encoded_public_key(peer, theirs, n) == 1;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    s->shared_n = sizeof s->shared;
    good = good && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1
        && EVP_PKEY_derive(ctx, s->shared, &s->shared_n) == 1;
    add_string(public, mine, len);
    OPENSSL_free(mine);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    return good;
}

static EVP_PKEY *new_curve_key(bool nist, const uint8_t *theirs, size_t n)
{
    if (nist)
        return EVP_EC_gen("P-256");
    EVP_PKEY *own = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_X25519, NULL);
    (void)theirs, (void)n;
    if (EVP_PKEY_keygen_init(ctx) != 1 || EVP_PKEY_keygen(ctx, &own) != 1)
        own = NULL;
    EVP_PKEY_CTX_free(ctx);
    return own;
}

/* Diffie-Hellman with a small exponent: all but the secret is as it should be. */
static bool agree_group(struct ssh_server *s, const uint8_t *theirs, size_t n, struct bytes *public)
{
    BIGNUM *p = BN_get_rfc3526_prime_2048(NULL), *e = BN_bin2bn(theirs, (int)n, NULL);
    BIGNUM *y = BN_new(), *g = BN_new(), *f = BN_new(), *k = BN_new();
    BN_CTX *ctx = BN_CTX_new();
    uint8_t raw[300];
    BN_set_word(g, 2);
    BN_set_word(y, 0x1234567);
    bool good = BN_mod_exp(f, g, y, p, ctx) == 1 && BN_mod_exp(k, e, y, p, ctx) == 1;
    int len = BN_bn2bin(f, raw);
    add_mpint(public, raw, (size_t)len);
    s->shared_n = (size_t)BN_bn2bin(k, s->shared);
    BN_free(p), BN_free(e), BN_free(y), BN_free(g), BN_free(f), BN_free(k);
    BN_CTX_free(ctx);
    return good;
}

static void host_key(const struct ssh_server *s, struct bytes *out)
{
    uint8_t raw[32];
    size_t n = sizeof raw;
    EVP_PKEY_get_raw_public_key(s->host, raw, &n);
    add_text(out, "ssh-ed25519");
    add_string(out, raw, n);
}

static void sign(const struct ssh_server *s, struct bytes *out)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t raw[64];
    size_t n = sizeof raw;
    EVP_DigestSignInit(ctx, NULL, NULL, NULL, s->host);
    EVP_DigestSign(ctx, raw, &n, s->hash, sizeof s->hash);
    EVP_MD_CTX_free(ctx);
    add_text(out, "ssh-ed25519");
    add_string(out, raw, n);
}

/* The exchange hash (RFC 4253, 8; RFC 5656, 4). */
static void hash_all(struct ssh_server *s, const struct bytes *key, const uint8_t *theirs, size_t n,
                     const struct bytes *public)
{
    struct bytes all = {0};
    add_string(&all, s->client_version.p, s->client_version.n);
    add_text(&all, VERSION);
    add_string(&all, s->client_kexinit.p, s->client_kexinit.n);
    add_string(&all, s->own_kexinit.p, s->own_kexinit.n);
    add_string(&all, key->p, key->n);
    if ((s->flags & 3) == GROUP14)
        add_mpint(&all, theirs, n);
    else
        add_string(&all, theirs, n);
    add(&all, public->p, public->n);
    add_mpint(&all, s->shared, s->shared_n);
    SHA256(all.p, all.n, s->hash);
    free(all.p);
    if (!s->has_session_id)
        memcpy(s->session_id, s->hash, sizeof s->hash);
    s->has_session_id = true;
}

static void derive(const struct ssh_server *s, char which, uint8_t out[32])
{
    struct bytes all = {0};
    add_mpint(&all, s->shared, s->shared_n);
    add(&all, s->hash, 32);
    add_u8(&all, (unsigned)which);
    add(&all, s->session_id, 32);
    SHA256(all.p, all.n, out);
    free(all.p);
}

static void switch_on(struct ssh_server *s, struct keys *k, const char *which, bool encrypts)
{
    uint8_t iv[32], key[32];
    derive(s, which[0], iv);
    derive(s, which[1], key);
    derive(s, which[2], k->mac);
    if (k->cipher == NULL)
        k->cipher = EVP_CIPHER_CTX_new();
    EVP_CipherInit_ex(k->cipher, EVP_aes_128_ctr(), NULL, key, iv, encrypts);
    k->on = true;
}

/* KEX_INIT: the client's public key. */
static void exchange(struct ssh_server *s, const uint8_t *p, size_t len)
{
    const uint8_t *at = p + 1;
    size_t n;
    const uint8_t *theirs = take_string(&at, p + len, &n);
    struct bytes public = {0}, key = {0}, signature = {0}, m = {0};
    bool good;
    if ((s->flags & 3) != GROUP14) {
        EVP_PKEY *own = new_curve_key((s->flags & 3) == NISTP256, theirs, n);
        good = agree_curve(s, own, theirs, n, &public);
        EVP_PKEY_free(own);
    } else {
        good = agree_group(s, theirs, n, &public);
    }
    if (good) {
        host_key(s, &key);
        hash_all(s, &key, theirs, n, &public);
        sign(s, &signature);
        add_u8(&m, KEX_REPLY);
        add_string(&m, key.p, key.n);
        add(&m, public.p, public.n);
        add_string(&m, signature.p, signature.n);
        say(s, &m);
        m = (struct bytes){0};
        add_u8(&m, NEWKEYS);
        say(s, &m);
        switch_on(s, &s->send, "BDF", true);
    }
    free(public.p), free(key.p), free(signature.p);
    s->closing = s->closing || !good;
}

/* ---- authentication ---- */

static void refuse(struct ssh_server *s, bool partly)
{
    struct bytes m = {0};
    add_u8(&m, AUTH_FAILURE);
    add_text(&m, "publickey,password,keyboard-interactive");
    add_u8(&m, partly);
    say(s, &m);
}

static void ask_questions(struct ssh_server *s)
{
    struct bytes m = {0};
    add_u8(&m, AUTH_INFO_REQUEST);
    add_text(&m, "name"), add_text(&m, "what to do"), add_text(&m, "");
    add_u32(&m, 2);
    add_text(&m, "Password: "), add_u8(&m, 0);
    add_text(&m, "Anything else? "), add_u8(&m, 1);
    say(s, &m);
}

static void let_in(struct ssh_server *s)
{
    struct bytes m = {0};
    add_u8(&m, AUTH_SUCCESS);
    say(s, &m);
}

static void greet(struct ssh_server *s)
{
    struct bytes m = {0};
    size_t n;
    const uint8_t *p = some(s, 40, &n);
    add_u8(&m, AUTH_BANNER);
    add_string(&m, p, n);
    add_text(&m, "en");
    say(s, &m);
}

static bool is(const uint8_t *p, size_t n, const char *text)
{
    return n == strlen(text) && memcmp(p, text, n) == 0;
}

/* The flags say how often it refuses first, and whether it has questions and a banner. */
static void judge(struct ssh_server *s, const uint8_t *p, size_t len)
{
    const uint8_t *at = p + 1, *end = p + len;
    size_t n;
    for (int i = 0; i < 2; i++)
        (void)take_string(&at, end, &n);
    const uint8_t *method = take_string(&at, end, &n);
    if (s->flags & 0x10)
        greet(s);
    s->flags &= ~0x10u;
    if (is(method, n, "keyboard-interactive"))
        ask_questions(s);
    else if (is(method, n, "none") || s->refusals < (int)(s->flags >> 2 & 3))
        refuse(s, s->refusals++ > 0);
    else if (is(method, n, "password") && s->flags & 0x20)
        ask_questions(s);               /* to this method 60 says: change the password */
    else
        let_in(s);
}

/* ---- channels ---- */

static void on_channel(struct ssh_server *s, unsigned type, uint32_t channel)
{
    struct bytes m = {0};
    add_u8(&m, type);
    add_u32(&m, channel);
    say(s, &m);
}

static void confirm(struct ssh_server *s, const uint8_t *p, size_t len)
{
    const uint8_t *at = p + 1;
    size_t n;
    (void)take_string(&at, p + len, &n);
    if (p + len - at < 12)
        return;
    struct bytes m = {0};
    add_u8(&m, CHANNEL_CONFIRM);
    add_u32(&m, u32(at));
    add_u32(&m, u32(at));
    add_u32(&m, 1 << 20);
    add_u32(&m, 32768);
    say(s, &m);
}

static void print(struct ssh_server *s, uint32_t channel, unsigned stream)
{
    struct bytes m = {0};
    size_t n;
    const uint8_t *p = some(s, 100, &n);
    add_u8(&m, stream == 0 ? CHANNEL_DATA : CHANNEL_EXTENDED);
    add_u32(&m, channel);
    if (stream != 0)
        add_u32(&m, stream);
    add_string(&m, p, n);
    say(s, &m);
}

static void end_program(struct ssh_server *s, uint32_t channel)
{
    struct bytes m = {0};
    add_u8(&m, CHANNEL_REQUEST);
    add_u32(&m, channel);
    if (s->flags & 0x40) {
        add_text(&m, "exit-signal"), add_u8(&m, 0), add_text(&m, "TERM"), add_u8(&m, 0);
        add_text(&m, "message"), add_text(&m, "");
    } else {
        add_text(&m, "exit-status"), add_u8(&m, 0), add_u32(&m, 3);
    }
    say(s, &m);
    on_channel(s, CHANNEL_EOF, channel);
    on_channel(s, CHANNEL_CLOSE, channel);
}

static void request(struct ssh_server *s, const uint8_t *p, size_t len)
{
    if (len < 9)
        return;
    const uint8_t *at = p + 5;
    size_t n;
    const uint8_t *what = take_string(&at, p + len, &n);
    if (at < p + len && *at)
        on_channel(s, CHANNEL_SUCCESS, u32(p + 1));
    if (is(what, n, "pty-req"))
        return;
    print(s, u32(p + 1), 0);
    print(s, u32(p + 1), 1);
    end_program(s, u32(p + 1));
}

/* ---- taking messages apart ---- */

static void accept_service(struct ssh_server *s)
{
    struct bytes m = {0};
    add_u8(&m, SERVICE_ACCEPT);
    add_text(&m, "ssh-userauth");
    say(s, &m);
}

static void take(struct ssh_server *s, const uint8_t *p, size_t n)
{
    switch (n > 0 ? p[0] : IGNORE) {
    case KEXINIT:
        s->client_kexinit.n = 0;
        add(&s->client_kexinit, p, n);
        if (!s->has_kexinit)
            send_kexinit(s);
        break;
    case KEX_INIT: exchange(s, p, n); break;
    case NEWKEYS:
        switch_on(s, &s->receive, "ACE", false);
        s->has_kexinit = false;
        break;
    case SERVICE_REQUEST: accept_service(s); break;
    case AUTH_REQUEST: judge(s, p, n); break;
    case AUTH_INFO_RESPONSE: let_in(s); break;
    case CHANNEL_OPEN: confirm(s, p, n); break;
    case CHANNEL_REQUEST: request(s, p, n); break;
    case CHANNEL_DATA: if (n >= 5) print(s, u32(p + 1), 0); break;
    case CHANNEL_CLOSE: if (n >= 5) on_channel(s, CHANNEL_CLOSE, u32(p + 1)); break;
    case DISCONNECT: s->closing = true; break;
    default: break;
    }
}

/* One packet of the client's, which is honest; false: it is not all there. */
static bool take_packet(struct ssh_server *s)
{
    struct keys *k = &s->receive;
    uint8_t head[16];
    int len;
    size_t block = k->on ? 16 : 8, mac = k->on ? 32 : 0;
    if (s->in.n < block)
        return false;
    memcpy(head, s->in.p, block);
    if (k->on) {                        /* a look at the length; the counter goes back afterwards */
        EVP_CIPHER_CTX *look = EVP_CIPHER_CTX_new();
        EVP_CIPHER_CTX_copy(look, k->cipher);
        EVP_DecryptUpdate(look, head, &len, head, 16);
        EVP_CIPHER_CTX_free(look);
    }
    size_t n = u32(head) + 4;
    if (n < 8 || n > PACKET_MAX) {
        s->closing = true;
        return false;
    }
    if (s->in.n < n + mac)
        return false;
    if (k->on)
        EVP_DecryptUpdate(k->cipher, s->in.p, &len, s->in.p, (int)n);
    k->sequence++;
    size_t pad = s->in.p[4];
    struct bytes m = {0};
    if (pad + 5 <= n)
        add(&m, s->in.p + 5, n - 5 - pad);
    memmove(s->in.p, s->in.p + n + mac, s->in.n -= n + mac);
    take(s, m.p, m.n);
    free(m.p);
    return !s->closing;
}

static bool take_version(struct ssh_server *s)
{
    uint8_t *end = s->in.n > 0 ? memchr(s->in.p, '\n', s->in.n) : NULL;
    if (end == NULL)
        return false;
    size_t n = (size_t)(end - s->in.p);
    add(&s->client_version, s->in.p, n > 0 && end[-1] == '\r' ? n - 1 : n);
    memmove(s->in.p, end + 1, s->in.n -= n + 1);
    return s->greeted = true;
}

/* ---- life ---- */

/* Script: a byte of flags, one that says how many changes follow, those, the rest. */
struct ssh_server *ssh_server_new(int fd, const uint8_t *script, size_t n)
{
    static const uint8_t seed[32] = "a host key that everybody knows";
    struct ssh_server *s = calloc(1, sizeof *s);
    size_t changes = n < 2 ? 0 : (script[1] & 15) * CHANGE;
    s->fd = fd;
    s->flags = n > 0 ? script[0] : 0;
    s->script = n < 2 ? script : script + 2;
    s->script_n = n < 2 ? 0 : changes < n - 2 ? changes : n - 2;
    s->rest = s->script + s->script_n;
    s->rest_n = n < 2 ? 0 : n - 2 - s->script_n;
    s->host = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
    add(&s->out, VERSION "\r\n", sizeof VERSION + 1);
    send_kexinit(s);
    return s;
}

void ssh_server_free(struct ssh_server *s)
{
    if (s->fd >= 0)
        close(s->fd);
    EVP_PKEY_free(s->host);
    EVP_CIPHER_CTX_free(s->receive.cipher);
    EVP_CIPHER_CTX_free(s->send.cipher);
    free(s->in.p), free(s->out.p);
    free(s->client_version.p), free(s->client_kexinit.p), free(s->own_kexinit.p);
    free(s);
}

static bool flush(struct ssh_server *s)
{
    ssize_t put = s->out.n > 0 ? send(s->fd, s->out.p, s->out.n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (put < 0 && errno != EAGAIN)
        s->closing = true, s->out.n = 0;
    if (put > 0)
        memmove(s->out.p, s->out.p + put, s->out.n -= (size_t)put);
    return put > 0;
}

bool ssh_server_step(void *server)
{
    struct ssh_server *s = server;
    uint8_t data[65536];
    ssize_t got;
    if (s->fd < 0)
        return false;
    bool moved = flush(s);
    while (!s->closing && (got = recv(s->fd, data, sizeof data, MSG_DONTWAIT)) > 0) {
        add(&s->in, data, (size_t)got);
        moved = true;
    }
    if (!s->greeted)
        (void)take_version(s);
    while (s->greeted && !s->closing && take_packet(s))
        moved = true;
    moved = flush(s) || moved;
    if (s->closing && s->out.n == 0) {
        close(s->fd);
        s->fd = -1;
        moved = true;
    }
    return moved;
}

unsigned ssh_server_sent(const struct ssh_server *s)
{
    return s->sent;
}
