/* place.c - type Place: what a hypervisor's class tells of an address that may still boot. */
#include "state.h"

#include "transport/boot.h"

#include <string.h>

struct place {
    PyObject_HEAD
    PyObject *module;
    PyObject *host;                     /* str */
    PyObject *canary;                   /* (str, int) or None */
    int port, forwarded, guest_port;
};

static struct place *of(PyObject *op)
{
    return (struct place *)op;
}

static struct vt_places *places_of(PyObject *op)
{
    return state_of(of(op)->module)->places;
}

static const char *host_of(PyObject *op)
{
    return PyUnicode_AsUTF8(of(op)->host);      /* kept in it since place() */
}

static const char place_doc[] =
    "place($module, /, host, port, forwarded=False, canary=None, guest_port=0)\n--\n\n"
    "Tell the engine of an address where a guest is to be waited for; return its Place.\n\n"
    "host: as logins name it, or its numeric address (str).  forwarded: QEMU's user networking\n"
    "accepts there for the guest (bool).  canary: (numeric host, port) of a forwarded port on\n"
    "which nobody in the guest listens.  guest_port: what port it is in the guest, for messages.\n"
    "ValueError for what is no address.";

static bool parse_canary(PyObject *canary, const char **host, int *port)
{
    if (canary == Py_None)
        return true;
    if (PyTuple_Check(canary))
        return PyArg_ParseTuple(canary, "si;canary is (host, port) or None", host, port);
    PyErr_SetString(PyExc_TypeError, "canary is (host, port) or None");
    return false;
}

static PyObject *place(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"host", "port", "forwarded", "canary", "guest_port", NULL};
    struct state *st = state_of(module);
    PyObject *host, *canary = Py_None;
    int port, forwarded = 0, canary_port = 0, guest_port = 0;
    const char *canary_host = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "Ui|pOi:place", names, &host, &port, &forwarded, &canary,
                                     &guest_port)
        || !parse_canary(canary, &canary_host, &canary_port))
        return NULL;
    Py_ssize_t n;
    const char *text = PyUnicode_AsUTF8AndSize(host, &n);
    if (text == NULL)
        return NULL;
    enum vt_rc rc = n == 0 || strlen(text) != (size_t)n ? VT_INVALID : vt_places_tell(
        st->places, text, port, forwarded, canary_host, canary_port, guest_port);
    if (rc == VT_NOMEM)
        return PyErr_NoMemory();
    if (rc != VT_OK)
        return PyErr_Format(PyExc_ValueError, "no such address: %R port %d, canary %S", host, port, canary);
    struct place *self = PyObject_GC_New(struct place, st->place_type);
    if (self == NULL)
        return NULL;
    self->module = Py_NewRef(module);
    self->host = Py_NewRef(host);
    self->canary = Py_NewRef(canary);
    self->port = port;
    self->forwarded = forwarded;
    self->guest_port = guest_port;
    PyObject_GC_Track((PyObject *)self);
    return (PyObject *)self;
}

static PyObject *alive(PyObject *op, PyObject *unused)
{
    (void)unused;
    vt_places_alive(places_of(op), host_of(op), of(op)->port);
    Py_RETURN_NONE;
}

static PyObject *reset(PyObject *op, PyObject *args, PyObject *kw)
{
    static char *names[] = {"up", NULL};
    int is_up = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "|$p:reset", names, &is_up))
        return NULL;
    vt_places_reset(places_of(op), host_of(op), of(op)->port, is_up);
    Py_RETURN_NONE;
}

static PyObject *forget(PyObject *op, PyObject *unused)
{
    (void)unused;
    vt_places_forget(places_of(op), host_of(op), of(op)->port);
    Py_RETURN_NONE;
}

static PyObject *awaits(PyObject *op, PyObject *unused)
{
    char words[160];
    double seconds;
    (void)unused;
    if (!vt_places_awaits(places_of(op), host_of(op), of(op)->port, words, sizeof words, &seconds))
        Py_RETURN_NONE;
    return Py_BuildValue("(sd)", words, seconds);
}

