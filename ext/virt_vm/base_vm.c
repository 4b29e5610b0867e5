/* base_vm.c - the class BaseVM: what it holds, what it knows of itself, and its
 * methods from login.c, wait.c, guest.c and virtual.c.
 *
 * An instance keeps its state in __dict__ and nowhere else: subclasses swap it when a
 * VM migrates.  Calls to other methods go through attributes, so that an override is
 * what runs.
 */
#include "state.h"

/* Parses the arguments of a method that takes none but self. */
static int parse_self(PyObject *args, PyObject *kwargs, const char *format, PyObject **self)
{
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, KEYWORDS("self"), self);
}

PyDoc_STRVAR(init_doc,
"__init__($module, self, name, params)\n--\n\n"
"name: name of the VM (str); params: its params (mapping).");

static PyObject *init(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self, *name, *params;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:__init__",
                                     KEYWORDS("self", "name", "params"), &self, &name, &params))
        return NULL;
    if (PyObject_SetAttr(self, st->n.name, name) < 0
        || PyObject_SetAttr(self, st->n.params, params) < 0
        || PyObject_SetAttr(self, st->n.serial_console, Py_None) < 0
        || vm_tell(self, st->n._generate_unique_id, NULL) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* time.strftime(...) + virt_utils.generate_random_string(4) */
static PyObject *make_instance(struct state *st)
{
    PyObject *format = PyUnicode_FromString("%Y%m%d-%H%M%S-");
    PyObject *date = format ? vm_invoke(st, st->n.time, st->n.strftime, format, NULL) : NULL;
    PyObject *random = date ? vm_invoke(st, st->n.virt_utils, st->n.generate_random_string,
                                        st->num_4, NULL)
                            : NULL;
    PyObject *instance = random ? PyNumber_Add(date, random) : NULL;
    Py_XDECREF(random);
    Py_XDECREF(date);
    Py_XDECREF(format);
    return instance;
}

/* Whether files of a VM of this instance lie in /tmp. */
static int is_taken(struct state *st, PyObject *self)
{
    PyObject *pattern = vm_format_attr(self, st->n.instance, "/tmp/*%S");
    PyObject *found = pattern ? vm_invoke(st, st->n.glob, st->n.glob, pattern, NULL) : NULL;
    int taken = found ? PyObject_IsTrue(found) : -1;
    Py_XDECREF(found);
    Py_XDECREF(pattern);
    return taken;
}

PyDoc_STRVAR(generate_unique_id_doc,
"_generate_unique_id($module, self)\n--\n\n"
"Give the VM an identifier that no file in /tmp ends with, as self.instance (str).");

static PyObject *generate_unique_id(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self;
    if (!parse_self(args, kwargs, "O:_generate_unique_id", &self))
        return NULL;
    int taken;
    do {
        PyObject *instance = make_instance(st);
        int rc = instance ? PyObject_SetAttr(self, st->n.instance, instance) : -1;
        Py_XDECREF(instance);
        taken = rc < 0 || PyErr_CheckSignals() < 0 ? -1 : is_taken(st, self);
    } while (taken > 0);
    return taken < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(verify_alive_doc,
"verify_alive($module, self)\n--\n\n"
"Raise VMDeadError if is_dead() says so.\n\n"
"A subclass may say why (reason, detail), and raise its monitor's own errors.");

static PyObject *verify_alive(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self;
    if (!parse_self(args, kwargs, "O:verify_alive", &self))
        return NULL;
    PyObject *answer = PyObject_CallMethodObjArgs(self, st->n.is_dead, NULL);
    int is_dead = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (is_dead > 0)
        return vm_raise_named(st, st->n.VMDeadError, NULL);
    return is_dead < 0 ? NULL : Py_NewRef(Py_None);
}

/* self.params.object_params(self.params.objects("nics")[nic_index]) */
static PyObject *nic_params(struct state *st, PyObject *self, PyObject *nic_index)
{
    PyObject *params = PyObject_GetAttr(self, st->n.params);
    PyObject *objects = params ? vm_attr(params, "objects") : NULL;
    PyObject *nics = objects ? PyObject_CallFunction(objects, "s", "nics") : NULL;
    PyObject *nic = nics ? PyObject_GetItem(nics, nic_index) : NULL;
    PyObject *found = nic ? PyObject_CallMethodObjArgs(params, st->n.object_params, nic, NULL)
                          : NULL;
    Py_XDECREF(nic);
    Py_XDECREF(nics);
    Py_XDECREF(objects);
    Py_XDECREF(params);
    return found;
}

/* The address that params give, or that the pool has for this instance. */
static PyObject *find_mac_address(struct state *st, PyObject *self, PyObject *nic_index)
{
    PyObject *params = nic_params(st, self, nic_index);
    PyObject *mac = params ? vm_param(params, "nic_mac", NULL) : NULL;
    Py_XDECREF(params);
    int is_given = mac ? PyObject_IsTrue(mac) : 1;
    if (is_given > 0)
        return mac;
    Py_DECREF(mac);
    PyObject *instance = is_given == 0 ? PyObject_GetAttr(self, st->n.instance) : NULL;
    if (instance == NULL)
        return NULL;
    mac = vm_invoke(st, st->n.virt_utils, st->n.get_mac_address, instance, nic_index, NULL);
    Py_DECREF(instance);
    return mac;
}

PyDoc_STRVAR(get_mac_address_doc,
"get_mac_address($module, self, nic_index=0)\n--\n\n"
"Return the MAC address of a NIC (str).\n\n"
"nic_index: index of the NIC (int).\n"
"Raises VMMACAddressMissingError if it has none, IndexError if there is no such NIC.");

static PyObject *get_mac_address(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self, *nic_index = st->num_0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_mac_address",
                                     KEYWORDS("self", "nic_index"), &self, &nic_index))
        return NULL;
    PyObject *mac = find_mac_address(st, self, nic_index);
    int is_found = mac ? PyObject_IsTrue(mac) : -1;
    if (is_found > 0)
        return mac;
    Py_XDECREF(mac);
    return is_found < 0 ? NULL
                        : vm_raise_named(st, st->n.VMMACAddressMissingError, nic_index);
}

