/* output.c - what a session has said, as Python gets it. */
#include "object.h"

#include "console/text.h"

/* vt_store_copy; much of it may be in a file: then others have Python meanwhile. */
static enum vt_rc copy(struct vt_session *s, uint64_t *begin, uint64_t end, char *to)
{
    if (end - *begin < COPY_SOME)
        return vt_store_copy(&s->store, begin, end, to);
    enum vt_rc rc;
    Py_BEGIN_ALLOW_THREADS
    rc = vt_store_copy(&s->store, begin, end, to);
    Py_END_ALLOW_THREADS
    return rc;
}

PyObject *output_bytes(struct vt_session *s, uint64_t begin, uint64_t end)
{
    uint64_t first, total;
    vt_store_range(&s->store, &first, &total);
    if (begin < first)
        begin = first < end ? first : end;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(end - begin));
    if (bytes == NULL)
        return NULL;
    if (copy(s, &begin, end, PyBytes_AS_STRING(bytes)) != VT_OK) {
        Py_DECREF(bytes);
        PyErr_SetString(PyExc_OSError, "cannot read back the session's output");
        return NULL;
    }
    if ((Py_ssize_t)(end - begin) != PyBytes_GET_SIZE(bytes))
        _PyBytes_Resize(&bytes, (Py_ssize_t)(end - begin));
    return bytes;
}

/* The same up to the newest byte.  If all of it is overwritten before it is copied: what the
 * window held at that instant. */
static PyObject *newest_bytes(struct vt_session *s, uint64_t begin)
{
    uint64_t first, end;
    vt_store_range(&s->store, &first, &end);
    PyObject *bytes = output_bytes(s, begin < end ? begin : end, end);
    if (bytes == NULL || PyBytes_GET_SIZE(bytes) > 0 || begin >= end)
        return bytes;
    Py_DECREF(bytes);
    vt_store_range(&s->store, &first, &end);
    return output_bytes(s, end > MEMORY_BOUND / 2 ? end - MEMORY_BOUND / 2 : 0, end);
}

PyObject *output_clean(struct vt_session *s, PyObject *bytes)
{
    if (bytes != NULL && s->crlf) {
        size_t n = vt_strip_cr(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
        if ((Py_ssize_t)n != PyBytes_GET_SIZE(bytes))
            _PyBytes_Resize(&bytes, (Py_ssize_t)n);
    }
    return bytes;
}

PyObject *output_join(PyObject *first, PyObject *last, uint64_t left_out)
{
    PyObject *mark = PyBytes_FromFormat("\n[virtvm: %llu bytes are left out here]\n",
                                        (unsigned long long)left_out);
    if (last != NULL && mark != NULL)
        PyBytes_Concat(&first, mark);
    if (last != NULL && mark != NULL && first != NULL)
        PyBytes_Concat(&first, last);
    if (last == NULL || mark == NULL)
        Py_CLEAR(first);
    Py_XDECREF(last);
    Py_XDECREF(mark);
    return first;
}

const char session_read_doc[] =
    "read($self, /, silence, timeout, limit=0)\n--\n\n"
    "Return (output, why): output (bytes) that nobody has read yet.\n\n"
    "Reads until no byte came for `silence` seconds (why 'quiet'), `timeout` seconds have\n"
    "passed ('timeout'), or the stream has ended ('eof', or another code).  A negative\n"
    "silence ends at the first output, once nothing more is pending.  With a limit it ends\n"
    "once there are so many bytes ('limit'), and returns no more; the others are for the next.";

static enum vt_rc read_more(struct call *c, double silence, uint64_t limit)
{
    struct vt_session *s = session_of(c->self)->s;
    if (silence >= 0)
        return vt_session_quiet(s, &c->waiter, vt_span(silence), limit, c->deadline);
    vt_time deadline = s->read_at < s->store.total ? vt_now() : c->deadline;
    enum vt_rc rc = vt_session_fill(s, &c->waiter, deadline, NULL);
    return rc == VT_TIMEOUT && s->read_at < s->store.total ? VT_OK : rc;
}

static const char *why(enum vt_rc rc)
{
    return rc == VT_OK ? "quiet" : rc == VT_TIMEOUT ? "timeout" : rc == VT_EOF ? "eof"
         : rc == VT_CLOSED ? "closed" : rc == VT_TOOBIG ? "limit" : "error";
}

PyObject *session_read(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"silence", "timeout", "limit", NULL};
    double silence, timeout;
    unsigned long long limit = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "dd|K:read", names, &silence, &timeout, &limit))
        return NULL;
    struct call c;
    call_init(&c, session_state(self), timeout);
    if (!call_enter(&c, self))
        return call_failed(&c, NULL);
    c.rc = read_more(&c, silence, limit);
    vt_session_flush(session_of(self)->s);
    call_acquire(&c);
    struct vt_session *s = session_of(self)->s;
    PyObject *output = NULL;
    uint64_t end = limit > 0 && s->store.total - s->read_at > limit ? s->read_at + limit : s->store.total;
    if (c.raised == NULL && (output = output_clean(s, output_bytes(s, s->read_at, end))) != NULL)
        s->read_at = end;
    call_leave_soon(&c);
    if (output == NULL)
        return call_result(&c, NULL);
    return call_result(&c, Py_BuildValue("(Ns)", output, why(c.rc)));
}

