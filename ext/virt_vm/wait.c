/* wait.c - wait_for_login and wait_for_serial_login: trying until the time is up.
 *
 * The time is up when the module's time.time() says so; it is asked once for the end
 * and once a round.  How long a try took decides how long to rest after it, and is
 * measured apart, by time.monotonic(): a try that waited by itself needs no rest, one
 * that failed at once (refused, say) is repeated after a short one.
 */
#include "state.h"

#include <time.h>

#define REST_S 0.25             /* after a try that failed at once */
#define DENIED_MAX 8            /* tries with an account that is denied: faillock counts them */
#define NEGLIGIBLE_S 0.01       /* a try this short counts as none */
#define MAX_RUNS 32             /* of history: first and last half are kept */
#define MAX_REASON 1024         /* characters of one reason in history */
#define MAX_CONSOLE 2048        /* characters of the serial console's tail */

/* From one try to the next, where those end in a refused password; the last goes on.  OpenSSH
 * 9.8 and later has a penalty of 5 seconds for each, and shuts out at 15. */
static const double auth_intervals_s[] = {2.0, 4.0, 6.0};
#define AUTH_INTERVALS ((Py_ssize_t)(sizeof auth_intervals_s / sizeof *auth_intervals_s))

/* One wait.  Zeroed is empty. */
struct attempts {
    struct state *st;
    PyObject *self;             /* borrowed */
    PyObject *method;           /* borrowed: name of the method that logs in */
    PyObject *args;             /* borrowed: its arguments */
    int network;                /* over the network: VMError is caught as well */
    PyObject *end;              /* time.time() at which to stop */
    PyObject *history;          /* list of (count, reason): runs of the same reason */
    Py_ssize_t tries, repeats;  /* repeats: failures that were not logged */
    Py_ssize_t refused;         /* tries that ended in a refused password */
};

static void attempts_fini(struct attempts *a)
{
    Py_CLEAR(a->end);
    Py_CLEAR(a->history);
}

static double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What the module's time.monotonic() says: whoever replaces `time` moves this clock, too.
 * The system's clock where that has no such function. */
static int monotonic(struct attempts *a, double *now)
{
    PyObject *seconds = vm_invoke(a->st, a->st->n.time, a->st->n.monotonic, NULL);
    *now = seconds ? PyFloat_AsDouble(seconds) : 0;
    Py_XDECREF(seconds);
    if (!PyErr_Occurred())
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;                  /* Ctrl-C */
    PyErr_Clear();
    *now = clock_seconds();
    return 0;
}

static PyObject *log_in(struct attempts *a)
{
    PyObject *method = PyObject_GetAttr(a->self, a->method);
    if (method == NULL)
        return NULL;
    a->tries++;
    PyObject *session = PyObject_Call(method, a->args, NULL);
    Py_DECREF(method);
    return session;
}

/* Which errors are caught: looked up only when something was raised. */
static int is_caught(struct attempts *a, PyObject *exc)
{
    struct state *st = a->st;
    PyObject *login_error = vm_global_attr(st, st->n.virt_utils, st->n.LoginError);
    PyObject *vm_error = login_error && a->network ? vm_global(st, st->n.VMError) : NULL;
    int caught = -1;
    if (login_error != NULL && (vm_error != NULL || !a->network))
        caught = PyErr_GivenExceptionMatches(exc, login_error)
                 || (vm_error != NULL && PyErr_GivenExceptionMatches(exc, vm_error));
    Py_XDECREF(vm_error);
    Py_XDECREF(login_error);
    return caught;
}

/* A virt_utils of other make may lack the class: then no error is one of it. */
static int is_refusal(struct attempts *a, PyObject *exc)
{
    struct state *st = a->st;
    PyObject *class = vm_global_attr(st, st->n.virt_utils, st->n.LoginAuthenticationError);
    int refused = class ? PyErr_GivenExceptionMatches(exc, class) : 0;
    if (class == NULL)
        PyErr_Clear();
    Py_XDECREF(class);
    return refused;
}

/* History */

