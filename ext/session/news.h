/* news.h - the thread that tells callbacks what the drainer has read; drain.c has it. */
#ifndef VT_SESSION_NEWS_H
#define VT_SESSION_NEWS_H

#include "state.h"

struct news;

/* NULL: an exception is set. */
struct news *news_new(struct vt_drainer *drainer);
void news_free(struct news *n);
int news_traverse(struct news *n, visitproc visit, void *arg);

/* There is something to tell.  Without the GIL; n is a void * for vt_drainer_run. */
void news_due(void *n);

/* Ends the thread.  Without the GIL. */
void news_stop(struct news *n);

/* Has the Session's callbacks told, from now on until it is forgotten.  -1: an exception. */
int news_know(struct news *n, PyObject *session);
void news_forget(struct news *n, uint64_t id);
void news_forget_all(struct news *n);           /* in a fork's child */

#endif
