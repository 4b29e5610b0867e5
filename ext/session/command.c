/* command.c - one command in the session's shell, and the wait for its prompt. */
#include "object.h"

#include "shell/command.h"

/* vt_command_read; much of it may be in a file: then others have Python meanwhile. */
static enum vt_rc read_command(struct vt_session *s, const struct vt_command *c, char *out, size_t *n)
{
    if (*n < COPY_SOME)
        return vt_command_read(s, c, out, n);
    enum vt_rc rc;
    Py_BEGIN_ALLOW_THREADS
    rc = vt_command_read(s, c, out, n);
    Py_END_ALLOW_THREADS
    return rc;
}

static PyObject *output_of_command(struct vt_session *s, const struct vt_command *c)
{
    size_t n = vt_command_size(c);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
    if (bytes == NULL)
        return NULL;
    if (read_command(s, c, PyBytes_AS_STRING(bytes), &n) != VT_OK) {
        Py_DECREF(bytes);
        PyErr_SetString(PyExc_OSError, "cannot read back the command's output");
        return NULL;
    }
    if ((Py_ssize_t)n != PyBytes_GET_SIZE(bytes))
        _PyBytes_Resize(&bytes, (Py_ssize_t)n);
    return bytes;
}

/* What an exception holds of a command's output: all of it, or its two ends. */
static PyObject *failed_output(struct vt_session *s, const struct vt_command *c)
{
    struct vt_command head, tail;
    uint64_t left_out = vt_command_ends(c, KEPT_EACH, &head, &tail);
    PyObject *first = output_of_command(s, &head);
    if (left_out == 0 || first == NULL)
        return first;
    return output_join(first, output_of_command(s, &tail), left_out);
}

const char session_command_doc[] =
    "command($self, /, text, match, *, timeout, linesep=b'\\n', status_command=None,\n"
    "        want_status=True, safe=False, status_wait=1.0, limit=0, patience=1)\n--\n\n"
    "Run one shell command (bytes); return (status or None, output as bytes).\n\n"
    "match(line) says whether a line (bytes) is a prompt.  limit: bytes of output that it may\n"
    "have; 0: any.  patience (int): a silence before output is taken for a prompt is so many\n"
    "times as long as usual.  Raises EngineError: code 'timeout', 'status' (the command ended, its status\n"
    "could not be had), 'toobig', 'eof', ...  Its output is the first and the last MiB, with a\n"
    "line between them that says how much is left out; output_size is how much there was.";

static PyObject *command_failed(struct call *c, const struct vt_command *cmd, PyObject *output)
{
    if (output == NULL && c->raised == NULL)
        return NULL;
    if (cmd->too_much)
        vt_fail(&c->e, c->rc, VT_STAGE_COMMAND, 0, "the output passed the limit of %llu bytes",
                (unsigned long long)cmd->limit);
    else if (c->rc == VT_TOOBIG && cmd->lost > 0)
        vt_fail(&c->e, c->rc, VT_STAGE_COMMAND, 0,
                "there was no place for %llu bytes of the output, past %llu bytes or on a full disk",
                (unsigned long long)cmd->lost, (unsigned long long)VT_STORE_FILE_MAX);
    else if (c->rc == VT_TOOBIG)
        vt_fail(&c->e, c->rc, VT_STAGE_COMMAND, 0,
                "a line of the command is longer than the 4095 bytes that the guest's terminal takes");
    PyObject *exc = call_error(c, output);
    if (exc != NULL && c->rc == VT_TIMEOUT && cmd->found)
        set_detail(exc, "code", PyUnicode_FromString("status"));
    if (exc != NULL)
        set_detail(exc, "output_size", PyLong_FromSize_t(vt_command_size(cmd)));
    return raise_error(exc);
}

/* Makes the session the call's, and gives the command what both kinds of it need.  false: as
 * call_enter. */
static bool begin(struct call *c, PyObject *self, struct vt_command *cmd, PyObject *match, PyObject *linesep)
{
    c->match = match;
    if (!call_enter(c, self))
        return false;
    cmd->linesep = linesep == NULL ? "\n" : PyBytes_AS_STRING(linesep);
    cmd->linesep_len = linesep == NULL ? 1 : (size_t)PyBytes_GET_SIZE(linesep);
    cmd->match = call_match;
    cmd->ctx = c;
    cmd->deadline = c->deadline;
    return true;
}

/* Leaves the session.  The output, or what an exception is to hold of it; NULL: the call
 * failed before, or an exception is set. */
static PyObject *end(struct call *c, const struct vt_command *cmd, enum vt_stage stage)
{
    struct vt_session *s = session_of(c->self)->s;
    PyObject *output = NULL;
    session_note(c, stage);
    vt_session_flush(s);
    call_acquire(c);
    if (c->raised == NULL)
        output = c->rc == VT_OK ? output_of_command(s, cmd) : failed_output(s, cmd);
    call_leave_soon(c);
    return output;
}

PyObject *session_command(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"text", "match", "timeout", "linesep", "status_command",
                            "want_status", "safe", "status_wait", "limit", "patience", NULL};
    PyObject *text, *match, *linesep = NULL;
    struct vt_command cmd = {0};
    double timeout = 60.0, status_wait = 1.0;
    unsigned long long limit = 0;
    int want_status = 1, safe = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "SO|$dSzppdKI:command", names, &text, &match, &timeout, &linesep,
                                     &cmd.status_command, &want_status, &safe, &status_wait, &limit,
                                     &cmd.patience))
        return NULL;
    cmd.text = PyBytes_AS_STRING(text);
    cmd.len = (size_t)PyBytes_GET_SIZE(text);
    cmd.want_status = want_status;
    cmd.safe = safe;
    cmd.status_wait = vt_span(status_wait);
    cmd.limit = limit;
    struct call c;
    call_init(&c, session_state(self), timeout);
    if (!begin(&c, self, &cmd, match, linesep))
        return call_failed(&c, NULL);
    c.rc = vt_session_command(session_of(self)->s, &cmd, &c.waiter);
    PyObject *output = end(&c, &cmd, VT_STAGE_COMMAND);
    if (c.rc != VT_OK || output == NULL)
        return command_failed(&c, &cmd, output);
    if (!cmd.has_status)
        return call_result(&c, Py_BuildValue("(ON)", Py_None, output));
    return call_result(&c, Py_BuildValue("(iN)", cmd.status, output));
}

const char session_find_prompt_doc[] =
    "find_prompt($self, /, match, *, timeout, linesep=b'\\n', status_command=None, limit=0)\n--\n\n"
    "Wait for the shell's prompt, have the shell prove that it is one, and learn it.\n"
    "Return all that came before it (bytes).";

PyObject *session_find_prompt(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"match", "timeout", "linesep", "status_command", "limit", NULL};
    PyObject *match, *linesep = NULL;
    struct vt_command cmd = {0};
    double timeout = 10.0;
    unsigned long long limit = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "O|$dSzK:find_prompt", names, &match, &timeout, &linesep,
                                     &cmd.status_command, &limit))
        return NULL;
    cmd.limit = limit;
    struct call c;
    call_init(&c, session_state(self), timeout);
    if (!begin(&c, self, &cmd, match, linesep))
        return call_failed(&c, NULL);
    c.rc = vt_session_find_prompt(session_of(self)->s, &cmd, &c.waiter);
    PyObject *output = end(&c, &cmd, VT_STAGE_PROMPT);
    return c.rc == VT_OK ? call_result(&c, output) : command_failed(&c, &cmd, output);
}
