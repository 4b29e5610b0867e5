/* session.c - type Session: one session of the engine. */
#include "state.h"

#include "console/text.h"
#include "keeper/keeper.h"
#include "transport/pty.h"
#include "transport/stream.h"
#include "transport/tcp.h"

#include <string.h>
#include <structmember.h>
#include <unistd.h>

#define MEMORY_BOUND (1024 * 1024)      /* of output, a session; what is older is in a file */
#define COPY_SOME (1024 * 1024)          /* of output, before who receives it has a turn */
#define EXEC_LIMIT ((size_t)1 << 31)

struct session {
    PyObject_HEAD
    PyObject *module;
    PyObject *weakrefs;
    struct vt_session *s;               /* never NULL once made */
    PyObject *self_ref;                 /* weak reference to itself, for the drainer */
    PyObject *news;                     /* callable(), or NULL */
    uint64_t told;                      /* bytes when it was last called */
    struct vt_ssh_info ssh;
    bool has_ssh;
};

static struct session *of(PyObject *op)
{
    return (struct session *)op;
}

static struct state *my_state(PyObject *op)
{
    return state_of(of(op)->module);
}

/* ---- making sessions ---- */

/* Wraps a core session, which is the object's from here on. */
static PyObject *wrap_session(PyObject *module, struct vt_session *s)
{
    struct state *st = state_of(module);
    struct session *self = PyObject_GC_New(struct session, st->session_type);
    if (self == NULL) {
        vt_session_free(s);
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
    self->module = Py_NewRef(module);
    self->s = s;
    s->user = self;
    PyObject_GC_Track((PyObject *)self);
    if (s->ended != VT_OK)
        return (PyObject *)self;        /* of a keeper, and over: nothing to watch */
    if (drain_attach(module, st, s) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    vt_drainer_arm(s);
    return (PyObject *)self;
}

/* Wraps a transport, which is the session's from here on. */
static PyObject *wrap(PyObject *module, struct vt_transport *t, const char *log, int scan_crash)
{
    struct vt_session *s;
    enum vt_rc rc = vt_session_new(t, MEMORY_BOUND, &s);
    if (rc != VT_OK)
        return raise_engine(state_of(module), rc, NULL, NULL);
    s->scan_crash = scan_crash;
    if (log != NULL && vt_log_init(&s->log, log) != VT_OK) {
        vt_session_free(s);
        return PyErr_NoMemory();
    }
    return wrap_session(module, s);
}

static const char open_ssh_doc[] =
    "open_ssh($module, /, host, port, user, password=None, *, identity_file=None,\n"
    "         known_hosts=None, auth=None, hedge=True, keepalive=0, log=None,\n"
    "         timeout=10.0)\n--\n\n"
    "Log in over SSH and start a shell on a pty; return a Session.\n\n"
    "host: name or address (str).  timeout: seconds for all of it.  log: path of the\n"
    "session's log.  Raises EngineError, whose stage says how far it came.";

static PyObject *finish_ssh(PyObject *module, struct vt_ssh *ssh, struct pywait *w, vt_time deadline,
                            const char *log)
{
    struct vt_ssh_info info = *vt_ssh_info(ssh);
    struct vt_transport *t = NULL;
    struct vt_err e = {0};
    pywait_release(w);
    enum vt_rc rc = vt_ssh_shell(ssh, &w->waiter, deadline, &t, &e);
    pywait_acquire(w);
    if (rc != VT_OK)
        return raise_engine(state_of(module), rc, &e, NULL);
    PyObject *self = wrap(module, t, log, 0);
    if (self != NULL) {
        of(self)->ssh = info;
        of(self)->has_ssh = true;
    }
    return self;
}

static PyObject *open_ssh(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"host", "port", "user", "password", "identity_file", "known_hosts",
                            "auth", "hedge", "keepalive", "log", "timeout", NULL};
    struct vt_ssh_options o = {0};
    int hedge = 1;
    const char *log = NULL;
    double timeout = 10.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "sis|z$zzzpizd:open_ssh", names, &o.host, &o.port,
                                     &o.user, &o.password, &o.identity_file, &o.known_hosts,
                                     &o.auth, &hedge, &o.keepalive_s, &log, &timeout))
        return NULL;
    o.hedge = hedge;
    struct pywait w;
    struct vt_ssh *ssh = NULL;
    struct vt_err e = {0};
    vt_time deadline = vt_deadline(timeout);
    pywait_init(&w, state_of(module), NULL);
    pywait_release(&w);
    enum vt_rc rc = vt_ssh_login(&o, &w.waiter, deadline, &ssh, &e);
    pywait_acquire(&w);
    if (rc != VT_OK)
        return raise_engine(state_of(module), rc, &e, NULL);
    return finish_ssh(module, ssh, &w, deadline, log);
}

