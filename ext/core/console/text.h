/* text.h - terminal output as text: what a line shows, where the last line is,
 * what is to be left out.  Pure functions over bytes. */
#ifndef VT_TEXT_H
#define VT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Offset of the last line: after the last LF, or 0. */
size_t vt_last_line(const char *text, size_t n);

/* How many LF there are. */
size_t vt_newlines(const char *text, size_t n);

/* Whether text ends with tail; no text ends with nothing. */
bool vt_ends_with(const char *text, size_t n, const char *tail, size_t m);

/* [*begin, *end) of the last line that has more than blanks; false if there is none. */
bool vt_last_nonblank(const char *text, size_t n, size_t *begin, size_t *end);

/* Whether all bytes are blanks, CR, LF or parts of escape sequences. */
bool vt_is_blank(const char *text, size_t n);

/* Whether a terminal shows nothing for that byte (BEL, NUL, shift in and out). */
bool vt_shows_nothing(char c);

/* Length of the escape sequence that begins at text[0] == ESC: CSI, OSC up to BEL or
 * ST, two- and three-byte ones; one that something else breaks off ends there.  0 if it is
 * cut off by the end. */
size_t vt_escape_len(const char *text, size_t n);

/* Whether two escape sequences are equal, or strings of the same number: a title is another one each time. */
bool vt_same_sequence(const char *a, size_t n, const char *b, size_t m);

/* What a terminal shows of one line: escapes and BEL removed, CR, BS and moves of the cursor
 * overstrike, erasing is obeyed; a gap that the cursor jumps over is one blank, and what stands
 * at the right edge, with the cursor left of it, is left out; trailing blanks stay.  out takes at
 * most n bytes and may not overlap; the length is returned. */
size_t vt_shown(const char *line, size_t n, char *out);

/* The same; map (may be NULL) gets where each byte of out stands in the line. */
size_t vt_shown_at(const char *line, size_t n, char *out, uint32_t *map);

/* Removes, in place, each CR that stands before LF (and before another such CR).
 * The new length is returned. */
size_t vt_strip_cr(char *text, size_t n);

/* Removes, in place, the switches of bracketed paste: ESC [ ? 2004 h, and l with the CR
 * that readline sends after it, and the LF that it adds where it echoes nothing.  The
 * new length is returned. */
size_t vt_strip_paste(char *text, size_t n, bool echoes);

/* Whether shells tell terminals by such a mark where prompts, commands and outputs begin: OSC 133 (of
 * many), 633 (of an editor) and 3008 (of systemd 258 and later, in each interactive bash). */
bool vt_is_mark(const char *text, size_t n);
bool vt_has_mark(const char *text, size_t n);

/* Removes them, in place, where they are whole.  The new length is returned. */
size_t vt_strip_marks(char *text, size_t n);

#endif
