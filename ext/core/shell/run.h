/* run.h - what the parts of this room share: one command on its way.
 *
 *   command.c    sends it, and brings the parts together
 *   candidate.c  waits until the last line may be the prompt
 *   status.c     asks the shell, and reads its reply and the prompt behind it
 *   output.c     decides what of all that is the command's output
 *   login.c      finds the first prompt
 */
#ifndef VT_RUN_H
#define VT_RUN_H

#include "shell/command.h"

#define VT_TAIL (32 * 1024)         /* of the output, enough to see any prompt in */
#define VT_CHUNK (64 * 1024)
#define VT_STATUS_MAX 512           /* a longer status command is not numbered */

#define VT_WAIT_SILENCE (100 * VT_MS)
#define VT_WAIT_ANSWER VT_SEC       /* at login: for the first reply */

/* A status command on its way: what was typed, and its reply. */
struct vt_asked {
    bool once;                      /* a prompt without a reply is an answer, too */
    bool kept;                      /* so put that the status can be asked for again */
    unsigned first, last;           /* numbers of the questions that were put for it */
    unsigned answered;              /* the one of them that was answered */
    char text[VT_STATUS_MAX];
    size_t len;
    char token[24];                 /* "vt7:"; "" if it could not be numbered */
    size_t token_len;
    unsigned number;                /* the token's */
    uint64_t at;                    /* offset where the question was put */
    uint64_t scanned;               /* the reply is not before this */
    uint64_t reply;                 /* where the token of the reply begins */
    uint64_t reply_end;             /* after the reply's newline */
    int status;
    bool crlf;                      /* the reply ended with CR LF */
};

struct vt_run {
    struct vt_session *s;
    struct vt_command *c;
    struct vt_waiter *w;
    uint64_t sent;                  /* offset when the command was sent */
    uint64_t start;                 /* where its output begins */
    bool echo_open;                 /* the echo is not decided yet */
    bool echo_late;                 /* it is there, but something else came before it */
    struct vt_seen seen;            /* the candidate, and where it ends */
    uint64_t candidate;
    int nudges;                     /* empty lines that were sent */
    bool late;                      /* the last fill brought something, but the time is over */
    uint64_t looked;                /* how far the looks went */
    uint64_t plain;                 /* all behind this is messages of the console's */
    uint64_t over_scanned;          /* lines before this were looked at for a prompt at their begin */
    uint64_t over;                  /* where the last such line begins */
    const struct vt_learned *over_which;
    bool covered;                   /* the candidate has something written over it */
    uint64_t stands;                /* where the candidate ends, and since when it stands there */
    vt_time since;
    int status;                     /* as the question told it, */
    bool has_status;                /* if it did */
    bool after;                     /* the newest prompt is the one behind the reply */
    bool mute;                      /* the question was answered by a prompt and no number */
};

/* A piece of the store, at most CHUNK bytes, in memory of our own. */
struct vt_piece {
    char *text;
    uint64_t from;
    size_t n;
};

/* ---- the store (candidate.c) ---- */

/* The newest bytes from offset on, at most VT_TAIL of them. */
const char *vt_run_tail(const struct vt_session *s, uint64_t offset, uint64_t *from, size_t *n);

/* [begin, end) in memory of its own; free p->text. */
enum vt_rc vt_run_read(const struct vt_session *s, uint64_t begin, uint64_t end, struct vt_piece *p) VT_MUST_CHECK;

/* ---- view.c ---- */

/* Text without the messages that the console wrote into it. */
struct vt_view {
    char *text;
    uint32_t *map;                  /* where each byte stood; n + 1 entries */
    size_t n;
    bool some;                      /* there were messages */
};

enum vt_rc vt_view_init(struct vt_view *v, const char *text, size_t n) VT_MUST_CHECK;
void vt_view_fini(struct vt_view *v);       /* accepts zeroed */

/* Where the messages begin that the session's output ends with, looking no further back than
 * the run's start; what the last look found is not looked at again. */
uint64_t vt_run_plain(struct vt_run *r);

/* Whether a learned prompt was seen, at its place. */
bool vt_is_known(enum vt_kind kind);

/* As vt_prompts_classify of [begin, now), seeing through messages: *covered says that some were
 * in the way, and *end where the text ends that was classified. */
enum vt_rc vt_run_classify(struct vt_run *r, uint64_t begin, struct vt_seen *seen, bool *covered,
                           uint64_t *end) VT_MUST_CHECK;

/* ---- candidate.c ---- */

enum vt_rc vt_run_look(struct vt_run *r) VT_MUST_CHECK;
enum vt_rc vt_run_fill(struct vt_run *r, vt_time until, vt_time limit) VT_MUST_CHECK;
enum vt_rc vt_run_find_candidate(struct vt_run *r) VT_MUST_CHECK;

/* ---- status.c ---- */

bool vt_is_echo_command(const char *command);
/* A question's number and token; its text is still to be put. */
void vt_ask_anew(struct vt_run *r, struct vt_asked *a);
void vt_ask_number(struct vt_run *r, const char *command, struct vt_asked *a);
void vt_ask_kept(struct vt_run *r, struct vt_asked *a);
enum vt_rc vt_ask(struct vt_run *r, struct vt_asked *a, vt_time deadline) VT_MUST_CHECK;
enum vt_rc vt_wait_reply(struct vt_run *r, struct vt_asked *a, vt_time deadline) VT_MUST_CHECK;
enum vt_rc vt_read_block(struct vt_run *r, const struct vt_asked *a, vt_time deadline) VT_MUST_CHECK;
enum vt_rc vt_learn_block(struct vt_run *r, const struct vt_asked *a) VT_MUST_CHECK;
void vt_note_manners(struct vt_session *s, const struct vt_asked *a, bool echoed);
enum vt_rc vt_prove(struct vt_run *r, struct vt_asked *a) VT_MUST_CHECK;
enum vt_rc vt_prove_by_digits(struct vt_run *r, const char *command) VT_MUST_CHECK;

/* ---- output.c ---- */

enum vt_rc vt_find_echoes(struct vt_run *r, const struct vt_asked *a, uint64_t begin, uint64_t end,
                          struct vt_span *out, int max, int *count) VT_MUST_CHECK;
enum vt_rc vt_learn_lead(struct vt_run *r, uint64_t begin, uint64_t end) VT_MUST_CHECK;
void vt_add_span(struct vt_command *c, uint64_t begin, uint64_t end);
enum vt_rc vt_set_output(struct vt_run *r, uint64_t begin, uint64_t end,
                         const struct vt_span *others, int other_count) VT_MUST_CHECK;
enum vt_rc vt_settle(struct vt_run *r, const struct vt_asked *a) VT_MUST_CHECK;

/* ---- command.c ---- */

enum vt_rc vt_run_discard(struct vt_run *r) VT_MUST_CHECK;

#endif