static const char open_unix_doc[] =
    "open_unix($module, /, path, *, log=None, scan_crash=True, timeout=10.0)\n--\n\n"
    "Connect to a console on a unix socket; return a Session.  With scan_crash the text of\n"
    "a kernel crash is looked for as output arrives.";

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
    struct pywait w;
    struct vt_transport *t = NULL;
    struct vt_err e = {0};
    vt_time deadline = vt_deadline(timeout);
    pywait_init(&w, state_of(module), NULL);
    pywait_release(&w);
    enum vt_rc rc = vt_unix_open(PyBytes_AS_STRING(path), &w.waiter, deadline, &t, &e);
    pywait_acquire(&w);
    Py_DECREF(path);
    return rc == VT_OK ? wrap(module, t, log, scan) : raise_engine(state_of(module), rc, &e, NULL);
}

static const char open_tcp_doc[] =
    "open_tcp($module, /, host, port, *, telnet=False, log=None, timeout=10.0)\n--\n\n"
    "Connect to a shell over TCP, raw or by Telnet; return a Session.";

static PyObject *open_tcp(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"host", "port", "telnet", "log", "timeout", NULL};
    const char *host, *log = NULL;
    int port, telnet = 0;
    double timeout = 10.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "si|$pzd:open_tcp", names, &host, &port, &telnet, &log, &timeout))
        return NULL;
    struct pywait w;
    struct vt_transport *t = NULL;
    struct vt_err e = {0};
    vt_time deadline = vt_deadline(timeout);
    pywait_init(&w, state_of(module), NULL);
    pywait_release(&w);
    enum vt_rc rc = vt_tcp_open(host, port, telnet, &w.waiter, deadline, &t, &e);
    pywait_acquire(&w);
    return rc == VT_OK ? wrap(module, t, log, 0) : raise_engine(state_of(module), rc, &e, NULL);
}

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

/* A NULL-terminated array of borrowed C strings; free with PyMem_Free. */
static const char **strings(PyObject *fast)
{
    Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
    const char **list = PyMem_Calloc((size_t)n + 1, sizeof *list);
    if (list == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        char *text;
        if (PyBytes_AsStringAndSize(PySequence_Fast_GET_ITEM(fast, i), &text, NULL) < 0) {
            PyMem_Free(list);
            return NULL;
        }
        list[i] = text;
    }
    return list;
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
    p->argv_list = p->env == NULL ? NULL : strings(p->argv);
    p->env_list = p->argv_list == NULL ? NULL : strings(p->env);
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

static PyObject *open_pty(PyObject *module, PyObject *args, PyObject *kw)
{
    static char *names[] = {"argv", "env", "cwd", "echo", "log", "pass_fds", NULL};
    PyObject *argv, *env, *fds = NULL;
    struct process p = {0};
    int echo = 0;
    const char *log = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "OO|$zpzO!:open_pty", names, &argv, &env, &p.o.cwd, &echo, &log,
                                     &PyTuple_Type, &fds))
        return NULL;
    struct vt_transport *t = NULL;
    struct vt_err e = {0};
    enum vt_rc rc = VT_INVALID;
    bool parsed = process_parse(&p, argv, env, fds);
    if (parsed) {
        p.o.echo = echo;
        Py_BEGIN_ALLOW_THREADS
        rc = vt_pty_open(&p.o, &t, &e);
        Py_END_ALLOW_THREADS
    }
    process_free(&p);
    if (!parsed)
        return NULL;
    return rc == VT_OK ? wrap(module, t, log, 0) : raise_engine(state_of(module), rc, &e, NULL);
}

static const char keep_doc[] =
    "keep($module, /, folder, id, argv, env, *, echo=False, pass_fds=(), timeout=10.0)\n--\n\n"
    "Start a local process in the keeper, so that it outlives this one; return (Session,\n"
    "how far callbacks have come with its output).  folder: the user's own, mode 0700.";

static PyObject *opened_kept(PyObject *module, enum vt_rc rc, struct vt_session *s, const struct vt_kept *kept,
                             const struct vt_err *e)
{
    if (rc != VT_OK)
        return raise_engine(state_of(module), rc, e, NULL);
    PyObject *self = wrap_session(module, s);
    return self == NULL ? NULL : Py_BuildValue("(NK)", self, (unsigned long long)kept->told);
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
    struct pywait w;
    struct vt_session *s = NULL;
    struct vt_kept kept;
    struct vt_err e = {0};
    p.o.echo = echo;
    pywait_init(&w, state_of(module), NULL);
    pywait_release(&w);
    enum vt_rc rc = vt_kept_start(folder, id, &p.o, MEMORY_BOUND, &w.waiter, vt_deadline(timeout), &s, &kept, &e);
    pywait_acquire(&w);
    process_free(&p);
    return opened_kept(module, rc, s, &kept, &e);
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
    struct pywait w;
    struct vt_session *s = NULL;
    struct vt_kept kept;
    struct vt_err e = {0};
    pywait_init(&w, state_of(module), NULL);
    pywait_release(&w);
    enum vt_rc rc = vt_kept_attach(folder, id, MEMORY_BOUND, &w.waiter, vt_deadline(timeout), &s, &kept, &e);
    pywait_acquire(&w);
    if (rc == VT_CONNECT)
        Py_RETURN_NONE;
    return opened_kept(module, rc, s, &kept, &e);
}

