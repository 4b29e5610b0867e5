/* sftp_ask.h - single questions to an SFTP server, each waiting for its answer; and what is
 * made of them: folders read, patterns expanded, trees removed. */
#ifndef VT_SFTP_ASK_H
#define VT_SFTP_ASK_H

#include "transfer/sftp.h"

/* All return s->rc; a refusal by the server is VT_OK with *status set. */

/* What the path is; of a link itself unless follow. */
enum vt_rc vt_remote_stat(struct vt_sftp *s, const char *path, bool follow, struct vt_attrs *a,
                          uint32_t *status) VT_MUST_CHECK;

/* Makes a folder, with the mode that the server gives. */
enum vt_rc vt_remote_make_folder(struct vt_sftp *s, const char *path, uint32_t *status) VT_MUST_CHECK;

/* The path without links and dots, as text in out. */
enum vt_rc vt_remote_real(struct vt_sftp *s, const char *path, struct vt_buf *out, uint32_t *status) VT_MUST_CHECK;

/* A user's "~", "~/x", "~name/x" as a path for the server; other paths as they are. */
enum vt_rc vt_remote_expand(struct vt_sftp *s, const char *path, struct vt_buf *out) VT_MUST_CHECK;

struct vt_names { char **list; size_t n, cap, len; };
void vt_names_fini(struct vt_names *names);

/* The paths that a pattern stands for, sorted; none if nothing matches.  A path that is
 * there as it is written is no pattern. */
enum vt_rc vt_remote_glob(struct vt_sftp *s, const char *pattern, struct vt_names *out) VT_MUST_CHECK;

/* Removes a file or a folder with all that is in it, as far as possible: links are not
 * followed.  *gone: nothing is left. */
enum vt_rc vt_remote_remove(struct vt_sftp *s, const char *path, bool *gone) VT_MUST_CHECK;

/* A question and its answer, as text or entry by entry. */
struct vt_question {
    struct vt_sftp *s;
    bool done;
    unsigned empty_answers;
    uint32_t status;
    struct vt_attrs attrs;
    struct vt_buf *text;            /* of a NAME answer, or of a HANDLE */
    void (*entry)(void *ctx, struct vt_span name, const struct vt_attrs *a);
    void *ctx;
};

/* Reads a folder, entry by entry; q has the function for them. */
enum vt_rc vt_remote_read_folder(struct vt_question *q, const char *path) VT_MUST_CHECK;

/* path = folder/name, or name if the folder is ".". */
enum vt_rc vt_path_join(struct vt_buf *path, const char *folder, const char *name) VT_MUST_CHECK;

#endif
