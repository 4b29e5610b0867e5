/* transfer.c - functions put and get: files and trees over a connection of their own. */
#include "state.h"

#include "transfer/transfer.h"

#include <string.h>

typedef enum vt_rc (*transfer_fn)(struct vt_ssh *, const char *const *, size_t, const char *,
                                  const struct vt_transfer_options *, struct vt_waiter *, vt_time,
                                  struct vt_transfer_result *, struct vt_err *);

struct job {
    struct vt_ssh_options ssh;
    struct vt_transfer_options o;
    struct vt_transfer_result r;
    struct pywait w;
    const char **list;
    size_t count;
    PyObject *sources, *target, *progress;
    const char *engine;
    double login_timeout, timeout;
};

static int on_progress(void *ctx, const char *name, uint64_t done, uint64_t total)
{
    struct job *j = ctx;
    pywait_acquire(&j->w);
    PyObject *res = PyObject_CallFunction(j->progress, "yKK", name, (unsigned long long)done,
                                          (unsigned long long)total);
    int stop = res == NULL;             /* its exception is what the transfer ends with */
    Py_XDECREF(res);
    pywait_release(&j->w);
    return stop;
}

static const char **source_list(PyObject *sources, size_t *count)
{
    Py_ssize_t n = PyTuple_GET_SIZE(sources);
    const char **list = PyMem_Calloc((size_t)n + 1, sizeof *list);
    if (list == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        char *text;
        if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(sources, i), &text, NULL) < 0) {
            PyMem_Free(list);
            return NULL;
        }
        list[i] = text;
    }
    *count = (size_t)n;
    return list;
}

static PyObject *result(struct state *st, struct job *j, enum vt_rc rc, const struct vt_err *e)
{
    if (rc == VT_OK)
        return Py_BuildValue("(KKs)", (unsigned long long)j->r.files, (unsigned long long)j->r.bytes,
                             j->r.engine);
    raise_engine(st, rc, e, NULL);
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *name = PyBytes_FromString(j->r.failed);
    PyObject *bytes = PyLong_FromUnsignedLongLong(j->r.bytes);
    PyObject *engine = Py_BuildValue("z", j->r.engine);
    PyObject *left = PyBytes_FromString(j->r.left);
    if (value != NULL && name != NULL && bytes != NULL && engine != NULL && left != NULL
        && type == st->engine_error && PyObject_SetAttrString(value, "filename", name) == 0
        && PyObject_SetAttrString(value, "bytes", bytes) == 0
        && PyObject_SetAttrString(value, "engine", engine) == 0)
        PyObject_SetAttrString(value, "left", left);
    Py_XDECREF(left);
    Py_XDECREF(engine);
    Py_XDECREF(name);
    Py_XDECREF(bytes);
    PyErr_Clear();                      /* of the attributes */
    PyErr_Restore(type, value, trace);
    return NULL;
}

static PyObject *run(PyObject *module, struct job *j, transfer_fn transfer)
{
    struct state *st = state_of(module);
    struct vt_err e = {0};
    struct vt_ssh *ssh = NULL;
    vt_time deadline = vt_deadline(j->timeout), login = vt_deadline(j->login_timeout);
    pywait_init(&j->w, st, NULL);
    pywait_release(&j->w);
    enum vt_rc rc = vt_ssh_login(&j->ssh, &j->w.waiter, login < deadline ? login : deadline, &ssh, &e);
    if (rc == VT_OK) {
        rc = transfer(ssh, j->list, j->count, PyBytes_AS_STRING(j->target), &j->o, &j->w.waiter, deadline,
                      &j->r, &e);
        vt_ssh_free(ssh, false);
    }
    pywait_acquire(&j->w);
    return result(st, j, rc, &e);
}

static int engine_of(const char *name, enum vt_engine *engine)
{
    static const char *const names[] = {[VT_ENGINE_SFTP] = "sftp", [VT_ENGINE_SCP] = "scp"};
    if (name == NULL)
        return 0;
    for (int i = VT_ENGINE_SFTP; i <= VT_ENGINE_SCP; i++) {
        if (strcmp(name, names[i]) == 0) {
            *engine = i;
            return 0;
        }
    }
    PyErr_Format(PyExc_ValueError, "unknown transfer engine: %s", name);
    return -1;
}

static PyObject *parse_and_run(PyObject *module, PyObject *args, PyObject *kw, transfer_fn transfer)
{
    static char *names[] = {"host", "port", "user", "password", "sources", "target", "identity_file",
                            "known_hosts", "auth", "times", "links", "stall", "progress",
                            "login_timeout", "timeout", "engine", "verify", NULL};
    struct job j = {.login_timeout = 20.0, .timeout = 600.0, .ssh.hedge = true};
    int times = 0, links = 0, verify = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "siszO!S|$zzzppdOddzp", names, &j.ssh.host, &j.ssh.port,
                                     &j.ssh.user, &j.ssh.password, &PyTuple_Type, &j.sources, &j.target,
                                     &j.ssh.identity_file, &j.ssh.known_hosts, &j.ssh.auth, &times, &links,
                                     &j.o.stall, &j.progress, &j.login_timeout, &j.timeout, &j.engine, &verify)
        || engine_of(j.engine, &j.o.engine) < 0)
        return NULL;
    j.list = source_list(j.sources, &j.count);
    if (j.list == NULL)
        return NULL;
    j.o.keep_times = times;
    j.o.keep_links = links;
    j.o.verify = verify;
    j.o.login = &j.ssh;
    if (j.progress != NULL && j.progress != Py_None) {
        j.o.progress = on_progress;
        j.o.ctx = &j;
    }
    PyObject *res = run(module, &j, transfer);
    PyMem_Free(j.list);
    return res;
}

#define SIGNATURE                                                                                     \
    "($module, /, host, port, user, password, sources, target, *, identity_file=None,\n"              \
    "    known_hosts=None, auth=None, times=False, links=False, stall=0.0, progress=None,\n"          \
    "    login_timeout=20.0, timeout=600.0, engine=None, verify=False)\n--\n\n"

static const char put_doc[] = "put" SIGNATURE
    "Copy local files and trees to a server over SSH; return (files, bytes, engine).\n\n"
    "sources: tuple of paths (bytes); target: path there (bytes).  engine: \"sftp\",\n"
    "\"scp\", or None for SFTP where the server has it, else SCP.  verify: compare SHA-256\n"
    "sums of both sides before a file gets its name.  progress(name, bytes, total) is called a\n"
    "few times a second.  Raises EngineError, whose filename, bytes and engine tell how far\n"
    "it came, and left what could not be removed (bytes).";

static const char get_doc[] = "get" SIGNATURE
    "Copy files and trees from a server over SSH; return (files, bytes, engine).\n\n"
    "sources: tuple of paths or patterns there (bytes); target: local path (bytes).";

static PyObject *put(PyObject *module, PyObject *args, PyObject *kw)
{
    return parse_and_run(module, args, kw, vt_transfer_put);
}

static PyObject *get(PyObject *module, PyObject *args, PyObject *kw)
{
    return parse_and_run(module, args, kw, vt_transfer_get);
}

PyMethodDef transfer_methods[] = {
    {"put", (PyCFunction)(void (*)(void))put, METH_VARARGS | METH_KEYWORDS, put_doc},
    {"get", (PyCFunction)(void (*)(void))get, METH_VARARGS | METH_KEYWORDS, get_doc},
    {NULL, NULL, 0, NULL},
};