static PyMethodDef functions[] = {
    {"open_ssh", (PyCFunction)(void (*)(void))open_ssh, METH_VARARGS | METH_KEYWORDS, open_ssh_doc},
    {"open_unix", (PyCFunction)(void (*)(void))open_unix, METH_VARARGS | METH_KEYWORDS, open_unix_doc},
    {"open_tcp", (PyCFunction)(void (*)(void))open_tcp, METH_VARARGS | METH_KEYWORDS, open_tcp_doc},
    {"open_pty", (PyCFunction)(void (*)(void))open_pty, METH_VARARGS | METH_KEYWORDS, open_pty_doc},
    {"keep", (PyCFunction)(void (*)(void))keep, METH_VARARGS | METH_KEYWORDS, keep_doc},
    {"attach", (PyCFunction)(void (*)(void))attach, METH_VARARGS | METH_KEYWORDS, attach_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- a call: enter, work without the GIL, leave ---- */

struct call {
    struct session *self;
    struct pywait w;
    vt_time deadline;
    enum vt_rc rc;
};

/* Enters the session; the GIL is released if this succeeds.  On failure an exception
 * is set and the GIL is held. */
static bool call_begin(struct call *c, PyObject *self, double timeout, PyObject *match)
{
    c->self = of(self);
    c->deadline = vt_deadline(timeout);
    pywait_init(&c->w, my_state(self), match);
    c->w.session = self;
    pywait_release(&c->w);
    c->rc = vt_session_enter(c->self->s, &c->w.waiter, c->deadline);
    if (c->rc == VT_OK)
        return true;
    pywait_acquire(&c->w);
    raise_engine(my_state(self), c->rc, NULL, NULL);
    return false;
}

static void call_end(struct call *c)
{
    vt_session_leave(c->self->s);
    pywait_acquire(&c->w);
}

/* Detail of what ended the stream, for an exception. */
static struct vt_err detail(const struct session *self, enum vt_stage stage)
{
    struct vt_err e = self->s->t->err;
    e.stage = stage;
    return e;
}

/* [begin, end) of the store as bytes, whoever owns the session; the GIL is held. */
static PyObject *store_bytes(struct vt_session *s, uint64_t begin, uint64_t end)
{
    uint64_t first, total;
    vt_store_range(&s->store, &first, &total);
    if (begin < first)
        begin = first < end ? first : end;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(end - begin));
    while (bytes != NULL && begin < end) {
        char *to = PyBytes_AS_STRING(bytes) + PyBytes_GET_SIZE(bytes) - (Py_ssize_t)(end - begin);
        uint64_t n = end - begin < COPY_SOME ? end - begin : COPY_SOME;
        if (vt_store_read(&s->store, begin, to, (size_t)n) != VT_OK) {
            Py_CLEAR(bytes);
            PyErr_SetString(PyExc_OSError, "cannot read back the session's output");
        }
        begin += n;
    }
    return bytes;
}

static PyObject *clean(struct vt_session *s, PyObject *bytes)
{
    if (bytes != NULL && s->crlf) {
        size_t n = vt_strip_cr(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
        if ((Py_ssize_t)n != PyBytes_GET_SIZE(bytes))
            _PyBytes_Resize(&bytes, (Py_ssize_t)n);
    }
    return bytes;
}

static PyObject *command_output(struct vt_session *s, const struct vt_command *c)
{
    size_t n = vt_command_size(c);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
    if (bytes == NULL)
        return NULL;
    if (vt_command_read(s, c, PyBytes_AS_STRING(bytes), &n) != VT_OK) {
        Py_DECREF(bytes);
        PyErr_SetString(PyExc_OSError, "cannot read back the command's output");
        return NULL;
    }
    if ((Py_ssize_t)n != PyBytes_GET_SIZE(bytes))
        _PyBytes_Resize(&bytes, (Py_ssize_t)n);
    return bytes;
}

/* ---- news ---- */

PyObject *session_object(struct vt_session *s)
{
    PyObject *ref = ((struct session *)s->user)->self_ref;
    PyObject *self = ref == NULL ? NULL : PyObject_CallNoArgs(ref);
    if (self == Py_None)
        Py_CLEAR(self);
    return self;
}

void session_tell_news(PyObject *op)
{
    struct session *self = of(op);
    PyObject *news = self->news;
    if (news == NULL || (self->told == self->s->store.total && self->s->ended == VT_OK))
        return;
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);     /* an exception on its way stays on its way */
    self->told = self->s->store.total;
    Py_INCREF(news);
    PyObject *res = PyObject_CallNoArgs(news);
    if (res == NULL)
        PyErr_WriteUnraisable(news);
    Py_XDECREF(res);
    Py_DECREF(news);
    PyErr_Restore(type, value, trace);
}

static const char set_news_doc[] =
    "set_news($self, callback, /)\n--\n\n"
    "Have callback() called whenever output has come or the stream has ended, by the thread\n"
    "that waits for it or by the drainer's.  Of the session it may use peek() alone, and it\n"
    "should be quick.  None ends it.";

static PyObject *session_set_news(PyObject *self, PyObject *callback)
{
    if (of(self)->self_ref == NULL && (of(self)->self_ref = PyWeakref_NewRef(self, NULL)) == NULL)
        return NULL;
    PyObject *old = of(self)->news;
    of(self)->news = callback == Py_None ? NULL : Py_NewRef(callback);
    of(self)->s->wants_news = callback != Py_None;
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

/* ---- methods ---- */

static const char command_doc[] =
    "command($self, /, text, match, *, timeout, linesep=b'\\n', status_command=None,\n"
    "        want_status=True, safe=False, status_wait=10.0)\n--\n\n"
    "Run one shell command (bytes); return (status or None, output as bytes).\n\n"
    "match(line) says whether a line (bytes) is a prompt.  Raises EngineError: code\n"
    "'timeout', 'status' (the command ended, its status could not be had), 'eof', ...";

static PyObject *command_failed(struct call *c, struct vt_command *cmd, PyObject *output)
{
    PyObject *self = (PyObject *)c->self;
    struct vt_err e = detail(c->self, VT_STAGE_COMMAND);
    if (output == NULL && PyErr_Occurred())
        return NULL;
    if (c->rc == VT_TOOBIG)
        vt_fail(&e, c->rc, VT_STAGE_COMMAND, 0,
                "a line of the command is longer than the 4095 bytes that the guest's terminal takes");
    PyObject *res = raise_engine(my_state(self), c->rc, &e, output);
    if (c->rc == VT_TIMEOUT && cmd->found) {
        PyObject *type, *value, *trace, *code = NULL;
        PyErr_Fetch(&type, &value, &trace);
        PyErr_NormalizeException(&type, &value, &trace);
        if (value != NULL && (code = PyUnicode_FromString("status")) != NULL)
            PyObject_SetAttrString(value, "code", code);
        Py_XDECREF(code);
        PyErr_Restore(type, value, trace);
    }
    return res;
}

static PyObject *session_command(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"text", "match", "timeout", "linesep", "status_command",
                            "want_status", "safe", "status_wait", NULL};
    PyObject *text, *match, *linesep = NULL;
    struct vt_command cmd = {.linesep = "\n", .linesep_len = 1};
    double timeout = 60.0, status_wait = 10.0;
    int want_status = 1, safe = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "SO|$dSzppd:command", names, &text, &match, &timeout,
                                     &linesep, &cmd.status_command, &want_status, &safe, &status_wait))
        return NULL;
    struct call c;
    if (!call_begin(&c, self, timeout, match))
        return NULL;
    cmd.text = PyBytes_AS_STRING(text);
    cmd.len = (size_t)PyBytes_GET_SIZE(text);
    if (linesep != NULL) {
        cmd.linesep = PyBytes_AS_STRING(linesep);
        cmd.linesep_len = (size_t)PyBytes_GET_SIZE(linesep);
    }
    cmd.want_status = want_status;
    cmd.safe = safe;
    cmd.status_wait = (vt_time)(status_wait * 1e9);
    cmd.match = pywait_match;
    cmd.ctx = &c.w;
    cmd.deadline = c.deadline;
    c.rc = vt_session_command(c.self->s, &cmd, &c.w.waiter);
    pywait_acquire(&c.w);
    PyObject *output = c.rc == VT_INTR ? NULL : command_output(c.self->s, &cmd);
    vt_session_leave(c.self->s);
    if (c.rc != VT_OK || output == NULL)
        return command_failed(&c, &cmd, output);
    if (!cmd.has_status)
        return Py_BuildValue("(ON)", Py_None, output);
    return Py_BuildValue("(iN)", cmd.status, output);
}

