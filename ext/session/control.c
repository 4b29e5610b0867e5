/* control.c - what is sent to the far end, who is told of output, and what ends it. */
#include "object.h"

#include "keeper/keeper.h"

#include <unistd.h>

const char session_write_doc[] =
    "write($self, data, timeout=10.0, /)\n--\n\n"
    "Send bytes to the far end, all of them.";

PyObject *session_write(PyObject *self, PyObject *args)
{
    Py_buffer data;
    double timeout = 10.0;
    if (!PyArg_ParseTuple(args, "y*|d:write", &data, &timeout))
        return NULL;
    struct call c;
    call_init(&c, session_state(self), timeout);
    if (call_enter(&c, self)) {
        struct vt_session *s = session_of(self)->s;
        vt_log_break(&s->log);
        s->typed = true;
        s->typed_at = s->store.total;
        c.rc = vt_session_write(s, data.buf, (size_t)data.len, &c.waiter, c.deadline);
        session_note(&c, VT_STAGE_NONE);
        call_leave(&c);
    }
    PyBuffer_Release(&data);
    return c.rc == VT_OK ? call_result(&c, Py_NewRef(Py_None)) : call_failed(&c, NULL);
}

const char session_resize_doc[] =
    "resize($self, rows, columns, timeout=10.0, /)\n--\n\n"
    "Tell the far end how large the terminal is (1 to 65535 each); return whether there is a\n"
    "way to tell: over SSH and Telnet, and to a local process\n"
    "that does not outlive Python.";

PyObject *session_resize(PyObject *self, PyObject *args)
{
    int rows, columns;
    double timeout = 10.0;
    if (!PyArg_ParseTuple(args, "ii|d:resize", &rows, &columns, &timeout))
        return NULL;
    if (rows < 1 || rows > 65535 || columns < 1 || columns > 65535)
        return PyErr_Format(PyExc_ValueError, "no terminal has %d rows of %d columns", rows, columns);
    struct call c;
    call_init(&c, session_state(self), timeout);
    if (!call_enter(&c, self))
        return call_failed(&c, NULL);
    bool can = session_of(self)->s->t->ops->resize != NULL;
    if (can)
        c.rc = vt_session_resize(session_of(self)->s, (unsigned)rows, (unsigned)columns, &c.waiter, c.deadline);
    session_note(&c, VT_STAGE_NONE);
    call_leave(&c);
    return c.rc == VT_OK ? call_result(&c, PyBool_FromLong(can)) : call_failed(&c, NULL);
}

const char session_give_up_doc[] =
    "give_up($self, seconds, /)\n--\n\n"
    "Have it closed in so many seconds, or when it ends, unless this is called again with a negative\n"
    "number.  False: it has ended, or was closed.";

PyObject *session_give_up(PyObject *self, PyObject *args)
{
    double seconds;
    bool lives;
    if (!PyArg_ParseTuple(args, "d:give_up", &seconds))
        return NULL;
    struct vt_session *s = session_of(self)->s;
    Py_BEGIN_ALLOW_THREADS
    lives = vt_session_give_up(s, seconds < 0 ? VT_FOREVER : vt_deadline(seconds));
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(lives);
}

const char session_kill_doc[] =
    "kill($self, sig, /)\n--\n\n"
    "Send signal `sig` to a local process and all its descendants, whoever waits for it;\n"
    "whether there was one.  False on other transports, and in a fork's child.";

PyObject *session_kill(PyObject *self, PyObject *args)
{
    int sig;
    struct vt_session *s = session_of(self)->s;
    if (!PyArg_ParseTuple(args, "i:kill", &sig))
        return NULL;
    if (s->pid != getpid() || s->closed || s->ended != VT_OK || s->t->ops->kill == NULL)
        Py_RETURN_FALSE;
    enum vt_rc rc;
    Py_BEGIN_ALLOW_THREADS              /* it walks through all processes */
    rc = s->t->ops->kill(s->t, sig);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(rc == VT_OK);
}

const char session_mark_told_doc[] =
    "mark_told($self, offset, /)\n--\n\n"
    "Let a keeper know how far callbacks have come with the output.";

PyObject *session_mark_told(PyObject *self, PyObject *args)
{
    unsigned long long offset;
    if (!PyArg_ParseTuple(args, "K:mark_told", &offset))
        return NULL;
    vt_kept_mark_told(session_of(self)->s, offset);
    Py_RETURN_NONE;
}

const char session_claim_doc[] =
    "claim($self, /)\n--\n\n"
    "Its id is known now: from here on a process that keep() started outlives this object.";

PyObject *session_claim(PyObject *self, PyObject *unused)
{
    (void)unused;
    vt_kept_claim(session_of(self)->s);
    Py_RETURN_NONE;
}

const char session_dismiss_doc[] =
    "dismiss($self, /)\n--\n\n"
    "Have a keeper end the process and forget it; nothing on other transports.";

PyObject *session_dismiss(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct call c;
    bool done = false;
    if (session_of(self)->s->closed || !vt_is_kept(session_of(self)->s))
        Py_RETURN_FALSE;                /* whoever waits for it is woken by close */
    call_init(&c, session_state(self), 10.0);
    if (call_enter(&c, self)) {
        done = vt_kept_dismiss(session_of(self)->s, &c.waiter);
        call_leave(&c);
    }
    return call_result(&c, PyBool_FromLong(done));
}

const char session_shrink_doc[] =
    "shrink($self, /)\n--\n\n"
    "Once it is closed: give back the disk space of its output, all but the newest MiB.";

PyObject *session_shrink(PyObject *self, PyObject *unused)
{
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    vt_session_shrink(session_of(self)->s);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

const char session_close_doc[] =
    "close($self, /)\n--\n\n"
    "End the session: wake whoever waits for it, say goodbye, release its descriptors'\n"
    "peers.  Its output stays readable.  May be called again, and from any thread: by one\n"
    "that is inside a call (in a signal handler, a callback) it ends when that call ends.";

PyObject *session_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct call c;
    call_init(&c, session_state(self), 0);
    call_release(&c);
    (void)!vt_session_close(session_of(self)->s, &c.waiter);
    call_acquire(&c);
    return call_result(&c, Py_NewRef(Py_None));
}

const char session_set_news_doc[] =
    "set_news($self, /, *callbacks)\n--\n\n"
    "Have each callback() called whenever output has come or the stream has ended, by the\n"
    "thread that waits for it or by the drainer's.  Of the session it may use peek() alone, and\n"
    "it should be quick.  What it raises ends the call that waits.  No callback ends it.\n\n"
    "One that is no Python code cannot be cut short by a signal handler.";

PyObject *session_set_news(PyObject *self, PyObject *callbacks)
{
    bool wanted = PyTuple_GET_SIZE(callbacks) > 0;
    if (wanted && drain_know(session_state(self), self) < 0)
        return NULL;
    PyObject *old = session_of(self)->news;
    session_of(self)->news = wanted ? Py_NewRef(callbacks) : NULL;
    session_of(self)->s->wants_news = wanted;
    Py_XDECREF(old);
    Py_RETURN_NONE;
}
