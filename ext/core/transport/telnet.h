/* telnet.h - the Telnet protocol as a well-behaved client speaks it, over bytes.
 *
 * RFC 854 and 855; options: echo (857) and suppress-go-ahead (858) are welcome from the
 * server, terminal type (1091) and window size (1073) are told when asked; everything
 * else is refused.  Answers are given to changes only (the rule of RFC 1143), so that
 * two ends never argue without end.
 */
#ifndef VT_TELNET_H
#define VT_TELNET_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define VT_TELNET_SUB_MAX 64    /* bytes kept of a subnegotiation */

struct vt_telnet {
    unsigned char state;
    unsigned char verb;                     /* WILL, WONT, DO or DONT, awaiting its option */
    unsigned char sub[VT_TELNET_SUB_MAX];
    size_t sub_len;
    uint16_t rows, columns;                 /* of our terminal; 0x0: there is none to know */
    bool after_cr;                          /* a NUL after CR is no data */
    uint32_t server[8], client[8];          /* options in force, a bit each */
};

/* A zeroed struct is ready to use. */
/* Takes what the server sent: text goes to out, answers to reply (both bounded by their
 * own limits: VT_TOOBIG; VT_NOMEM). */
enum vt_rc vt_telnet_decode(struct vt_telnet *t, const void *data, size_t n,
                            struct vt_buf *out, struct vt_buf *reply) VT_MUST_CHECK;

/* Appends data as it goes over the wire: IAC doubled, a CR that stands alone made CR NUL. */
enum vt_rc vt_telnet_encode(const void *data, size_t n, struct vt_buf *wire) VT_MUST_CHECK;

/* Takes our terminal's size; appends what tells the server, if it has asked for it (else it
 * is told when it asks). */
enum vt_rc vt_telnet_resize(struct vt_telnet *t, uint16_t rows, uint16_t columns, struct vt_buf *wire) VT_MUST_CHECK;

#endif
