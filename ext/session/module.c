/* module.c - extension module virtvm._session: the engine's Python face. */
#include "state.h"

static const char module_doc[] =
    "The session engine of virtvm (private).\n\n"
    "Sessions carry shells over SSH, consoles on unix sockets and local processes.  Code\n"
    "outside virtvm uses virtvm.companions, which gives them autotest's interface.";

struct state *state_of(PyObject *module)
{
    return PyModule_GetState(module);
}

static int module_exec(PyObject *module)
{
    struct state *st = state_of(module);
    st->threading = PyImport_ImportModule("threading");
    if (st->threading == NULL || errors_setup(module, st) < 0 || session_setup(module, st) < 0
        || rss_setup(module, st) < 0 || PyModule_AddFunctions(module, transfer_methods) < 0)
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
    Py_VISIT(st->drainer_thread);
    return 0;
}

static int module_clear(PyObject *module)
{
    struct state *st = state_of(module);
    Py_CLEAR(st->threading);
    Py_CLEAR(st->engine_error);
    Py_CLEAR(st->session_type);
    Py_CLEAR(st->rss_type);
    Py_CLEAR(st->drainer_thread);
    return 0;
}

static void module_free(void *module)
{
    struct state *st = state_of(module);
    /* _stop_drainer ran at exit; without it the thread is gone, or frozen with us. */
    if (st != NULL)
        module_clear(module);
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
