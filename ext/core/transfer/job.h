/* job.h - what uploads and downloads share: counting, failures of single files, progress. */
#ifndef VT_JOB_H
#define VT_JOB_H

#include "transfer/clean_up.h"
#include "transfer/sftp.h"
#include "transfer/transfer.h"

struct vt_job {
    struct vt_sftp s;
    const struct vt_transfer_options *o;
    struct vt_transfer_result *r;
    struct vt_err *e;
    enum vt_rc first;               /* failure of a single file */
    enum vt_rc ended;               /* what ended all, before it was revived */
    uint64_t total;                 /* bytes known to come */
    vt_time told_at;
    struct vt_waiter undisturbed;   /* for cleaning up */
    struct vt_ssh *again;           /* the connection for it, if the first was lost */
};

/* The connection alone: for SCP, which uses what s says of it, and how all ends. */
void vt_job_init(struct vt_job *j, struct vt_ssh *ssh, const struct vt_transfer_options *o,
                 struct vt_waiter *w, vt_time deadline, struct vt_transfer_result *r, struct vt_err *e);

/* The same with an SFTP channel. */
enum vt_rc vt_job_begin(struct vt_job *j, struct vt_ssh *ssh, const struct vt_transfer_options *o,
                        struct vt_waiter *w, vt_time deadline, struct vt_transfer_result *r,
                        struct vt_err *e) VT_MUST_CHECK;

/* A file or folder failed alone.  Only the first is told. */
void vt_job_fail(struct vt_job *j, const char *name, uint64_t at, enum vt_rc rc, int sys, const char *text);
/* The same by an answer of the server's that should have been another. */
void vt_job_refused(struct vt_job *j, const char *name, uint64_t at, const struct vt_sftp_reply *reply);

/* The folder that the target would be in is not there: nothing can be copied. */
void vt_job_no_folder(struct vt_job *j, const char *target);

/* n more bytes of the file were moved. */
void vt_job_moved(struct vt_job *j, const char *name, uint64_t n);

/* The last step of each copy that was not stopped: a last word to whoever watches the progress,
 * and what all came to: the end that stopped it, or else the first single failure. */
enum vt_rc vt_job_end(struct vt_job *j) VT_MUST_CHECK;

/* After an end: where it came, and what could not be removed. */
void vt_job_stopped_at(struct vt_job *j, const char *name, uint64_t at);
void vt_job_left(struct vt_job *j, const char *path);

/* Looks whether all is to end, in a loop that waits for nobody.  False: it has ended. */
bool vt_job_goes_on(struct vt_job *j);

/* After the clean-up on this side: what all came to, if a signal came amid it. */
enum vt_rc vt_job_cleaned(struct vt_job *j, const struct vt_clean_up *c, enum vt_rc rc) VT_MUST_CHECK;

/* After an end: a short while for cleaning up so many things.  False: the server is out of
 * reach. */
bool vt_job_revive(struct vt_job *j, size_t things);

/* The same where no SFTP channel is needed for that. */
bool vt_job_revive_connection(struct vt_job *j, size_t things);

/* After an end by a lost connection: another one for a short while, without SFTP so far. */
bool vt_job_reconnect(struct vt_job *j, size_t things);

/* Closes what the job has opened. */
void vt_job_fini(struct vt_job *j);

/* Copies a text, or stops with VT_NOMEM and returns NULL. */
char *vt_job_copy(struct vt_job *j, const char *text);

/* malloc'ed folder/name. */
char *vt_job_join(struct vt_job *j, const char *folder, const char *name);

#endif
