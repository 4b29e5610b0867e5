/* view.c - output as it was before the console wrote its messages into it. */
#include "shell/run.h"

#include "console/message.h"
#include "console/text.h"

#include <stdlib.h>
#include <string.h>

enum vt_rc vt_view_init(struct vt_view *v, const char *text, size_t n)
{
    *v = (struct vt_view){.text = malloc(n + 1), .map = malloc((n + 1) * sizeof *v->map)};
    if (v->text == NULL || v->map == NULL) {
        vt_view_fini(v);
        return VT_NOMEM;
    }
    v->n = vt_messages_leave_out(text, n, v->text, v->map, &v->some);
    return VT_OK;
}

void vt_view_fini(struct vt_view *v)
{
    free(v->text);
    free(v->map);
    *v = (struct vt_view){0};
}

/* Where the message begins that the line ends with; its end if there is none. */
static size_t message_begin(const char *line, size_t n)
{
    for (const char *hit = line; (hit = memchr(hit, '[', (size_t)(line + n - hit))) != NULL; hit++) {
        bool open;
        if (vt_message_len(hit, (size_t)(line + n - hit), &open) > 0)
            return (size_t)(hit - line);
    }
    return n;
}

uint64_t vt_run_plain(struct vt_run *r)
{
    uint64_t from, begin = r->plain > r->start ? r->plain : r->start;
    size_t n, end;
    const char *text = vt_store_window(&r->s->store, begin, &from, &n);
    for (end = n; end > 0;) {
        size_t at = vt_last_line(text, end - 1);
        size_t head = message_begin(text + at, end - at);
        if (head > 0 || head == end - at)
            return from + at + head;
        if (from + at <= r->looked && r->plain > r->start && r->plain <= from + at)
            return r->plain;            /* the last look went so far, and found messages before it */
        end = at;
    }
    return from;
}

/* Without messages in the way. */
static enum vt_rc classify_plain(struct vt_run *r, uint64_t begin, struct vt_seen *seen)
{
    uint64_t from;
    size_t n;
    struct vt_view v;
    if (r->plain < begin)
        r->plain = begin;
    if (r->plain - begin > VT_TAIL)
        begin = r->plain - VT_TAIL;
    const char *text = vt_store_window(&r->s->store, begin, &from, &n);
    if (from >= r->plain)
        return VT_OK;
    enum vt_rc rc = vt_view_init(&v, text, (size_t)(r->plain - from));
    if (rc == VT_OK)
        rc = vt_prompts_classify(&r->s->prompts, v.text, v.n, r->c->match, r->c->ctx, seen);
    vt_view_fini(&v);
    return rc;
}

bool vt_is_known(enum vt_kind kind)
{
    return kind == VT_KIND_EXACT || kind == VT_KIND_SUFFIX || kind == VT_KIND_SHORT;
}

static bool is_clear(enum vt_kind kind)
{
    return kind != VT_KIND_NONE && kind != VT_KIND_OLD && kind != VT_KIND_OVERRUN;
}

enum vt_rc vt_run_classify(struct vt_run *r, uint64_t begin, struct vt_seen *seen, bool *covered, uint64_t *end)
{
    uint64_t from;
    size_t n;
    struct vt_seen through = {VT_KIND_NONE, NULL};
    const char *text = vt_run_tail(r->s, begin, &from, &n);
    *covered = false;
    *end = r->s->store.total;
    enum vt_rc rc = vt_prompts_classify(&r->s->prompts, text, n, r->c->match, r->c->ctx, seen);
    if (rc != VT_OK || vt_is_known(seen->kind) || !vt_messages_near_end(text, n))
        return rc;
    r->plain = vt_run_plain(r);
    r->looked = r->s->store.total;
    rc = classify_plain(r, begin, &through);
    if (rc == VT_OK && (is_clear(seen->kind) ? vt_is_known(through.kind) : is_clear(through.kind))) {
        *seen = through;
        *covered = true;
        *end = r->plain;
    }
    return rc;
}
