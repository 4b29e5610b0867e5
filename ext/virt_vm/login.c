/* login.c - BaseVM's methods that log in and copy files.
 *
 * Each call behaves as if the method were decorated with error.context_aware, which
 * is looked up at that call like any other name; the one found at import serves where an
 * `error` put in later has none.
 */
#include "state.h"

/* Choices that the calls of old do not carry: params that become keyword arguments
 * of the same name. */
static const char *const ssh_choices[] = {      /* of logins and transfers */
    "ssh_identity_file", "ssh_identity_passphrase", "ssh_known_hosts", "ssh_auth", NULL,
};
static const char *const login_choices[] = {"ssh_keepalive", "shell_output_limit", NULL};
static const char *const transfer_choices[] = {
    "transfer_engine", "transfer_verify", "transfer_keep_links", "transfer_times",
    "transfer_stall_timeout", "transfer_parents", "transfer_sparse", "transfer_sync", "transfer_in_place",
    "transfer_sudo", "transfer_sudo_password", "transfer_exclude", "transfer_update", NULL,
};

/* Who logs in where.  Zeroed is empty. */
struct access {
    PyObject *username, *password;
    PyObject *prompt, *linesep;         /* for a shell */
    PyObject *client, *address, *port;  /* for a connection */
    PyObject *log;                      /* name of the log file */
    PyObject *choices;                  /* keyword arguments, or NULL for none */
};

static void access_fini(struct access *a)
{
    Py_CLEAR(a->username);
    Py_CLEAR(a->password);
    Py_CLEAR(a->prompt);
    Py_CLEAR(a->linesep);
    Py_CLEAR(a->client);
    Py_CLEAR(a->address);
    Py_CLEAR(a->port);
    Py_CLEAR(a->log);
    Py_CLEAR(a->choices);
}

/* error.context(format % self.name) */
static int set_context(struct state *st, PyObject *self, const char *format)
{
    PyObject *text = vm_format_attr(self, st->n.name, format);
    int rc = text ? vm_discard(vm_invoke(st, st->n.error, st->n.context, text, NULL)) : -1;
    Py_XDECREF(text);
    return rc;
}

static int read_account(struct state *st, PyObject *self, struct access *a)
{
    if ((a->username = vm_self_param(st, self, "username", "")) == NULL
        || (a->password = vm_self_param(st, self, "password", "")) == NULL)
        return -1;
    return 0;
}

static PyObject *read_linesep(struct state *st, PyObject *self)
{
    PyObject *value = vm_self_param(st, self, "shell_linesep", "\\n");
    PyObject *text = value ? PyObject_Str(value) : NULL;
    PyObject *linesep = text ? vm_decode_escapes(text) : NULL;
    Py_XDECREF(text);
    Py_XDECREF(value);
    return linesep;
}

static int read_shell(struct state *st, PyObject *self, struct access *a)
{
    if ((a->prompt = vm_self_param(st, self, "shell_prompt", "[\\#\\$]")) == NULL
        || (a->linesep = read_linesep(st, self)) == NULL)
        return -1;
    return 0;
}

/* self.get_port(int(self.params.get(key))): a class without get_port is told so
 * before the port is looked at. */
static PyObject *read_port(struct state *st, PyObject *self, const char *key)
{
    PyObject *get_port = PyObject_GetAttr(self, st->n.get_port);
    PyObject *value = get_port ? vm_self_param(st, self, key, NULL) : NULL;
    PyObject *number = value ? PyObject_CallFunctionObjArgs((PyObject *)&PyLong_Type, value, NULL)
                             : NULL;
    PyObject *port = number ? PyObject_CallFunctionObjArgs(get_port, number, NULL) : NULL;
    Py_XDECREF(number);
    Py_XDECREF(value);
    Py_XDECREF(get_port);
    return port;
}

static int read_peer(struct state *st, PyObject *self, PyObject *nic_index,
                     const char *client_key, const char *port_key, struct access *a)
{
    if ((a->client = vm_self_param(st, self, client_key, NULL)) == NULL
        || (a->address = PyObject_CallMethodObjArgs(self, st->n.get_address, nic_index, NULL))
               == NULL
        || (a->port = read_port(st, self, port_key)) == NULL)
        return -1;
    return 0;
}

