/* ssh_banner.c - what a server says before it lets anybody in.
 *
 * libssh2 has a function for it from 1.11 on, which knows only what came while it asked for
 * the methods.  An older one puts the message into a queue that nobody reads.  In every version
 * the message is a block of memory of its own, which we give and get back.
 */
#include "transport/ssh_private.h"

#include "base/ascii.h"
#include "base/wire.h"

#include <malloc.h>
#include <stdint.h>
#include <string.h>

#define MSG_USERAUTH_BANNER 53

/* Each run of blanks and line ends as one blank, none at either end. */
static size_t squeeze(const unsigned char *text, size_t n, char *out, size_t cap)
{
    size_t at = 0;
    for (size_t i = 0; i < n && at < cap; i++) {
        if (!vt_is_space((char)text[i]))
            out[at++] = (char)text[i];
        else if (at > 0 && out[at - 1] != ' ')
            out[at++] = ' ';
    }
    while (at > 0 && out[at - 1] == ' ')
        at--;
    return at;
}

static void add(struct vt_ssh *ssh, const char *text)
{
    size_t at = strlen(ssh->banners), room = sizeof ssh->banners - 1 - at;
    if (text[0] == '\0' || strstr(ssh->banners, text) != NULL || room < 2)
        return;
    if (at > 0) {
        ssh->banners[at++] = ' ';
        room--;
    }
    size_t n = strlen(text) < room ? strlen(text) : room;
    memcpy(ssh->banners + at, text, n);
    ssh->banners[at + n] = '\0';
}

void vt_ssh_note_banner(struct vt_ssh *ssh, const void *block)
{
    const unsigned char *p = block;
    char line[sizeof ssh->banners], shown[sizeof ssh->banners];
    if (!ssh->keeps_banners || p == NULL || p[0] != MSG_USERAUTH_BANNER)
        return;
    struct vt_cursor c = vt_cursor_of(p + 1, malloc_usable_size((void *)(uintptr_t)block) - 1);
    struct vt_span text = vt_take_bytes(&c), language = vt_take_bytes(&c);
    if (c.bad || language.n > 64)
        return;
    vt_show(line, squeeze(text.p, text.n, line, sizeof line), shown, sizeof shown);
    add(ssh, shown);
}
