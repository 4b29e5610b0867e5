/* sftp_get.h - what the parts of a download by SFTP share. */
#ifndef VT_SFTP_GET_H
#define VT_SFTP_GET_H

#include "transfer/holes.h"
#include "transfer/job.h"
#include "transfer/sftp_ask.h"
#include "transfer/sink.h"
#include "transfer/tree.h"
#include "transfer/verify.h"

#define VT_GET_QUEUE_MAX 20000      /* files known but not begun; then listing pauses */

struct vt_sftp_get;
struct vt_folder;

/* A folder that is filled.  A new one has a temporary name until the end; so it needs to be
 * kept for the outermost new one alone. */
struct vt_get_root {
    struct vt_get_root *next;       /* the last first */
    struct vt_folder *in;           /* the folder that it is in; NULL: the target's */
    char *name, *temp;              /* temp: its name until the end; NULL: it was there */
    bool is_void;                   /* it could not even be listed */
    bool is_shared;                 /* several sources fill it */
};

/* Paths are made when they are needed: a server may list any number of folders. */
struct vt_folder {
    struct vt_folder *next;         /* all of them, the last first */
    struct vt_folder *next_waiting; /* to be listed, or in a pause */
    struct vt_sftp_get *g;
    struct vt_folder *parent;       /* NULL: a source */
    struct vt_get_root *root;
    char *name;                     /* in its parent; of a source its path on the server */
    char *real;                     /* the path without links; NULL: its parent's, and its name */
    int depth;
    int fd;                         /* open while somebody uses it, else -1 */
    unsigned users;
    struct vt_attrs attrs;
    bool is_top, exists_already, at_end;        /* of its root */
    bool is_set;                    /* it has its mode and times */
    char *handle;
    size_t handle_len;
    unsigned pending, empty_answers;
};

/* How far a file is; docs/internals/transfers.rst draws it. */
enum vt_download_state {
    VT_DOWN_KNOWN,                  /* what it is, is asked */
    VT_DOWN_QUEUED,                 /* it is to be begun */
    VT_DOWN_OPENING,                /* its OPEN, or its READLINK, is asked */
    VT_DOWN_READING,                /* READs are asked, or are to be */
    VT_DOWN_PARKED,                 /* it waits for its checksum */
};

/* A file or link, from the moment it is known. */
struct vt_download {
    struct vt_download *next, **link;           /* all of them */
    struct vt_download *next_queued;            /* to be begun; then: to be read on */
    struct vt_sftp_get *g;
    enum vt_download_state state;
    struct vt_folder *folder;       /* NULL: in the target's folder */
    char *name;                     /* here */
    char *remote;                   /* of a source; of others from their OPEN on */
    struct vt_attrs attrs;
    struct vt_sink sink;
    struct vt_holes holes;
    char *handle;
    size_t handle_len;
    size_t memory;                  /* what it was accounted with */
    uint64_t asked, got;
    uint64_t size;                  /* as listed; then as the open file has it */
    uint64_t end;                   /* where the file ended, or VT_NO_END */
    uint64_t probe_at;              /* of the READ behind the end that is known; VT_NO_END: none */
    unsigned pending;
    bool is_begun, uses_folder, failed, is_link, is_made_link;
    bool is_repeat;                 /* a source before has its name */
    bool is_size_sure;              /* the open file's */
    bool is_single;                 /* one READ may be all */
    bool is_reading;                /* it is in the queue of what is to be read on */
    struct vt_check check;
};

#define VT_NO_END UINT64_MAX

struct vt_get_queue { struct vt_download *first, **end; };

struct vt_sftp_get {
    struct vt_job j;
    const char *target;
    struct vt_target into;
    mode_t mask;
    bool knows_no_holes;            /* the server can't tell of any */
    struct vt_get_root *roots;
    struct vt_folder *folders, *waiting, **waiting_end, *paused;
    struct vt_download *files;
    struct vt_get_queue queued, reading;
    size_t queue_len;
    uint64_t memory;                /* of what the server has listed, in bytes */
    unsigned open, listing;         /* files begun, folders being listed */
    struct vt_check *parked;        /* files that wait for their checksums */
    unsigned parked_n;
    unsigned asking;                /* other requests that are not answered */
    uint64_t in_flight;
};

/* ---- sftp_get.c ---- */

void vt_get_queue_add(struct vt_get_queue *q, struct vt_download *d);
void vt_get_queue_drop(struct vt_get_queue *q);
/* Counts bytes that a listing costs.  False: they are too many, and all has ended. */
bool vt_get_account(struct vt_sftp_get *g, size_t n);
void vt_get_account_back(struct vt_sftp_get *g, size_t n);
void vt_get_close_handle(struct vt_sftp_get *g, const char *handle, size_t n);

/* ---- sftp_list.c: folders ---- */

/* The folder's descriptor, for as long as it has users; -1 and errno. */
int vt_folder_use(struct vt_folder *f);
void vt_folder_unuse(struct vt_folder *f);
/* Its path on the server, malloc'ed; NULL: no memory. */
char *vt_folder_path(struct vt_folder *f);
struct vt_folder *vt_folder_new(struct vt_sftp_get *g, struct vt_folder *parent, struct vt_get_root *root,
                                const char *name, const struct vt_attrs *a);
struct vt_get_root *vt_get_root_new(struct vt_sftp_get *g, struct vt_folder *in, const char *name, bool is_new);
void vt_folder_queue(struct vt_folder *f);
void vt_folder_list(struct vt_folder *f);       /* begins to */
void vt_folder_list_on(struct vt_folder *f);    /* after a pause */
void vt_folder_free(struct vt_folder *f);

/* ---- sftp_fetch.c: files ---- */

struct vt_download *vt_download_new(struct vt_sftp_get *g, struct vt_folder *folder, const char *name,
                                    const char *remote);
void vt_download_free(struct vt_download *d);
void vt_download_queue(struct vt_download *d);
void vt_download_begin(struct vt_download *d);
void vt_download_failed(struct vt_download *d, int sys);
void vt_download_refused(struct vt_download *d, const struct vt_sftp_reply *r);
/* All is read, or has failed: on to its checksum or its name, or away. */
void vt_download_settle(struct vt_download *d);
void vt_download_verify_parked(struct vt_sftp_get *g);

/* ---- sftp_read.c: bytes ---- */

void vt_download_ask_size(struct vt_download *d);
void vt_download_read(struct vt_sftp_get *g);

#endif