static PyObject *random_string(struct state *st)
{
    return vm_invoke(st, st->n.virt_utils, st->n.generate_random_string, st->num_4, NULL);
}

/* "session-NAME-RANDOM.log" */
static PyObject *session_log(struct state *st, PyObject *self)
{
    PyObject *name = PyObject_GetAttr(self, st->n.name);
    PyObject *random = name ? random_string(st) : NULL;
    PyObject *log = random ? PyUnicode_FromFormat("session-%S-%S.log", name, random) : NULL;
    Py_XDECREF(random);
    Py_XDECREF(name);
    return log;
}

/* "transfer-NAME-to-ADDRESS-RANDOM.log" */
static PyObject *transfer_log(struct state *st, PyObject *self, PyObject *address,
                              const char *direction)
{
    PyObject *name = PyObject_GetAttr(self, st->n.name);
    PyObject *random = name ? random_string(st) : NULL;
    PyObject *log = random ? PyUnicode_FromFormat("transfer-%S-%s-%S-%S.log", name, direction,
                                                  address, random)
                           : NULL;
    Py_XDECREF(random);
    Py_XDECREF(name);
    return log;
}

/* Adds params.get(key) to *choices, which is made when first needed, unless None. */
static int read_choice(struct state *st, PyObject *self, const char *key, PyObject **choices)
{
    PyObject *value = vm_self_param(st, self, key, NULL);
    int rc = value ? 0 : -1;
    if (value != NULL && value != Py_None) {
        if (*choices == NULL)
            *choices = PyDict_New();
        rc = *choices ? PyDict_SetItemString(*choices, key, value) : -1;
    }
    Py_XDECREF(value);
    return rc;
}

static int read_choices(struct state *st, PyObject *self, const char *const *keys,
                        struct access *a)
{
    for (; *keys != NULL; keys++)
        if (read_choice(st, self, *keys, &a->choices) < 0)
            return -1;
    return 0;
}

/* virt_utils.<name>(*args, **choices); steals args, which may be NULL. */
static PyObject *call_virt_utils(struct state *st, PyObject *name, PyObject *args,
                                 PyObject *choices)
{
    PyObject *function = args ? vm_global_attr(st, st->n.virt_utils, name) : NULL;
    PyObject *result = function ? PyObject_Call(function, args, choices) : NULL;
    Py_XDECREF(function);
    Py_XDECREF(args);
    return result;
}

/* owner.set_status_test_command(self.params.get("status_test_command", "")) */
static int set_status_command(struct state *st, PyObject *self, PyObject *session)
{
    PyObject *set = PyObject_GetAttr(session, st->n.set_status_test_command);
    PyObject *command = set ? vm_self_param(st, self, "status_test_command", "") : NULL;
    int rc = command ? vm_discard(PyObject_CallFunctionObjArgs(set, command, NULL)) : -1;
    Py_XDECREF(command);
    Py_XDECREF(set);
    return rc;
}

/* Over the network */

static int prepare_login(struct state *st, PyObject *self, PyObject *nic_index,
                         struct access *a)
{
    if (set_context(st, self, "logging into '%S'") < 0
        || read_account(st, self, a) < 0
        || read_shell(st, self, a) < 0
        || read_peer(st, self, nic_index, "shell_client", "shell_port", a) < 0
        || (a->log = session_log(st, self)) == NULL)
        return -1;
    if (read_choices(st, self, ssh_choices, a) < 0)
        return -1;
    return read_choices(st, self, login_choices, a);
}

static PyObject *login_body(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self, *nic_index = st->num_0, *timeout = st->num_10;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:login",
                                     KEYWORDS("self", "nic_index", "timeout"),
                                     &self, &nic_index, &timeout))
        return NULL;
    struct access a = {.username = NULL};
    PyObject *session = NULL;
    if (prepare_login(st, self, nic_index, &a) == 0)
        session = call_virt_utils(st, st->n.remote_login,
                                  PyTuple_Pack(9, a.client, a.address, a.port, a.username,
                                               a.password, a.prompt, a.linesep, a.log, timeout),
                                  a.choices);
    if (session != NULL && set_status_command(st, self, session) < 0)
        Py_CLEAR(session);
    access_fini(&a);
    return session;
}

