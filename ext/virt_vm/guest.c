/* guest.c - BaseVM's methods that ask the guest, or watch it.
 *
 * Memory sizes: every number in the command's output is added up.  A run of digits
 * is a number; so is a decimal fraction, digits "." digits, unless more digits follow
 * behind another dot (1.2.3 is a version: three numbers).  The sum is exact.
 */
#include "console/crash.h"
#include "state.h"

#define NUMBERS_PATTERN "[0-9]+(?:\\.[0-9]+)*"

/* Asking */

/* Closes a session on the way out.  As in a finally clause, an error of close()
 * replaces the one that is set; steals session and result. */
static PyObject *close_after(struct state *st, PyObject *session, PyObject *result)
{
    PyObject *exc = PyErr_GetRaisedException();
    int rc = vm_tell(session, st->n.close, NULL);
    Py_DECREF(session);
    if (rc < 0) {
        Py_CLEAR(result);
        PyObject *newer = PyErr_GetRaisedException();
        if (exc != NULL && newer != exc)
            PyException_SetContext(newer, Py_NewRef(exc));
        PyErr_SetRaisedException(newer);
        Py_XDECREF(exc);
    } else if (exc != NULL) {
        PyErr_SetRaisedException(exc);
    }
    return result;
}

/* int(session.cmd(self.params.get("cpu_chk_cmd"))) */
static PyObject *count_cpus(struct state *st, PyObject *self, PyObject *session)
{
    PyObject *cmd = PyObject_GetAttr(session, st->n.cmd);
    PyObject *command = cmd ? vm_self_param(st, self, "cpu_chk_cmd", NULL) : NULL;
    PyObject *output = command ? PyObject_CallFunctionObjArgs(cmd, command, NULL) : NULL;
    PyObject *count = output ? PyObject_CallFunctionObjArgs((PyObject *)&PyLong_Type, output, NULL)
                             : NULL;
    Py_XDECREF(output);
    Py_XDECREF(command);
    Py_XDECREF(cmd);
    return count;
}

PyDoc_STRVAR(get_cpu_count_doc,
"get_cpu_count($module, self)\n--\n\n"
"Return how many CPUs the guest has, by its own account (int).\n\n"
"Params used: cpu_chk_cmd, a command that prints the number, and those of login().\n"
"Raises what login() and the session's cmd() raise; ValueError for other output.");

static PyObject *get_cpu_count(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:get_cpu_count", KEYWORDS("self"), &self))
        return NULL;
    PyObject *session = PyObject_CallMethodObjArgs(self, st->n.login, NULL);
    if (session == NULL)
        return NULL;
    return close_after(st, session, count_cpus(st, self, session));
}

/* Memory */

/* A sum of decimal numbers: digits / 10**places. */
struct sum {
    PyObject *digits;
    Py_ssize_t places;
};

/* number * 10**places; steals number, which may be NULL. */
static PyObject *shift_decimal(PyObject *number, Py_ssize_t places)
{
    PyObject *exponent = number ? PyLong_FromSsize_t(places) : NULL;
    PyObject *ten = exponent ? PyLong_FromLong(10) : NULL;
    PyObject *factor = ten ? PyNumber_Power(ten, exponent, Py_None) : NULL;
    PyObject *product = factor ? PyNumber_Multiply(number, factor) : NULL;
    Py_XDECREF(factor);
    Py_XDECREF(ten);
    Py_XDECREF(exponent);
    Py_XDECREF(number);
    return product;
}

/* Adds the number digits / 10**places; steals digits, which may be NULL. */
static int add_number(struct sum *sum, PyObject *digits, Py_ssize_t places)
{
    if (places > sum->places) {
        sum->digits = shift_decimal(sum->digits, places - sum->places);
        sum->places = places;
    } else if (places < sum->places) {
        digits = shift_decimal(digits, sum->places - places);
    }
    PyObject *total = digits && sum->digits ? PyNumber_Add(sum->digits, digits) : NULL;
    Py_XDECREF(digits);
    Py_XSETREF(sum->digits, total);
    return total ? 0 : -1;
}

static int add_text(struct sum *sum, PyObject *text, Py_ssize_t places)
{
    PyObject *digits = text ? PyLong_FromUnicodeObject(text, 10) : NULL;
    Py_XDECREF(text);
    return add_number(sum, digits, places);
}

/* Adds what one match holds: digits, a fraction, or more parts between dots. */
static int add_match(struct sum *sum, PyObject *match)
{
    PyObject *dot = PyUnicode_FromString("."), *empty = PyUnicode_FromString("");
    PyObject *parts = dot && empty ? PyUnicode_Split(match, dot, -1) : NULL;
    int rc = parts ? 0 : -1;
    if (rc == 0 && PyList_GET_SIZE(parts) == 2) {
        rc = add_text(sum, PyUnicode_Join(empty, parts),
                      PyUnicode_GET_LENGTH(PyList_GET_ITEM(parts, 1)));
    } else {
        for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(parts); i++)
            rc = add_text(sum, Py_NewRef(PyList_GET_ITEM(parts, i)), 0);
    }
    Py_XDECREF(parts);
    Py_XDECREF(empty);
    Py_XDECREF(dot);
    return rc;
}

