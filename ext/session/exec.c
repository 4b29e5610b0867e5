/* exec.c - a command on an SSH channel of its own, beside the session's shell. */
#include "object.h"

#define EXEC_LIMIT ((size_t)1 << 28)

const char session_run_doc[] =
    "run($self, /, command, *, input=b'', timeout=60.0, limit=268435456)\n--\n\n"
    "Run a command (bytes) on an SSH channel of its own; return (status or None, signal\n"
    "name or '', stdout, stderr).  limit: bytes of output, of both together, that it may have.\n"
    "Raises EngineError: 'unsupported' on other transports, 'toobig' past the limit.";

static PyObject *all_of(const struct vt_buf *b)
{
    return PyBytes_FromStringAndSize(b->data, (Py_ssize_t)b->len);
}

/* What an exception holds of the output: all of it, or its two ends. */
static PyObject *ends_of(const struct vt_buf *b)
{
    if (b->len <= 2 * KEPT_EACH)
        return all_of(b);
    PyObject *first = PyBytes_FromStringAndSize(b->data, KEPT_EACH);
    PyObject *last = PyBytes_FromStringAndSize(b->data + b->len - KEPT_EACH, KEPT_EACH);
    return output_join(first, last, b->len - 2 * KEPT_EACH);
}

static PyObject *run_result(struct call *c, const struct vt_ssh_exec *x)
{
    PyObject *out = c->rc == VT_OK ? all_of(x->out) : ends_of(x->out);
    PyObject *err = out == NULL ? NULL : all_of(x->err);
    if (out == NULL || err == NULL) {
        Py_XDECREF(out);
        Py_XDECREF(err);
        return call_result(c, NULL);
    }
    if (c->rc != VT_OK) {
        Py_DECREF(err);
        PyObject *exc = call_error(c, out);
        if (exc != NULL)
            set_detail(exc, "output_size", PyLong_FromSize_t(x->out->len + x->err->len));
        return raise_error(exc);
    }
    if (x->status < 0)
        return call_result(c, Py_BuildValue("(OsNN)", Py_None, x->signal, out, err));
    return call_result(c, Py_BuildValue("(isNN)", x->status, x->signal, out, err));
}

/* The session is entered.  close() ends this wait, too. */
static enum vt_rc run_exec(struct call *c, struct vt_ssh_exec *x)
{
    struct vt_session *s = session_of(c->self)->s;
    struct vt_ssh *ssh = vt_ssh_of(s->t);
    struct vt_waiter waiter = c->waiter;
    waiter.wake_fd = s->wake_fd;
    waiter.has_wake = 1;
    if (ssh == NULL)
        return vt_fail(&c->e, VT_UNSUPPORTED, VT_STAGE_CHANNEL, 0,
                       "a %s session has no channels beside its shell", s->t->ops->name);
    return vt_ssh_exec_run(ssh, x, &waiter, c->deadline, &c->e);
}

PyObject *session_run(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"command", "input", "timeout", "limit", NULL};
    PyObject *command, *input = NULL;
    double timeout = 60.0;
    unsigned long long limit = EXEC_LIMIT;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "S|$SdK:run", names, &command, &input, &timeout, &limit))
        return NULL;
    struct call c;
    struct vt_buf out, err;
    struct vt_ssh_exec x = {.command = PyBytes_AS_STRING(command), .out = &out, .err = &err, .status = -1};
    if (input != NULL) {
        x.input = PyBytes_AS_STRING(input);
        x.input_len = (size_t)PyBytes_GET_SIZE(input);
    }
    call_init(&c, session_state(self), timeout);
    if (!call_enter(&c, self))
        return call_failed(&c, NULL);
    x.limit = limit > 0 && limit < EXEC_LIMIT ? (size_t)limit : EXEC_LIMIT;
    vt_buf_init(&out, x.limit);
    vt_buf_init(&err, x.limit);
    c.rc = run_exec(&c, &x);
    call_leave(&c);
    PyObject *res = run_result(&c, &x);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
    return res;
}