/* Over the serial console */

/* self.serial_console.<method>(argument) */
static int tell_console(struct state *st, PyObject *self, PyObject *method, PyObject *argument)
{
    PyObject *console = PyObject_GetAttr(self, st->n.serial_console);
    int rc = console ? vm_tell(console, method, argument, NULL) : -1;
    Py_XDECREF(console);
    return rc;
}

/* The empty line makes the guest print its login prompt. */
static int wake_console(struct state *st, PyObject *self, PyObject *linesep, PyObject *command)
{
    if (tell_console(st, self, st->n.set_linesep, linesep) < 0
        || tell_console(st, self, st->n.set_status_test_command, command) < 0)
        return -1;
    return tell_console(st, self, st->n.sendline, NULL);
}

static int prepare_serial_login(struct state *st, PyObject *self, struct access *a)
{
    if (set_context(st, self, "logging into '%S' via serial console") < 0
        || read_account(st, self, a) < 0 || read_shell(st, self, a) < 0)
        return -1;
    PyObject *command = vm_self_param(st, self, "status_test_command", "");
    int rc = command ? wake_console(st, self, a->linesep, command) : -1;
    Py_XDECREF(command);
    return rc;
}

static PyObject *answer_console(struct state *st, PyObject *self, const struct access *a,
                                PyObject *timeout)
{
    PyObject *console = PyObject_GetAttr(self, st->n.serial_console);
    if (console == NULL)
        return NULL;
    PyObject *done = call_virt_utils(st, st->n._remote_login,
                                     PyTuple_Pack(5, console, a->username, a->password,
                                                  a->prompt, timeout),
                                     NULL);
    Py_DECREF(console);
    if (vm_discard(done) < 0)
        return NULL;
    return PyObject_GetAttr(self, st->n.serial_console);
}

static PyObject *serial_login_body(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self, *timeout = st->num_10;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:serial_login",
                                     KEYWORDS("self", "timeout"), &self, &timeout))
        return NULL;
    struct access a = {.username = NULL};
    PyObject *console = NULL;
    if (prepare_serial_login(st, self, &a) == 0)
        console = answer_console(st, self, &a, timeout);
    access_fini(&a);
    return console;
}

/* Copying */

/* What copy_files_to and copy_files_from differ in, and their arguments. */
struct copy {
    const char *context, *direction;
    PyObject *function;                 /* name in virt_utils */
    PyObject *self, *source, *target, *nic_index, *verbose, *timeout;
};

static int prepare_copy(struct state *st, const struct copy *c, struct access *a)
{
    if (set_context(st, c->self, c->context) < 0
        || read_account(st, c->self, a) < 0
        || read_peer(st, c->self, c->nic_index, "file_transfer_client", "file_transfer_port", a)
               < 0
        || (a->log = transfer_log(st, c->self, a->address, c->direction)) == NULL
        || read_choices(st, c->self, ssh_choices, a) < 0)
        return -1;
    return read_choices(st, c->self, transfer_choices, a);
}

static PyObject *copy_files(struct state *st, const struct copy *c)
{
    struct access a = {.username = NULL};
    int rc = prepare_copy(st, c, &a);
    if (rc == 0)
        rc = vm_discard(call_virt_utils(
            st, c->function,
            PyTuple_Pack(10, a.address, a.client, a.username, a.password, a.port, c->source,
                         c->target, a.log, c->verbose, c->timeout),
            a.choices));
    access_fini(&a);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *copy_to_body(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    struct copy c = {.context = "sending file(s) to '%S'", .direction = "to",
                     .function = st->n.copy_files_to, .nic_index = st->num_0,
                     .verbose = Py_False, .timeout = st->num_600};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|OOO:copy_files_to",
                                     KEYWORDS("self", "host_path", "guest_path", "nic_index",
                                              "verbose", "timeout"),
                                     &c.self, &c.source, &c.target, &c.nic_index, &c.verbose,
                                     &c.timeout))
        return NULL;
    return copy_files(st, &c);
}

