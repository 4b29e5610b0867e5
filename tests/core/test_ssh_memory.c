/* test_ssh_memory.c - libssh2's memory: what is freed behind its back, forgotten, or too much. */
#include "transport/ssh_memory.h"

#include "check.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MANY 5000

/* AddressSanitizer's leak check, or valgrind's, tells whether the rest was freed. */
static void test_forgotten_blocks_are_freed_at_the_end(void)
{
    struct vt_ssh_memory m = {0};
    for (size_t n = 0; n < MANY; n++)
        memset(vt_ssh_memory_alloc(&m, n), 1, n);
    CHECK(m.used == MANY);
    vt_ssh_memory_fini(&m);
    CHECK(m.used == 0 && m.bytes == 0 && m.slots == NULL);
    vt_ssh_memory_fini(&m);
}

static void test_blocks_are_known_in_any_order(void)
{
    static void *blocks[MANY];
    struct vt_ssh_memory m = {0};
    uint32_t seed = 1;
    for (unsigned turn = 0; turn < 40 * MANY; turn++) {
        seed = seed * 1664525 + 1013904223;
        void **one = &blocks[(seed >> 8) % MANY];
        if (*one != NULL)
            vt_ssh_memory_free(&m, *one);
        *one = *one == NULL ? vt_ssh_memory_alloc(&m, seed >> 24) : NULL;
    }
    size_t left = 0;
    for (size_t i = 0; i < MANY; i++)
        left += blocks[i] != NULL;
    CHECK(m.used == left && m.bytes > 0);
    for (size_t i = 0; i < MANY; i++)
        vt_ssh_memory_free(&m, blocks[i]);
    CHECK(m.used == 0 && m.bytes == 0);
    vt_ssh_memory_fini(&m);
}

/* As libssh2 1.11.1 does with ECDSA keys: such a block is not ours to free at the end, nor
 * one that has its address by then. */
static void test_blocks_that_libc_frees_while_a_key_is_used(void)
{
    static void *others[MANY];
    struct vt_ssh_memory m = {0};
    m.authenticating = m.uses_key = true;
    for (size_t i = 0; i < MANY / 10; i++) {
        free(vt_ssh_memory_alloc(&m, i));
        others[i] = malloc(i + 1 + VT_SSH_AUTH_BLOCK_MAX);
    }
    m.authenticating = m.uses_key = false;
    CHECK(m.used == 0);
    vt_ssh_memory_fini(&m);
    for (size_t i = 0; i < MANY / 10; i++)
        free(others[i]);
}

static void test_blocks_that_it_never_gave_are_freed(void)
{
    struct vt_ssh_memory m = {0};
    vt_ssh_memory_free(&m, malloc(100));
    vt_ssh_memory_free(&m, NULL);
    void *mine = vt_ssh_memory_alloc(&m, 100);
    vt_ssh_memory_free(&m, malloc(10000));
    CHECK(m.used == 1 && m.bytes == 0);
    vt_ssh_memory_free(&m, mine);
    CHECK(m.used == 0 && m.bytes == 0);
    vt_ssh_memory_fini(&m);
}

static void test_realloc_keeps_what_was_there(void)
{
    struct vt_ssh_memory m = {0};
    char *p = vt_ssh_memory_realloc(&m, NULL, 6);
    strcpy(p, "hello");
    m.authenticating = true;
    p = vt_ssh_memory_realloc(&m, p, 10000);
    CHECK_STR(p, "hello");
    m.authenticating = false;
    p = vt_ssh_memory_realloc(&m, p, 3);
    CHECK(memcmp(p, "hel", 3) == 0 && m.used == 1);
    vt_ssh_memory_free(&m, p);
    CHECK(m.bytes == 0);
    vt_ssh_memory_fini(&m);
}

static void test_bounds(void)
{
    struct vt_ssh_memory m = {0};
    size_t pieces = 0;
    CHECK(vt_ssh_memory_alloc(&m, VT_SSH_MEMORY_MAX + 1) == NULL);
    CHECK(vt_ssh_memory_alloc(&m, SIZE_MAX) == NULL);
    while (vt_ssh_memory_alloc(&m, 1024 * 1024) != NULL)
        pieces++;
    CHECK(pieces >= 250 && pieces <= 256);
    vt_ssh_memory_fini(&m);
    m.authenticating = true;
    CHECK(vt_ssh_memory_alloc(&m, VT_SSH_AUTH_BLOCK_MAX + 1) == NULL);
    char *p = vt_ssh_memory_alloc(&m, 1);
    CHECK(malloc_usable_size(p) > VT_SSH_AUTH_BLOCK_MAX);
    memset(p, 1, 1 + VT_SSH_AUTH_BLOCK_MAX);
    vt_ssh_memory_free(&m, p);
    vt_ssh_memory_fini(&m);
}

/* Many small blocks: what the set itself takes counts, too. */
static void test_bound_holds_for_small_blocks(void)
{
    struct vt_ssh_memory m = {0};
    while (vt_ssh_memory_alloc(&m, 1) != NULL)
        ;
    CHECK(m.bytes + m.cap * sizeof(void *) <= VT_SSH_MEMORY_MAX * 2);
    vt_ssh_memory_fini(&m);
}

CHECK_MAIN(TEST(test_forgotten_blocks_are_freed_at_the_end), TEST(test_blocks_are_known_in_any_order),
           TEST(test_blocks_that_libc_frees_while_a_key_is_used),
           TEST(test_blocks_that_it_never_gave_are_freed), TEST(test_realloc_keeps_what_was_there),
           TEST(test_bounds), TEST(test_bound_holds_for_small_blocks))
