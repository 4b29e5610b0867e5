/* oops.h - finds what a kernel prints when it crashes or hangs, in a console log.
 *
 * Panics, oopses of x86, arm64 and others, BUG_ON, faults in the kernel, soft and hard lockups,
 * stalls of RCU and of work queues, hung tasks, corrupt memory (KASAN, KFENCE, KMSAN, SLUB, pages).
 * No warnings: a healthy kernel has some.  What a message must begin with is in oops.c.
 *
 * A message counts where the kernel puts it: behind its time in brackets, wherever that stands in
 * a line; at the start of a line in the logs of a kernel that shows no times.  Each byte is looked
 * at once, in whatever pieces the log arrives.
 */
#ifndef VT_OOPS_H
#define VT_OOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VT_OOPS_REPORTS 16
#define VT_OOPS_LINE 1024

struct vt_oops_report { uint64_t begin, end; };     /* offsets in the log */

struct vt_oops {
    uint64_t offset;            /* bytes seen so far */
    uint64_t line_begin;        /* offset of line[0] */
    size_t length;              /* of the line that is not complete yet */
    bool inside;                /* line[0] is not where its line begins: that was too long */
    bool timed;                 /* the kernel shows times */
    unsigned char kind;         /* of the report under way; 0: none is */
    bool traced;                /* it has shown a stack */
    unsigned lines, since;      /* lines of the report under way; since the last one */
    uint64_t time;              /* microseconds, of the last report's last line */
    uint64_t head;              /* offset of a line that may introduce a report, + 1; or 0 */
    int count;                  /* reports that are kept */
    uint64_t more;              /* reports that are not */
    struct vt_oops_report report[VT_OOPS_REPORTS];
    char line[VT_OOPS_LINE];
};

/* A zeroed struct is ready to use. */
/* Feeds the next n bytes of the log.  Never fails, allocates nothing. */
void vt_oops_feed(struct vt_oops *o, const void *data, size_t n);

/* The reports so far, the line that is not complete yet included; how many.  A report that
 * is still being printed reaches as far as it has come. */
int vt_oops_found(const struct vt_oops *o, struct vt_oops_report reports[VT_OOPS_REPORTS]);

#endif
