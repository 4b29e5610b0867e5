/* sftp_put.h - what the parts of an upload by SFTP share. */
#ifndef VT_SFTP_PUT_H
#define VT_SFTP_PUT_H

#include "transfer/job.h"
#include "transfer/sftp_ask.h"
#include "transfer/second.h"
#include "transfer/source.h"
#include "transfer/tree.h"
#include "transfer/verify.h"

struct vt_sftp_put;

/* How far a file is; docs/internals/transfers.rst draws it.  Set by vt_upload_is alone. */
enum vt_upload_state {
    VT_UP_COMPARING,                /* what has its name is asked: perhaps it is as new */
    VT_UP_OPENING,                  /* its OPEN, or its SYMLINK, is asked */
    VT_UP_SENDING,                  /* it is open: bytes are on their way */
    VT_UP_CLOSING,                  /* all is sent: mode, size and CLOSE are asked */
    VT_UP_PARKED,                   /* it waits for its checksum */
    VT_UP_NAMING,                   /* its RENAME is asked */
    VT_UP_REPLACING,                /* the old file aside, this one in its place: both are asked */
    VT_UP_BACK,                     /* that failed: the old one is to come back */
    VT_UP_TIDYING,                  /* it has its name: the old one is to go */
    VT_UP_REMOVING,                 /* it failed, and is to go */
};

struct vt_upload {
    struct vt_upload *next, **link; /* all that are not finished */
    struct vt_upload *next_sending;
    struct vt_sftp_put *p;
    enum vt_upload_state state;
    struct vt_source src;
    char *path, *final, *shown;     /* final NULL: path is the name already */
    char *aside;                    /* where the old one is meanwhile; NULL: nowhere */
    bool is_direct, is_link;        /* into a device that is there; a symbolic link */
    uint32_t direct_flags;          /* of its OPEN */
    bool failed, is_made;           /* it is on the server, under path */
    bool is_verified;
    struct vt_attrs old;            /* of what has the final name; no flags: nothing, as far as is known */
    bool is_old, is_aside, is_in;   /* something had the name; the answers of VT_UP_REPLACING */
    bool is_gone, is_tidy;          /* when cleaning up: nothing is left of path; of aside */
    char handle[256];
    size_t handle_len;
    uint64_t sent, done;
    uint64_t second_limit;          /* where another connection's part begins; 0: nowhere */
    unsigned pending;               /* requests that are not answered */
    struct vt_sha256 hash;          /* of what was sent */
    struct vt_check check;
};

/* A folder among the sources: which folder of the server's it fills. */
struct vt_put_root {
    struct vt_put_root *next;
    char *dest, *path, *shown;      /* its name in the end; and for now */
};

/* A folder that is to be on the disk. */
struct vt_put_sync {
    struct vt_put_sync *next;
    struct vt_sftp_put *p;
    char *path;
};

/* A folder that was made: its mode and times are set at the end. */
struct vt_made {
    struct vt_made *next;
    struct vt_sftp_put *p;
    char *path, *final, *shown;     /* final: its name in the end, if another */
    struct stat st;
    struct vt_put_sync sync;
    bool failed, is_named;
};

/* A folder of the walk that has a temporary name on the server, and all below it. */
struct vt_put_map {
    char *at;                       /* its path below the walk's top; "": the top itself */
    const struct vt_made *made;
    bool is_new;                    /* nothing is in it but what the walk puts there */
};

struct vt_sftp_put {
    struct vt_job j;
    const char *const *sources;
    size_t n, at;
    char *target;
    bool target_is_folder, target_exists, target_is_special;
    struct vt_put_root *roots;
    struct vt_made *made;           /* the last first: what is inside before what it is in */
    struct vt_put_sync *touched;
    struct vt_walk walk;
    const struct vt_put_root *walking;          /* NULL: no folder is being walked */
    struct vt_put_map maps[VT_TREE_DEPTH + 1];  /* the innermost last */
    int maps_n;
    bool is_repeated;               /* a source before has the name of this one */
    char skipped[4096];             /* a folder whose entries are left out; "": none */
    struct vt_upload *files, *sending, **sending_end;
    struct vt_second *second;       /* that sends the end of a file, */
    struct vt_upload *second_of;
    unsigned open;                  /* uploads and folders not finished */
    struct vt_check *parked;        /* those of them that wait for their checksums */
    unsigned parked_n;
    uint64_t in_flight;
};