const char session_output_doc[] =
    "output($self, start=0, /)\n--\n\n"
    "All output from offset `start` on (bytes), whether read or not, CR before LF removed\n"
    "on lines that end so, less what is forgotten by then.  Does not wait; works on a closed\n"
    "session too.";

/* Takes in what is pending, unless another thread owns the session: then that one does. */
static void take_in(struct call *c, PyObject *self)
{
    call_init(c, session_state(self), 0);
    if (session_of(self)->s->closed || !call_try_enter(c, self))
        return;
    c->rc = vt_session_fill(session_of(self)->s, &c->waiter, c->deadline, NULL);
    call_leave(c);
}

PyObject *session_output(PyObject *self, PyObject *args)
{
    unsigned long long start = 0;
    if (!PyArg_ParseTuple(args, "|K:output", &start))
        return NULL;
    struct call c;
    struct vt_session *s = session_of(self)->s;
    take_in(&c, self);
    return call_result(&c, c.raised != NULL ? NULL : output_clean(s, newest_bytes(s, start)));
}

const char session_peek_doc[] =
    "peek($self, start, limit, raw=False, /)\n--\n\n"
    "Return (next, output): at most `limit` bytes of output from offset `start` on, and the\n"
    "offset behind them.  Takes in nothing, never waits, and works in any thread.  Raw output has\n"
    "each CR, so that its bytes are as many as the offsets say.";

PyObject *session_peek(PyObject *self, PyObject *args)
{
    unsigned long long start, limit;
    int raw = 0;
    if (!PyArg_ParseTuple(args, "KK|p:peek", &start, &limit, &raw))
        return NULL;
    uint64_t first, end;
    vt_store_range(&session_of(self)->s->store, &first, &end);
    if (start < first)
        start = first;
    if (start > end)
        start = end;
    if (limit < end - start)
        end = start + limit;
    PyObject *bytes = output_bytes(session_of(self)->s, start, end);
    if (!raw)
        bytes = output_clean(session_of(self)->s, bytes);
    return bytes == NULL ? NULL : Py_BuildValue("(KN)", (unsigned long long)end, bytes);
}

const char session_find_crash_doc[] =
    "find_crash($self, /)\n--\n\n"
    "The text of a kernel crash seen so far (bytes), or None.  Nothing is scanned twice.";

PyObject *session_find_crash(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct call c;
    struct vt_session *s = session_of(self)->s;
    uint64_t begin, end;
    take_in(&c, self);              /* else whoever has it scans what comes */
    bool found = vt_session_crash(s, &begin, &end);
    return call_result(&c, c.raised != NULL || !found ? Py_NewRef(Py_None)
                                                      : output_clean(s, output_bytes(s, begin, end)));
}

const char session_poll_doc[] =
    "poll($self, /)\n--\n\n"
    "Take in what has come, without waiting; whether the stream is still open.";

PyObject *session_poll(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct call c;
    struct vt_session *s = session_of(self)->s;
    if (s->closed)
        Py_RETURN_FALSE;
    call_init(&c, session_state(self), 0);
    if (!call_try_enter(&c, self)) {
        bool busy = c.rc == VT_TIMEOUT || c.rc == VT_NESTED;
        if (!busy && c.rc != VT_CLOSED)
            return call_failed(&c, NULL);
        return call_result(&c, PyBool_FromLong(busy && s->ended == VT_OK));
    }
    c.rc = vt_session_fill(s, &c.waiter, c.deadline, NULL);
    bool open = s->ended == VT_OK;
    vt_session_ask_status(s);
    call_leave(&c);
    return call_result(&c, PyBool_FromLong(open));
}

const char session_wait_doc[] =
    "wait($self, timeout, /)\n--\n\n"
    "Take in output until the stream ends or `timeout` seconds have passed; whether it ended.";

PyObject *session_wait(PyObject *self, PyObject *args)
{
    double timeout;
    if (!PyArg_ParseTuple(args, "d:wait", &timeout))
        return NULL;
    struct call c;
    if (session_of(self)->s->closed)
        Py_RETURN_TRUE;
    call_init(&c, session_state(self), timeout);
    if (call_enter(&c, self)) {
        do
            c.rc = vt_session_fill(session_of(self)->s, &c.waiter, c.deadline, NULL);
        while (c.rc == VT_OK && (c.rc = vt_wait_check(&c.waiter, c.deadline)) == VT_OK);
        if (session_of(self)->s->ended != VT_OK)
            vt_session_ask_status(session_of(self)->s);
        call_leave(&c);
    }
    if (c.rc == VT_NESTED)
        return call_failed(&c, NULL);
    return call_result(&c, PyBool_FromLong(c.rc != VT_OK && c.rc != VT_TIMEOUT));
}