static PyObject *find_numbers(struct state *st, PyObject *text)
{
    PyObject *pattern = PyUnicode_FromString(NUMBERS_PATTERN);
    PyObject *found = pattern ? vm_invoke(st, st->n.re, st->n.findall, pattern, text, NULL) : NULL;
    PyObject *items = found ? PySequence_Fast(found, "findall() gave no sequence") : NULL;
    Py_XDECREF(found);
    Py_XDECREF(pattern);
    return items;
}

static int add_numbers(struct state *st, struct sum *sum, PyObject *text)
{
    PyObject *items = find_numbers(st, text);
    int rc = items ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PySequence_Fast_GET_SIZE(items); i++) {
        PyObject *match = PyObject_Str(PySequence_Fast_GET_ITEM(items, i));
        rc = match ? add_match(sum, match) : -1;
        Py_XDECREF(match);
    }
    Py_XDECREF(items);
    return rc;
}

/* The factor and the divisor that make the number megabytes. */
static int find_unit(PyObject *text, long *factor, long *divisor)
{
    int has_gb = vm_contains(text, "GB");
    int has_mb = has_gb == 0 ? vm_contains(text, "MB") : 0;
    if (has_gb < 0 || has_mb < 0)
        return -1;
    *factor = has_gb ? 1024 : 1;
    *divisor = has_gb || has_mb ? 1 : 1024;
    return 0;
}

/* digits * factor // (divisor * 10**places); steals sum's digits. */
static PyObject *round_down(struct sum *sum, long factor, long divisor)
{
    PyObject *scale = shift_decimal(PyLong_FromLong(divisor), sum->places);
    PyObject *times = scale ? PyLong_FromLong(factor) : NULL;
    PyObject *product = times ? PyNumber_Multiply(sum->digits, times) : NULL;
    PyObject *size = product ? PyNumber_FloorDivide(product, scale) : NULL;
    Py_XDECREF(product);
    Py_XDECREF(times);
    Py_XDECREF(scale);
    Py_CLEAR(sum->digits);
    return size;
}

static PyObject *megabytes(struct state *st, PyObject *text)
{
    struct sum sum = {.digits = PyLong_FromLong(0)};
    long factor, divisor;
    if (sum.digits == NULL)
        return NULL;
    if (add_numbers(st, &sum, text) == 0 && find_unit(text, &factor, &divisor) == 0)
        return round_down(&sum, factor, divisor);
    Py_XDECREF(sum.digits);
    return NULL;
}

/* cmd, or the param mem_chk_cmd if cmd is false. */
static PyObject *memory_command(struct state *st, PyObject *self, PyObject *cmd)
{
    int is_given = PyObject_IsTrue(cmd);
    if (is_given < 0)
        return NULL;
    return is_given ? Py_NewRef(cmd) : vm_self_param(st, self, "mem_chk_cmd", NULL);
}

static PyObject *measure_memory(struct state *st, PyObject *self, PyObject *session,
                                PyObject *cmd)
{
    PyObject *command = memory_command(st, self, cmd);
    PyObject *output = command ? PyObject_CallMethodObjArgs(session, st->n.cmd, command, NULL)
                               : NULL;
    PyObject *size = output ? megabytes(st, output) : NULL;
    Py_XDECREF(output);
    Py_XDECREF(command);
    return size;
}

PyDoc_STRVAR(get_memory_size_doc,
"get_memory_size($module, self, cmd=None)\n--\n\n"
"Return the memory that the guest booted with, in megabytes (int).\n\n"
"cmd: command to run in the guest (str); if false, the param mem_chk_cmd.  All numbers\n"
"in its output are added up, fractions such as 1.5 included, and are megabytes if MB\n"
"is in the output, gigabytes if GB is, kilobytes otherwise; rounded down.\n"
"Raises what login() and the session's cmd() raise.");

static PyObject *get_memory_size(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self, *cmd = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_memory_size",
                                     KEYWORDS("self", "cmd"), &self, &cmd))
        return NULL;
    PyObject *session = PyObject_CallMethodObjArgs(self, st->n.login, NULL);
    if (session == NULL)
        return NULL;
    return close_after(st, session, measure_memory(st, self, session, cmd));
}

PyDoc_STRVAR(get_current_memory_size_doc,
"get_current_memory_size($module, self)\n--\n\n"
"Return the memory that the guest has now, in megabytes (int).\n\n"
"Params used: mem_chk_cur_cmd, the command for get_memory_size.");

static PyObject *get_current_memory_size(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:get_current_memory_size",
                                     KEYWORDS("self"), &self))
        return NULL;
    PyObject *cmd = vm_self_param(st, self, "mem_chk_cur_cmd", NULL);
    PyObject *size = cmd ? PyObject_CallMethodObjArgs(self, st->n.get_memory_size, cmd, NULL)
                         : NULL;
    Py_XDECREF(cmd);
    return size;
}

/* Kernel crashes */

/* Feeds code points as bytes.  What is not ASCII can't be part of a mark: any other
 * byte stands for it, so that offsets stay those of the text. */
