/* transfer.h - copying files and folders: what to do, and what came of it.
 *
 * Names are scp's: into the target if that is a folder, else to the target itself; several
 * sources need a folder.  A source whose last part is "." or ".." gives its contents.  On
 * the guest's side "~" is the user's home, relative names begin there, and the sources of
 * a download may be patterns.
 *
 * Whole or absent: a file is written beside its place under a temporary name, its size is
 * verified, then it is renamed; a folder that is not there yet appears, likewise, when all
 * of it is there.  What was there before stays until then.
 *
 * A file that fails alone (not readable, no room for it, no regular file) does not stop the
 * others; the first one is in the result, and the call fails at its end.
 */
#ifndef VT_TRANSFER_H
#define VT_TRANSFER_H

#include "transfer/clean_up.h"
#include "transfer/exclude.h"
#include "transport/ssh.h"

#include <stdint.h>

enum vt_engine { VT_ENGINE_ANY, VT_ENGINE_SFTP, VT_ENGINE_SCP };

struct vt_transfer_options {
    /* How to log in once more: to clean up where a connection was lost, and for the second
     * half of a large upload.  NULL: neither. */
    const struct vt_ssh_options *login;
    enum vt_engine engine;          /* ANY: SFTP if the server has it, else SCP */
    bool keep_times;                /* access and modification times, too; modes always */
    bool verify;                    /* checksums on both sides before a file gets its name */
    bool sparse;                    /* leave out holes, and on the way down zeros */
    bool fills_holes;               /* uploads by SCP fill them, though they are to be left out */
    bool sync;                      /* each file is on the disk before it gets its name */
    bool parents;                   /* make the folders that the target is to be in */
    bool in_place;                  /* uploads: write into what is there, for what can't be replaced */
    bool is_name;                   /* uploads: the target is a file's name, no folder to go into */
    int mode, uid, gid;             /* uploads: what files get, whatever they replace; -1: as usual */
    struct vt_exclude exclude;      /* what is left out of folders; what is named is copied */
    bool update;                    /* only files that are newer, or of another size; not by SCP upwards */
    bool sudo;                      /* the server's side as root */
    const char *sudo_password;      /* if sudo asks for one; NULL: none */
    bool keep_links;                /* symbolic links as such; else what they lead to */
    double stall;                   /* seconds without a byte moving: VT_TIMEOUT; 0: no bound */
    /* Called at most ten times a second, and at the end, without any lock: a file's name,
     * all bytes moved so far, and all that are known to come (more while folders are
     * still being read).  Nonzero stops with VT_INTR.  May be NULL. */
    int (*progress)(void *ctx, const char *name, uint64_t done, uint64_t total);
    void *ctx;
};

struct vt_transfer_result {
    const char *engine;             /* that did it, or tried: "sftp", "scp" */
    uint64_t files, folders, links; /* that were finished */
    uint64_t bytes;                 /* of files, moved */
    uint64_t failures;              /* files and folders that failed alone */
    char failed[1024];              /* the first of them, or the one that the end came at */
    uint64_t failed_at;             /* its bytes that had been moved */
    struct vt_left left;
};

/* Uploads and downloads, on channels of the connection's own.  *r is always set.
 * VT_UNSUPPORTED: the server has not what it takes; VT_REMOTE (e->lib: the SFTP status), VT_IO (a
 * local error, e->sys), VT_INVALID (what the names ask for can't be), VT_PROTO, VT_EOF,
 * VT_TIMEOUT, VT_INTR, VT_CLOSED, VT_NOMEM, VT_TOOBIG (too deep). */
enum vt_rc vt_transfer_put(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                           const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                           struct vt_transfer_result *r, struct vt_err *e) VT_MUST_CHECK;
enum vt_rc vt_transfer_get(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                           const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                           struct vt_transfer_result *r, struct vt_err *e) VT_MUST_CHECK;

/* By SFTP, pipelined; and by scp's protocol, with a shell's help on the server. */
enum vt_rc vt_sftp_put(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                       const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transfer_result *r, struct vt_err *e) VT_MUST_CHECK;
enum vt_rc vt_sftp_get(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                       const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transfer_result *r, struct vt_err *e) VT_MUST_CHECK;
enum vt_rc vt_scp_put(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                      const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_transfer_result *r, struct vt_err *e) VT_MUST_CHECK;
enum vt_rc vt_scp_get(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                      const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_transfer_result *r, struct vt_err *e) VT_MUST_CHECK;

#endif
