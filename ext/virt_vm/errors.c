/* errors.c - the error classes of errors.def.
 *
 * They are ordinary classes, made by calling `type`: values live in the instance's
 * __dict__, which is what pickling, copying and multiple inheritance build on.  Each
 * row has C functions of its own, so that VMCreateError.__init__(self, ...) in a
 * subclass means that row, whatever the type of self.
 */
#include "state.h"

#include <string.h>

#define MAX_PARAMS 3
#define LIST_SIZE 64        /* longest list of names in errors.def, with room */

struct row {
    const char *name;
    int base;
    const char *params, *attributes, *message, *doc;
};

enum {
    EXC_Exception = -1,
#define X(name, ...) EXC_##name,
#include "errors.def"
#undef X
    EXC_COUNT
};

static const struct row rows[EXC_COUNT] = {
#define X(name, base, params, attributes, message, doc) \
    [EXC_##name] = {#name, EXC_##base, params, attributes, message, doc},
#include "errors.def"
#undef X
};

/* A comma-separated list of names, cut up in place. */
struct names {
    char text[LIST_SIZE];
    char *name[MAX_PARAMS + 1];
    int count, optional;    /* optional: how many have a default */
};

static void names_init(struct names *list, const char *text)
{
    *list = (struct names){.count = 0};
    strncpy(list->text, text, sizeof list->text - 1);
    char *rest = NULL;
    for (char *name = strtok_r(list->text, ", ", &rest); name && list->count < MAX_PARAMS;
         name = strtok_r(NULL, ", ", &rest)) {
        char *value = strchr(name, '=');
        if (value != NULL) {
            *value = '\0';
            list->optional++;
        }
        list->name[list->count++] = name;
    }
}

static int parse_values(const struct row *row, PyObject *args, PyObject *kwargs,
                        PyObject **values)
{
    struct names params;
    names_init(&params, row->params);
    const char *format = params.optional ? "|OO:__init__"
                         : params.count == 1 ? "O:__init__"
                         : params.count == 2 ? "OO:__init__" : "OOO:__init__";
    /* Pointers beyond the format's are not touched. */
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, params.name,
                                       &values[0], &values[1], &values[2]) ? 0 : -1;
}

/* Base.__init__(self, *values), the base looked up in the module like any name. */
static int init_base(PyObject *module, const struct row *row, PyObject *self, PyObject **values)
{
    struct names params;
    names_init(&params, row->params);
    PyObject *name = PyUnicode_FromString(rows[row->base].name);
    PyObject *base = name ? vm_global(PyModule_GetState(module), name) : NULL;
    PyObject *init = base ? vm_attr(base, "__init__") : NULL;
    int rc = -1;
    if (init != NULL)
        rc = vm_discard(params.optional
                        ? PyObject_CallFunctionObjArgs(init, self, NULL)
                        : PyObject_CallFunctionObjArgs(init, self, values[0], values[1],
                                                       values[2], NULL));
    Py_XDECREF(init);
    Py_XDECREF(base);
    Py_XDECREF(name);
    return rc;
}

static int set_attributes(const struct row *row, PyObject *self, PyObject **values)
{
    struct names attributes;
    names_init(&attributes, row->attributes);
    for (int i = 0; i < attributes.count; i++)
        if (PyObject_SetAttrString(self, attributes.name[i], values[i]) < 0)
            return -1;
    return 0;
}

/* Gives parameters that were left out their default, the empty string; borrowed. */
static void fill_defaults(const struct row *row, PyObject **values, PyObject *empty)
{
    struct names params;
    names_init(&params, row->params);
    for (int i = 0; i < params.count; i++)
        if (values[i] == NULL)
            values[i] = empty;
}

static PyObject *row_init(PyObject *module, const struct row *row, PyObject *args,
                          PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) == 0)
        return PyErr_Format(PyExc_TypeError, "%s.__init__() needs an instance", row->name);
    PyObject *self = PyTuple_GET_ITEM(args, 0);
    PyObject *values[MAX_PARAMS] = {NULL};
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *empty = PyUnicode_FromString("");
    int rc = rest != NULL && empty != NULL ? parse_values(row, rest, kwargs, values) : -1;
    if (rc == 0) {
        fill_defaults(row, values, empty);
        rc = init_base(module, row, self, values);
    }
    if (rc == 0)
        rc = set_attributes(row, self, values);
    Py_XDECREF(empty);
    Py_XDECREF(rest);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* What stands right of the % operator: the value itself if it is the only one. */
