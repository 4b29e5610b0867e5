/* local.c - local processes: on a pseudo-terminal of ours, or of the keeper's. */
#include "object.h"

#include "argv.h"
#include "keeper/keeper.h"
#include "transport/pty.h"

#define START_TIMEOUT 60.0              /* for a local process to be started */

static const char open_pty_doc[] =
    "open_pty($module, /, argv, env, *, cwd=None, echo=False, log=None, pass_fds=())\n--\n\n"
    "Start a local process on a pseudo-terminal; return a Session.\n\n"
    "argv, env: sequences of bytes; argv[0] is a path, env holds b'NAME=value' items.\n"
    "pass_fds: descriptors (int) that the process inherits.";

/* A tuple of descriptors as an array; free with PyMem_Free.  -1: an exception is set. */
static int descriptors(PyObject *tuple, int **out)
{
    Py_ssize_t n = tuple == NULL ? 0 : PyTuple_GET_SIZE(tuple);
    *out = PyMem_Calloc((size_t)n + 1, sizeof **out);
    if (*out == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        (*out)[i] = PyObject_AsFileDescriptor(PyTuple_GET_ITEM(tuple, i));
        if ((*out)[i] < 0)
            return -1;
    }
    return (int)n;
}

/* What open_pty and keep are asked to start; free with process_free. */
struct process {
    struct vt_pty_options o;
    PyObject *argv, *env;               /* sequences that the lists borrow from */
    const char **argv_list, **env_list;
    int *fds;
};

static void process_free(struct process *p)
{
    PyMem_Free(p->argv_list);
    PyMem_Free(p->env_list);
    PyMem_Free(p->fds);
    Py_XDECREF(p->argv);
    Py_XDECREF(p->env);
}

/* false: an exception is set. */
static bool process_parse(struct process *p, PyObject *argv, PyObject *env, PyObject *fds)
{
    p->argv = PySequence_Fast(argv, "argv must be a sequence of bytes");
    p->env = p->argv == NULL ? NULL : PySequence_Fast(env, "env must be a sequence of bytes");
    p->argv_list = p->env == NULL ? NULL : argv_of(p->argv);
    p->env_list = p->argv_list == NULL ? NULL : argv_of(p->env);
    p->o.pass_count = p->env_list == NULL ? -1 : descriptors(fds, &p->fds);
    if (p->o.pass_count < 0)
        return false;
    if (p->argv_list[0] == NULL) {
        PyErr_SetString(PyExc_ValueError, "argv is empty");
        return false;
    }
    p->o.argv = p->argv_list;
    p->o.envp = p->env_list;
    p->o.pass_fds = p->fds;
    return true;
}

static enum vt_rc start_on_pty(void *ctx, struct call *c, struct vt_transport **t)
{
    struct process *p = ctx;
    return vt_pty_open(&p->o, &c->waiter, c->deadline, t, &c->e);
}

static PyObject *open_pty(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"argv", "env", "cwd", "echo", "log", "pass_fds", NULL};
    PyObject *argv, *env, *fds = NULL, *self = NULL;
    struct process p = {0};
    int echo = 0;
    const char *log = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "OO|$zpzO!:open_pty", names, &argv, &env, &p.o.cwd, &echo, &log,
                                     &PyTuple_Type, &fds))
        return NULL;
    p.o.echo = echo;
    if (process_parse(&p, argv, env, fds))
        self = session_open(module, START_TIMEOUT, log, false, start_on_pty, &p);
    process_free(&p);
    return self;
}

static const char keep_doc[] =
    "keep($module, /, folder, id, argv, env, *, echo=False, pass_fds=(), timeout=10.0)\n--\n\n"
    "Start a local process in the keeper, so that it outlives this one; return (Session,\n"
    "how far callbacks have come with its output).  folder: the user's own, mode 0700.";

static PyObject *opened_kept(struct call *c, PyObject *module, struct vt_session *s, const struct vt_kept *kept)
{
    if (c->rc != VT_OK)
        return call_failed(c, NULL);
    PyObject *self = session_wrap(module, s);
    PyObject *pair = self == NULL ? NULL : Py_BuildValue("(OK)", self, (unsigned long long)kept->told);
    Py_XDECREF(self);
    return call_result(c, pair);
}

static PyObject *keep(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"folder", "id", "argv", "env", "echo", "pass_fds", "timeout", NULL};
    const char *folder, *id;
    PyObject *argv, *env, *fds = NULL;
    struct process p = {0};
    int echo = 0;
    double timeout = 10.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "ssOO|$pO!d:keep", names, &folder, &id, &argv, &env, &echo,
                                     &PyTuple_Type, &fds, &timeout))
        return NULL;
    if (!process_parse(&p, argv, env, fds)) {
        process_free(&p);
        return NULL;
    }
    struct call c;
    struct vt_session *s = NULL;
    struct vt_kept kept;
    p.o.echo = echo;
    call_init(&c, state_of(module), timeout);
    call_release(&c);
    c.rc = vt_kept_start(folder, id, &p.o, MEMORY_BOUND, &c.waiter, c.deadline, &s, &kept, &c.e);
    call_acquire(&c);
    process_free(&p);
    return opened_kept(&c, module, s, &kept);
}

static const char attach_doc[] =
    "attach($module, /, folder, id, *, timeout=10.0)\n--\n\n"
    "Reach a process of keep() from any process of its user; return what keep() returns, or\n"
    "None if there is none of that id.";

static PyObject *attach(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"folder", "id", "timeout", NULL};
    const char *folder, *id;
    double timeout = 10.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "ss|$d:attach", names, &folder, &id, &timeout))
        return NULL;
    struct call c;
    struct vt_session *s = NULL;
    struct vt_kept kept;
    call_init(&c, state_of(module), timeout);
    call_release(&c);
    c.rc = vt_kept_attach(folder, id, MEMORY_BOUND, &c.waiter, c.deadline, &s, &kept, &c.e);
    call_acquire(&c);
    return c.rc == VT_CONNECT ? call_result(&c, Py_NewRef(Py_None)) : opened_kept(&c, module, s, &kept);
}

PyMethodDef local_methods[] = {
    {"open_pty", (PyCFunction)(void (*)(void))open_pty, METH_VARARGS | METH_KEYWORDS, open_pty_doc},
    {"keep", (PyCFunction)(void (*)(void))keep, METH_VARARGS | METH_KEYWORDS, keep_doc},
    {"attach", (PyCFunction)(void (*)(void))attach, METH_VARARGS | METH_KEYWORDS, attach_doc},
    {NULL, NULL, 0, NULL},
};
