/* scripts.h - all that the server's shell is ever asked: one function a script or a line. */
#ifndef VT_SCRIPTS_H
#define VT_SCRIPTS_H

#include "transfer/shell.h"

#include <sys/types.h>

/* What a path is: "KIND PARENT PATH NUL", where KIND is d, f, s(pecial), o(ther) or -, PARENT
 * that of the folder it is in (d or -), and PATH what a link leads to in the end. */
void vt_script_look(struct vt_script *x, const char *path);

/* What each source is, or what a pattern stands for: "KIND PATH NUL" each. */
void vt_script_sources(struct vt_script *x, const char *const *sources, size_t n);

/* Status 0: it is there. */
void vt_script_exists(struct vt_script *x, const char *path);

/* All that was written is on the disk. */
void vt_script_sync(struct vt_script *x);

/* Makes a folder and those above it. */
void vt_script_folders(struct vt_script *x, const char *path);

/* Whether there is something to read in files that are said to be empty: first the function, then
 * a line each, which prints 1 or 0.  And what is in one. */
void vt_script_content(struct vt_script *x);
void vt_script_has_content(struct vt_script *x, const char *path);
void vt_script_cat(struct vt_script *x, const char *path);

/* Names for what has arrived: first the functions, then a line each.  The number is printed
 * if it fails; a temporary file is removed then. */
void vt_script_names(struct vt_script *x);
enum vt_script_fit {
    VT_FIT_ALL,                     /* owner and mode of a file that is replaced, else the mode */
    VT_FIT_MODE,                    /* the mode likewise; the owner it has */
    VT_FIT_OWN,                     /* the mode, whatever is replaced */
};
void vt_script_file(struct vt_script *x, const char *path, const char *final, uint64_t size, mode_t mode,
                    enum vt_script_fit fit, unsigned number);
void vt_script_owner(struct vt_script *x, const char *path, int uid, int gid, bool is_temporary, unsigned number);
void vt_script_link(struct vt_script *x, const char *to, const char *path, const char *final, unsigned number);
void vt_script_mode(struct vt_script *x, const char *path, mode_t mode);
void vt_script_folder(struct vt_script *x, const char *path, const char *final, bool is_ours, unsigned number);
void vt_script_remove(struct vt_script *x, const char *path);

/* Removes files, many by one command (*line: where that began, 0 at first; it is ended by what
 * comes next), or a folder. */
void vt_script_rm(struct vt_script *x, const char *path, size_t *line);
void vt_script_rm_folder(struct vt_script *x, const char *path);
/* Whether it is gone, then: first the function, then a line each, which prints 0, or 1 if not. */
void vt_script_gone(struct vt_script *x);
void vt_script_is_gone(struct vt_script *x, const char *path);

/* Where a file has data: see vt_holes_parse.  Status 9: there is no program for it; 1: it can't be
 * told of that file. */
void vt_script_holes(struct vt_script *x, const char *path);

/* Sums of files, a line each; status 9: there is no program for them. */
void vt_script_sums(struct vt_script *x);
void vt_script_sum(struct vt_script *x, const char *path);

#endif