static void feed_wide(struct vt_crash *crash, PyObject *text, Py_ssize_t length)
{
    char bytes[1024];
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    for (Py_ssize_t at = 0; at < length;) {
        size_t n = 0;
        while (n < sizeof bytes && at < length) {
            Py_UCS4 c = PyUnicode_READ(kind, data, at++);
            bytes[n++] = c < 128 ? (char)c : '?';
        }
        vt_crash_feed(crash, bytes, n);
    }
}

/* The text of a crash in a log; None if there is none. */
static PyObject *find_crash(PyObject *log)
{
    if (!PyUnicode_Check(log))
        return PyErr_Format(PyExc_TypeError, "get_output() of a serial console must return "
                            "str, not %s", Py_TYPE(log)->tp_name);
    struct vt_crash crash = {0};
    uint64_t begin, end;
    Py_ssize_t length = PyUnicode_GET_LENGTH(log);
    if (PyUnicode_KIND(log) == PyUnicode_1BYTE_KIND)
        vt_crash_feed(&crash, PyUnicode_1BYTE_DATA(log), (size_t)length);
    else
        feed_wide(&crash, log, length);
    if (!vt_crash_found(&crash, &begin, &end))
        return Py_NewRef(Py_None);
    return PyUnicode_Substring(log, (Py_ssize_t)begin, (Py_ssize_t)end);
}

/* Whether the console keeps its own place in the log.  Asked of the class: an object
 * that has any attribute one asks for should not count. */
static int scans_itself(struct state *st, PyObject *console)
{
    PyObject *method = PyObject_GetAttr((PyObject *)Py_TYPE(console), st->n.find_kernel_crash);
    if (method == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    Py_XDECREF(method);
    return method != NULL;
}

static PyObject *console_crash(struct state *st, PyObject *console)
{
    int scans = scans_itself(st, console);
    if (scans < 0)
        return NULL;
    if (scans)
        return PyObject_CallMethodObjArgs(console, st->n.find_kernel_crash, NULL);
    PyObject *log = PyObject_CallMethodObjArgs(console, st->n.get_output, NULL);
    PyObject *crash = log ? find_crash(log) : NULL;
    Py_XDECREF(log);
    return crash;
}

PyDoc_STRVAR(verify_kernel_crash_doc,
"verify_kernel_crash($module, self)\n--\n\n"
"Raise VMDeadKernelCrashError if the serial console shows a kernel crash.\n\n"
"The crash is all from the first \"BUG:\" to the end mark of the last trace.  Does\n"
"nothing if serial_console is None.");

static PyObject *verify_kernel_crash(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:verify_kernel_crash", KEYWORDS("self"),
                                     &self))
        return NULL;
    PyObject *console = PyObject_GetAttr(self, st->n.serial_console);
    if (console == NULL || console == Py_None)
        return console;
    PyObject *crash = console_crash(st, console);
    Py_DECREF(console);
    if (crash == NULL || crash == Py_None)
        return crash;
    vm_raise_named(st, st->n.VMDeadKernelCrashError, crash);
    Py_DECREF(crash);
    return NULL;
}

/* Keys */

static int send_item(struct state *st, PyObject *self, PyObject *item)
{
    PyObject *answer = PyObject_CallMethodObjArgs(item, st->n.isupper, NULL);
    int is_upper = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (is_upper <= 0)
        return is_upper < 0 ? -1 : vm_tell(self, st->n.send_key, item, NULL);
    PyObject *lower = PyObject_CallMethodObjArgs(item, st->n.lower, NULL);
    PyObject *key = lower ? PyUnicode_FromFormat("shift-%S", lower) : NULL;
    int rc = key ? vm_tell(self, st->n.send_key, key, NULL) : -1;
    Py_XDECREF(key);
    Py_XDECREF(lower);
    return rc;
}

PyDoc_STRVAR(send_string_doc,
"send_string($module, self, str)\n--\n\n"
"Type a text on the VM's keyboard, a capital letter as shift and the small one.\n\n"
"str: letters and digits, or any iterable of key names (str).");

static PyObject *send_string(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self, *text;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:send_string", KEYWORDS("self", "str"),
                                     &self, &text))
        return NULL;
    PyObject *iterator = PyObject_GetIter(text), *item;
    if (iterator == NULL)
        return NULL;
    int rc = 0;
    while (rc == 0 && (item = PyIter_Next(iterator)) != NULL) {
        rc = send_item(st, self, item);
        Py_DECREF(item);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

PyMethodDef vm_guest_methods[] = {
    {"verify_kernel_crash", WITH_KEYWORDS(verify_kernel_crash), verify_kernel_crash_doc},
    {"send_string", WITH_KEYWORDS(send_string), send_string_doc},
    {"get_cpu_count", WITH_KEYWORDS(get_cpu_count), get_cpu_count_doc},
    {"get_memory_size", WITH_KEYWORDS(get_memory_size), get_memory_size_doc},
    {"get_current_memory_size", WITH_KEYWORDS(get_current_memory_size),
     get_current_memory_size_doc},
    {NULL, NULL, 0, NULL},
};
