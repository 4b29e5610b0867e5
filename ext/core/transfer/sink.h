/* sink.h - the local side of a download: a file is written beside its place, and gets its name.
 *
 * In a folder that is new, and so has a temporary name itself, files need none.
 */
#ifndef VT_SINK_H
#define VT_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum vt_sink_state {
    VT_SINK_NONE,                   /* zeroed, or over */
    VT_SINK_OPEN,                   /* bytes may be written */
    VT_SINK_WHOLE,                  /* closed, with its mode: it may get its name */
    VT_SINK_SPOILED,                /* closed, and to be removed */
};

struct vt_sink {
    enum vt_sink_state state;
    int fd;
    char name[256], temp[256];      /* temp "": made under its name */
    uint64_t top;                   /* its size by what was written */
    bool is_direct;                 /* into a device that is there */
    bool has_mode;                  /* it was made with that of its end */
    bool is_old;                    /* old: of the file that has the name, and is replaced */
    struct stat old;
};

enum { VT_SINK_IN_PLACE = 1, VT_SINK_DIRECT = 2 };

/* What a file gets at its end.  No set-id and no sticky bit comes from a guest, and nobody may do
 * what the process's mask forbids; what is replaced keeps its mode and, if we may, its owner. */
struct vt_sink_attrs {
    mode_t mode, mask;
    bool has_times, sync;
    int64_t atime, mtime;
};

/* Makes the file in a folder.  in_place: the mode that it has at once, if it is made under its name.
 * False: errno. */
bool vt_sink_begin(struct vt_sink *k, int folder, const char *name, int how, mode_t in_place);

/* Writes all of it, at a place or, to a device, at the next one; with sparse, blocks of zeros are
 * left out.  False: errno. */
bool vt_sink_write(struct vt_sink *k, const void *data, size_t n, uint64_t at, bool sparse);

/* Its size, where what was left out at its end counts: before its sum is asked for.  False: errno. */
bool vt_sink_resize(struct vt_sink *k, uint64_t size);

/* The file's size, mode and times, and the last word of the file system, which may be late with an
 * error.  False: errno. */
bool vt_sink_end(struct vt_sink *k, uint64_t size, const struct vt_sink_attrs *a);

/* Its name.  False: errno. */
bool vt_sink_name(struct vt_sink *k, int folder);

/* Away with it, unless it has its name.  False: it is left, as vt_sink_made says. */
bool vt_sink_abort(struct vt_sink *k, int folder);
const char *vt_sink_made(const struct vt_sink *k);

/* The process's file mode creation mask, without changing it. */
mode_t vt_mask(void);

/* Whether a file of that name in the folder has that size, and is as new.  None is that is said to be
 * empty: those of the kernel are not. */
bool vt_sink_is_as_new(int folder, const char *name, uint64_t size, int64_t mtime);

#endif
