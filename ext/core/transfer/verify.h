/* verify.h - whether files are the same on both sides: SHA-256 sums, the server's made by
 * the program that it has for that. */
#ifndef VT_VERIFY_H
#define VT_VERIFY_H

#include "transfer/sftp.h"
#include "transfer/sha256.h"

enum vt_sameness { VT_SAME, VT_DIFFERENT, VT_UNREADABLE };

struct vt_check {
    struct vt_check *next;
    const char *path;               /* on the server; borrowed */
    unsigned char sum[VT_SHA256_SIZE];          /* ours */
    enum vt_sameness is;            /* the answer */
    void *ctx;                      /* for whoever asks */
};

/* Asks the server for the sums of all of them.  VT_UNSUPPORTED: it has no program for it.
 * Returns s->rc. */
enum vt_rc vt_verify(struct vt_sftp *s, struct vt_check *list) VT_MUST_CHECK;

/* The sum of a file here, from its beginning.  False: errno. */
bool vt_sum_of(int fd, unsigned char sum[VT_SHA256_SIZE]);

const char *vt_sameness_text(enum vt_sameness is);

#endif
