/* text.h - terminal output as text: what a line shows, where the last line is,
 * where the echo of a typed command ends.  Pure functions over bytes. */
#ifndef VT_TEXT_H
#define VT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Offset of the last line: after the last LF, or 0. */
size_t vt_last_line(const char *text, size_t n);

/* [*begin, *end) of the last line that has more than blanks; false if there is none. */
bool vt_last_nonblank(const char *text, size_t n, size_t *begin, size_t *end);

/* Whether all bytes are blanks, CR, LF or parts of escape sequences. */
bool vt_is_blank(const char *text, size_t n);

/* Length of the escape sequence that begins at text[0] == ESC: CSI, OSC up to BEL or
 * ST, two- and three-byte ones.  0 if it is cut off by the end. */
size_t vt_escape_len(const char *text, size_t n);

/* What a terminal shows of one line: escapes and BEL removed, CR and BS overstrike,
 * "erase to end of line" obeyed; trailing blanks stay.  out takes at most n bytes and
 * may not overlap; the length is returned. */
size_t vt_shown(const char *line, size_t n, char *out);

/* Follows the echo of a typed command. */
enum vt_echo { VT_ECHO_MORE, VT_ECHO_DONE, VT_ECHO_NONE };

/* Aligns text with the command's echo.  DONE: *end is where output begins, after the
 * newline that ends the echo.  NONE: the text is not the echo.  MORE: undecided until
 * more text comes. */
enum vt_echo vt_echo_align(const char *cmd, size_t cmd_len, const char *text, size_t n, size_t *end);

/* Finds the echo of cmd anywhere in text: [*begin, *end), newline included. */
bool vt_echo_find(const char *cmd, size_t cmd_len, const char *text, size_t n,
                  size_t *begin, size_t *end);

/* Removes, in place, each CR that stands before LF (and before another such CR).
 * The new length is returned. */
size_t vt_strip_cr(char *text, size_t n);

/* Removes, in place, the switches of bracketed paste: ESC [ ? 2004 h, and l with the CR
 * that readline sends after it, and the LF that it adds where it echoes nothing.  The
 * new length is returned. */
size_t vt_strip_paste(char *text, size_t n, bool echoes);

#endif
