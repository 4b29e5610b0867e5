/* ssh_memory.c - the memory of one libssh2 session: counted, bounded, and freed at the end. */
#include "transport/ssh_memory.h"

#include <libssh2.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 256
#define LAST_READ 0x010b01          /* 1.11.1: only where key files are used is memory freed behind our back */

/* ---- the set ---- */

static size_t home_of(const struct vt_ssh_memory *m, const void *p)
{
    return (size_t)((uint64_t)(uintptr_t)p * 0x9E3779B97F4A7C15u >> 20) & (m->cap - 1);
}

/* Where it is, or the free slot where it would be. */
static size_t find(const struct vt_ssh_memory *m, const void *p)
{
    size_t at = home_of(m, p);
    while (m->slots[at] != NULL && m->slots[at] != p)
        at = (at + 1) & (m->cap - 1);
    return at;
}

static bool grow(struct vt_ssh_memory *m)
{
    struct vt_ssh_memory larger = *m;
    larger.cap = m->cap == 0 ? FIRST_CAP : m->cap * 2;
    larger.slots = calloc(larger.cap, sizeof *larger.slots);
    if (larger.slots == NULL)
        return false;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i] != NULL)
            larger.slots[find(&larger, m->slots[i])] = m->slots[i];
    free(m->slots);
    *m = larger;
    return true;
}

static bool has_room(struct vt_ssh_memory *m)
{
    return m->used < m->cap / 2 || grow(m);
}

static void note(struct vt_ssh_memory *m, void *p)
{
    size_t at = find(m, p);
    m->used += m->slots[at] == NULL;
    m->slots[at] = p;
}

/* What follows in the same run moves up, unless that would put it before its home. */
static void forget(struct vt_ssh_memory *m, const void *p)
{
    size_t mask = m->cap - 1;
    size_t hole = m->cap == 0 ? 0 : find(m, p);
    if (m->cap == 0 || m->slots[hole] == NULL)
        return;
    for (size_t at = (hole + 1) & mask; m->slots[at] != NULL; at = (at + 1) & mask) {
        if (((at - home_of(m, m->slots[at])) & mask) >= ((at - hole) & mask)) {
            m->slots[hole] = m->slots[at];
            hole = at;
        }
    }
    m->slots[hole] = NULL;
    m->used--;
}

/* ---- blocks ---- */

static bool is_within(const struct vt_ssh_memory *m, size_t *n)
{
    size_t max = m->is_stranger ? VT_SSH_STRANGER_MAX : VT_SSH_MEMORY_MAX;
    size_t held = m->bytes + m->cap * sizeof *m->slots;
    if (m->authenticating) {
        if (*n > VT_SSH_AUTH_BLOCK_MAX)
            return false;
        *n += VT_SSH_AUTH_BLOCK_MAX;
    }
    return *n <= max && held <= max - *n;
}

static bool may_allocate(struct vt_ssh_memory *m, size_t *n)
{
    bool may = is_within(m, n);
    m->refused |= !may;
    return may;
}

void *vt_ssh_memory_alloc(struct vt_ssh_memory *m, size_t n)
{
    if (!may_allocate(m, &n) || !has_room(m))
        return NULL;
    void *p = malloc(n > 0 ? n : 1);
    if (p == NULL)
        return NULL;
    m->bytes += malloc_usable_size(p);
    if (m->uses_key)
        forget(m, p);               /* if it is there, somebody else has freed it since */
    else
        note(m, p);
    m->newest = p;
    return p;
}

void vt_ssh_memory_free(struct vt_ssh_memory *m, void *p)
{
    if (p == NULL)
        return;
    size_t n = malloc_usable_size(p);
    m->bytes -= n < m->bytes ? n : m->bytes;
    forget(m, p);
    if (m->authenticating)
        explicit_bzero(p, n);
    free(p);
}

void *vt_ssh_memory_realloc(struct vt_ssh_memory *m, void *p, size_t n)
{
    void *fresh = vt_ssh_memory_alloc(m, n);
    if (fresh == NULL || p == NULL)
        return fresh;
    size_t had = malloc_usable_size(p);
    memcpy(fresh, p, had < n ? had : n);
    vt_ssh_memory_free(m, p);       /* not realloc(3): what it leaves behind is not wiped */
    return fresh;
}

/* Versions that nobody has read may free more behind our back: there a leak is better. */
void vt_ssh_memory_fini(struct vt_ssh_memory *m)
{
    bool is_sure = libssh2_version(LAST_READ + 1) == NULL;
    for (size_t i = 0; is_sure && i < m->cap; i++)
        free(m->slots[i]);
    free(m->slots);
    *m = (struct vt_ssh_memory){0};
}
