/* scp_put.h - what the parts of an upload by scp's protocol share. */
#ifndef VT_SCP_PUT_H
#define VT_SCP_PUT_H

#include "transfer/job.h"
#include "transfer/scp.h"
#include "transfer/scp_wire.h"
#include "transfer/source.h"
#include "transfer/tree.h"
#include "transfer/verify.h"

#define VT_SCP_ANSWERS 256

/* What the shell has to do when something is there. */
enum vt_scp_kind {
    VT_SCP_A_FILE,                  /* path, maybe to be renamed to final */
    VT_SCP_A_LINK,                  /* path to be made, maybe under final in the end */
    VT_SCP_FOLDER_NAME,             /* path to be renamed to final */
    VT_SCP_FOLDER_MODE,
    VT_SCP_A_ROOT,                  /* a new folder's temporary path; final: its name */
};

/* How far it is; docs/internals/transfers.rst draws it.  Set by vt_scp_item_is alone. */
enum vt_scp_item_state {
    VT_SCP_NEW,                     /* the server knows nothing of it */
    VT_SCP_TOLD,                    /* its scp was told of it, and may have made it */
    VT_SCP_ARRIVED,                 /* it is there, whole: the shell's work comes */
    VT_SCP_SPOILED,                 /* it failed, and is to go if anything is there */
};

struct vt_scp_item {
    struct vt_scp_item *next;
    enum vt_scp_kind kind;
    enum vt_scp_item_state state;
    char *path, *final, *shown, *to;
    mode_t mode;                    /* in the end */
    bool sets_mode;                 /* scp's protocol has given it another one */
    uint64_t size;
    struct vt_sha256 hash;          /* of what was sent */
    struct vt_check check;
};

enum vt_scp_awaited { VT_SCP_READY, VT_SCP_TIMES_TAKEN, VT_SCP_OPENED, VT_SCP_WRITTEN, VT_SCP_LEFT };
struct vt_scp_expected { enum vt_scp_awaited answer; struct vt_scp_item *item; };

struct vt_scp_put {
    struct vt_job j;
    struct vt_scp c;
    struct vt_scp_answers answers;
    struct vt_scp_expected expected[VT_SCP_ANSWERS];
    unsigned expected_at, expected_n;
    bool is_accepted, is_sending;   /* the last entry was; a file's bytes are on their way */
    const char *const *sources;
    size_t n;
    size_t *before;                 /* of each source: the last one before it with its name */
    char *sink;                     /* the folder that the server's scp fills, or a device */
    char *name;                     /* the target's name in it; NULL: that of the source */
    bool target_is_special, has_parents;
    struct vt_scp_item *files, **files_end;     /* that have arrived, the first first: a batch */
    size_t files_n, files_len;      /* how many, and the bytes of their names */
    struct vt_scp_item *folders;    /* for the end, the last first */
    /* The folder that is walked. */
    struct vt_walk walk;
    const char *shown;
    int depth, refused_depth;       /* folders open below its top; of one that was refused, or -1 */
    int new_depth;                  /* of the outermost folder that is new; -1: none */
    char *paths[VT_TREE_DEPTH + 1]; /* on the server */
};

/* ---- scp_send.c: entries and their answers ---- */

void vt_scp_expect(struct vt_scp_put *p, enum vt_scp_awaited answer, struct vt_scp_item *item);
void vt_scp_wait_answers(struct vt_scp_put *p);

/* Announces a file or folder ('C', 'D'), and waits whether the server takes it. */
bool vt_scp_announce(struct vt_scp_put *p, char kind, const struct stat *st, unsigned mode, uint64_t size,
                     const char *name, struct vt_scp_item *item);

/* Sends the open file, which it closes.  final NULL: path is its name already. */
void vt_scp_put_file(struct vt_scp_put *p, struct vt_source *src, const char *path, const char *final,
                     const char *shown);

/* What was on its way when the end came is kept for cleaning up. */
void vt_scp_keep_expected(struct vt_scp_put *p);

/* ---- scp_settle.c: what the shell does after the bytes ---- */

struct vt_scp_item *vt_scp_item_new(struct vt_scp_put *p, enum vt_scp_kind kind, const char *path,
                                    const char *final, const char *shown);
void vt_scp_item_free(struct vt_scp_item *item);
void vt_scp_item_is(struct vt_scp_item *item, enum vt_scp_item_state state);
void vt_scp_keep(struct vt_scp_put *p, struct vt_scp_item *item);

/* The kind of a path on the server: d, f, s(pecial), o(ther), - none; *parent: d if it is in a
 * folder; *real: where it leads to.  '?': all has ended. */
char vt_scp_look(struct vt_scp_put *p, const char *path, char *parent, char **real);

/* Makes a folder and those above it. */
void vt_scp_make_folders(struct vt_scp_put *p, const char *path);

/* Files that have arrived get their names, once there are many of them. */
void vt_scp_settle_some(struct vt_scp_put *p);
/* All that has arrived does. */
void vt_scp_settle(struct vt_scp_put *p);
/* The end came too early: what is temporary goes. */
void vt_scp_clean_up(struct vt_scp_put *p);

#endif
