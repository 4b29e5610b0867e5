/* tree.h - local files and folders: walked for an upload, made and removed for a download.
 *
 * What a guest names is only ever opened below a folder that is held open, part by part,
 * never through a symbolic link.
 */
#ifndef VT_TREE_H
#define VT_TREE_H

#include "base/err.h"
#include "base/io.h"
#include "transfer/exclude.h"

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define VT_TREE_DEPTH 100

/* Eight letters by chance. */
void vt_random_letters(char out[9]);

/* A temporary name beside name: ".NAME.vt-XXXXXXXX", cut so that four bytes more fit. */
void vt_temp_name(const char *name, char out[256]);

/* Splits a path into its folder ("." if it names none; malloc'ed) and its last part, which
 * points into path_end's copy: trailing slashes do not count.  VT_NOMEM. */
enum vt_rc vt_path_split(const char *path, char **folder, char **name) VT_MUST_CHECK;

/* The last part of a path, malloc'ed; "" for one that ends in ".", ".." or is "/" only. */
char *vt_path_name(const char *path);

/* Removes a file, or a folder with all in it, below a folder; links are removed, never
 * followed.  Else something is left: VT_IO (it can't be removed, or not all of it), or VT_TIMEOUT,
 * VT_INTR or VT_CLOSED, after which it may be called again. */
enum vt_rc vt_tree_remove(int folder, const char *name, struct vt_waiter *w, vt_time deadline) VT_MUST_CHECK;

/* ---- the target of a download ---- */

struct vt_target {
    int fd;                         /* the folder that things go into */
    char *name;                     /* the name there; NULL: that of the source */
    bool exists, is_special;        /* it is there; and is a device */
};

/* What the path is.  A link is written through, as scp does.  VT_IO (errno), VT_INVALID (a
 * pipe or socket), VT_NOMEM; then, too, vt_target_close. */
enum vt_rc vt_target_open(struct vt_target *t, const char *path) VT_MUST_CHECK;
void vt_target_close(struct vt_target *t);

/* Renames in that folder, over nothing that is there.  False: errno. */
bool vt_rename_new(int folder, const char *from, const char *to);

/* Writes all of it, at a place or, for a device, at the next one.  False: errno. */
bool vt_write_all(int fd, const void *data, size_t n, uint64_t at, bool is_stream);

/* ---- walking ---- */

/* LEFT_OUT: it is excluded; told, so that whoever walks can look up from many of them. */
enum vt_entry_kind { VT_ENTRY_FILE, VT_ENTRY_FOLDER, VT_ENTRY_LINK, VT_ENTRY_FAILED, VT_ENTRY_LEFT_OUT };

struct vt_entry {
    enum vt_entry_kind kind;
    const char *path;               /* below the walk's top: "a/b" */
    const char *name;               /* its last part, in folder_fd */
    int folder_fd;
    struct stat st;                 /* of a folder, also one that a followed link leads to */
    int sys;                        /* FAILED: errno; EMEDIUMTYPE: no regular file */
};

struct vt_walk {
    struct { DIR *dir; dev_t dev; ino_t ino; size_t path_len; } level[VT_TREE_DEPTH];
    int depth;                      /* levels open */
    bool follow;
    const struct vt_exclude *exclude;   /* borrowed; NULL: nothing is left out */
    char path[4096];
    size_t path_len;
};

/* Takes fd over.  What is excluded is not even looked at.  VT_IO with errno kept. */
enum vt_rc vt_walk_begin(struct vt_walk *walk, int fd, bool follow, const struct vt_exclude *exclude) VT_MUST_CHECK;
/* The next entry, a folder before what is in it; false after the last. */
bool vt_walk_next(struct vt_walk *walk, struct vt_entry *entry);
void vt_walk_end(struct vt_walk *walk);         /* accepts zeroed */

#endif
