/* SFTP packets: taking them apart never leaves them. */
#include "fuzz.h"

#include "transfer/sftp_wire.h"

static void take_all(const uint8_t *data, size_t n)
{
    struct vt_cursor c = vt_cursor_of(data, n);
    for (int i = 0; !c.bad && c.p < c.end; i++) {
        struct vt_span s = {0};
        switch (i % 5) {
        case 0: vt_take_u8(&c); break;
        case 1: vt_take_u32(&c); break;
        case 2: s = vt_take_bytes(&c); break;
        case 3: vt_take_u64(&c); break;
        default: vt_take_attrs(&c);
        }
        HOLDS(c.p <= c.end);
        if (s.n > 0) {
            HOLDS(s.p >= data && s.p + s.n <= data + n);
            if (vt_name_is_safe(s))
                HOLDS(memchr(s.p, '/', s.n) == NULL && memchr(s.p, 0, s.n) == NULL && s.n <= 255);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    size_t length;
    if (vt_packet_length(data, n, 1 << 16, &length) == VT_OK)
        HOLDS(length >= 5 && length <= n);
    take_all(data, n);
    return 0;
}
