/* news.c - callbacks that are told of output: by who waits for it, or by a thread that tells what
 * the drainer has read.  That one is started with the first callback.
 *
 * Locks: the mutex guards is_due and stopping alone, and is never held while the GIL is waited
 * for; known and next_id are the GIL's.
 */
#include "news.h"

#include "object.h"

#define NEWS_MAX 64

struct news {
    struct vt_drainer *drainer;
    pthread_mutex_t mutex;
    pthread_cond_t due;
    bool is_due, stopping;
    bool has_teller;
    pthread_t teller;
    PyInterpreterState *interpreter;
    PyObject *known;                /* {id: weak reference to its Session} */
    uint64_t next_id;
};

/* ---- callbacks ---- */

/* Calls them all, whatever one raises: what the first raised is left set. */
int session_tell_news(PyObject *op)
{
    struct session *self = session_of(op);
    PyObject *news = self->news, *raised = NULL;
    uint64_t first, total;
    vt_store_range(&self->s->store, &first, &total);
    if (news == NULL || (self->told == total && self->s->ended == VT_OK))
        return 0;
    self->told = total;
    Py_INCREF(news);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(news); i++) {
        PyObject *res = PyObject_CallNoArgs(PyTuple_GET_ITEM(news, i));
        if (res == NULL && raised == NULL)
            raised = PyErr_GetRaisedException();
        else if (res == NULL)
            PyErr_WriteUnraisable(PyTuple_GET_ITEM(news, i));
        Py_XDECREF(res);
    }
    Py_DECREF(news);
    if (raised != NULL)
        PyErr_SetRaisedException(raised);
    return raised != NULL ? -1 : 0;
}

/* ---- the thread ---- */

void news_due(void *ctx)
{
    struct news *n = ctx;
    pthread_mutex_lock(&n->mutex);
    n->is_due = true;
    pthread_cond_signal(&n->due);
    pthread_mutex_unlock(&n->mutex);
}

/* Waits for news; false: it is over. */
static bool wait_news(struct news *n)
{
    pthread_mutex_lock(&n->mutex);
    while (!n->is_due && !n->stopping)
        pthread_cond_wait(&n->due, &n->mutex);
    bool go_on = !n->stopping;
    n->is_due = false;
    pthread_mutex_unlock(&n->mutex);
    return go_on;
}

/* The Session of that id as a new reference; NULL: it is gone. */
static PyObject *find(struct news *n, uint64_t id)
{
    PyObject *key = PyLong_FromUnsignedLongLong(id);
    PyObject *ref = key == NULL ? NULL : PyDict_GetItemWithError(n->known, key);
    PyObject *session = ref == NULL ? NULL : PyObject_CallNoArgs(ref);
    Py_XDECREF(key);
    if (session == Py_None)
        Py_CLEAR(session);
    return session;
}

/* A callback, and the last reference, may have Python close the session: nobody of ours is
 * inside it here. */
static void tell(struct news *n, uint64_t id)
{
    PyObject *session = find(n, id);
    if (session != NULL && session_tell_news(session) < 0)
        PyErr_WriteUnraisable(session);     /* nobody waits whom it could be told */
    else if (PyErr_Occurred())
        PyErr_WriteUnraisable(NULL);
    Py_XDECREF(session);
}

static void *tell_news(void *ctx)
{
    struct news *n = ctx;
    PyThreadState *thread = PyThreadState_New(n->interpreter);
    uint64_t ids[NEWS_MAX];
    while (thread != NULL && wait_news(n)) {
        int count = vt_drainer_take_news(n->drainer, ids, NEWS_MAX);
        if (count == NEWS_MAX)
            news_due(n);                    /* there may be more */
        PyEval_RestoreThread(thread);
        for (int i = 0; i < count; i++)
            tell(n, ids[i]);
        PyEval_SaveThread();
    }
    if (thread != NULL) {
        PyEval_RestoreThread(thread);
        PyThreadState_Clear(thread);
        PyThreadState_DeleteCurrent();
    }
    return NULL;
}

void news_stop(struct news *n)
{
    pthread_mutex_lock(&n->mutex);
    n->stopping = true;
    pthread_cond_signal(&n->due);
    pthread_mutex_unlock(&n->mutex);
    if (n->has_teller)
        pthread_join(n->teller, NULL);
}

/* ---- whom it knows ---- */

struct news *news_new(struct vt_drainer *drainer)
{
    struct news *n = PyMem_Calloc(1, sizeof *n);
    if (n == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    n->drainer = drainer;
    n->interpreter = PyThreadState_Get()->interp;
    pthread_mutex_init(&n->mutex, NULL);
    pthread_cond_init(&n->due, NULL);
    n->known = PyDict_New();
    if (n->known == NULL) {
        PyMem_Free(n);
        return NULL;
    }
    return n;
}

void news_forget_all(struct news *n)
{
    Py_CLEAR(n->known);
}

void news_free(struct news *n)
{
    news_forget_all(n);
    PyMem_Free(n);
}

int news_traverse(struct news *n, visitproc visit, void *arg)
{
    Py_VISIT(n->known);
    return 0;
}

int news_know(struct news *n, PyObject *session)
{
    struct vt_watch *watch = &session_of(session)->s->watch;
    if (!n->has_teller) {
        n->has_teller = thread_start(&n->teller, tell_news, n, "virtvm-news") == 0;
        if (!n->has_teller)
            return -1;
    }
    if (watch->id != 0)
        return 0;
    PyObject *key = PyLong_FromUnsignedLongLong(++n->next_id);
    PyObject *ref = key == NULL ? NULL : PyWeakref_NewRef(session, NULL);
    int rc = ref == NULL ? -1 : PyDict_SetItem(n->known, key, ref);
    if (rc == 0)
        watch->id = n->next_id;
    Py_XDECREF(key);
    Py_XDECREF(ref);
    return rc;
}

void news_forget(struct news *n, uint64_t id)
{
    PyObject *key = id == 0 ? NULL : PyLong_FromUnsignedLongLong(id);
    if (key != NULL && n->known != NULL && PyDict_DelItem(n->known, key) < 0)
        PyErr_Clear();
    Py_XDECREF(key);
}
