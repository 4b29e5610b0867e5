/* module.c - extension module virtvm._session: the engine's Python face. */
#include "state.h"

#include "transport/boot.h"

#include <unistd.h>

static const char module_doc[] =
    "The session engine of virtvm (private).\n\n"
    "Sessions carry shells over SSH, consoles on unix sockets and local processes.  Code\n"
    "outside virtvm uses virtvm.companions, which gives them autotest's interface.";

struct state *state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

/* Asked once: the answer is Python code, which runs signal handlers. */
static int learn_main_thread(struct state *st)
{
    PyObject *thread = PyObject_CallMethod(st->threading, "main_thread", NULL);
    PyObject *ident = thread == NULL ? NULL : PyObject_GetAttrString(thread, "ident");
    st->pid = getpid();
    st->main_thread = ident == NULL ? 0 : PyLong_AsUnsignedLong(ident);
    Py_XDECREF(thread);
    Py_XDECREF(ident);
    return PyErr_Occurred() ? -1 : 0;
}

static int module_exec(PyObject *module)
{
    struct state *st = state_of(module);
    st->threading = PyImport_ImportModule("threading");
    if (st->threading == NULL || learn_main_thread(st) < 0 || errors_setup(module, st) < 0
        || session_setup(module, st) < 0 || rss_setup(module, st) < 0 || places_setup(module, st) < 0
        || crash_setup(module) < 0 || finalized_setup(module) < 0
        || PyModule_AddFunctions(module, transfer_methods) < 0 || PyModule_AddFunctions(module, text_methods) < 0
        || PyModule_AddStringConstant(module, "libssh2_version", vt_ssh_library_version()) < 0)
        return -1;
    if (vt_ssh_library_init() != VT_OK) {
        PyErr_SetString(PyExc_ImportError, "libssh2 could not be initialised");
        return -1;
    }
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *st = state_of(module);
    Py_VISIT(st->threading);
    Py_VISIT(st->engine_error);
    Py_VISIT(st->session_type);
    Py_VISIT(st->rss_type);
    Py_VISIT(st->place_type);
    return drain_traverse(st, visit, arg);
}

static int module_clear(PyObject *module)
{
    struct state *st = state_of(module);
    Py_CLEAR(st->threading);
    Py_CLEAR(st->engine_error);
    Py_CLEAR(st->session_type);
    Py_CLEAR(st->rss_type);
    Py_CLEAR(st->place_type);
    return 0;
}

static void module_free(void *module)
{
    struct state *st = state_of(module);
    /* _stop_drainer ran at exit; without it the threads are gone, or frozen with us. */
    if (st == NULL)
        return;
    module_clear(module);
    drain_free(st);
    vt_places_free(st->places);
    st->places = NULL;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "virtvm._session",
    .m_doc = module_doc,
    .m_size = sizeof(struct state),
    .m_methods = drain_methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__session(void)
{
    return PyModuleDef_Init(&definition);
}
