/* Kernel crashes: one pass and bytes one by one find the same, and it is one. */
#include "fuzz.h"

#include "console/crash.h"

static int starts(const uint8_t *data, size_t n, uint64_t at, const char *text)
{
    size_t len = strlen(text);
    return at + len <= n && memcmp(data + at, text, len) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct vt_crash whole = {0}, bytes = {0};
    uint64_t begin = 0, end = 0, begin2 = 0, end2 = 0;
    vt_crash_feed(&whole, data, n);
    for (size_t i = 0; i < n; i++)
        vt_crash_feed(&bytes, data + i, 1);
    int found = vt_crash_found(&whole, &begin, &end);
    HOLDS(found == vt_crash_found(&bytes, &begin2, &end2));
    if (found) {
        HOLDS(begin == begin2 && end == end2 && begin < end && end <= n);
        HOLDS(starts(data, n, begin, "BUG:") && starts(data, n, end - 5, " ]---"));
    }
    return 0;
}
