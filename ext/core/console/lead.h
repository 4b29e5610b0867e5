/* lead.h - what a shell sends between a command's echo and its output, for nobody to see: it turns its
 * terminal modes off, sets the window's title, marks where the output begins.  Learned from the
 * question for a status, whose output is known. */
#ifndef VT_LEAD_H
#define VT_LEAD_H

#include <stdbool.h>
#include <stddef.h>

#define VT_LEAD_MAX 1024        /* a longer one is not learned */

struct vt_lead {
    char text[VT_LEAD_MAX];
    size_t len;
};

/* Takes text for the lead, if it shows nothing; else the lead stays what it was (false). */
bool vt_lead_learn(struct vt_lead *l, const char *text, size_t n);

/* How much of the begin of text is the lead: its sequences in their order, each once; some may be
 * missing, and strings (titles) have another text. */
size_t vt_lead_len(const struct vt_lead *l, const char *text, size_t n);

/* Where the lead ends that is the first one at the begin of a line of text; 0: there is none, or too little is
 * known of it.  It is known by its strings (a title, a mark), all of them: nothing that an editor draws is like
 * those, over however many rows.  paste: that bracketed paste is turned off counts as one. */
size_t vt_lead_find(const struct vt_lead *l, bool paste, const char *text, size_t n);

#endif