static PyObject *message_values(const struct row *row, PyObject *self)
{
    struct names attributes;
    names_init(&attributes, row->attributes);
    if (attributes.count == 1)
        return vm_attr(self, attributes.name[0]);
    PyObject *values = PyTuple_New(attributes.count);
    for (int i = 0; values != NULL && i < attributes.count; i++) {
        PyObject *value = vm_attr(self, attributes.name[i]);
        if (value == NULL)
            Py_CLEAR(values);
        else
            PyTuple_SET_ITEM(values, i, value);
    }
    return values;
}

/* format % value, as Python does it: steals value, which may be NULL. */
static PyObject *percent(const char *format, PyObject *value)
{
    PyObject *text = value ? PyUnicode_FromString(format) : NULL;
    PyObject *result = text ? PyUnicode_Format(text, value) : NULL;
    Py_XDECREF(text);
    Py_XDECREF(value);
    return result;
}

static PyObject *row_str(const struct row *row, PyObject *self)
{
    return percent(row->message, message_values(row, self));
}

/* Appends format % self.<attribute> to text, if that is true; steals text. */
static PyObject *append_if_true(PyObject *text, PyObject *self, const char *attribute,
                                const char *format)
{
    PyObject *value = text ? vm_attr(self, attribute) : NULL;
    int is_shown = value ? PyObject_IsTrue(value) : -1;
    if (is_shown == 0) {
        Py_DECREF(value);
        return text;
    }
    PyObject *part = NULL, *whole = NULL;
    if (is_shown > 0) {
        part = percent(format, Py_NewRef(value));
        whole = part ? PyUnicode_Concat(text, part) : NULL;
    }
    Py_XDECREF(part);
    Py_XDECREF(value);
    Py_XDECREF(text);
    return whole;
}

static PyObject *dead_str(PyObject *self)
{
    PyObject *text = PyUnicode_FromString("VM is dead");
    text = append_if_true(text, self, "reason", "    reason: %s");
    return append_if_true(text, self, "detail", "    detail: %r");
}

/* A pair of functions for each row. */
#define X(row, ...) \
    static PyObject *row##_init(PyObject *module, PyObject *args, PyObject *kwargs) \
    { \
        return row_init(module, &rows[EXC_##row], args, kwargs); \
    } \
    static PyObject *row##_str(PyObject *module, PyObject *self) \
    { \
        (void)module; \
        return EXC_##row == EXC_VMDeadError ? dead_str(self) : row_str(&rows[EXC_##row], self); \
    }
#include "errors.def"
#undef X

static PyMethodDef init_defs[EXC_COUNT] = {
#define X(name, base, params, ...) \
    [EXC_##name] = {"__init__", WITH_KEYWORDS(name##_init), \
                    "__init__($module, self, " params ")\n--\n\n"},
#include "errors.def"
#undef X
};

static PyMethodDef str_defs[EXC_COUNT] = {
#define X(name, ...) \
    [EXC_##name] = {"__str__", name##_str, METH_O, "__str__($module, self)\n--\n\n"},
#include "errors.def"
#undef X
};

static int add_row_methods(struct state *st, PyObject *namespace, int i)
{
    const char *name = rows[i].name;
    if (rows[i].params[0] != '\0' && vm_add_method(st, namespace, name, &init_defs[i]) < 0)
        return -1;
    if (rows[i].message == NULL && i != EXC_VMDeadError)
        return 0;
    return vm_add_method(st, namespace, name, &str_defs[i]);
}

/* A class without parameters of its own shows its base's, the root those of Exception. */
static PyObject *row_class(struct state *st, int i, PyObject *base)
{
    const char *params = i == EXC_VMError ? "*args" : rows[i].params;
    PyObject *namespace = PyDict_New();
    PyObject *class = NULL;
    if (namespace != NULL && add_row_methods(st, namespace, i) == 0)
        class = vm_make_class(rows[i].name, base, namespace,
                              params[0] != '\0' ? params : NULL, rows[i].doc);
    Py_XDECREF(namespace);
    return class;
}

int vm_errors_setup(struct state *st)
{
    PyObject *classes[EXC_COUNT];       /* borrowed from the module */
    for (int i = 0; i < EXC_COUNT; i++) {
        PyObject *base = rows[i].base < 0 ? PyExc_Exception : classes[rows[i].base];
        PyObject *class = row_class(st, i, base);
        if (class == NULL)
            return -1;
        int rc = PyModule_AddObjectRef(st->module, rows[i].name, class);
        classes[i] = class;
        Py_DECREF(class);
        if (rc < 0)
            return -1;
    }
    return 0;
}
