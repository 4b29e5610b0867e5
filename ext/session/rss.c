/* rss.c - type Rss: a connection for files to the remote shell server of a Windows guest. */
#include "argv.h"
#include "call.h"

#include "transfer/rss.h"

#include <string.h>

/* Its fields are the GIL's.  While busy the connection is the copy's, which works without the
 * GIL: close() then only says so, and the copy closes at its end. */
struct rss {
    PyObject_HEAD
    PyObject *module;
    struct vt_rss *c;                   /* NULL: closed */
    bool busy;                          /* a copy is going on, without the GIL */
    bool closing;                       /* close() was called meanwhile */
    uint64_t counted;                   /* of a connection that is gone */
};

/* One copy: what is called back, and what it comes to. */
struct copy {
    struct vt_rss_options o;
    struct vt_rss_result r;
    struct call c;
    PyObject *on_file, *on_moved;
    double timeout;
};

static struct rss *of(PyObject *op)
{
    return (struct rss *)op;
}

/* ---- raising ---- */

static const char *const doing_names[] = {
    [VT_RSS_CONNECTING] = "connecting", [VT_RSS_GREETING] = "greeting", [VT_RSS_SENDING] = "sending",
    [VT_RSS_RECEIVING] = "receiving", [VT_RSS_AT_FILES] = "files",
};

/* Raises what the call came to, with what this client knows beside it.  said: the server's
 * words, or NULL for none. */
static PyObject *raise_rss(struct call *c, enum vt_rss_doing doing, PyObject *said, const struct vt_rss_result *r)
{
    PyObject *exc = call_error(c, NULL);
    if (exc != NULL) {
        set_detail(exc, "doing", PyUnicode_FromString(doing_names[doing]));
        set_detail(exc, "filename", PyBytes_FromString(r->path));
        set_detail(exc, "bytes", PyLong_FromUnsignedLongLong(r->bytes));
        set_detail(exc, "said", Py_NewRef(said == NULL ? Py_None : said));
    } else {
        exc = PyErr_GetRaisedException();       /* a handler's: it, too, says what was left */
    }
    set_left(exc, &r->left);
    return raise_error(exc);
}

/* ---- opening and closing ---- */

static const char open_doc[] =
    "open_rss($module, /, host, port, direction=None, *, timeout=20.0)\n--\n\n"
    "Connect to the file port of a Windows guest's remote shell server; return an Rss.\n\n"
    "direction: 'put', 'get', or None, which leaves it unsaid.  timeout: seconds for all of\n"
    "it.  Raises EngineError, whose doing is 'connecting', 'greeting', 'sending' or\n"
    "'receiving'.";

static int direction_of(const char *name, enum vt_rss_mode *mode)
{
    *mode = VT_RSS_MODE_NONE;
    if (name == NULL)
        return 0;
    if (strcmp(name, "put") == 0 || strcmp(name, "get") == 0) {
        *mode = name[0] == 'p' ? VT_RSS_MODE_PUT : VT_RSS_MODE_GET;
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "direction must be 'put', 'get' or None, not '%s'", name);
    return -1;
}

static PyObject *open_rss(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"host", "port", "direction", "timeout", NULL};
    const char *host, *direction = NULL;
    int port;
    double timeout = 20.0;
    enum vt_rss_mode mode;
    enum vt_rss_doing doing;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "si|z$d:open_rss", names, &host, &port, &direction, &timeout)
        || direction_of(direction, &mode) < 0)
        return NULL;
    struct state *st = state_of(module);
    struct rss *self = PyObject_GC_New(struct rss, st->rss_type);
    if (self == NULL)
        return NULL;
    memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
    self->module = Py_NewRef(module);
    PyObject_GC_Track((PyObject *)self);
    struct call c;
    call_init(&c, st, timeout);
    call_release(&c);
    c.rc = vt_rss_open(host, port, mode, &c.waiter, c.deadline, &self->c, &doing, &c.e);
    call_acquire(&c);
    if (c.rc == VT_OK)
        return call_result(&c, (PyObject *)self);
    static const struct vt_rss_result nothing;
    Py_DECREF(self);
    return raise_rss(&c, doing, NULL, &nothing);
}

/* Whoever copies on it sees its end, and lets it go. */
static void let_go(struct rss *self)
{
    if (self->c == NULL)
        return;
    if (self->busy) {
        self->closing = true;
        vt_rss_stop(self->c);
        return;
    }
    self->counted = vt_rss_counted(self->c);
    vt_rss_free(self->c);
    self->c = NULL;
}

