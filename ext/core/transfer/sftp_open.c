/* sftp_open.c - the beginning of an SFTP channel: its version, and how much the server takes. */
#include "transfer/sftp.h"

#include "transfer/sudo.h"

#include <sys/resource.h>

#define VERSION 3
#define PLAIN_SIZE (32 * 1024)              /* what every server takes */
#define OPENSSH_READ (64 * 1024)            /* OpenSSH before it told its limits */
#define LARGE (255 * 1024)                  /* OpenSSH's largest READ and WRITE */
#define NEAR_IN_FLIGHT (1024 * 1024)        /* more leaves the server's cache */
#define FAR_IN_FLIGHT (16 * 1024 * 1024)
#define SMALLEST (4 * 1024)                 /* whatever a server tells: it may answer less */
#define HANDLES 200                         /* of a server that does not tell how many it has */
#define NEAR_FILES 64
#define FAR_FILES 400
#define FAR (2 * VT_MS)                     /* a round trip that is worth hiding */

void vt_sftp_take_version(struct vt_sftp *s, struct vt_cursor c)
{
    unsigned type = vt_take_u8(&c);
    uint32_t version = vt_take_u32(&c);
    if (c.bad || type != VT_FXP_VERSION || version < VERSION) {
        vt_sftp_stop(s, c.bad || type != VT_FXP_VERSION ? VT_PROTO : VT_UNSUPPORTED, 0,
                     "the server does not speak SFTP version 3");
        return;
    }
    while (c.p < c.end && !c.bad) {
        struct vt_span name = vt_take_bytes(&c), value = vt_take_bytes(&c);
        (void)value;
        s->has_posix_rename |= vt_span_is(name, "posix-rename@openssh.com");
        s->has_expand_path |= vt_span_is(name, "expand-path@openssh.com");
        s->has_fsync |= vt_span_is(name, "fsync@openssh.com");
        s->has_limits |= vt_span_is(name, "limits@openssh.com");
    }
    s->is_ready = true;
}

static uint32_t at_most(uint64_t told, uint32_t most)
{
    return told > 0 && told < most ? (uint32_t)told : most;
}

/* Tiny requests would take all memory: 16 MiB are asked for at once. */
static uint32_t at_least(uint32_t size)
{
    return size < SMALLEST ? SMALLEST : size;
}

/* How many files may be open on both sides. */
static void allow_files(struct vt_sftp *s, uint32_t most)
{
    struct rlimit own;
    if (getrlimit(RLIMIT_NOFILE, &own) == 0 && own.rlim_cur / 4 < most)
        most = own.rlim_cur < 16 ? 4 : (uint32_t)(own.rlim_cur / 4);
    s->files_max = most;
}

/* Returns how many files the server may have open. */
static uint32_t take_limits(struct vt_sftp *s, struct vt_cursor c)
{
    uint64_t packet = vt_take_u64(&c), read = vt_take_u64(&c), write = vt_take_u64(&c);
    uint64_t handles = vt_take_u64(&c);
    if (c.bad || packet < PLAIN_SIZE)
        return HANDLES;
    s->read_max = at_least(at_most(read, LARGE));
    s->write_max = at_least(at_most(write, LARGE));
    return at_most(handles > 8 ? handles - 4 : 0, FAR_FILES);
}

/* The answer to the first request: its time tells how far the server is. */
static void on_first(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *r)
{
    struct vt_sftp *s = ctx;
    (void)op;
    bool far = vt_now() - s->asked_at > FAR;
    uint32_t handles = r->type == VT_FXP_EXTENDED_REPLY ? take_limits(s, r->body) : HANDLES;
    s->in_flight_max = far ? FAR_IN_FLIGHT : NEAR_IN_FLIGHT;
    allow_files(s, at_most(handles, far ? FAR_FILES : NEAR_FILES));
}

/* Asks for the server's limits, if it tells them, and goes on: what is asked next need not
 * wait for that round trip. */
static void measure(struct vt_sftp *s)
{
    s->asked_at = vt_now();
    if (s->has_limits) {
        struct vt_packet p = vt_sftp_begin(s, VT_FXP_EXTENDED, on_first, s, 0, 0);
        vt_packet_text(&p, "limits@openssh.com");
        vt_sftp_end(s, &p);
    } else {
        vt_sftp_ask(s, VT_FXP_REALPATH, ".", on_first, s);
    }
}

static enum vt_rc greet(struct vt_sftp *s)
{
    /* INIT has the version where others have their id. */
    struct vt_packet p = vt_packet_begin(&s->out, VT_FXP_INIT, VERSION);
    vt_sftp_end(s, &p);
    while (!s->is_ready && vt_sftp_turn(s) == VT_OK)
        ;
    if (s->rc == VT_EOF && !s->is_ready)
        s->rc = vt_fail(s->e, VT_UNSUPPORTED, VT_STAGE_TRANSFER, 0,
                        "the server has no SFTP: its subsystem ended at once");
    bool is_openssh = s->has_posix_rename;
    s->read_max = is_openssh ? OPENSSH_READ : PLAIN_SIZE;
    s->write_max = is_openssh ? LARGE : PLAIN_SIZE;
    s->in_flight_max = NEAR_IN_FLIGHT;
    allow_files(s, NEAR_FILES);
    return s->rc;
}

/* Another command is to follow. */
static void settle(struct vt_sftp *s)
{
    enum vt_rc rc = vt_ssh_channel_settle(s->ssh, s->channel, s->w, s->deadline);
    if (rc == VT_INTR || rc == VT_CLOSED)
        s->rc = vt_fail(s->e, rc, VT_STAGE_TRANSFER, 0, NULL);
}

enum vt_rc vt_sftp_open(struct vt_sftp *s)
{
    if (s->wants_sudo && s->sudo == VT_SUDO_NO && vt_sudo_begin(s, true) != VT_OK)
        return s->rc;
    bool is_command = s->sudo != VT_SUDO_NO;
    s->rc = vt_ssh_channel(s->ssh, is_command ? vt_sudo_sftp(s) : "sftp", is_command, s->w, s->deadline, &s->channel,
                           s->e);
    if (s->rc != VT_OK || vt_sudo_send_password(s, false, s->channel) != VT_OK)
        return s->rc;
    libssh2_channel_handle_extended_data2(s->channel, LIBSSH2_CHANNEL_EXTENDED_DATA_IGNORE);
    if (greet(s) == VT_OK)
        measure(s);
    else if (s->rc == VT_UNSUPPORTED)
        settle(s);
    return s->rc;
}
