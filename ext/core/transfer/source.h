/* source.h - the local side of an upload: a file that is opened to be sent. */
#ifndef VT_SOURCE_H
#define VT_SOURCE_H

#include <stdbool.h>
#include <sys/stat.h>

struct vt_source {
    int fd;
    struct stat st;                 /* of the open file, not of what was listed */
    bool is_sized;                  /* its size is true: files of the kernel's tell 0, or a page */
};

/* Opens a regular file in a folder, or anywhere with AT_FDCWD.  False: errno; EMEDIUMTYPE for
 * what is no regular file, which is not waited for. */
bool vt_source_open(struct vt_source *src, int folder, const char *name);
void vt_source_close(struct vt_source *src);

/* Why a file can't be sent or fetched: an errno in words. */
const char *vt_source_why(int sys);

#endif
