/* Telnet: the same text and answers, in whatever pieces the server's bytes come. */
#include "fuzz.h"

#include "transport/telnet.h"

struct run { struct vt_telnet telnet; struct vt_buf text, reply; enum vt_rc rc; };

static void decode(struct run *r, const uint8_t *data, size_t n, size_t piece)
{
    memset(r, 0, sizeof *r);
    vt_buf_init(&r->text, 1 << 16);
    vt_buf_init(&r->reply, 1 << 16);
    for (size_t at = 0; at < n && r->rc == VT_OK; at += piece)
        r->rc = vt_telnet_decode(&r->telnet, data + at, n - at < piece ? n - at : piece, &r->text, &r->reply);
}

static int same(const struct vt_buf *a, const struct vt_buf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct run whole, bytes;
    decode(&whole, data, n, n > 0 ? n : 1);
    decode(&bytes, data, n, 1);
    HOLDS(whole.rc == bytes.rc);
    if (whole.rc == VT_OK)
        HOLDS(same(&whole.text, &bytes.text) && same(&whole.reply, &bytes.reply));
    HOLDS(whole.text.len <= n);
    struct vt_buf wire;
    vt_buf_init(&wire, 4 * n + 16);
    HOLDS(vt_telnet_encode(data, n, &wire) == VT_OK && wire.len <= 2 * n);
    vt_buf_fini(&wire);
    vt_buf_fini(&whole.text);
    vt_buf_fini(&whole.reply);
    vt_buf_fini(&bytes.text);
    vt_buf_fini(&bytes.reply);
    return 0;
}
