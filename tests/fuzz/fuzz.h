/* fuzz.h - what fuzz targets share.  Each target is one function over bytes; what must
 * hold is checked, not only that nothing crashes. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define HOLDS(what)                                                             \
    do {                                                                        \
        if (!(what)) {                                                          \
            fprintf(stderr, "%s:%d: does not hold: %s (%m)\n", __FILE__, __LINE__, #what); \
            abort();                                                            \
        }                                                                       \
    } while (0)

/* The bytes up to the first NUL, and those after it: two inputs in one. */
static inline size_t fuzz_split(const uint8_t *data, size_t n, const uint8_t **rest)
{
    const uint8_t *nul = n > 0 ? memchr(data, 0, n) : NULL;
    *rest = nul == NULL ? data + n : nul + 1;
    return nul == NULL ? n : (size_t)(nul - data);
}

#endif