/* What a file or folder is to get of the local one. */
struct vt_attrs vt_put_attrs(const struct vt_transfer_options *o, const struct stat *st);

/* ---- sftp_put.c ---- */

/* Until nothing is in flight. */
void vt_put_drain(struct vt_sftp_put *p);

/* ---- sftp_folders.c ---- */

/* Makes a folder that is not there.  final: its name in the end, if another than path. */
struct vt_made *vt_put_make(struct vt_sftp_put *p, const char *path, const char *final, const struct stat *st,
                            const char *shown);
/* The same under a temporary name; path: in the end. */
const struct vt_made *vt_put_make_fresh(struct vt_sftp_put *p, const char *path, const struct stat *st,
                                        const char *shown);
/* A folder below one that was there: filled, or made. */
void vt_put_merge(struct vt_sftp_put *p, const struct vt_entry *entry, const char *path, const char *shown);

/* What is below the folder at `at` goes into one that has a temporary name; then all of the walk's. */
void vt_put_map(struct vt_sftp_put *p, const char *at, const struct vt_made *made, bool is_new);
void vt_put_unmap(struct vt_sftp_put *p);
/* The path on the server of what the walk has found, malloc'ed; whether all there is ours. */
char *vt_put_path_of(struct vt_sftp_put *p, const char *path);
bool vt_put_is_in_new(const struct vt_sftp_put *p);
/* Whether the path is below a folder; both are below the walk's top. */
bool vt_put_is_below(const char *path, const char *folder);

/* With transfer_sync: a folder that was there, in which there are new names. */
void vt_put_touched(struct vt_sftp_put *p, const char *path);
/* Folders get their modes and names; they are on the disk then, if that was asked for. */
void vt_put_end_folders(struct vt_sftp_put *p);
void vt_put_free_folders(struct vt_sftp_put *p);

/* ---- sftp_send.c: from OPEN to CLOSE ---- */

void vt_upload_begin(struct vt_upload *u);
/* What has its name is known, with transfer_update: sends it, or not. */
void vt_upload_compared(struct vt_upload *u);
void vt_upload_send(struct vt_sftp_put *p);

/* The second connection: bytes that it has moved; whether only its part is missing; waiting. */
void vt_upload_count_second(struct vt_sftp_put *p);
bool vt_upload_waits_for_second(const struct vt_sftp_put *p);
void vt_upload_wait_second(struct vt_sftp_put *p);
void vt_upload_end_second(struct vt_sftp_put *p);

/* ---- sftp_place.c: from CLOSE to the name, and away ---- */

/* A new one; path: where it ends up or, in_place, where it may be made at once.  NULL: no memory. */
struct vt_upload *vt_upload_new(struct vt_sftp_put *p, const char *path, bool in_place, const char *shown);
void vt_upload_free(struct vt_upload *u);
void vt_upload_is(struct vt_upload *u, enum vt_upload_state state);
void vt_upload_refused(struct vt_upload *u, const struct vt_sftp_reply *r);
void vt_upload_failed(struct vt_upload *u, enum vt_rc rc, int sys, const char *text);

/* Asks what has the final name, unless nothing can; returns whether it did. */
bool vt_upload_ask_old(struct vt_upload *u);
/* Once all is answered after CLOSE: on to its name, or away with it. */
void vt_upload_settle(struct vt_upload *u);
void vt_upload_give_up(struct vt_upload *u);
void vt_upload_verify_parked(struct vt_sftp_put *p);

/* After the end: old files come back, temporary ones go.  False: the server is out of reach,
 * and they are counted as left. */
void vt_upload_clean(struct vt_sftp_put *p, bool alive);

/* A temporary path beside a path of the server's. */
char *vt_put_temp_path(struct vt_sftp_put *p, const char *path);

#endif
