/* attributes.c - what of a session can be asked at any time, by any thread. */
#include "object.h"

#include <stdlib.h>

static PyObject *get_closed(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(session_of(self)->s->closing);
}

static PyObject *get_forgotten(PyObject *self, void *unused)
{
    uint64_t first, total;
    (void)unused;
    vt_store_range(&session_of(self)->s->store, &first, &total);
    return PyLong_FromUnsignedLongLong(first);
}

static PyObject *get_ended(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(session_of(self)->s->closing || session_of(self)->s->ended != VT_OK);
}

static PyObject *get_transport(PyObject *self, void *unused)
{
    (void)unused;
    return PyUnicode_FromString(session_of(self)->s->t->ops->name);
}

static PyObject *get_status(PyObject *self, void *unused)
{
    (void)unused;
    struct vt_session *s = session_of(self)->s;
    if (!s->has_status)
        Py_RETURN_NONE;
    return PyLong_FromLong(s->status);
}

static PyObject *get_total(PyObject *self, void *unused)
{
    (void)unused;
    uint64_t first, total;
    vt_store_range(&session_of(self)->s->store, &first, &total);
    return PyLong_FromUnsignedLongLong(total);
}

static PyObject *get_unread(PyObject *self, void *unused)
{
    (void)unused;
    struct vt_session *s = session_of(self)->s;
    uint64_t first, total, read_at = s->read_at;
    vt_store_range(&s->store, &first, &total);
    return PyLong_FromUnsignedLongLong(total > read_at ? total - read_at : 0);
}

static PyObject *get_pid(PyObject *self, void *unused)
{
    (void)unused;
    struct vt_transport *t = session_of(self)->s->t;
    if (t->ops->pid == NULL)
        Py_RETURN_NONE;
    return PyLong_FromLong(t->ops->pid(t));
}

static PyObject *get_token(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(session_of(self)->s->token);
}

static PyObject *get_prompts(PyObject *self, void *unused)
{
    (void)unused;
    struct vt_prompt_copy prompts[VT_LEARNED];
    int n = vt_session_prompts(session_of(self)->s, prompts);
    PyObject *list = PyList_New(0);
    for (int i = 0; i < n; i++) {
        PyObject *item = list == NULL ? NULL : Py_BuildValue("(y#O)", prompts[i].shown, (Py_ssize_t)prompts[i].n,
                                                             prompts[i].proved ? Py_True : Py_False);
        if (item == NULL || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
        free(prompts[i].shown);
    }
    return list;
}

static PyObject *get_mute(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(session_of(self)->s->mute);
}

static int set_mute(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    int mute = value == NULL ? 0 : PyObject_IsTrue(value);
    if (mute >= 0)
        session_of(self)->s->mute = mute > 0;
    return mute < 0 ? -1 : 0;
}

static PyObject *get_info(PyObject *self, void *unused)
{
    (void)unused;
    const struct vt_ssh_info *i = &session_of(self)->ssh;
    if (!session_of(self)->has_ssh)
        return PyDict_New();
    return Py_BuildValue("{sisssssssy}", "tries", i->tries, "address", i->address, "method", i->method,
                         "hostkey", i->hostkey, "banner", i->banner);
}

PyGetSetDef session_attributes[] = {
    {"closed", get_closed, NULL, "Whether close() was called.", NULL},
    {"ended", get_ended, NULL, "Whether nothing more can come: the stream ended, or was closed.", NULL},
    {"transport", get_transport, NULL, "'ssh', 'unix', 'pty', ...", NULL},
    {"status", get_status, NULL, "Exit status, minus a signal's number, or None (unknown, or open).", NULL},
    {"forgotten", get_forgotten, NULL, "Bytes at the output's beginning that are kept no more.", NULL},
    {"total", get_total, NULL, "Bytes received so far.", NULL},
    {"unread", get_unread, NULL, "Bytes received that nobody has read.", NULL},
    {"pid", get_pid, NULL, "Process id of a local process, or None.", NULL},
    {"token", get_token, NULL, "Number of the last numbered status command.", NULL},
    {"prompts", get_prompts, NULL, "Learned prompts, newest first: (shown text, proved).", NULL},
    {"mute", get_mute, set_mute, "Whether a question for the status was answered by a prompt alone: it is put no more.",
     NULL},
    {"info", get_info, NULL, "What an SSH connection saw on its way: a dict.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