PyDoc_STRVAR(get_params_doc,
"get_params($module, self)\n--\n\n"
"Return the VM's params.  Most changes take effect when the VM is next created.");

static PyObject *get_params(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self;
    if (!parse_self(args, kwargs, "O:get_params", &self))
        return NULL;
    return PyObject_GetAttr(self, st->n.params);
}

PyDoc_STRVAR(get_serial_console_filename_doc,
"get_serial_console_filename($module, self)\n--\n\n"
"Return the path of the serial console's socket (str).");

static PyObject *get_serial_console_filename(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self;
    if (!parse_self(args, kwargs, "O:get_serial_console_filename", &self))
        return NULL;
    return vm_format_attr(self, st->n.instance, "/tmp/serial-%S");
}

PyDoc_STRVAR(get_testlog_filename_doc,
"get_testlog_filename($module, self)\n--\n\n"
"Return the path of the socket on which the guest reports its tests (str).");

static PyObject *get_testlog_filename(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self;
    if (!parse_self(args, kwargs, "O:get_testlog_filename", &self))
        return NULL;
    return vm_format_attr(self, st->n.instance, "/tmp/testlog-%S");
}

/* self.params.get("uuid", None) */
static PyObject *uuid_param(struct state *st, PyObject *self)
{
    PyObject *params = PyObject_GetAttr(self, st->n.params);
    PyObject *uuid = params ? vm_param_or_none(params, "uuid") : NULL;
    Py_XDECREF(params);
    return uuid;
}

PyDoc_STRVAR(get_uuid_doc,
"get_uuid($module, self)\n--\n\n"
"Return the VM's UUID: self.uuid if the param uuid is \"random\", else that param\n"
"(str or None).");

static PyObject *get_uuid(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *self;
    if (!parse_self(args, kwargs, "O:get_uuid", &self))
        return NULL;
    PyObject *param = vm_self_param(st, self, "uuid", NULL);
    int is_random = param ? vm_equals_text(param, "random") : -1;
    Py_XDECREF(param);
    if (is_random < 0)
        return NULL;
    return is_random ? PyObject_GetAttr(self, st->n.uuid) : uuid_param(st, self);
}

static PyMethodDef own_methods[] = {
    {"__init__", WITH_KEYWORDS(init), init_doc},
    {"_generate_unique_id", WITH_KEYWORDS(generate_unique_id), generate_unique_id_doc},
    {"verify_alive", WITH_KEYWORDS(verify_alive), verify_alive_doc},
    {"get_mac_address", WITH_KEYWORDS(get_mac_address), get_mac_address_doc},
    {"get_params", WITH_KEYWORDS(get_params), get_params_doc},
    {"get_serial_console_filename", WITH_KEYWORDS(get_serial_console_filename),
     get_serial_console_filename_doc},
    {"get_testlog_filename", WITH_KEYWORDS(get_testlog_filename), get_testlog_filename_doc},
    {"get_uuid", WITH_KEYWORDS(get_uuid), get_uuid_doc},
    {NULL, NULL, 0, NULL},
};

static const char class_doc[] =
    "Base of the classes that stand for a VM of one hypervisor.\n\n"
    "A subclass must bring the methods that raise NotImplementedError here, and get_port.\n"
    "It may set serial_console, None here, to a session on the guest's serial console.\n"
    "Names of its own that start with one underscore are for this class and its\n"
    "subclasses, those that start with two for the subclass alone; all others are for tests.\n\n"
    "name: name of the VM (str).\n"
    "params: its params: virt_utils.Params, or any mapping that a method in use can read.";

static int add_all_methods(struct state *st, PyObject *namespace)
{
    PyMethodDef *const tables[] = {own_methods, vm_login_methods, vm_wait_methods,
                                   vm_guest_methods, vm_virtual_methods};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (vm_add_methods(st, namespace, "BaseVM", tables[i]) < 0)
            return -1;
    return 0;
}

/* Protocols that every hypervisor migrates over. */
static int add_migration_protos(PyObject *namespace)
{
    PyObject *protos = Py_BuildValue("[s]", "tcp");
    int rc = protos ? PyDict_SetItemString(namespace, "MIGRATION_PROTOS", protos) : -1;
    Py_XDECREF(protos);
    return rc;
}

int vm_base_vm_setup(struct state *st)
{
    PyObject *namespace = PyDict_New(), *class = NULL;
    if (namespace != NULL && add_migration_protos(namespace) == 0
        && add_all_methods(st, namespace) == 0)
        class = vm_make_class("BaseVM", (PyObject *)&PyBaseObject_Type, namespace,
                              "name, params", class_doc);
    int rc = class ? PyModule_AddObjectRef(st->module, "BaseVM", class) : -1;
    Py_XDECREF(class);
    Py_XDECREF(namespace);
    return rc;
}
