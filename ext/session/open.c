/* open.c - sessions that are reached by a host's name or a socket's path. */
#include "object.h"

#include "transport/ssh_identity.h"
#include "transport/socket.h"
#include "transport/tcp.h"

PyObject *session_open(PyObject *module, double timeout, const char *log, bool scan_crash, open_fn open, void *ctx)
{
    struct call c;
    struct vt_transport *t = NULL;
    call_init(&c, state_of(module), timeout);
    call_release(&c);
    c.rc = open(ctx, &c, &t);
    call_acquire(&c);
    return c.rc == VT_OK ? call_result(&c, session_wrap_transport(module, t, log, scan_crash)) : call_failed(&c, NULL);
}

static const char open_ssh_doc[] =
    "open_ssh($module, /, host, port, user, password=None, *, identity_file=None,\n"
    "         known_hosts=None, auth=None, hedge=True, keepalive=0, log=None,\n"
    "         timeout=10.0, passphrase=None)\n--\n\n"
    "Log in over SSH and start a shell on a pty; return a Session.\n\n"
    "identity_file: path of a private key, which passphrase opens if it is locked; or of a\n"
    "public one, which names a key that the SSH agent holds.\n"
    "host: name or address (str).  timeout: seconds for all of it.  log: path of the\n"
    "session's log.  Raises EngineError, whose stage says how far it came.";

struct ssh_opening {
    struct vt_ssh_options o;
    struct vt_ssh_info info;
};

static enum vt_rc open_ssh_shell(void *ctx, struct call *c, struct vt_transport **t)
{
    struct ssh_opening *how = ctx;
    return vt_ssh_open(&how->o, &c->waiter, c->deadline, t, &how->info, &c->e);
}

static PyObject *open_ssh(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"host", "port", "user", "password", "identity_file", "known_hosts",
                            "auth", "hedge", "keepalive", "log", "timeout", "passphrase", NULL};
    struct ssh_opening how = {0};
    struct vt_ssh_options *o = &how.o;
    int hedge = 1;
    const char *log = NULL;
    double timeout = 10.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "sis|z$zzzpizdz:open_ssh", names, &o->host, &o->port,
                                     &o->user, &o->password, &o->identity_file, &o->known_hosts,
                                     &o->auth, &hedge, &o->keepalive_s, &log, &timeout, &o->passphrase))
        return NULL;
    o->hedge = hedge;
    o->places = state_of(module)->places;
    PyObject *self = session_open(module, timeout, log, false, open_ssh_shell, &how);
    if (self == NULL) {
        drain_kept(module, state_of(module));
        return NULL;
    }
    session_of(self)->ssh = how.info;
    session_of(self)->has_ssh = true;
    return self;
}

static const char needs_passphrase_doc[] =
    "needs_passphrase($module, path, /)\n--\n\n"
    "Whether the file is a private key that is protected by a passphrase.";

static PyObject *needs_passphrase(PyObject *module, PyObject *args)
{
    PyObject *path;
    struct vt_identity id;
    char unused[96];
    (void)module;
    if (!PyArg_ParseTuple(args, "O&:needs_passphrase", PyUnicode_FSConverter, &path))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    vt_identity_look(PyBytes_AS_STRING(path), &id, unused, sizeof unused);
    Py_END_ALLOW_THREADS
    Py_DECREF(path);
    return PyBool_FromLong(id.kind == VT_IDENTITY_LOCKED);
}

static const char open_unix_doc[] =
    "open_unix($module, /, path, *, log=None, scan_crash=True, timeout=10.0)\n--\n\n"
    "Connect to a console on a unix socket; return a Session.  With scan_crash the text of\n"
    "a kernel crash is looked for as output arrives.";

static enum vt_rc connect_unix(void *path, struct call *c, struct vt_transport **t)
{
    return vt_unix_open(path, &c->waiter, c->deadline, t, &c->e);
}

static PyObject *open_unix(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"path", "log", "scan_crash", "timeout", NULL};
    PyObject *path;
    const char *log = NULL;
    int scan = 1;
    double timeout = 10.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "O&|$zpd:open_unix", names, PyUnicode_FSConverter,
                                     &path, &log, &scan, &timeout))
        return NULL;
    PyObject *self = session_open(module, timeout, log, scan, connect_unix, PyBytes_AS_STRING(path));
    Py_DECREF(path);
    return self;
}

static const char open_tcp_doc[] =
    "open_tcp($module, /, host, port, *, telnet=False, log=None, timeout=10.0)\n--\n\n"
    "Connect to a shell over TCP, raw or by Telnet; return a Session.";

struct tcp_opening {
    const char *host;
    int port, telnet;
};

static enum vt_rc connect_tcp(void *ctx, struct call *c, struct vt_transport **t)
{
    const struct tcp_opening *to = ctx;
    return vt_tcp_open(to->host, to->port, to->telnet, &c->waiter, c->deadline, t, &c->e);
}

static PyObject *open_tcp(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"host", "port", "telnet", "log", "timeout", NULL};
    struct tcp_opening to = {0};
    const char *log = NULL;
    double timeout = 10.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "si|$pzd:open_tcp", names, &to.host, &to.port, &to.telnet, &log,
                                     &timeout))
        return NULL;
    return session_open(module, timeout, log, false, connect_tcp, &to);
}

PyMethodDef open_methods[] = {
    {"open_ssh", (PyCFunction)(void (*)(void))open_ssh, METH_VARARGS | METH_KEYWORDS, open_ssh_doc},
    {"needs_passphrase", needs_passphrase, METH_VARARGS, needs_passphrase_doc},
    {"open_unix", (PyCFunction)(void (*)(void))open_unix, METH_VARARGS | METH_KEYWORDS, open_unix_doc},
    {"open_tcp", (PyCFunction)(void (*)(void))open_tcp, METH_VARARGS | METH_KEYWORDS, open_tcp_doc},
    {NULL, NULL, 0, NULL},
};
