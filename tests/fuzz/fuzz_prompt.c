/* Prompts: learned from one text, looked for in another. */
#include "fuzz.h"

#include "console/prompt.h"

static int match(void *ctx, const char *line, size_t n)
{
    (void)ctx;
    while (n > 0 && line[n - 1] == ' ')
        n--;
    return n > 0 && (line[n - 1] == '$' || line[n - 1] == '#');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct vt_prompts p = {0};
    struct vt_seen seen = {VT_KIND_NONE, NULL};
    const uint8_t *text;
    size_t first = fuzz_split(data, n, &text), more = n - (size_t)(text - data);
    /* Two prompts out of the first part, so that a shape can come of them. */
    for (int i = 0; i < 2; i++) {
        enum vt_rc rc = vt_prompts_learn(&p, (const char *)data + i * (first / 2), first - (size_t)i * (first / 2), i == 0);
        HOLDS(rc == VT_OK || rc == VT_TOOBIG);
    }
    HOLDS(vt_prompts_classify(&p, (const char *)text, more, match, NULL, &seen) == VT_OK);
    size_t left = 0;
    HOLDS(vt_prompts_note(&p, (const char *)data, first) == VT_OK);
    HOLDS(vt_prompts_cut(&p, &seen, NULL, (const char *)text, more, &left) == VT_OK && left <= more);
    vt_prompts_ending(&p, (const char *)text, more);
    vt_prompts_beginning(&p, (const char *)text, more);
    vt_prompts_fini(&p);
    return 0;
}