/* Head and tail of a text that is longer than a reason may be; steals text. */
static PyObject *shorten(PyObject *text)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(text), half = MAX_REASON / 2 - 4;
    if (length <= MAX_REASON)
        return text;
    PyObject *head = PyUnicode_Substring(text, 0, half);
    PyObject *tail = PyUnicode_Substring(text, length - half, length);
    PyObject *both = head && tail ? PyUnicode_FromFormat("%U ... %U", head, tail) : NULL;
    Py_XDECREF(tail);
    Py_XDECREF(head);
    Py_DECREF(text);
    return both;
}

/* What the exception says; its class's name if it says nothing or can't. */
static PyObject *reason_of(PyObject *exc)
{
    PyObject *text = PyObject_Str(exc);
    if (text == NULL && PyErr_ExceptionMatches(PyExc_Exception))
        PyErr_Clear();
    else if (text == NULL || PyUnicode_GET_LENGTH(text) > 0)
        return text ? shorten(text) : NULL;
    Py_XDECREF(text);
    return vm_attr((PyObject *)Py_TYPE(exc), "__name__");
}

/* Whether reason is that of the last run; *count is set to the run's length. */
static int repeats_last(PyObject *history, PyObject *reason, Py_ssize_t *count)
{
    Py_ssize_t runs = PyList_GET_SIZE(history);
    PyObject *last = runs ? PyList_GET_ITEM(history, runs - 1) : NULL;
    *count = last ? PyLong_AsSsize_t(PyTuple_GET_ITEM(last, 0)) : 0;
    return last ? vm_equals(PyTuple_GET_ITEM(last, 1), reason) : 0;
}

static int append_run(PyObject *history, PyObject *run)
{
    if (PyList_GET_SIZE(history) == MAX_RUNS
        && PyList_SetSlice(history, MAX_RUNS / 2, MAX_RUNS / 2 + 1, NULL) < 0)
        return -1;
    return PyList_Append(history, run);
}

/* Adds a failure to the history; 1 if its reason is a new one, 0 if not. */
static int note_reason(struct attempts *a, PyObject *exc)
{
    PyObject *reason = reason_of(exc);
    Py_ssize_t count;
    int same = reason ? repeats_last(a->history, reason, &count) : -1;
    PyObject *run = same >= 0 ? Py_BuildValue("(nO)", same ? count + 1 : 1, reason) : NULL;
    int rc = -1;
    if (run != NULL && same)        /* PyList_SetItem steals run */
        rc = PyList_SetItem(a->history, PyList_GET_SIZE(a->history) - 1, Py_NewRef(run));
    else if (run != NULL)
        rc = append_run(a->history, run);
    Py_XDECREF(run);
    Py_XDECREF(reason);
    return rc < 0 ? -1 : !same;
}

/* The log gets a line when the reason changes, not one a try. */
static int note_failure(struct attempts *a, PyObject *exc)
{
    struct state *st = a->st;
    int is_new = note_reason(a, exc);
    if (is_new > 0)
        return vm_discard(vm_invoke(st, st->n.logging, st->n.debug, exc, NULL));
    a->repeats += is_new == 0;
    return is_new;
}

static int log_summary(struct attempts *a)
{
    if (a->repeats == 0)
        return 0;
    PyObject *name = PyObject_GetAttr(a->self, a->st->n.name);
    PyObject *counts = name ? PyUnicode_FromFormat("%zd tries, %zd failures like the one before",
                                                   a->tries, a->repeats)
                            : NULL;
    int rc = counts ? vm_log(a->st, a->st->n.debug, "Logging into '%s': %s", name, counts) : -1;
    Py_XDECREF(counts);
    Py_XDECREF(name);
    return rc;
}

/* Giving up */

/* Sets an attribute if the exception takes it; steals value, NULL included. */
static void annotate(PyObject *exc, PyObject *name, PyObject *value)
{
    if (value == NULL || PyObject_SetAttr(exc, name, value) < 0)
        PyErr_Clear();
    Py_XDECREF(value);
}

/* The end of what the serial console printed, None if that can't be had. */
static PyObject *console_tail(struct attempts *a)
{
    PyObject *console = PyObject_GetAttr(a->self, a->st->n.serial_console);
    PyObject *text = NULL, *tail = NULL;
    if (console != NULL && console != Py_None)
        text = PyObject_CallMethodObjArgs(console, a->st->n.get_output, NULL);
    if (text != NULL && PyUnicode_Check(text)) {
        Py_ssize_t length = PyUnicode_GET_LENGTH(text);
        tail = PyUnicode_Substring(text, length > MAX_CONSOLE ? length - MAX_CONSOLE : 0, length);
    }
    Py_XDECREF(text);
    Py_XDECREF(console);
    if (tail != NULL)
        return tail;
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;                /* Ctrl-C */
    PyErr_Clear();
    return Py_NewRef(Py_None);
}

