/* message.h - what the kernel and the init system write onto a console, amid anything else.
 * Pure functions over bytes. */
#ifndef VT_MESSAGE_H
#define VT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the message that text begins with, its newline included: a line that begins with
 * the kernel's time ("[   12.345678] ") or with what systemd says of a unit ("[  OK  ] ").  0 if
 * there is none; n, with *open set, if its end has not come yet. */
size_t vt_message_len(const char *text, size_t n, bool *open);

/* Copies text without the messages in it, wherever on a line they begin; out takes n bytes, map
 * (of n + 1 entries) gets where each of them stood, and at the end n.  The length is returned; *some says
 * whether there was a message. */
size_t vt_messages_leave_out(const char *text, size_t n, char *out, uint32_t *map, bool *some);

/* Whether one of the last two lines holds a message. */
bool vt_messages_near_end(const char *text, size_t n);

#endif
