/* sftp.h - an SFTP client that keeps many requests in flight on one channel.
 *
 * A request is made with the function that takes its answer; vt_sftp_turn moves bytes and
 * calls those functions.  The first failure that ends all is kept in s->rc.
 */
#ifndef VT_SFTP_H
#define VT_SFTP_H

#include "transfer/sftp_wire.h"
#include "transport/ssh.h"

struct vt_sftp_reply {
    enum vt_fxp type;
    uint32_t status;                /* of a STATUS; else VT_FX_OK */
    struct vt_span message;         /* of a STATUS: the server's words */
    struct vt_cursor body;          /* what follows the id; of a STATUS nothing */
};

struct vt_sftp_op;
typedef void (*vt_sftp_fn)(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *reply);

struct vt_sftp_op {
    vt_sftp_fn fn;                  /* NULL: free */
    void *ctx;
    uint64_t offset;                /* for fn: of a READ or WRITE */
    uint32_t size;
    uint32_t next_free;
};

/* How the server's side is root; see sudo.h. */
enum vt_sudo { VT_SUDO_NO, VT_SUDO_ROOT, VT_SUDO_FREE, VT_SUDO_ASKED, VT_SUDO_UNASKED };

struct vt_sftp {
    struct vt_ssh *ssh;
    bool wants_sudo;
    enum vt_sudo sudo;
    const char *sudo_password;      /* borrowed; NULL: none */
    LIBSSH2_CHANNEL *channel;
    struct vt_waiter *w;
    vt_time deadline, stall, moved_at, looked_up_at;
    struct vt_err *e;
    enum vt_rc rc;

    struct vt_buf out, in;
    size_t out_at, out_packet;      /* first byte not sent; start of the packet it is in */
    size_t in_at;
    bool is_ready;                  /* VERSION has come */
    struct vt_sftp_op *ops;
    uint32_t op_count, op_free, outstanding;

    bool has_posix_rename, has_expand_path, has_limits, has_fsync;
    uint32_t read_max, write_max;   /* bytes in one READ and WRITE */
    uint32_t in_flight_max;         /* bytes asked for or sent and not answered */
    uint32_t files_max;             /* files and folders open at once */
    vt_time asked_at;               /* the first request, whose answer sets these */
};

/* stall: nanoseconds without a byte, or VT_FOREVER.  Everything is borrowed until
 * vt_sftp_close. */
void vt_sftp_init(struct vt_sftp *s, struct vt_ssh *ssh, vt_time stall, struct vt_waiter *w,
                  vt_time deadline, struct vt_err *e);

/* Starts the subsystem and agrees on the version.  The limits are careful ones until the
 * first answer has come. */
enum vt_rc vt_sftp_open(struct vt_sftp *s) VT_MUST_CHECK;
void vt_sftp_close(struct vt_sftp *s);      /* accepts zeroed */
/* The server's first packet. */
void vt_sftp_take_version(struct vt_sftp *s, struct vt_cursor c);

/* Begins a request: add its fields, then vt_sftp_end.  A failure shows in s->rc. */
struct vt_packet vt_sftp_begin(struct vt_sftp *s, enum vt_fxp type, vt_sftp_fn fn, void *ctx,
                               uint64_t offset, uint32_t size);
void vt_sftp_end(struct vt_sftp *s, struct vt_packet *p);

/* Requests of one path, or one handle, and nothing else. */
void vt_sftp_ask(struct vt_sftp *s, enum vt_fxp type, const char *path, vt_sftp_fn fn, void *ctx);
void vt_sftp_ask_handle(struct vt_sftp *s, enum vt_fxp type, const void *handle, size_t n, vt_sftp_fn fn,
                        void *ctx);

/* A path renamed over another, atomically where the server can; or where nothing is. */
void vt_sftp_rename(struct vt_sftp *s, const char *from, const char *to, vt_sftp_fn fn, void *ctx);
void vt_sftp_rename_new(struct vt_sftp *s, const char *from, const char *to, vt_sftp_fn fn, void *ctx);

/* Sends and receives once, waiting if nothing moved; calls the functions of what was
 * answered.  Returns s->rc. */
enum vt_rc vt_sftp_turn(struct vt_sftp *s) VT_MUST_CHECK;

/* The end of a pass of libssh2 calls, also by others on this connection: waits if nothing
 * moved, and now and then looks whether it is to end. */
void vt_sftp_pause(struct vt_sftp *s, bool moved, uint64_t received_before);

/* Bytes of requests that are not sent yet. */
size_t vt_sftp_queued(const struct vt_sftp *s);

/* Takes sudo's password out of a text in which the server's words may be; in place. */
void vt_sftp_hide(const struct vt_sftp *s, char *text);
/* Ends all with rc, unless something has before. */
void vt_sftp_stop(struct vt_sftp *s, enum vt_rc rc, int sys, const char *text);
const char *vt_sftp_in_words(enum vt_rc rc);    /* of a wait's end; NULL: it has no more */

/* After an end that was not the connection's: forgets what is queued or not answered, so
 * that what is left behind can be removed until the deadline, undisturbed by signals. */
bool vt_sftp_revive(struct vt_sftp *s, struct vt_waiter *w, vt_time deadline);

/* The path in an answer to REALPATH, or "". */
void vt_sftp_take_real(const struct vt_sftp_reply *reply, char real[4096]);

/* A STATUS that says all is well.  Other answers have no status, and so are none. */
static inline bool vt_sftp_ok(const struct vt_sftp_reply *reply)
{
    return reply->type == VT_FXP_STATUS && reply->status == VT_FX_OK;
}

/* An answer of another kind than it should be: protocol error. */
bool vt_sftp_is(struct vt_sftp *s, const struct vt_sftp_reply *reply, enum vt_fxp type);

#endif
