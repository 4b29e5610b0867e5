/* scp's protocol: the same events in whatever pieces the bytes come, and no more data than
 * was announced. */
#include "fuzz.h"

#include "transfer/scp_wire.h"

struct seen { uint64_t data, lines; enum vt_scp_event last; };

static void understand(struct seen *seen, const uint8_t *data, size_t n, size_t piece)
{
    struct vt_scp_parser x = {0};
    memset(seen, 0, sizeof *seen);
    for (size_t at = 0; at < n && seen->last != VT_SCP_BAD; at += piece) {
        const unsigned char *p = data + at;
        size_t left = n - at < piece ? n - at : piece;
        while (left > 0 && seen->last != VT_SCP_BAD) {
            enum vt_scp_event event = vt_scp_feed(&x, &p, &left);
            if (event == VT_SCP_FILE) {
                HOLDS(strlen(x.name) > 0 && strlen(x.name) < VT_SCP_LINE && x.mode <= 07777);
                vt_scp_expect_data(&x);
            } else if (event == VT_SCP_DATA) {
                seen->data += x.data_len;
            }
            if (event != VT_SCP_DATA && event != VT_SCP_MORE) {
                seen->lines++;
                seen->last = event;
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct seen whole, bytes;
    understand(&whole, data, n, n > 0 ? n : 1);
    understand(&bytes, data, n, 1);
    HOLDS(whole.data == bytes.data && whole.lines == bytes.lines && whole.last == bytes.last);
    struct vt_scp_answers a = {0};
    for (size_t i = 0; i < n; i++) {
        enum vt_scp_ack ack = vt_scp_answer(&a, data[i]);
        HOLDS(ack == VT_SCP_ACK_MORE || ack == VT_SCP_ACK_OK || strlen(a.text) < sizeof a.text);
    }
    return 0;
}
