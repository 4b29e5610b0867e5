/* An SSH server's first packet: the lists lie within it. */
#include "fuzz.h"

#include "transport/kexinit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct vt_kexinit k;
    if (!vt_kexinit_parse(data, n, &k))
        return 0;
    for (int i = 0; i < VT_KEXINIT_LISTS; i++) {
        const char *from = k.list[i].names;
        HOLDS(from >= (const char *)data && from + k.list[i].len <= (const char *)data + n);
        vt_kexinit_offers(&k, (enum vt_kexinit_list)i, "aes128-ctr");
    }
    return 0;
}