/* In another process nothing is known of it but how it is reached. */
static PyObject *reduce(PyObject *op, PyObject *unused)
{
    struct place *self = of(op);
    (void)unused;
    PyObject *make = PyObject_GetAttrString(self->module, "place");
    PyObject *res = make == NULL ? NULL : Py_BuildValue("N(OiNOi)", make, self->host, self->port,
                                                        PyBool_FromLong(self->forwarded), self->canary,
                                                        self->guest_port);
    return res;
}

static PyObject *repr(PyObject *op)
{
    return PyUnicode_FromFormat("<virtvm._session.Place %U port %d>", of(op)->host, of(op)->port);
}

static int traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(of(op)->module);
    Py_VISIT(of(op)->canary);
    Py_VISIT(Py_TYPE(op));
    return 0;
}

static int clear(PyObject *op)
{
    Py_CLEAR(of(op)->canary);
    return 0;
}

static void dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    clear(op);
    Py_CLEAR(of(op)->host);
    Py_CLEAR(of(op)->module);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"alive", alive, METH_NOARGS, "alive($self, /)\n--\n\nThe guest gave a sign of life: its console, its NIC."},
    {"reset", (PyCFunction)(void (*)(void))reset, METH_VARARGS | METH_KEYWORDS,
     "reset($self, /, *, up=False)\n--\n\nThe machine starts anew.  up: its guest runs already (a state restored)."},
    {"forget", forget, METH_NOARGS, "forget($self, /)\n--\n\nThe machine is gone: close what is open to it."},
    {"awaits", awaits, METH_NOARGS,
     "awaits($self, /)\n--\n\n(what logins wait for there, in words; for how many seconds), or None."},
    {"__reduce__", reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "An address where a guest is waited for; made by place()."},
    {Py_tp_methods, methods},
    {Py_tp_repr, repr},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "virtvm._session.Place",
    .basicsize = sizeof(struct place),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

/* ---- the module's functions ---- */

static PyObject *drop_places(PyObject *module, PyObject *unused)
{
    (void)unused;
    vt_places_drop(state_of(module)->places);
    Py_RETURN_NONE;
}

static PyObject *is_current(PyObject *module, PyObject *args)
{
    const char *host;
    int port;
    double since;
    if (!PyArg_ParseTuple(args, "sid:is_current", &host, &port, &since))
        return NULL;
    return PyBool_FromLong(vt_boot_is_current(state_of(module)->places, host, port, (vt_time)(since * 1e9)));
}

static PyMethodDef functions[] = {
    {"is_current", is_current, METH_VARARGS,
     "is_current($module, host, port, since, /)\n--\n\n"
     "Whether the machine there was not reset since then (time.monotonic()), as far as its Place was told."},
    {"place", (PyCFunction)(void (*)(void))place, METH_VARARGS | METH_KEYWORDS, place_doc},
    {"_drop_places", drop_places, METH_NOARGS, "Closes what logins have left open (private; after fork, at exit)."},
    {NULL, NULL, 0, NULL},
};

/* A forked child holds no connection of its parent's. */
static int drop_after_fork(PyObject *module)
{
    PyObject *drop = PyObject_GetAttrString(module, "_drop_places");
    PyObject *os = PyImport_ImportModule("os");
    PyObject *register_ = os == NULL ? NULL : PyObject_GetAttrString(os, "register_at_fork");
    PyObject *none = PyTuple_New(0);
    PyObject *kw = drop == NULL ? NULL : Py_BuildValue("{sO}", "after_in_child", drop);
    PyObject *res = register_ && none && kw ? PyObject_Call(register_, none, kw) : NULL;
    int rc = res == NULL ? -1 : 0;
    Py_XDECREF(res);
    Py_XDECREF(kw);
    Py_XDECREF(none);
    Py_XDECREF(register_);
    Py_XDECREF(os);
    Py_XDECREF(drop);
    return rc;
}

int places_setup(PyObject *module, struct state *st)
{
    st->places = vt_places_new();
    if (st->places == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    st->place_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (st->place_type == NULL)
        return -1;
    st->place_type->tp_new = NULL;
    if (PyModule_AddObjectRef(module, "Place", (PyObject *)st->place_type) < 0
        || PyModule_AddFunctions(module, functions) < 0)
        return -1;
    return drop_after_fork(module);
}
