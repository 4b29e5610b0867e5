/* plan.c - scp's naming rules. */
#include "transfer/plan.h"

#include "transfer/tree.h"

#include <stdlib.h>
#include <string.h>

bool vt_plan_is_folder(const char *path)
{
    size_t n = strlen(path);
    return n > 0 && path[n - 1] == '/';
}

/* ---- names that are repeated ---- */

struct named { char *name; size_t index; };

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x->index < y->index ? -1 : 1;
}

/* False: no memory. */
static bool name_all(struct named *list, const void *paths, size_t size, size_t n)
{
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        const char *const *path = (const void *)((const char *)paths + i * size);
        list[i] = (struct named){vt_path_name(*path), i};
        ok = list[i].name != NULL;
    }
    return ok;
}

size_t *vt_plan_before(const void *paths, size_t size, size_t n)
{
    struct named *list = calloc(n + 1, sizeof *list);
    size_t *before = calloc(n + 1, sizeof *before);
    bool ok = list != NULL && before != NULL && name_all(list, paths, size, n);
    if (ok)
        qsort(list, n, sizeof *list, by_name);
    for (size_t i = 0; i < n && ok; i++) {
        bool same = i > 0 && strcmp(list[i].name, list[i - 1].name) == 0;
        before[list[i].index] = same ? list[i - 1].index : VT_NO_NAME;
    }
    for (size_t i = 0; i < n && list != NULL; i++)
        free(list[i].name);
    free(list);
    if (ok)
        return before;
    free(before);
    return NULL;
}

bool vt_plan_is_sure_time(int64_t seconds)
{
    return seconds >= 0 && seconds <= INT32_MAX;
}
