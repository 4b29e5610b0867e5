/* Terminal output as text: each function stays within its input, and within what it promises. */
#include "fuzz.h"

#include "console/text.h"
#include "console/utf8.h"
#include "shell/echo.h"

static void lines(const char *text, size_t n, char *out)
{
    size_t begin, end;
    HOLDS(vt_last_line(text, n) <= n);
    if (vt_last_nonblank(text, n, &begin, &end))
        HOLDS(begin < end && end <= n);
    HOLDS(vt_shown(text, n, out) <= n);
    vt_is_blank(text, n);
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\033')
            HOLDS(vt_escape_len(text + i, n - i) <= n - i);
}

static void echoes(const char *cmd, size_t cmd_len, const char *text, size_t n)
{
    size_t begin, end = 0;
    if (vt_echo_align(cmd, cmd_len, text, n, &end) == VT_ECHO_DONE)
        HOLDS(end <= n);
    vt_echo_begun(cmd, cmd_len, text, n);
    if (cmd_len > 0 && vt_echo_find(cmd, cmd_len, text, n, &begin, &end))
        HOLDS(begin < end && end <= n);
}

/* All of it is text then, and stays so. */
static void escapes(const char *text, size_t n)
{
    size_t size = vt_escaped_size(text, n);
    char *out = malloc(size + 1);
    vt_escape(text, n, out);
    HOLDS(size >= n && vt_escaped_size(out, size) == size);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *rest;
    size_t first = fuzz_split(data, n, &rest), more = n - (size_t)(rest - data);
    char *copy = malloc(n + 1);
    lines((const char *)data, n, copy);
    echoes((const char *)data, first, (const char *)rest, more);
    escapes((const char *)data, n);
    for (int way = 0; way < 3; way++) {
        if (n > 0)
            memcpy(copy, data, n);
        size_t left = way == 0 ? vt_strip_cr(copy, n) : vt_strip_paste(copy, n, way == 1);
        HOLDS(left <= n);
    }
    free(copy);
    return 0;
}
