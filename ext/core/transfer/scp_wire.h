/* scp_wire.h - what the far end of scp says, byte by byte: the control lines and files of
 * `scp -f`, and the answers of `scp -t`.
 *
 * The parsers take bytes in any pieces and keep at most one line.
 */
#ifndef VT_SCP_WIRE_H
#define VT_SCP_WIRE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VT_SCP_LINE 1024

enum vt_scp_event {
    VT_SCP_MORE,                    /* all bytes are taken, and nothing is complete */
    VT_SCP_FILE,                    /* mode, size, name: answer, then vt_scp_expect_data */
    VT_SCP_FOLDER,                  /* mode, name: answer */
    VT_SCP_LEAVE,                   /* the folder's end: answer */
    VT_SCP_TIMES,                   /* mtime, atime, of what comes next: answer */
    VT_SCP_SAID,                    /* text: something failed over there; no answer */
    VT_SCP_DATA,                    /* data, data_len: of the file */
    VT_SCP_DONE,                    /* the file's end, all well: answer */
    VT_SCP_DONE_BADLY,              /* its end; text says what was wrong: answer */
    VT_SCP_BAD,                     /* no protocol that we know: text is what came */
};

enum vt_scp_state { VT_SCP_IN_LINE, VT_SCP_IN_DATA, VT_SCP_AT_DATA_END, VT_SCP_IN_DATA_WORDS };

struct vt_scp_parser {              /* zeroed: at the beginning */
    enum vt_scp_state state;
    char line[VT_SCP_LINE];
    bool is_line;                   /* the line is whole, and without a NUL, whatever it says */
    size_t len;
    uint64_t left;                  /* of the file's data */
    unsigned mode;
    uint64_t size;
    int64_t mtime, atime;
    const char *name, *text;        /* in line: until the next call */
    const unsigned char *data;
    size_t data_len;
};

/* Takes bytes up to the next event; *p and *n move on. */
enum vt_scp_event vt_scp_feed(struct vt_scp_parser *x, const unsigned char **p, size_t *n);

/* The file was accepted: its bytes come now. */
void vt_scp_expect_data(struct vt_scp_parser *x);

enum vt_scp_ack { VT_SCP_ACK_MORE, VT_SCP_ACK_OK, VT_SCP_ACK_REFUSED, VT_SCP_ACK_FATAL };

struct vt_scp_answers {             /* zeroed: at the beginning */
    char text[256];                 /* of a refusal; cut if longer */
    size_t len;
    enum vt_scp_ack kind;
    bool in_text;
};

/* Takes one byte of the answers to what was sent. */
enum vt_scp_ack vt_scp_answer(struct vt_scp_answers *a, unsigned char c);

#endif