static const char find_prompt_doc[] =
    "find_prompt($self, /, match, *, timeout, linesep=b'\\n', status_command=None)\n--\n\n"
    "Wait for the shell's prompt, have the shell prove that it is one, and learn it.\n"
    "Return all that came before it (bytes).";

static PyObject *session_find_prompt(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"match", "timeout", "linesep", "status_command", NULL};
    PyObject *match, *linesep = NULL;
    struct vt_command cmd = {.linesep = "\n", .linesep_len = 1};
    double timeout = 10.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "O|$dSz:find_prompt", names, &match, &timeout, &linesep,
                                     &cmd.status_command))
        return NULL;
    struct call c;
    if (!call_begin(&c, self, timeout, match))
        return NULL;
    if (linesep != NULL) {
        cmd.linesep = PyBytes_AS_STRING(linesep);
        cmd.linesep_len = (size_t)PyBytes_GET_SIZE(linesep);
    }
    cmd.match = pywait_match;
    cmd.ctx = &c.w;
    cmd.deadline = c.deadline;
    c.rc = vt_session_find_prompt(c.self->s, &cmd, &c.w.waiter);
    pywait_acquire(&c.w);
    PyObject *output = c.rc == VT_INTR ? NULL : command_output(c.self->s, &cmd);
    vt_session_leave(c.self->s);
    if (c.rc == VT_OK || (output == NULL && PyErr_Occurred()))
        return output;
    struct vt_err e = detail(c.self, VT_STAGE_PROMPT);
    return raise_engine(my_state(self), c.rc, &e, output);
}

