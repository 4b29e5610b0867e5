/* shown_driver.c - what a line shows and whether it echoes a command, for tests with a terminal of their own.
 *
 * Reads records: a letter, and texts, each with its length (4 bytes, little endian) before it.
 *   s LINE                   writes what it shows, with its length before it
 *   e PROMPT COMMAND TEXT    writes one byte: '1' if TEXT begins with the command's echo, whole, else '0'
 */
#include "console/text.h"
#include "shell/echo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text { char *data; size_t n; };

static struct text read_text(void)
{
    unsigned char size[4];
    struct text t;
    if (fread(size, 1, 4, stdin) != 4)
        exit(1);
    t.n = size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16;
    t.data = malloc(t.n + 1);
    if (t.data == NULL || fread(t.data, 1, t.n, stdin) != t.n)
        exit(1);
    return t;
}

static void shown(void)
{
    struct text line = read_text();
    char *out = malloc(line.n + 1);
    if (out == NULL)
        exit(1);
    size_t n = vt_shown(line.data, line.n, out);
    unsigned char size[4] = {n & 255, n >> 8 & 255, n >> 16 & 255, 0};
    fwrite(size, 1, 4, stdout);
    fwrite(out, 1, n, stdout);
    free(out);
    free(line.data);
}

static void echoed(void)
{
    struct text prompt = read_text(), cmd = read_text(), text = read_text();
    size_t end = 0;
    char *before = malloc(prompt.n + 1);
    if (before == NULL)
        exit(1);
    size_t n = vt_shown(prompt.data, prompt.n, before);
    int yes = vt_echo_align(cmd.data, cmd.n, text.data, text.n, &end) == VT_ECHO_DONE
              || vt_echo_drawn(before, n, cmd.data, cmd.n, text.data, text.n, &end);
    putchar(yes ? '1' : '0');
    free(before);
    free(prompt.data);
    free(cmd.data);
    free(text.data);
}

int main(void)
{
    for (int c; (c = getchar()) != EOF;) {
        if (c == 's')
            shown();
        else
            echoed();
        fflush(stdout);
    }
    return 0;
}
