/* command.h - commands in a session's shell: sent, their end found and proved, their
 * output cut out.  docs/internals/prompts.rst tells the algorithm; nothing here waits
 * for silence unless the last line is not a prompt that was proved before. */
#ifndef VT_COMMAND_H
#define VT_COMMAND_H

#include "session/session.h"

#define VT_SPANS 16

struct vt_span {
    uint64_t begin, end;            /* offsets in the session's store */
};

struct vt_command {
    /* set by the caller */
    const char *text;               /* the command, without a line separator */
    size_t len;
    const char *linesep;
    size_t linesep_len;
    const char *status_command;     /* "echo $?"; "" or NULL: what was proved at login */
    bool want_status;
    bool safe;                      /* an empty line each 0.5 s without a prompt */
    vt_match_fn match;              /* the prompt pattern */
    void *ctx;
    vt_time deadline;
    vt_time status_wait;            /* the status may take so long beyond the deadline */
    unsigned patience;              /* silences must be so many times as long as usual; 0 is 1 */
    uint64_t limit;                 /* bytes of output that it may have; 0: any */

    /* the result */
    bool found;                     /* the command's end was found (then, without a
                                     * status, the status could not be had) */
    bool too_much;                  /* VT_TOOBIG, because its output passed the limit */
    uint64_t lost;                  /* VT_TOOBIG, because so many bytes of it could not be kept */
    bool has_status;
    int status;
    struct vt_span output[VT_SPANS];    /* in order; also what came before a failure */
    int spans;
    bool echo_cut;                  /* the whole command's echo is not in them; */
    bool echo_bare;                 /* it was the command and this many prompts */
    size_t echo_prompts;
    bool lead_found;                /* they begin behind what a shell sends before an output */
};

/* Runs one command.  VT_OK; VT_TIMEOUT (see found), VT_EOF or another end of the
 * stream, VT_INTR, VT_CLOSED; VT_TOOBIG for too much output (see too_much, lost), or for a line
 * that the tty would cut (nothing is sent then).  The output spans are valid after any of
 * them.
 *
 * After a command whose end was not found the next one first has the shell answer a
 * question, so that it gets none of the other's output. */
enum vt_rc vt_session_command(struct vt_session *s, struct vt_command *c, struct vt_waiter *w) VT_MUST_CHECK;

/* Bytes that vt_command_read wants at most; copies the output, cleaned (CR before LF
 * removed where the far end makes them, switches of bracketed paste removed), and
 * returns its length through *n. */
size_t vt_command_size(const struct vt_command *c);
enum vt_rc vt_command_read(const struct vt_session *s, const struct vt_command *c, char *out, size_t *n) VT_MUST_CHECK;

/* Bytes of the output that are forgotten: for want of disk, or beyond the store's bound. */
uint64_t vt_command_lost(const struct vt_session *s, const struct vt_command *c);

/* Splits what the command's output comes to into its first and its last `each` bytes; returns
 * how many are left out between them (0: head has all of it). */
uint64_t vt_command_ends(const struct vt_command *c, uint64_t each, struct vt_command *head,
                         struct vt_command *tail);

/* What login needs: waits for a line that the pattern matches, then has the shell prove
 * that it is one, and learns its prompt.  Shells that don't answer the numbered status
 * command are believed after silence.  status_command: "echo $?" or another one.
 * c->text is not used; too_much is as for a command.  VT_OK, VT_TIMEOUT, VT_EOF... */
enum vt_rc vt_session_find_prompt(struct vt_session *s, struct vt_command *c, struct vt_waiter *w) VT_MUST_CHECK;

#endif