static const char write_doc[] =
    "write($self, data, timeout=10.0, /)\n--\n\n"
    "Send bytes to the far end, all of them.";

static PyObject *session_write(PyObject *self, PyObject *args)
{
    Py_buffer data;
    double timeout = 10.0;
    if (!PyArg_ParseTuple(args, "y*|d:write", &data, &timeout))
        return NULL;
    struct call c;
    if (!call_begin(&c, self, timeout, NULL)) {
        PyBuffer_Release(&data);
        return NULL;
    }
    vt_log_break(&c.self->s->log);
    c.rc = vt_session_write(c.self->s, data.buf, (size_t)data.len, &c.w.waiter, c.deadline);
    call_end(&c);
    PyBuffer_Release(&data);
    if (c.rc == VT_OK)
        Py_RETURN_NONE;
    struct vt_err e = detail(c.self, VT_STAGE_NONE);
    return raise_engine(my_state(self), c.rc, &e, NULL);
}

static const char resize_doc[] =
    "resize($self, rows, columns, timeout=10.0, /)\n--\n\n"
    "Tell the far end how large the terminal is (1 to 65535 each); return whether there is a\n"
    "way to tell: over SSH and Telnet, and to a local process\n"
    "that does not outlive Python.";

static PyObject *session_resize(PyObject *self, PyObject *args)
{
    int rows, columns;
    double timeout = 10.0;
    if (!PyArg_ParseTuple(args, "ii|d:resize", &rows, &columns, &timeout))
        return NULL;
    if (rows < 1 || rows > 65535 || columns < 1 || columns > 65535)
        return PyErr_Format(PyExc_ValueError, "no terminal has %d rows of %d columns", rows, columns);
    struct call c;
    if (!call_begin(&c, self, timeout, NULL))
        return NULL;
    bool can = c.self->s->t->ops->resize != NULL;
    if (can)
        c.rc = vt_session_resize(c.self->s, (unsigned)rows, (unsigned)columns, &c.w.waiter, c.deadline);
    call_end(&c);
    if (!can || c.rc == VT_OK)
        return PyBool_FromLong(can);
    struct vt_err e = detail(c.self, VT_STAGE_NONE);
    return raise_engine(my_state(self), c.rc, &e, NULL);
}

static const char read_doc[] =
    "read($self, /, silence, timeout)\n--\n\n"
    "Return (output, why): output (bytes) that nobody has read yet.\n\n"
    "Reads until no byte came for `silence` seconds (why 'quiet'), `timeout` seconds have\n"
    "passed ('timeout'), or the stream has ended ('eof', or another code).  A negative\n"
    "silence ends at the first output, once nothing more is pending.";

static enum vt_rc read_more(struct call *c, double silence)
{
    struct vt_session *s = c->self->s;
    if (silence >= 0)
        return vt_session_quiet(s, &c->w.waiter, (vt_time)(silence * 1e9), c->deadline);
    vt_time deadline = s->read_at < s->store.total ? vt_now() : c->deadline;
    enum vt_rc rc = vt_session_fill(s, &c->w.waiter, deadline, NULL);
    return rc == VT_TIMEOUT && s->read_at < s->store.total ? VT_OK : rc;
}

static PyObject *session_read(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"silence", "timeout", NULL};
    double silence, timeout;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "dd:read", names, &silence, &timeout))
        return NULL;
    struct call c;
    if (!call_begin(&c, self, timeout, NULL))
        return NULL;
    c.rc = read_more(&c, silence);
    pywait_acquire(&c.w);
    struct vt_session *s = c.self->s;
    PyObject *output = NULL;
    if (c.rc != VT_INTR && (output = clean(s, store_bytes(s, s->read_at, s->store.total))) != NULL)
        s->read_at = s->store.total;
    vt_session_leave(s);
    if (output == NULL)
        return NULL;
    const char *why = c.rc == VT_OK ? "quiet" : c.rc == VT_TIMEOUT ? "timeout"
                    : c.rc == VT_EOF ? "eof" : c.rc == VT_CLOSED ? "closed" : "error";
    return Py_BuildValue("(Ns)", output, why);
}

static const char output_doc[] =
    "output($self, start=0, /)\n--\n\n"
    "All output from offset `start` on (bytes), whether read or not, CR before LF removed\n"
    "on lines that end so.  Does not wait; works on a closed session too.";

