/* log.c - a session's log file. */
#include "log.h"

#include "console/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64 * 1024)      /* longer ones are cut into lines of this */
#define BATCH_MAX (256 * 1024)

enum vt_rc vt_log_init(struct vt_log *l, const char *path)
{
    *l = (struct vt_log){.path = strdup(path)};
    vt_buf_init(&l->line, LINE_MAX_BYTES);
    vt_buf_init(&l->batch, BATCH_MAX + LINE_MAX_BYTES + 64);
    return l->path == NULL ? VT_NOMEM : VT_OK;
}

void vt_log_fini(struct vt_log *l)
{
    if (l->path != NULL) {
        vt_log_break(l);
        vt_log_flush(l);
    }
    free(l->path);
    vt_buf_fini(&l->line);
    vt_buf_fini(&l->batch);
    l->path = NULL;
}

/* "2026-11-24 12:00:00: ", as the original's log_line writes it. */
static void stamp(char out[32])
{
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M:%S: ", &tm);
}

/* In place: what a person can read of the line. */
static size_t readable(char *line, size_t n)
{
    size_t to = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)line[i];
        size_t seq = c == 033 ? vt_escape_len(line + i, n - i) : 0;
        if (seq > 0)
            i += seq - 1;
        else if (c == '\t' || (c >= ' ' && c != 127))
            line[to++] = line[i];
    }
    return to;
}

static void add_line(struct vt_log *l, const char *text, size_t n)
{
    char time_text[32];
    stamp(time_text);
    if (l->batch.len >= BATCH_MAX)
        vt_log_flush(l);
    if (vt_buf_add(&l->batch, time_text, strlen(time_text)) != VT_OK
        || vt_buf_add(&l->batch, text, n) != VT_OK || vt_buf_add(&l->batch, "\n", 1) != VT_OK)
        vt_buf_clear(&l->batch);        /* no memory: these lines are lost */
}

static void end_line(struct vt_log *l)
{
    l->line.len = readable(l->line.data, l->line.len);
    add_line(l, l->line.data, l->line.len);
    vt_buf_clear(&l->line);
}

static void take(struct vt_log *l, const char *data, size_t n)
{
    while (n > 0) {
        size_t room = LINE_MAX_BYTES - l->line.len, some = n < room ? n : room;
        if (vt_buf_add(&l->line, data, some) != VT_OK)
            return;
        data += some;
        n -= some;
        if (n > 0)
            end_line(l);
    }
}

void vt_log_feed(struct vt_log *l, const char *data, size_t n)
{
    if (l->path == NULL)
        return;
    while (n > 0) {
        const char *lf = memchr(data, '\n', n);
        size_t len = lf == NULL ? n : (size_t)(lf - data);
        take(l, data, len);
        if (lf == NULL)
            return;
        end_line(l);
        data += len + 1;
        n -= len + 1;
    }
}

void vt_log_break(struct vt_log *l)
{
    if (l->path != NULL && l->line.len > 0)
        end_line(l);
}

void vt_log_note(struct vt_log *l, const char *text)
{
    if (l->path == NULL)
        return;
    vt_log_break(l);
    add_line(l, text, strlen(text));
}

void vt_log_flush(struct vt_log *l)
{
    if (l->path == NULL || l->batch.len == 0)
        return;
    int fd = open(l->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    for (size_t at = 0; fd >= 0 && at < l->batch.len;) {
        ssize_t put = write(fd, l->batch.data + at, l->batch.len - at);
        if (put <= 0)
            break;
        at += (size_t)put;
    }
    if (fd >= 0)
        close(fd);
    vt_buf_clear(&l->batch);
}
