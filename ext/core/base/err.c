/* err.c - texts of codes and stages, and the one function that records detail. */
#include "base/err.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static const struct { const char *name, *text; } codes[] = {
#define ROW(code, text) [code] = {#code, text}
    ROW(VT_OK, "success"),
    ROW(VT_AGAIN, "would block"),
    ROW(VT_EOF, "the peer closed the connection"),
    ROW(VT_TIMEOUT, "timeout expired"),
    ROW(VT_INTR, "interrupted"),
    ROW(VT_CLOSED, "closed"),
    ROW(VT_NESTED, "a call of this thread is under way on this session"),
    ROW(VT_NOMEM, "out of memory"),
    ROW(VT_TOOBIG, "too large"),
    ROW(VT_INVALID, "invalid argument"),
    ROW(VT_RESOLVE, "host name not found"),
    ROW(VT_CONNECT, "cannot connect"),
    ROW(VT_BANNER, "no SSH banner"),
    ROW(VT_KEX, "key exchange failed"),
    ROW(VT_HOSTKEY, "host key verification failed"),
    ROW(VT_AUTH, "authentication refused"),
    ROW(VT_CHANNEL, "channel request refused"),
    ROW(VT_PROTO, "protocol error"),
    ROW(VT_IO, "input/output error"),
    ROW(VT_UNSUPPORTED, "not supported"),
    ROW(VT_REMOTE, "refused by the server"),
    ROW(VT_LATER, "refused for now"),
    ROW(VT_DENIED, "account denied"),
#undef ROW
};

static const char *const stages[] = {
    [VT_STAGE_NONE] = "", [VT_STAGE_RESOLVE] = "resolve",
    [VT_STAGE_CONNECT] = "connect", [VT_STAGE_BANNER] = "banner",
    [VT_STAGE_KEX] = "key exchange", [VT_STAGE_HOSTKEY] = "host key",
    [VT_STAGE_AUTH] = "authentication", [VT_STAGE_CHANNEL] = "channel",
    [VT_STAGE_PROMPT] = "prompt", [VT_STAGE_COMMAND] = "command",
    [VT_STAGE_TRANSFER] = "transfer", [VT_STAGE_CLOSE] = "close",
};

const char *vt_rc_text(enum vt_rc rc)
{
    return (size_t)rc < sizeof codes / sizeof *codes ? codes[rc].text : "unknown error";
}

const char *vt_rc_name(enum vt_rc rc)
{
    return (size_t)rc < sizeof codes / sizeof *codes ? codes[rc].name : "VT_?";
}

const char *vt_stage_name(enum vt_stage stage)
{
    return (size_t)stage < sizeof stages / sizeof *stages ? stages[stage] : "";
}

void vt_show(const void *data, size_t n, char *out, size_t cap)
{
    const unsigned char *from = data;
    size_t at = 0;
    for (size_t i = 0; i < n && at + 5 <= cap; i++) {
        bool plain = from[i] >= ' ' && from[i] < 127 && from[i] != '\\';
        at += (size_t)snprintf(out + at, cap - at, plain ? "%c" : "\\x%02x", from[i]);
    }
    out[at] = '\0';
}

enum vt_rc vt_fail(struct vt_err *e, enum vt_rc rc, enum vt_stage stage, int sys,
                   const char *format, ...)
{
    if (e == NULL)
        return rc;
    e->rc = rc;
    if (stage != VT_STAGE_NONE)
        e->stage = stage;
    e->sys = sys;
    e->text[0] = '\0';
    if (format != NULL) {
        va_list args;
        va_start(args, format);
        vsnprintf(e->text, sizeof e->text, format, args);
        va_end(args);
    }
    return rc;
}
