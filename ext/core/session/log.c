/* log.c - a session's log file. */
#include "session/log.h"

#include "console/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES (64 * 1024)      /* longer ones are cut into lines of this */
#define BATCH_MAX (256 * 1024)

enum vt_rc vt_log_init(struct vt_log *l, const char *path)
{
    *l = (struct vt_log){.path = strdup(path), .max = VT_LOG_MAX};
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
    vt_log_forget(l);
    vt_buf_fini(&l->line);
    vt_buf_fini(&l->batch);
}

void vt_log_forget(struct vt_log *l)
{
    vt_log_writer_free(l->writer);
    l->writer = NULL;
    free(l->path);
    l->path = NULL;
}

void vt_log_disown(struct vt_log *l)
{
    l->writer = NULL;
    vt_log_forget(l);
}

/* "2026-11-24 12:00:00: ", as the original's log_line writes it; made once a second. */
static const char *stamp(struct vt_log *l)
{
    time_t now = time(NULL);
    struct tm tm;
    if (now != l->stamped) {
        localtime_r(&now, &tm);
        strftime(l->stamp, sizeof l->stamp, "%Y-%m-%d %H:%M:%S: ", &tm);
        l->stamped = now;
    }
    return l->stamp;
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
    const char *time_text = stamp(l);
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

/* Cuts the batch at the end of a line, so that the log stays within its bound. */
static void cut_batch(struct vt_log *l)
{
    static const char last[] = "virtvm: the log ends here, it has reached its bound\n";
    uint64_t room = l->max > l->written ? l->max - l->written : 0;
    if (l->batch.len <= room)
        return;
    size_t keep = (size_t)room;
    while (keep > 0 && l->batch.data[keep - 1] != '\n')
        keep--;
    l->batch.len = keep;
    (void)!vt_buf_add(&l->batch, last, sizeof last - 1);
    l->max = 0;
}

/* The first batch goes through a writer, which finds out where the file is.  Who can have no
 * writer takes the risk. */
static void write_batch(struct vt_log *l)
{
    if (!l->is_here && l->writer == NULL)
        l->writer = vt_log_writer_new(l->path);
    if (l->writer == NULL) {
        (void)!vt_log_write(l->path, l->batch.data, l->batch.len, NULL);
        return;
    }
    vt_log_writer_put(l->writer, l->batch.data, l->batch.len);
    l->is_here = vt_log_writer_is_needless(l->writer);
    if (l->is_here) {
        vt_log_writer_free(l->writer);
        l->writer = NULL;
    }
}

void vt_log_flush(struct vt_log *l)
{
    if (l->path == NULL || l->batch.len == 0)
        return;
    cut_batch(l);
    l->written += l->batch.len;
    write_batch(l);
    vt_buf_clear(&l->batch);
    if (l->max == 0)
        vt_log_forget(l);
}