/* Takes in what is pending, unless another thread owns the session: then that one does. */
static void take_in(PyObject *self)
{
    struct call c;
    if (of(self)->s->closed)
        return;
    if (!call_begin(&c, self, 0.05, NULL)) {
        PyErr_Clear();
        return;
    }
    (void)!vt_session_fill(c.self->s, &c.w.waiter, vt_now(), NULL);
    call_end(&c);
}

static PyObject *session_output(PyObject *self, PyObject *args)
{
    unsigned long long start = 0;
    if (!PyArg_ParseTuple(args, "|K:output", &start))
        return NULL;
    struct vt_session *s = of(self)->s;
    uint64_t first, end;
    take_in(self);
    vt_store_range(&s->store, &first, &end);
    return clean(s, store_bytes(s, start < end ? start : end, end));
}

static const char peek_doc[] =
    "peek($self, start, limit, /)\n--\n\n"
    "Return (next, output): at most `limit` bytes of output from offset `start` on, and the\n"
    "offset behind them.  Takes in nothing, never waits, and works in any thread.";

static PyObject *session_peek(PyObject *self, PyObject *args)
{
    unsigned long long start, limit;
    if (!PyArg_ParseTuple(args, "KK:peek", &start, &limit))
        return NULL;
    uint64_t first, end;
    vt_store_range(&of(self)->s->store, &first, &end);
    if (start < first)
        start = first;
    if (start > end)
        start = end;
    if (limit < end - start)
        end = start + limit;
    PyObject *bytes = clean(of(self)->s, store_bytes(of(self)->s, start, end));
    return bytes == NULL ? NULL : Py_BuildValue("(KN)", (unsigned long long)end, bytes);
}

static const char find_crash_doc[] =
    "find_crash($self, /)\n--\n\n"
    "The text of a kernel crash seen so far (bytes), or None.  Nothing is scanned twice.";

static PyObject *session_find_crash(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct call c;
    struct vt_session *s = of(self)->s;
    bool entered = !s->closed && call_begin(&c, self, 10.0, NULL);
    if (entered) {
        (void)!vt_session_fill(s, &c.w.waiter, vt_now(), NULL);
        pywait_acquire(&c.w);
    } else if (PyErr_Occurred()) {
        PyErr_Clear();
    }
    uint64_t begin, end;
    PyObject *res = vt_crash_found(&s->crash, &begin, &end) ? clean(s, store_bytes(s, begin, end))
                                                            : Py_NewRef(Py_None);
    if (entered)
        vt_session_leave(s);
    return res;
}

static const char poll_doc[] =
    "poll($self, /)\n--\n\n"
    "Take in what has come, without waiting; whether the stream is still open.";

static PyObject *session_poll(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct call c;
    struct vt_session *s = of(self)->s;
    if (s->closed)
        Py_RETURN_FALSE;
    if (!call_begin(&c, self, 0.05, NULL)) {
        if (c.rc != VT_TIMEOUT && c.rc != VT_CLOSED)
            return NULL;
        PyErr_Clear();                  /* busy: then it is open */
        return PyBool_FromLong(c.rc == VT_TIMEOUT && s->ended == VT_OK);
    }
    (void)!vt_session_fill(s, &c.w.waiter, vt_now(), NULL);
    bool open = s->ended == VT_OK;
    vt_session_ask_status(s);
    call_end(&c);
    return PyBool_FromLong(open);
}

static const char wait_doc[] =
    "wait($self, timeout, /)\n--\n\n"
    "Take in output until the stream ends or `timeout` seconds have passed; whether it ended.";

static PyObject *session_wait(PyObject *self, PyObject *args)
{
    double timeout;
    if (!PyArg_ParseTuple(args, "d:wait", &timeout))
        return NULL;
    struct call c;
    if (of(self)->s->closed)
        Py_RETURN_TRUE;
    if (!call_begin(&c, self, timeout, NULL)) {
        if (c.rc != VT_TIMEOUT && c.rc != VT_CLOSED)
            return NULL;
        PyErr_Clear();
        return PyBool_FromLong(c.rc == VT_CLOSED);
    }
    do
        c.rc = vt_session_fill(c.self->s, &c.w.waiter, c.deadline, NULL);
    while (c.rc == VT_OK && !vt_expired(c.deadline));
    if (c.rc != VT_OK && c.rc != VT_TIMEOUT && c.rc != VT_INTR)
        vt_session_ask_status(c.self->s);
    call_end(&c);
    return c.rc == VT_INTR ? NULL : PyBool_FromLong(c.rc != VT_OK && c.rc != VT_TIMEOUT);
}

static const char kill_doc[] =
    "kill($self, sig, /)\n--\n\n"
    "Send signal `sig` to a local process and all its descendants, whoever waits for it;\n"
    "whether there was one.  False on other transports, and in a fork's child.";

