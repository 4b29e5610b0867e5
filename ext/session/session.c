/* session.c - type Session: one session of the engine. */
#include "object.h"

#include <errno.h>
#include <string.h>
#include <structmember.h>

PyObject *session_wrap(PyObject *module, struct vt_session *s)
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
    PyObject_GC_Track((PyObject *)self);
    if (s->ended != VT_OK)
        return (PyObject *)self;        /* of a keeper, and over: nothing to watch */
    if (drain_attach(module, st, s) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

PyObject *session_wrap_transport(PyObject *module, struct vt_transport *t, const char *log, bool scan_crash)
{
    struct vt_session *s;
    struct vt_err e = {0};
    enum vt_rc rc = vt_session_new(t, MEMORY_BOUND, &s);
    if (rc != VT_OK) {
        vt_fail(&e, rc, VT_STAGE_CONNECT, rc == VT_IO ? errno : 0, "%s", rc == VT_IO ? strerror(errno) : vt_rc_text(rc));
        return raise_error(engine_error(state_of(module), rc, &e, NULL));
    }
    s->scan_crash = scan_crash;
    if (log != NULL && vt_log_init(&s->log, log) != VT_OK) {
        vt_session_free(s);
        return PyErr_NoMemory();
    }
    return session_wrap(module, s);
}

void session_note(struct call *c, enum vt_stage stage)
{
    c->e = session_of(c->self)->s->t->err;
    c->e.stage = stage;
}

static int session_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(session_of(op)->module);
    Py_VISIT(session_of(op)->news);
    return 0;
}

/* Not the module: a session may still be used by what is collected with it, and its methods
 * need the module's state.  The module breaks its own cycles. */
static int session_clear(PyObject *op)
{
    Py_CLEAR(session_of(op)->news);
    return 0;
}

static void session_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (session_of(op)->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    struct vt_session *s = session_of(op)->s;
    session_of(op)->s = NULL;
    drain_forget(session_state(op), s);
    Py_BEGIN_ALLOW_THREADS
    vt_session_free(s);
    Py_END_ALLOW_THREADS
    session_clear(op);
    Py_CLEAR(session_of(op)->module);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"command", (PyCFunction)(void (*)(void))session_command, METH_VARARGS | METH_KEYWORDS, session_command_doc},
    {"find_prompt", (PyCFunction)(void (*)(void))session_find_prompt, METH_VARARGS | METH_KEYWORDS,
     session_find_prompt_doc},
    {"write", session_write, METH_VARARGS, session_write_doc},
    {"give_up", session_give_up, METH_VARARGS, session_give_up_doc},
    {"resize", session_resize, METH_VARARGS, session_resize_doc},
    {"read", (PyCFunction)(void (*)(void))session_read, METH_VARARGS | METH_KEYWORDS, session_read_doc},
    {"output", session_output, METH_VARARGS, session_output_doc},
    {"find_crash", session_find_crash, METH_NOARGS, session_find_crash_doc},
    {"poll", session_poll, METH_NOARGS, session_poll_doc},
    {"run", (PyCFunction)(void (*)(void))session_run, METH_VARARGS | METH_KEYWORDS, session_run_doc},
    {"set_news", session_set_news, METH_VARARGS, session_set_news_doc},
    {"peek", session_peek, METH_VARARGS, session_peek_doc},
    {"wait", session_wait, METH_VARARGS, session_wait_doc},
    {"kill", session_kill, METH_VARARGS, session_kill_doc},
    {"mark_told", session_mark_told, METH_VARARGS, session_mark_told_doc},
    {"claim", session_claim, METH_NOARGS, session_claim_doc},
    {"dismiss", session_dismiss, METH_NOARGS, session_dismiss_doc},
    {"close", session_close, METH_NOARGS, session_close_doc},
    {"shrink", session_shrink, METH_NOARGS, session_shrink_doc},
    {NULL, NULL, 0, NULL},
};

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
    {Py_tp_getset, session_attributes},
    {Py_tp_members, members},
    {Py_tp_traverse, session_traverse},
    {Py_tp_clear, session_clear},
    {Py_tp_dealloc, session_dealloc},
    {0, NULL},
};

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
    return PyModule_AddFunctions(module, open_methods) < 0 || PyModule_AddFunctions(module, local_methods) < 0 ? -1
         : PyModule_AddObjectRef(module, "Session", (PyObject *)st->session_type);
}