static const char close_doc[] =
    "close($self, /)\n--\n\n"
    "Close the connection; what is copied on it by another thread fails.  May be called again.";

static PyObject *rss_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    let_go(of(self));
    Py_RETURN_NONE;
}

/* ---- copying ---- */

static int on_file(void *ctx, const char *path)
{
    struct copy *copy = ctx;
    if (copy->c.raised != NULL)
        return 1;
    call_acquire(&copy->c);
    PyObject *res = PyObject_CallFunction(copy->on_file, "y", path);
    if (res == NULL)
        call_keep(&copy->c);            /* what the copy ends with */
    Py_XDECREF(res);
    call_release(&copy->c);
    return copy->c.raised != NULL;
}

static int on_moved(void *ctx, uint64_t counted, uint64_t bytes)
{
    struct copy *copy = ctx;
    if (copy->c.raised != NULL)
        return 1;
    call_acquire(&copy->c);
    PyObject *res = PyObject_CallFunction(copy->on_moved, "KK", (unsigned long long)counted,
                                          (unsigned long long)bytes);
    if (res == NULL)
        call_keep(&copy->c);            /* what the copy ends with */
    Py_XDECREF(res);
    call_release(&copy->c);
    return copy->c.raised != NULL;
}

/* Takes the connection for a copy; false: an exception is set. */
static bool copy_begin(struct copy *copy, struct rss *self)
{
    call_init(&copy->c, state_of(self->module), copy->timeout);
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is copying on this connection");
        return false;
    }
    if (self->c == NULL) {
        static const struct vt_rss_result nothing;
        copy->c.rc = vt_fail(&copy->c.e, VT_CLOSED, VT_STAGE_TRANSFER, 0, "the connection is closed");
        raise_rss(&copy->c, VT_RSS_SENDING, NULL, &nothing);
        return false;
    }
    copy->o.ctx = copy;
    if (copy->on_file != NULL && copy->on_file != Py_None)
        copy->o.file = on_file;
    if (copy->on_moved != NULL && copy->on_moved != Py_None)
        copy->o.moved = on_moved;
    self->busy = true;
    call_release(&copy->c);
    return true;
}

static PyObject *copy_end(struct copy *copy, struct rss *self)
{
    struct call *c = &copy->c;
    call_acquire(c);
    size_t n;
    const char *said = vt_rss_said(self->c, &n);
    enum vt_rss_doing doing = vt_rss_doing_of(self->c);
    PyObject *words = c->rc == VT_REMOTE ? PyBytes_FromStringAndSize(said, (Py_ssize_t)n) : Py_NewRef(Py_None);
    self->busy = false;
    if (self->closing || words == NULL)
        let_go(self);
    if (words == NULL)
        return call_result(c, NULL);
    PyObject *res = c->rc != VT_OK ? raise_rss(c, doing, words, &copy->r)
                  : call_result(c, Py_BuildValue("(KKK)", (unsigned long long)copy->r.files,
                                                 (unsigned long long)copy->r.folders,
                                                 (unsigned long long)copy->r.bytes));
    Py_DECREF(words);
    return res;
}

static const char put_doc[] =
    "put($self, /, sources, target, *, stall=0.0, on_file=None, on_moved=None,\n"
    "    timeout=600.0, exclude=())\n--\n\n"
    "Copy local files and trees to the guest; return (files, folders, bytes).\n\n"
    "sources: tuple of absolute paths (bytes); target: path there (bytes).  stall: seconds\n"
    "without a byte that end it.  on_file(path) is called when a file begins,\n"
    "on_moved(counted, bytes) a few times a second: of all packets, and of files.  timeout: seconds for all of it.  Raises\n"
    "EngineError, with filename, bytes, doing, and said: the server's error (bytes).  What ends it,\n"
    "KeyboardInterrupt as well, has left: how many temporary names could not be removed here, and a\n"
    "list of the first of them (bytes).";

