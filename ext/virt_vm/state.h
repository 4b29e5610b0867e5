/* state.h - the module's state and the ways from C to everything around it.
 *
 * The module's dictionary is the namespace in which collaborators, functions and
 * error classes are looked up at each call, as Python code of a module would do.
 * So nothing of that is kept here: the state holds names and numbers, the bodies that
 * error.context_aware is given, and that decorator as it was at import, for an `error`
 * that has none.
 *
 * Functions that return PyObject * return a new reference, or NULL with an
 * exception set; those that return int return -1 with an exception set.
 */
#ifndef VM_STATE_H
#define VM_STATE_H

#include "common/compat.h"

#define NAMES(X) \
    X(CmdError) X(LoginAuthenticationError) X(LoginError) X(TestWarn) \
    X(VMDeadError) X(VMDeadKernelCrashError) X(VMError) X(VMImageCheckError) \
    X(VMMACAddressMissingError) X(_generate_unique_id) X(_remote_login) X(close) X(cmd) \
    X(console) X(context) X(context_aware) X(copy_files_from) X(copy_files_to) X(debug) \
    X(error) X(exists) X(exit_status) X(findall) X(find_kernel_crash) \
    X(generate_random_string) X(get_address) X(get_image_filename) X(get_mac_address) \
    X(get_memory_size) X(get_output) X(get_path) X(get_port) X(glob) X(history) \
    X(instance) X(is_dead) X(isupper) X(logging) X(login) X(lower) X(monotonic) X(name) \
    X(object_params) X(os) X(params) X(path) X(re) X(remote_login) X(run) \
    X(send_key) X(sendline) X(serial_console) X(serial_login) X(set_linesep) \
    X(set_status_test_command) X(sleep) X(splitlines) X(stderr) X(stdout) X(strftime) \
    X(system) X(time) X(tries) X(unlink) X(utils) X(uuid) X(virt_utils)

#define NUMBERS(X) X(0) X(1) X(2) X(3) X(4) X(10) X(240) X(600)

/* The context-aware methods; login.c has a row for each. */
enum { BODY_LOGIN, BODY_SERIAL_LOGIN, BODY_COPY_TO, BODY_COPY_FROM, BODY_COUNT };

struct state {
    PyObject *module;                   /* borrowed: the state lives in it */
    struct {
#define FIELD(name) PyObject *name;
        NAMES(FIELD)
#undef FIELD
    } n;                                /* interned names */
#define FIELD(number) PyObject *num_##number;
    NUMBERS(FIELD)
#undef FIELD
    PyObject *body[BODY_COUNT];
    PyObject *context_aware;            /* error's at import; NULL if it had none */
    PyObject *method_type;
};

#define KEYWORDS(...) ((char *[]){__VA_ARGS__, NULL})
#define WITH_KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

/* lookup.c */

PyObject *vm_global(struct state *st, PyObject *name);
PyObject *vm_global_attr(struct state *st, PyObject *of, PyObject *name);

/* getattr(object, name).  Interns the name: the interpreter's cache of attributes
 * goes by the name's identity, and keeps each one it is asked for. */
PyObject *vm_attr(PyObject *object, const char *name);

/* of.name(...) where of is a name in the module; arguments end with NULL. */
PyObject *vm_invoke(struct state *st, PyObject *of, PyObject *name, ...);

/* Calls a method for its effect; arguments end with NULL. */
#define vm_tell(...) vm_discard(PyObject_CallMethodObjArgs(__VA_ARGS__))
int vm_discard(PyObject *result);       /* steals; -1 if NULL */

/* logging.<level>(text, a, b); a and b may be NULL. */
int vm_log(struct state *st, PyObject *level, const char *text, PyObject *a, PyObject *b);

/* raise class(argument), the class given as object or by its name in the module;
 * argument may be NULL.  Always returns NULL. */
PyObject *vm_raise(PyObject *class, PyObject *argument);
PyObject *vm_raise_named(struct state *st, PyObject *name, PyObject *argument);

/* params.get(key), params.get(key, fallback), params.get(key, None). */
PyObject *vm_param(PyObject *params, const char *key, const char *fallback);
PyObject *vm_param_or_none(PyObject *params, const char *key);
/* The same with self.params, which is looked up each time. */
PyObject *vm_self_param(struct state *st, PyObject *self, const char *key, const char *fallback);

/* "%s" % self.<attribute> put into a format with one %S. */
PyObject *vm_format_attr(PyObject *self, PyObject *attribute, const char *format);

/* Whether value == number or text, by the value's own idea of equality. */
int vm_equals(PyObject *value, PyObject *other);
int vm_equals_text(PyObject *value, const char *text);
int vm_contains(PyObject *container, const char *text);

/* text.c */

/* Text for a shell that stands for exactly this one word. */
PyObject *vm_quote(PyObject *text);
/* The same for the name of a command: never read as an assignment. */
PyObject *vm_quote_command(PyObject *text);
/* The same for a file name that qemu-img must not read as option or protocol. */
PyObject *vm_quote_file(PyObject *text);
/* Decodes the escapes of a Python string literal; what is none stays as it is. */
PyObject *vm_decode_escapes(PyObject *text);
/* Lines cut at \n, \r and \r\n only (str.splitlines cuts at more). */
PyObject *vm_split_lines(struct state *st, PyObject *text);

/* Each file's part of the module. */

int vm_errors_setup(struct state *st);
int vm_base_vm_setup(struct state *st);
int vm_login_setup(struct state *st);   /* makes the bodies */

/* class.c: classes as a class statement makes them, with methods in C. */

/* Makes a method of a function and puts it in the namespace of the class of that name.  The
 * function gets the module, then self.  defs ends with a zeroed row. */
int vm_add_method(struct state *st, PyObject *namespace, const char *class, PyMethodDef *def);
int vm_add_methods(struct state *st, PyObject *namespace, const char *class, PyMethodDef *defs);
/* type(name, (base,), namespace) with a docstring, and with parameters for
 * inspect.signature to show unless they are NULL. */
PyObject *vm_make_class(const char *name, PyObject *base, PyObject *namespace,
                        const char *params, const char *doc);

/* method.c: methods that bind as Python functions do. */

PyObject *vm_method_type(void);
/* function: a builtin that gets the module first, kept; class, name: of the method. */
PyObject *vm_method_new(PyObject *type, PyObject *function, const char *class, const char *name);

/* Tables of functions, each ended by a zeroed row. */
extern PyMethodDef vm_image_functions[];
extern PyMethodDef vm_login_methods[], vm_wait_methods[], vm_guest_methods[], vm_virtual_methods[];

#endif