static PyObject *copy_from_body(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    struct copy c = {.context = "receiving file(s) from '%S'", .direction = "from",
                     .function = st->n.copy_files_from, .nic_index = st->num_0,
                     .verbose = Py_False, .timeout = st->num_600};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|OOO:copy_files_from",
                                     KEYWORDS("self", "guest_path", "host_path", "nic_index",
                                              "verbose", "timeout"),
                                     &c.self, &c.source, &c.target, &c.nic_index, &c.verbose,
                                     &c.timeout))
        return NULL;
    return copy_files(st, &c);
}

/* Bodies and the methods around them */

static PyMethodDef body_defs[BODY_COUNT] = {
    [BODY_LOGIN] = {"login", WITH_KEYWORDS(login_body), NULL},
    [BODY_SERIAL_LOGIN] = {"serial_login", WITH_KEYWORDS(serial_login_body), NULL},
    [BODY_COPY_TO] = {"copy_files_to", WITH_KEYWORDS(copy_to_body), NULL},
    [BODY_COPY_FROM] = {"copy_files_from", WITH_KEYWORDS(copy_from_body), NULL},
};

/* A decorator may want a __name__ and a __dict__ of what it decorates: a builtin
 * function has no __dict__, functools.partial has and takes a name. */
static PyObject *make_body(PyObject *module, PyObject *partial, PyMethodDef *def)
{
    PyObject *function = PyCFunction_New(def, module);
    PyObject *body = function ? PyObject_CallFunctionObjArgs(partial, function, NULL) : NULL;
    PyObject *name = body ? PyUnicode_FromString(def->ml_name) : NULL;
    if (name == NULL || PyObject_SetAttrString(body, "__name__", name) < 0
        || PyObject_SetAttrString(body, "__doc__", Py_None) < 0)
        Py_CLEAR(body);
    Py_XDECREF(name);
    Py_XDECREF(function);
    return body;
}

