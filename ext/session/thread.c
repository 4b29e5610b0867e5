/* thread.c - threads of the module, of plain C. */
#include "state.h"

#include <pthread.h>
#include <signal.h>

int thread_start(pthread_t *thread, void *(*body)(void *), void *ctx, const char *name)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int sys = pthread_create(thread, NULL, body, ctx);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (sys == 0) {
        pthread_setname_np(*thread, name);
        return 0;
    }
    errno = sys;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}
