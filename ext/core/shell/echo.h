/* echo.h - where the echo of a typed command ends.  Pure functions over bytes. */
#ifndef VT_ECHO_H
#define VT_ECHO_H

#include <stdbool.h>
#include <stddef.h>

/* Follows the echo of a typed command. */
enum vt_echo { VT_ECHO_MORE, VT_ECHO_DONE, VT_ECHO_NONE };

/* Aligns text with the command's echo.  DONE: *end is where output begins, after the
 * newline that ends the echo.  NONE: the text is not the echo.  MORE: undecided until
 * more text comes. */
enum vt_echo vt_echo_align(const char *cmd, size_t cmd_len, const char *text, size_t n, size_t *end);

/* Finds the echo of cmd anywhere in text: [*begin, *end), newline included. */
bool vt_echo_find(const char *cmd, size_t cmd_len, const char *text, size_t n,
                  size_t *begin, size_t *end);

/* Whether text shows nothing but the command's begin: an editor shows what is typed, and draws it anew. */
bool vt_echo_begun(const char *cmd, size_t cmd_len, const char *text, size_t n);

/* Whether the first line of text, with the prompt before it, shows the prompt and cmd behind it, or
 * cmd's end: how a line editor echoes that draws its line again and again, or scrolls it.  *end is
 * where output begins. */
bool vt_echo_drawn(const char *prompt, size_t prompt_len, const char *cmd, size_t cmd_len,
                   const char *text, size_t n, size_t *end);

/* What a row (without its newline) is that may show a later line of a command, and what stands before that. */
enum vt_row {
    VT_ROW_OTHER,
    VT_ROW_WITHIN,      /* the line, behind a prompt within the command; or its end, scrolled */
    VT_ROW_HEAD,        /* the line, behind something else, which ends at *head */
};
enum vt_row vt_echo_row(const char *cmd, size_t cmd_len, const char *row, size_t n, size_t *head);

#endif