/* The original decorated its methods once, at import. */
static int keep_context_aware(struct state *st)
{
    st->context_aware = vm_global_attr(st, st->n.error, st->n.context_aware);
    if (st->context_aware == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    return 0;
}

int vm_login_setup(struct state *st)
{
    PyObject *functools = PyImport_ImportModule("functools");
    PyObject *partial = functools ? PyObject_GetAttrString(functools, "partial") : NULL;
    int rc = partial ? 0 : -1;
    for (int i = 0; rc == 0 && i < BODY_COUNT; i++)
        if ((st->body[i] = make_body(st->module, partial, &body_defs[i])) == NULL)
            rc = -1;
    Py_XDECREF(partial);
    Py_XDECREF(functools);
    return rc == 0 ? keep_context_aware(st) : rc;
}

/* error.context_aware; where an error that was put in has none, the one of the import. */
static PyObject *find_context_aware(struct state *st)
{
    PyObject *found = vm_global_attr(st, st->n.error, st->n.context_aware);
    if (found == NULL && st->context_aware != NULL
        && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        found = Py_NewRef(st->context_aware);
    }
    return found;
}

/* error.context_aware(body)(*args, **kwargs) */
static PyObject *call_aware(PyObject *module, int which, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *decorate = find_context_aware(st);
    PyObject *aware = decorate ? PyObject_CallFunctionObjArgs(decorate, st->body[which], NULL)
                               : NULL;
    PyObject *result = aware ? PyObject_Call(aware, args, kwargs) : NULL;
    Py_XDECREF(aware);
    Py_XDECREF(decorate);
    return result;
}

PyDoc_STRVAR(login_doc,
"login($module, self, nic_index=0, timeout=10)\n--\n\n"
"Log into the guest over the network and return a shell session.\n\n"
"nic_index: index of the NIC to connect to (int).\n"
"timeout: seconds to wait for each answer of the guest (int or float).\n"
"Params used: username, password, shell_prompt, shell_linesep, shell_client,\n"
"shell_port, status_test_command; ssh_identity_file, ssh_identity_passphrase,\n"
"ssh_known_hosts, ssh_auth, ssh_keepalive and shell_output_limit are passed on if given.\n"
"Raises virt_utils.LoginError or one of its subclasses.");

static PyObject *login(PyObject *module, PyObject *args, PyObject *kwargs)
{
    return call_aware(module, BODY_LOGIN, args, kwargs);
}

PyDoc_STRVAR(serial_login_doc,
"serial_login($module, self, timeout=10)\n--\n\n"
"Log into the guest over the serial console and return the console's session.\n\n"
"timeout: seconds to wait for each answer of the guest (int or float).\n"
"Params used: username, password, shell_prompt, shell_linesep, status_test_command.\n"
"Raises virt_utils.LoginError or one of its subclasses.");

static PyObject *serial_login(PyObject *module, PyObject *args, PyObject *kwargs)
{
    return call_aware(module, BODY_SERIAL_LOGIN, args, kwargs);
}

PyDoc_STRVAR(copy_files_to_doc,
"copy_files_to($module, self, host_path, guest_path, nic_index=0, verbose=False, timeout=600)"
"\n--\n\n"
"Copy files from the host to the guest.\n\n"
"host_path: what to copy, wildcards allowed (str).\n"
"guest_path: where to put it (str).\n"
"nic_index: index of the NIC to connect to (int).\n"
"verbose: log what is copied, at debug level (bool).\n"
"timeout: seconds until the copying must be complete (int or float).\n"
"Params used: username, password, file_transfer_client, file_transfer_port;\n"
"ssh_identity_file, ssh_identity_passphrase, ssh_known_hosts, ssh_auth,\n"
"transfer_engine, transfer_verify,\n"
"transfer_keep_links, transfer_times, transfer_stall_timeout, transfer_parents,\n"
"transfer_sparse, transfer_sync, transfer_in_place, transfer_sudo, transfer_sudo_password,\n"
"transfer_exclude and transfer_update are passed on if given.\n"
"Raises what the client of virt_utils raises, such as SCPError.");

static PyObject *copy_files_to(PyObject *module, PyObject *args, PyObject *kwargs)
{
    return call_aware(module, BODY_COPY_TO, args, kwargs);
}

PyDoc_STRVAR(copy_files_from_doc,
"copy_files_from($module, self, guest_path, host_path, nic_index=0, verbose=False, timeout=600)"
"\n--\n\n"
"Copy files from the guest to the host.\n\n"
"guest_path: what to copy, wildcards allowed (str).\n"
"host_path: where to put it (str).\n"
"The other arguments, the params and the errors are those of copy_files_to.");

static PyObject *copy_files_from(PyObject *module, PyObject *args, PyObject *kwargs)
{
    return call_aware(module, BODY_COPY_FROM, args, kwargs);
}

PyDoc_STRVAR(remote_login_doc,
"remote_login($module, self, nic_index=0, timeout=10)\n--\n\n"
"The same as login(nic_index, timeout), under its old name.");

static PyObject *remote_login(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self, *nic_index = st->num_0, *timeout = st->num_10;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:remote_login",
                                     KEYWORDS("self", "nic_index", "timeout"),
                                     &self, &nic_index, &timeout))
        return NULL;
    return PyObject_CallMethodObjArgs(self, st->n.login, nic_index, timeout, NULL);
}

PyMethodDef vm_login_methods[] = {
    {"login", WITH_KEYWORDS(login), login_doc},
    {"remote_login", WITH_KEYWORDS(remote_login), remote_login_doc},
    {"serial_login", WITH_KEYWORDS(serial_login), serial_login_doc},
    {"copy_files_to", WITH_KEYWORDS(copy_files_to), copy_files_to_doc},
    {"copy_files_from", WITH_KEYWORDS(copy_files_from), copy_files_from_doc},
    {NULL, NULL, 0, NULL},
};
