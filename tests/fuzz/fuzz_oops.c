/* Kernel crashes of today: one pass and bytes one by one find the same reports, each within the log. */
#include "fuzz.h"

#include "console/oops.h"

static void compare(const struct vt_oops *whole, const struct vt_oops *bytes, size_t n)
{
    struct vt_oops_report a[VT_OOPS_REPORTS], b[VT_OOPS_REPORTS];
    int count = vt_oops_found(whole, a);
    uint64_t last = 0;
    HOLDS(count == vt_oops_found(bytes, b));
    for (int i = 0; i < count; i++) {
        HOLDS(a[i].begin == b[i].begin && a[i].end == b[i].end);
        HOLDS(last <= a[i].begin && a[i].begin < a[i].end && a[i].end <= n);
        last = a[i].begin;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct vt_oops whole = {0}, bytes = {0};
    for (size_t i = 0; i < n; i++)
        vt_oops_feed(&bytes, data + i, 1);
    vt_oops_feed(&whole, data, n);
    HOLDS(whole.offset == n && bytes.offset == n);
    HOLDS(whole.count <= VT_OOPS_REPORTS && whole.length < VT_OOPS_LINE);
    compare(&whole, &bytes, n);
    return 0;
}
