/* module.c - the module: its state, its namespace, its definition. */
#include "state.h"

/* Modules that the functions look up in the namespace. */
static const char *const library[] = {"os", "logging", "time", "glob", "re"};

static int import_library(PyObject *module)
{
    for (size_t i = 0; i < sizeof library / sizeof *library; i++) {
        PyObject *imported = PyImport_ImportModule(library[i]);
        int rc = imported ? PyModule_AddObjectRef(module, library[i], imported) : -1;
        Py_XDECREF(imported);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* error, utils and virt_utils: a genuine autotest that is at work has its own. */
static int import_collaborators(PyObject *module)
{
    PyObject *host = PyImport_ImportModule("virtvm.companions._host");
    if (host == NULL)
        return -1;
    int rc = vm_discard(PyObject_CallMethod(host, "bind", "O", module));
    Py_DECREF(host);
    return rc;
}

static int state_setup(struct state *st, PyObject *module)
{
    st->module = module;
#define MAKE(name) \
    if ((st->n.name = PyUnicode_InternFromString(#name)) == NULL) \
        return -1;
    NAMES(MAKE)
#undef MAKE
#define MAKE(number) \
    if ((st->num_##number = PyLong_FromLong(number)) == NULL) \
        return -1;
    NUMBERS(MAKE)
#undef MAKE
    st->method_type = vm_method_type();
    return st->method_type ? 0 : -1;
}

static int exec(PyObject *module)
{
    struct state *st = PyModule_GetState(module);
    if (state_setup(st, module) < 0 || import_library(module) < 0
        || import_collaborators(module) < 0
        || vm_errors_setup(st) < 0 || vm_login_setup(st) < 0 || vm_base_vm_setup(st) < 0)
        return -1;
    return 0;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *st = PyModule_GetState(module);
    if (st == NULL)
        return 0;
#define VISIT(name) Py_VISIT(st->n.name);
    NAMES(VISIT)
#undef VISIT
#define VISIT(number) Py_VISIT(st->num_##number);
    NUMBERS(VISIT)
#undef VISIT
    for (int i = 0; i < BODY_COUNT; i++)
        Py_VISIT(st->body[i]);
    Py_VISIT(st->context_aware);
    Py_VISIT(st->method_type);
    return 0;
}

/* Only these can be part of a cycle.  Names and numbers stay until the end: a
 * method may still be called while the cycle is taken apart. */
static int clear(PyObject *module)
{
    struct state *st = PyModule_GetState(module);
    if (st == NULL)
        return 0;
    for (int i = 0; i < BODY_COUNT; i++)
        Py_CLEAR(st->body[i]);
    Py_CLEAR(st->context_aware);
    Py_CLEAR(st->method_type);
    return 0;
}

static void free_state(void *module)
{
    struct state *st = PyModule_GetState(module);
    if (st == NULL)
        return;
    (void)clear(module);
#define DROP(name) Py_CLEAR(st->n.name);
    NAMES(DROP)
#undef DROP
#define DROP(number) Py_CLEAR(st->num_##number);
    NUMBERS(DROP)
#undef DROP
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "virtvm.virt_vm",
    .m_size = sizeof(struct state),
    .m_methods = vm_image_functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = free_state,
};

PyMODINIT_FUNC PyInit_virt_vm(void)
{
    return PyModuleDef_Init(&definition);
}
