/* command.h - commands in a session's shell: sent, their end found and proved, their
 * output cut out.  docs/internals/prompts.rst tells the algorithm; nothing here waits
 * for silence unless the last line is not a prompt that was proved before. */
#ifndef VT_COMMAND_H
#define VT_COMMAND_H

#include "session.h"

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

    /* the result */
    bool found;                     /* the command's end was found (then, without a
                                     * status, the status could not be had) */
    bool has_status;
    int status;
    struct vt_span output[VT_SPANS];    /* in order; also what came before a failure */
    int spans;
};

/* Runs one command.  VT_OK; VT_TIMEOUT (see found), VT_EOF or another end of the
 * stream, VT_INTR, VT_CLOSED; VT_TOOBIG for a line that the tty would cut (nothing is
 * sent then).  The output spans are valid after any of them. */
enum vt_rc vt_session_command(struct vt_session *s, struct vt_command *c, struct vt_waiter *w) VT_MUST_CHECK;

/* Bytes that vt_command_read wants at most; copies the output, cleaned (CR before LF
 * removed where the far end makes them, switches of bracketed paste removed), and
 * returns its length through *n. */
size_t vt_command_size(const struct vt_command *c);
enum vt_rc vt_command_read(const struct vt_session *s, const struct vt_command *c, char *out, size_t *n) VT_MUST_CHECK;

/* What login needs: waits for a line that the pattern matches, then has the shell prove
 * that it is one, and learns its prompt.  Shells that don't answer the numbered status
 * command are believed after silence.  status_command: "echo $?" or another one.
 * c->text is not used.  VT_OK, VT_TIMEOUT, VT_EOF... */
enum vt_rc vt_session_find_prompt(struct vt_session *s, struct vt_command *c, struct vt_waiter *w) VT_MUST_CHECK;

#endif