static PyObject *rss_put(PyObject *op, PyObject *args, PyObject *kw)
{
    static char *names[] = {"sources", "target", "stall", "on_file", "on_moved", "timeout", "exclude", NULL};
    struct copy copy = {.timeout = 600.0};
    PyObject *sources, *exclude = NULL;
    const char *target;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "O!y|$dOOdO!:put", names, &PyTuple_Type, &sources, &target,
                                     &copy.o.stall, &copy.on_file, &copy.on_moved, &copy.timeout, &PyTuple_Type,
                                     &exclude))
        return NULL;
    const char **list = argv_of(sources), **patterns = NULL;
    if (list == NULL || (exclude != NULL && (patterns = argv_of(exclude)) == NULL)) {
        PyMem_Free(list);
        return NULL;
    }
    size_t n = (size_t)PyTuple_GET_SIZE(sources);
    copy.o.exclude = (struct vt_exclude){patterns, exclude != NULL ? (size_t)PyTuple_GET_SIZE(exclude) : 0};
    PyObject *res = NULL;
    if (copy_begin(&copy, of(op))) {
        copy.c.rc = vt_rss_put(of(op)->c, list, n, target, &copy.o, &copy.c.waiter, copy.c.deadline, &copy.r,
                               &copy.c.e);
        res = copy_end(&copy, of(op));
    }
    PyMem_Free(list);
    PyMem_Free(patterns);
    return res;
}

static const char get_doc[] =
    "get($self, /, source, target, *, stall=0.0, max_bytes=0, max_entries=0, on_file=None,\n"
    "    on_moved=None, timeout=600.0)\n--\n\n"
    "Copy from the guest; return (files, folders, bytes), all 0 if there is nothing.\n\n"
    "source: path or pattern there (bytes); target: local path (bytes).  max_bytes,\n"
    "max_entries: bounds of what is taken from the server; 0: none.  Else as put.";

static PyObject *rss_get(PyObject *op, PyObject *args, PyObject *kw)
{
    static char *names[] = {"source", "target", "stall", "max_bytes", "max_entries", "on_file", "on_moved",
                            "timeout", NULL};
    struct copy copy = {.timeout = 600.0};
    const char *source, *target;
    unsigned long long bytes_max = 0, entries_max = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "yy|$dKKOOd:get", names, &source, &target, &copy.o.stall,
                                     &bytes_max, &entries_max, &copy.on_file, &copy.on_moved, &copy.timeout))
        return NULL;
    copy.o.bytes_max = bytes_max;
    copy.o.entries_max = entries_max;
    if (!copy_begin(&copy, of(op)))
        return NULL;
    copy.c.rc = vt_rss_get(of(op)->c, source, target, &copy.o, &copy.c.waiter, copy.c.deadline, &copy.r, &copy.c.e);
    return copy_end(&copy, of(op));
}

static PyMethodDef methods[] = {
    {"put", (PyCFunction)(void (*)(void))rss_put, METH_VARARGS | METH_KEYWORDS, put_doc},
    {"get", (PyCFunction)(void (*)(void))rss_get, METH_VARARGS | METH_KEYWORDS, get_doc},
    {"close", rss_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- attributes ---- */

static PyObject *get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(of(self)->c == NULL || of(self)->closing);
}

static PyObject *get_counted(PyObject *self, void *unused)
{
    (void)unused;
    struct rss *r = of(self);
    return PyLong_FromUnsignedLongLong(r->c == NULL ? r->counted : vt_rss_counted(r->c));
}

static PyGetSetDef attributes[] = {
    {"closed", get_closed, NULL, "Whether close() was called.", NULL},
    {"counted", get_counted, NULL, "Bytes of all packets so far, both ways, and 4 for each.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- the type ---- */

static int rss_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(of(op)->module);
    return 0;
}

static void rss_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    vt_rss_free(of(op)->c);
    Py_CLEAR(of(op)->module);           /* not before: the methods need its state */
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static const char rss_doc[] =
    "A connection of open_rss: several copies, one after another, in one direction.\n\n"
    "After a failed one it is of no use any more: close it.";

static PyType_Slot type_slots[] = {
    {Py_tp_doc, (void *)rss_doc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {Py_tp_traverse, rss_traverse},
    {Py_tp_dealloc, rss_dealloc},
    {0, NULL},
};

static PyType_Spec type_spec = {
    .name = "virtvm._session.Rss",
    .basicsize = sizeof(struct rss),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = type_slots,
};

static PyMethodDef functions[] = {
    {"open_rss", (PyCFunction)(void (*)(void))open_rss, METH_VARARGS | METH_KEYWORDS, open_doc},
    {NULL, NULL, 0, NULL},
};

int rss_setup(PyObject *module, struct state *st)
{
    st->rss_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &type_spec, NULL);
    if (st->rss_type == NULL)
        return -1;
    st->rss_type->tp_new = NULL;
    return PyModule_AddFunctions(module, functions) < 0 ? -1
         : PyModule_AddObjectRef(module, "Rss", (PyObject *)st->rss_type);
}