static PyObject *session_kill(PyObject *self, PyObject *args)
{
    int sig;
    struct vt_session *s = of(self)->s;
    if (!PyArg_ParseTuple(args, "i:kill", &sig))
        return NULL;
    if (s->pid != getpid() || s->closed || s->ended != VT_OK || s->t->ops->kill == NULL)
        Py_RETURN_FALSE;
    return PyBool_FromLong(s->t->ops->kill(s->t, sig) == VT_OK);
}

static const char mark_told_doc[] =
    "mark_told($self, offset, /)\n--\n\n"
    "Let a keeper know how far callbacks have come with the output.";

static PyObject *session_mark_told(PyObject *self, PyObject *args)
{
    unsigned long long offset;
    if (!PyArg_ParseTuple(args, "K:mark_told", &offset))
        return NULL;
    vt_kept_mark_told(of(self)->s, offset);
    Py_RETURN_NONE;
}

static const char dismiss_doc[] =
    "dismiss($self, /)\n--\n\n"
    "Have a keeper end the process and forget it; nothing on other transports.";

static PyObject *session_dismiss(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct call c;
    if (of(self)->s->closed || !vt_is_kept(of(self)->s))
        Py_RETURN_FALSE;                /* whoever waits for it is woken by close */
    if (!call_begin(&c, self, 10.0, NULL)) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    bool done = vt_kept_dismiss(c.self->s);
    call_end(&c);
    return PyBool_FromLong(done);
}

static const char close_doc[] =
    "close($self, /)\n--\n\n"
    "End the session: wake whoever waits for it, say goodbye, release its descriptors'\n"
    "peers.  Its output stays readable.  May be called again, and from any thread.";

static PyObject *session_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    vt_session_close(of(self)->s);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static const char run_doc[] =
    "run($self, /, command, *, input=b'', timeout=60.0)\n--\n\n"
    "Run a command (bytes) on an SSH channel of its own; return (status or None, signal\n"
    "name or '', stdout, stderr).  Raises EngineError 'unsupported' on other transports.";

static PyObject *session_run(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"command", "input", "timeout", NULL};
    PyObject *command, *input = NULL;
    double timeout = 60.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "S|$Sd:run", names, &command, &input, &timeout))
        return NULL;
    struct call c;
    if (!call_begin(&c, self, timeout, NULL))
        return NULL;
    struct vt_buf out, err;
    struct vt_err e = {0};
    struct vt_ssh *ssh = vt_ssh_of(c.self->s->t);
    struct vt_ssh_exec x = {.command = PyBytes_AS_STRING(command), .out = &out, .err = &err, .status = -1};
    vt_buf_init(&out, EXEC_LIMIT);
    vt_buf_init(&err, EXEC_LIMIT);
    if (input != NULL) {
        x.input = PyBytes_AS_STRING(input);
        x.input_len = (size_t)PyBytes_GET_SIZE(input);
    }
    struct vt_waiter waiter = c.w.waiter;   /* close() ends this wait, too */
    waiter.wake_fd = c.self->s->wake_fd;
    waiter.has_wake = 1;
    c.rc = ssh == NULL ? vt_fail(&e, VT_UNSUPPORTED, VT_STAGE_CHANNEL, 0,
                                 "a %s session has no channels beside its shell", c.self->s->t->ops->name)
                       : vt_ssh_exec_run(ssh, &x, &waiter, c.deadline, &e);
    call_end(&c);
    PyObject *out_bytes = PyBytes_FromStringAndSize(out.data, (Py_ssize_t)out.len);
    PyObject *err_bytes = PyBytes_FromStringAndSize(err.data, (Py_ssize_t)err.len);
    vt_buf_fini(&out);
    vt_buf_fini(&err);
    PyObject *res = NULL;
    if (out_bytes != NULL && err_bytes != NULL) {
        if (c.rc != VT_OK)
            raise_engine(my_state(self), c.rc, &e, Py_NewRef(out_bytes));
        else if (x.status < 0)
            res = Py_BuildValue("(OsOO)", Py_None, x.signal, out_bytes, err_bytes);
        else
            res = Py_BuildValue("(isOO)", x.status, x.signal, out_bytes, err_bytes);
    }
    Py_XDECREF(out_bytes);
    Py_XDECREF(err_bytes);
    return res;
}

