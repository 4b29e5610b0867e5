/* transfer.c - functions put and get: files and trees over a connection of their own. */
#include "argv.h"
#include "call.h"

#include "transfer/transfer.h"

#include <string.h>

typedef enum vt_rc (*transfer_fn)(struct vt_ssh *, const char *const *, size_t, const char *,
                                  const struct vt_transfer_options *, struct vt_waiter *, vt_time,
                                  struct vt_transfer_result *, struct vt_err *);

struct job {
    struct vt_ssh_options ssh;
    struct vt_transfer_options o;
    struct vt_transfer_result r;
    struct call c;
    const char **list, **patterns;
    size_t count;
    PyObject *sources, *target, *progress, *exclude;
    const char *engine;
    double login_timeout, timeout;
};

static int on_progress(void *ctx, const char *name, uint64_t done, uint64_t total)
{
    struct job *j = ctx;
    if (j->c.raised != NULL)
        return 1;
    call_acquire(&j->c);
    PyObject *res = PyObject_CallFunction(j->progress, "yKK", name, (unsigned long long)done,
                                          (unsigned long long)total);
    if (res == NULL)
        call_keep(&j->c);               /* what the transfer ends with */
    Py_XDECREF(res);
    call_release(&j->c);
    return j->c.raised != NULL;
}

static PyObject *result(struct job *j)
{
    if (j->c.rc == VT_OK)
        return call_result(&j->c, Py_BuildValue("(KKs)", (unsigned long long)j->r.files,
                                                (unsigned long long)j->r.bytes, j->r.engine));
    PyObject *exc = call_error(&j->c, NULL);
    if (exc != NULL) {
        set_detail(exc, "filename", PyBytes_FromString(j->r.failed));
        set_detail(exc, "bytes", PyLong_FromUnsignedLongLong(j->r.bytes));
        set_detail(exc, "engine", Py_BuildValue("z", j->r.engine));
        set_detail(exc, "failures", PyLong_FromUnsignedLongLong(j->r.failures));
    } else {
        exc = PyErr_GetRaisedException();       /* a handler's: it, too, says what was left */
    }
    set_left(exc, &j->r.left);
    return raise_error(exc);
}

static PyObject *run(PyObject *module, struct job *j, transfer_fn transfer)
{
    struct vt_ssh *ssh = NULL;
    struct call *c = &j->c;
    call_init(c, state_of(module), j->timeout);
    vt_time login = vt_deadline(j->login_timeout);
    call_release(c);
    c->rc = vt_ssh_login(&j->ssh, &c->waiter, login < c->deadline ? login : c->deadline, &ssh, &c->e);
    if (c->rc == VT_OK) {
        c->rc = transfer(ssh, j->list, j->count, PyBytes_AS_STRING(j->target), &j->o, &c->waiter, c->deadline,
                         &j->r, &c->e);
        vt_ssh_free(ssh, false);
    }
    call_acquire(c);
    if (ssh == NULL)
        drain_kept(module, state_of(module));
    return result(j);
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
                            "login_timeout", "timeout", "engine", "verify", "passphrase", "sync", "sparse",
                            "parents", "in_place", "mode", "owner", "is_name", "sudo", "sudo_password",
                            "exclude", "update", "fills_holes", NULL};
    struct job j = {.login_timeout = 20.0, .timeout = 600.0, .ssh.hedge = true};
    int times = 0, links = 0, verify = 0, sync = 0, sparse = 0, parents = 0, in_place = 0, is_name = 0, sudo = 0,
        update = 0, fills_holes = 0;
    j.o.mode = j.o.uid = j.o.gid = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "siszO!S|$zzzppdOddzpzppppi(ii)ppzO!pp", names, &j.ssh.host, &j.ssh.port,
                                     &j.ssh.user, &j.ssh.password, &PyTuple_Type, &j.sources, &j.target,
                                     &j.ssh.identity_file, &j.ssh.known_hosts, &j.ssh.auth, &times, &links,
                                     &j.o.stall, &j.progress, &j.login_timeout, &j.timeout, &j.engine, &verify,
                                     &j.ssh.passphrase, &sync, &sparse, &parents, &in_place, &j.o.mode, &j.o.uid,
                                     &j.o.gid, &is_name, &sudo, &j.o.sudo_password, &PyTuple_Type, &j.exclude, &update,
                                     &fills_holes)
        || engine_of(j.engine, &j.o.engine) < 0)
        return NULL;
    j.list = argv_of(j.sources);
    j.count = (size_t)PyTuple_GET_SIZE(j.sources);
    if (j.list == NULL || (j.exclude != NULL && (j.patterns = argv_of(j.exclude)) == NULL)) {
        PyMem_Free(j.list);
        return NULL;
    }
    j.o.exclude = (struct vt_exclude){j.patterns, j.exclude != NULL ? (size_t)PyTuple_GET_SIZE(j.exclude) : 0};
    j.o.update = update;
    j.ssh.places = state_of(module)->places;
    j.o.keep_times = times;
    j.o.keep_links = links;
    j.o.verify = verify;
    j.o.sync = sync;
    j.o.sparse = sparse;
    j.o.fills_holes = fills_holes;
    j.o.parents = parents;
    j.o.in_place = in_place;
    j.o.is_name = is_name;
    j.o.sudo = sudo;
    if (j.o.sudo_password == NULL && j.ssh.password != NULL && j.ssh.password[0] != '\0')
        j.o.sudo_password = j.ssh.password;
    j.o.login = &j.ssh;
    if (j.progress != NULL && j.progress != Py_None) {
        j.o.progress = on_progress;
        j.o.ctx = &j;
    }
    PyObject *res = run(module, &j, transfer);
    PyMem_Free(j.list);
    PyMem_Free(j.patterns);
    return res;
}

#define SIGNATURE                                                                                     \
    "($module, /, host, port, user, password, sources, target, *, identity_file=None,\n"              \
    "    known_hosts=None, auth=None, times=False, links=False, stall=0.0, progress=None,\n"          \
    "    login_timeout=20.0, timeout=600.0, engine=None, verify=False,\n"                     \
    "    passphrase=None, sync=False, sparse=False, parents=False, in_place=False, mode=-1,\n"         \
    "    owner=(-1, -1), is_name=False, sudo=False, sudo_password=None, exclude=(),\n"                         \
    "    update=False, fills_holes=False)\n--\n\n"

static const char put_doc[] = "put" SIGNATURE
    "Copy local files and trees to a server over SSH; return (files, bytes, engine).\n\n"
    "sources: tuple of paths (bytes); target: path there (bytes).  engine: \"sftp\",\n"
    "\"scp\", or None for SFTP where the server has it, else SCP.  verify: compare SHA-256\n"
    "sums of both sides before a file gets its name.  progress(name, bytes, total) is called a\n"
    "few times a second.  sudo_password: None for the login's.  exclude:\n"
    "tuple of patterns (bytes), see docs/transfers.rst.  fills_holes: SCP fills\n"
    "them, where sparse has it refuse them.  Raises EngineError, whose\n"
    "filename, bytes and engine tell how far it came.  What ends it, KeyboardInterrupt as well, has left: how many temporary names\n"
    "could not be removed, and the first of them (int, list of bytes).";

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
