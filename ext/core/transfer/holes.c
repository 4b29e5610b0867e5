/* holes.c - where a file of the server's has data. */
#include "transfer/holes.h"

#include "transfer/scripts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define QUIET 2                     /* seconds that a file must be old */

void vt_holes_free(struct vt_holes *h)
{
    free(h->list);
    *h = (struct vt_holes){0};
}

/* ---- what the script prints ---- */

static bool take_number(const char **at, uint64_t *n)
{
    char *end;
    if (**at < '0' || **at > '9')
        return false;
    errno = 0;
    *n = strtoull(*at, &end, 10);
    *at = end + (*end == ' ' || *end == '\n');
    return errno == 0;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

/* Pieces are in order, do not touch the one before, and lie in the file. */
static bool take_extents(struct vt_holes *h, const char *at)
{
    uint64_t end = 0;
    while (*at != '\0') {
        struct vt_extent x;
        if (!take_number(&at, &x.at) || !take_number(&at, &x.n))
            return false;
        if (x.n == 0)
            continue;
        if (x.at < end || x.at > h->size || x.n > h->size - x.at)
            return false;
        h->list[h->n++] = x;
        h->data += x.n;
        end = x.at + x.n;
    }
    return true;
}

bool vt_holes_parse(struct vt_holes *h, const char *text)
{
    uint64_t mtime, now;
    *h = (struct vt_holes){0};
    bool ok = take_number(&text, &h->size) && take_number(&text, &mtime) && take_number(&text, &now)
        && mtime <= UINT32_MAX && mtime + QUIET < now;
    h->mtime = ok ? (uint32_t)mtime : 0;
    h->list = ok ? calloc(count_lines(text) + 1, sizeof *h->list) : NULL;
    if (h->list != NULL && take_extents(h, text))
        return true;
    vt_holes_free(h);
    return false;
}

struct vt_extent vt_holes_next(const struct vt_holes *h, uint64_t at)
{
    size_t low = 0, high = h->n;
    while (low < high) {            /* the first that ends behind that offset */
        size_t mid = low + (high - low) / 2;
        if (h->list[mid].at + h->list[mid].n <= at)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == h->n)
        return (struct vt_extent){h->size, 0};
    const struct vt_extent *x = &h->list[low];
    uint64_t from = x->at > at ? x->at : at;
    return (struct vt_extent){from, x->at + x->n - from};
}

/* ---- asking ---- */

bool vt_holes_ask(struct vt_sftp *s, const char *path, struct vt_holes *h, bool *never)
{
    struct vt_script script;
    struct vt_buf out, err;
    int status = -1;
    vt_script_init(&script);
    vt_buf_init(&out, 2 * 1024 * 1024);
    vt_buf_init(&err, 64 * 1024);
    vt_script_holes(&script, path);
    enum vt_rc rc = vt_shell_run(s, &script, &out, &err, &status);
    if (rc == VT_UNSUPPORTED || rc == VT_TOOBIG) {  /* no shell, or nonsense: it is copied as it is */
        s->rc = VT_OK;
        if (s->e != NULL)
            *s->e = (struct vt_err){0};
    }
    *never = rc != VT_OK || (status != 0 && status != 1);       /* 1: of that file alone */
    bool ok = rc == VT_OK && status == 0 && vt_holes_parse(h, out.data);
    vt_script_fini(&script);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
    return ok;
}
