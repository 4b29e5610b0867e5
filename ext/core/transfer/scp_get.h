/* scp_get.h - what the parts of a download by scp's protocol share. */
#ifndef VT_SCP_GET_H
#define VT_SCP_GET_H

#include "transfer/job.h"
#include "transfer/scp.h"
#include "transfer/scp_wire.h"
#include "transfer/shell.h"
#include "transfer/sink.h"
#include "transfer/tree.h"

#define VT_SCP_SAID_MAX 8192        /* bytes of a complaint, whatever line breaks are in it */
#define VT_SCP_EMPTY_MAX 64         /* files that are said to be empty, looked at by one script */

/* What was asked for. */
struct vt_scp_source { const char *path; char kind; };

struct vt_scp_times { bool are_known; int64_t mtime, atime; };

struct vt_scp_level {
    int fd;
    char *remote;
    unsigned mode;
    struct vt_scp_times times;
    bool exists_already;
};

/* How far a file is; docs/internals/transfers.rst draws it.  Set by is_now() alone. */
enum vt_scp_file_state {
    VT_SCP_NO_FILE,
    VT_SCP_COMING,                  /* its bytes are */
    VT_SCP_DRAINING,                /* it failed: what still comes is for nobody */
    VT_SCP_WHOLE,                   /* all has come: on to its checksum and its name */
    VT_SCP_LOST,                    /* it failed, and goes */
};

/* The file that comes, or one that is said to be empty. */
struct vt_scp_file {
    enum vt_scp_file_state state;
    struct vt_sink sink;
    int depth;                      /* of the level that it is in */
    char *remote;
    unsigned mode;
    struct vt_scp_times times;
    uint64_t size, got;
};

struct vt_scp_get {
    struct vt_job j;
    struct vt_scp c;
    struct vt_scp_parser parser;
    struct vt_target into;
    const char *target;
    mode_t mask;
    struct vt_buf names;            /* of all sources, as the shell told them */
    struct vt_scp_source *sources;
    size_t *before;                 /* of each source: the last one before it with its name */
    size_t n, at, end;              /* the next that may come; the end of this command's */
    struct vt_scp_level level[VT_TREE_DEPTH + 1];
    int depth;                      /* folders open */
    char *root, *temp_root;         /* the outermost new folder's name, and that until its end */
    int root_depth;                 /* of its level; 0: there is none */
    struct vt_scp_times times;      /* of what comes next */
    struct vt_scp_file file;
    struct vt_scp_file empty[VT_SCP_EMPTY_MAX];
    unsigned empty_n;
    char said[VT_SCP_SAID_MAX];     /* a complaint that has no reason so far: a name with a line break */
    bool is_open_said;
    bool anything;                  /* the server's scp has said something sensible */
};

/* ---- scp_take.c: what comes ---- */

bool vt_scp_is_coming(const struct vt_scp_file *f);
void vt_scp_take(struct vt_scp_get *g, enum vt_scp_event event);
/* Tells the complaint that has no end so far, if there is one: nothing more belongs to it. */
void vt_scp_end_said(struct vt_scp_get *g);
void vt_scp_accept(struct vt_scp_get *g);
/* Files that are said to be empty get their names, with what is in them if they are not. */
void vt_scp_settle_empty(struct vt_scp_get *g);
/* Removes what is not whole.  rc: what all came to; returns that, or how a signal ended it meanwhile. */
enum vt_rc vt_scp_drop(struct vt_scp_get *g, enum vt_rc rc) VT_MUST_CHECK;

/* ---- scp_names.c ---- */

/* The name here of what comes ("": the target itself), and where it is there.  False: it
 * must not come; the server is told. */
bool vt_scp_take_name(struct vt_scp_get *g, bool is_folder, char **name, char **remote);
/* Whether what has that path there, below the source that comes, is left out. */
bool vt_scp_is_excluded(const struct vt_scp_get *g, const char *remote, bool is_folder);
/* Tells the server that it was not taken. */
void vt_scp_refuse(struct vt_scp_get *g, const char *text);
/* Runs a script; out: what it printed, for the caller to free.  False: it failed. */
bool vt_scp_ask_shell(struct vt_scp_get *g, struct vt_script *script, struct vt_buf *out, size_t most);

#endif