static PyMethodDef methods[] = {
    {"command", (PyCFunction)(void (*)(void))session_command, METH_VARARGS | METH_KEYWORDS, command_doc},
    {"find_prompt", (PyCFunction)(void (*)(void))session_find_prompt, METH_VARARGS | METH_KEYWORDS, find_prompt_doc},
    {"write", session_write, METH_VARARGS, write_doc},
    {"resize", session_resize, METH_VARARGS, resize_doc},
    {"read", (PyCFunction)(void (*)(void))session_read, METH_VARARGS | METH_KEYWORDS, read_doc},
    {"output", session_output, METH_VARARGS, output_doc},
    {"find_crash", session_find_crash, METH_NOARGS, find_crash_doc},
    {"poll", session_poll, METH_NOARGS, poll_doc},
    {"run", (PyCFunction)(void (*)(void))session_run, METH_VARARGS | METH_KEYWORDS, run_doc},
    {"set_news", session_set_news, METH_O, set_news_doc},
    {"peek", session_peek, METH_VARARGS, peek_doc},
    {"wait", session_wait, METH_VARARGS, wait_doc},
    {"kill", session_kill, METH_VARARGS, kill_doc},
    {"mark_told", session_mark_told, METH_VARARGS, mark_told_doc},
    {"dismiss", session_dismiss, METH_NOARGS, dismiss_doc},
    {"close", session_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

/* ---- attributes ---- */

static PyObject *get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(of(self)->s->closed);
}

static PyObject *get_ended(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(of(self)->s->closed || of(self)->s->ended != VT_OK);
}

static PyObject *get_transport(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(of(self)->s->t->ops->name);
}

static PyObject *get_status(PyObject *self, void *unused)
{
    (void)unused;
    struct vt_session *s = of(self)->s;
    if (!s->has_status)
        Py_RETURN_NONE;
    return PyLong_FromLong(s->status);
}

static PyObject *get_total(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(of(self)->s->store.total);
}

static PyObject *get_pid(PyObject *self, void *unused)
{
    (void)unused;
    struct vt_transport *t = of(self)->s->t;
    if (t->ops->pid == NULL)
        Py_RETURN_NONE;
    return PyLong_FromLong(t->ops->pid(t));
}

static PyObject *get_token(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(of(self)->s->token);
}

static PyObject *get_prompts(PyObject *self, void *unused)
{
    (void)unused;
    const struct vt_prompts *p = &of(self)->s->prompts;
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && i < p->count; i++) {
        PyObject *item = Py_BuildValue("(y#O)", p->list[i].shown, (Py_ssize_t)p->list[i].shown_len,
                                       p->list[i].proved ? Py_True : Py_False);
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *get_info(PyObject *self, void *unused)
{
    (void)unused;
    const struct vt_ssh_info *i = &of(self)->ssh;
    if (!of(self)->has_ssh)
        return PyDict_New();
    return Py_BuildValue("{sisssssssy}", "tries", i->tries, "address", i->address, "method", i->method,
                         "hostkey", i->hostkey, "banner", i->banner);
}

static PyGetSetDef attributes[] = {
    {"closed", get_closed, NULL, "Whether close() was called.", NULL},
    {"ended", get_ended, NULL, "Whether nothing more can come: the stream ended, or was closed.", NULL},
    {"transport", get_transport, NULL, "'ssh', 'unix', 'pty', ...", NULL},
    {"status", get_status, NULL, "Exit status, minus a signal's number, or None (unknown, or open).", NULL},
    {"total", get_total, NULL, "Bytes received so far.", NULL},
    {"pid", get_pid, NULL, "Process id of a local process, or None.", NULL},
    {"token", get_token, NULL, "Number of the last numbered status command.", NULL},
    {"prompts", get_prompts, NULL, "Learned prompts, newest first: (shown text, proved).", NULL},
    {"info", get_info, NULL, "What an SSH connection saw on its way: a dict.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* ---- the type ---- */

static int session_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(of(op)->module);
    Py_VISIT(of(op)->self_ref);
    Py_VISIT(of(op)->news);
    return 0;
}

static int session_clear(PyObject *op)
{
    Py_CLEAR(of(op)->module);
    Py_CLEAR(of(op)->news);
    return 0;
}

static void session_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (of(op)->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    struct vt_session *s = of(op)->s;
    of(op)->s = NULL;
    Py_BEGIN_ALLOW_THREADS
    vt_session_free(s);
    Py_END_ALLOW_THREADS
    Py_CLEAR(of(op)->self_ref);         /* the drainer may have asked it until now */
    session_clear(op);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct session, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static const char session_doc[] =
    "A session of the engine: made by open_ssh, open_unix and open_pty.\n\n"
    "Times are seconds.  Each method that waits obeys its timeout and raises\n"
    "EngineError; signals are handled while it waits.  Methods may be called from any\n"
    "thread; one at a time works.";

static PyType_Slot type_slots[] = {
    {Py_tp_doc, (void *)session_doc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {Py_tp_members, members},
    {Py_tp_traverse, session_traverse},
    {Py_tp_clear, session_clear},
    {Py_tp_dealloc, session_dealloc},
    {0, NULL},
};

#ifndef Py_TPFLAGS_DISALLOW_INSTANTIATION
#define Py_TPFLAGS_DISALLOW_INSTANTIATION 0     /* 3.9: tp_new is cleared below */
#endif

static PyType_Spec type_spec = {
    .name = "virtvm._session.Session",
    .basicsize = sizeof(struct session),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = type_slots,
};

int session_setup(PyObject *module, struct state *st)
{
    st->session_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &type_spec, NULL);
    if (st->session_type == NULL)
        return -1;
    st->session_type->tp_new = NULL;
    return PyModule_AddFunctions(module, functions) < 0 ? -1
         : PyModule_AddObjectRef(module, "Session", (PyObject *)st->session_type);
}