/* Nothing that goes wrong in here may hide exc, but for an interrupt. */
static int explain(struct attempts *a, PyObject *exc)
{
    if (is_caught(a, exc) <= 0) {
        PyErr_Clear();
        return 0;
    }
    if (note_reason(a, exc) == 0)
        a->repeats++;
    PyErr_Clear();
    PyObject *console = console_tail(a);
    if (console == NULL)
        return -1;
    annotate(exc, a->st->n.tries, PyLong_FromSsize_t(a->tries));
    annotate(exc, a->st->n.history, Py_NewRef(a->history));
    annotate(exc, a->st->n.console, console);
    if (log_summary(a) < 0 && !PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    PyErr_Clear();
    return 0;
}

/* It is the last: raises it, with what is known. */
static int give_up(struct attempts *a, PyObject *exc)
{
    if (explain(a, exc) < 0)
        Py_DECREF(exc);
    else
        PyErr_SetRaisedException(exc);
    return -1;
}

/* The try whose exception is the caller's. */
static PyObject *last_try(struct attempts *a)
{
    PyObject *session = log_in(a);
    if (session != NULL)
        return session;
    give_up(a, PyErr_GetRaisedException());
    return NULL;
}

/* Trying */

/* Whether time.time() < end; *left is set to the seconds between. */
static int has_time(struct attempts *a, double *left)
{
    struct state *st = a->st;
    PyObject *now = vm_invoke(st, st->n.time, st->n.time, NULL);
    int more = now ? PyObject_RichCompareBool(now, a->end, Py_LT) : -1;
    PyObject *rest = more > 0 ? PyNumber_Subtract(a->end, now) : NULL;
    *left = rest ? PyFloat_AsDouble(rest) : 0;
    if (more > 0 && PyErr_Occurred())
        more = -1;
    Py_XDECREF(rest);
    Py_XDECREF(now);
    return more;
}

/* How long to rest after a try that took so many seconds. */
static double rest_after(struct attempts *a, double took, int refused)
{
    double interval = REST_S;
    if (refused) {
        Py_ssize_t last = AUTH_INTERVALS - 1;
        interval = auth_intervals_s[a->refused < last ? a->refused : last];
        a->refused++;
        return took < interval ? interval - took : 0;
    }
    return took < interval ? interval : 0;
}

static int sleep_for(struct state *st, double seconds)
{
    PyObject *number = PyFloat_FromDouble(seconds);
    int rc = number ? vm_discard(vm_invoke(st, st->n.time, st->n.sleep, number, NULL)) : -1;
    Py_XDECREF(number);
    return rc;
}

/* Rests, but not past the end; 0 if the try ended behind it. */
static int rest(struct attempts *a, double seconds, double left)
{
    if (left <= 0)
        return 0;
    if (seconds > left)
        seconds = left;
    return seconds > 0 && sleep_for(a->st, seconds) < 0 ? -1 : 1;
}

/* Whether the account is denied, whatever is given, and was tried often enough; exc tells. */
static int is_denied(struct attempts *a, PyObject *exc)
{
    PyObject *denied = a->refused + 1 < DENIED_MAX ? NULL : PyObject_GetAttrString(exc, "denied");
    int is = denied ? PyObject_IsTrue(denied) : 0;
    Py_XDECREF(denied);
    PyErr_Clear();
    return is > 0;
}

/* After a failed try: notes why and rests.  1 to go on, 0 if the time is up, -1 if
 * the exception is not one to catch.  left: seconds to the end as the try began. */
static int recover(struct attempts *a, double begun, double left)
{
    PyObject *exc = PyErr_GetRaisedException();
    int caught = is_caught(a, exc);
    if (caught == 0) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    int refused = caught > 0 && a->network && is_refusal(a, exc);
    if (refused && is_denied(a, exc))
        return give_up(a, exc);
    double now = begun;
    int rc = caught > 0 && monotonic(a, &now) == 0 ? note_failure(a, exc) : -1;
    double took = now - begun < NEGLIGIBLE_S ? 0 : now - begun;
    double pause = rc < 0 ? 0 : rest_after(a, took, refused);
    Py_DECREF(exc);
    return rc < 0 ? -1 : rest(a, pause, left - took);
}

static PyObject *keep_trying(struct attempts *a)
{
    double left, begun;
    int more;
    while ((more = has_time(a, &left)) > 0) {
        if ((more = monotonic(a, &begun)) < 0)
            break;
        PyObject *session = log_in(a);
        if (session != NULL)
            return session;
        if ((more = recover(a, begun, left)) <= 0)
            break;
    }
    return more < 0 ? NULL : last_try(a);
}

static int begin(struct attempts *a, PyObject *timeout, const char *announcement)
{
    struct state *st = a->st;
    PyObject *name = PyObject_GetAttr(a->self, st->n.name);
    int rc = name ? vm_log(st, st->n.debug, announcement, name, timeout) : -1;
    Py_XDECREF(name);
    PyObject *now = rc == 0 ? vm_invoke(st, st->n.time, st->n.time, NULL) : NULL;
    a->end = now ? PyNumber_Add(now, timeout) : NULL;
    Py_XDECREF(now);
    if (a->end == NULL)
        return -1;
    a->history = PyList_New(0);
    return a->history ? 0 : -1;
}

/* Steals args, which may be NULL. */
static PyObject *wait_for(struct attempts *a, PyObject *args, PyObject *timeout,
                          const char *announcement)
{
    PyObject *session = NULL;
    a->args = args;
    if (args != NULL && begin(a, timeout, announcement) == 0)
        session = keep_trying(a);
    if (session != NULL && log_summary(a) < 0)
        Py_CLEAR(session);
    attempts_fini(a);
    Py_XDECREF(args);
    return session;
}

PyDoc_STRVAR(wait_for_login_doc,
"wait_for_login($module, self, nic_index=0, timeout=240, internal_timeout=10)\n--\n\n"
"Try to log into the guest until it succeeds and return the shell session.\n\n"
"nic_index: index of the NIC to connect to (int).\n"
"timeout: seconds to keep trying; then follows one last try (int or float).\n"
"internal_timeout: timeout of each login() (int or float).\n"
"LoginError and VMError are caught until the last try (with an account that is denied\n"
"the eighth), whose exception has three\n"
"attributes more: tries (int), history (list of (count, text): the reasons in order,\n"
"equal ones that follow each other counted; middle ones are left out of a long list)\n"
"and console (last 2 KiB of the serial console, str or None).");

static PyObject *wait_for_login(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *nic_index = st->num_0, *timeout = st->num_240, *each = st->num_10;
    struct attempts a = {.st = st, .method = st->n.login, .network = 1};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOO:wait_for_login",
                                     KEYWORDS("self", "nic_index", "timeout",
                                              "internal_timeout"),
                                     &a.self, &nic_index, &timeout, &each))
        return NULL;
    return wait_for(&a, PyTuple_Pack(2, nic_index, each), timeout,
                    "Attempting to log into '%s' (timeout %ds)");
}

PyDoc_STRVAR(wait_for_serial_login_doc,
"wait_for_serial_login($module, self, timeout=240, internal_timeout=10)\n--\n\n"
"Try to log in over the serial console until it succeeds and return its session.\n\n"
"timeout: seconds to keep trying; then follows one last try (int or float).\n"
"internal_timeout: timeout of each serial_login() (int or float).\n"
"LoginError is caught until the last try; its exception has the attributes that\n"
"wait_for_login describes.");

static PyObject *wait_for_serial_login(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *timeout = st->num_240, *each = st->num_10;
    struct attempts a = {.st = st, .method = st->n.serial_login};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:wait_for_serial_login",
                                     KEYWORDS("self", "timeout", "internal_timeout"),
                                     &a.self, &timeout, &each))
        return NULL;
    return wait_for(&a, PyTuple_Pack(1, each), timeout,
                    "Attempting to log into '%s' via serial console (timeout %ds)");
}

PyMethodDef vm_wait_methods[] = {
    {"wait_for_login", WITH_KEYWORDS(wait_for_login), wait_for_login_doc},
    {"wait_for_serial_login", WITH_KEYWORDS(wait_for_serial_login), wait_for_serial_login_doc},
    {NULL, NULL, 0, NULL},
};
