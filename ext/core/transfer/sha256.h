/* sha256.h - SHA-256 (FIPS 180-4), of bytes as they pass. */
#ifndef VT_SHA256_H
#define VT_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define VT_SHA256_SIZE 32

struct vt_sha256 {
    uint32_t state[8];
    uint64_t total;                 /* bytes so far */
    unsigned char block[64];
};

void vt_sha256_init(struct vt_sha256 *h);
void vt_sha256_add(struct vt_sha256 *h, const void *data, size_t n);
void vt_sha256_end(struct vt_sha256 *h, unsigned char sum[VT_SHA256_SIZE]);

#endif
