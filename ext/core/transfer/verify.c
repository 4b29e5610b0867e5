/* verify.c - sums of files on both sides. */
#include "transfer/verify.h"

#include "transfer/scripts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DIGITS (2 * VT_SHA256_SIZE)

static void take_sum(struct vt_check *check, const char *line, size_t n)
{
    char ours[DIGITS + 1];
    for (size_t i = 0; i < VT_SHA256_SIZE; i++)
        snprintf(ours + 2 * i, 3, "%02x", check->sum[i]);
    bool whole = n >= DIGITS && strspn(line, "0123456789abcdef") == DIGITS;
    check->is = !whole ? VT_UNREADABLE : memcmp(line, ours, DIGITS) == 0 ? VT_SAME : VT_DIFFERENT;
}

static void take_sums(struct vt_check *list, const struct vt_buf *out)
{
    const char *at = out->data, *end = out->data + out->len - 1;       /* its NUL */
    for (struct vt_check *check = list; check != NULL; check = check->next) {
        size_t n = strcspn(at, "\n");
        take_sum(check, at, n);
        at += n;
        at += at < end;
    }
}

enum vt_rc vt_verify(struct vt_sftp *s, struct vt_check *list)
{
    struct vt_script script;
    struct vt_buf out, err;
    int status = -1;
    vt_script_init(&script);
    vt_buf_init(&out, 1024 * 1024);
    vt_buf_init(&err, 1024 * 1024);
    vt_script_sums(&script);
    for (const struct vt_check *check = list; check != NULL; check = check->next)
        vt_script_sum(&script, check->path);
    if (vt_shell_run(s, &script, &out, &err, &status) == VT_OK) {
        if (status == 9 || status == 127)
            vt_sftp_stop(s, VT_UNSUPPORTED, 0, "the server has no program for SHA-256 sums");
        else
            take_sums(list, &out);
    }
    vt_script_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
    return s->rc;
}

bool vt_sum_of(int fd, unsigned char sum[VT_SHA256_SIZE])
{
    struct vt_sha256 h;
    char data[64 * 1024];
    ssize_t n;
    off_t at = 0;
    vt_sha256_init(&h);
    while ((n = pread(fd, data, sizeof data, at)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        vt_sha256_add(&h, data, (size_t)n);
        at += n;
    }
    vt_sha256_end(&h, sum);
    return true;
}

const char *vt_sameness_text(enum vt_sameness is)
{
    return is == VT_DIFFERENT ? "the checksums of both sides differ"
                              : "the server cannot tell its checksum";
}
