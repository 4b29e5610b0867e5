/* image.c - disk images: naming, creating, removing and checking them.
 *
 * Commands are text for utils.run and utils.system, every word quoted: a name that
 * needs no quotes gives the same command as ever.
 */
#include "state.h"

/* Paths */

static PyObject *get_path(struct state *st, PyObject *root_dir, PyObject *name)
{
    return vm_invoke(st, st->n.virt_utils, st->n.get_path, root_dir, name, NULL);
}

/* The words that start a command: qemu-img's path, quoted. */
static PyObject *qemu_img(struct state *st, PyObject *params, PyObject *root_dir)
{
    PyObject *name = vm_param(params, "qemu_img_binary", "qemu-img");
    PyObject *path = name ? get_path(st, root_dir, name) : NULL;
    PyObject *quoted = path ? vm_quote_command(path) : NULL;
    Py_XDECREF(path);
    Py_XDECREF(name);
    return quoted;
}

/* get_image_filename as it stands in the module. */
static PyObject *find_filename(struct state *st, PyObject *params, PyObject *root_dir)
{
    PyObject *function = vm_global(st, st->n.get_image_filename);
    if (function == NULL)
        return NULL;
    PyObject *filename = PyObject_CallFunctionObjArgs(function, params, root_dir, NULL);
    Py_DECREF(function);
    return filename;
}

static int path_exists(struct state *st, PyObject *filename)
{
    PyObject *path = vm_global_attr(st, st->n.os, st->n.path);
    PyObject *answer = path ? PyObject_CallMethodObjArgs(path, st->n.exists, filename, NULL)
                            : NULL;
    int exists = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    Py_XDECREF(path);
    return exists;
}

/* str(value), quoted by one of the functions of text.c. */
static PyObject *quote_value(PyObject *value, PyObject *(*quote)(PyObject *))
{
    PyObject *text = PyObject_Str(value);
    PyObject *quoted = text ? quote(text) : NULL;
    Py_XDECREF(text);
    return quoted;
}

static int parse_arguments(PyObject *args, PyObject *kwargs, const char *format,
                           PyObject **params, PyObject **root_dir)
{
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, KEYWORDS("params", "root_dir"),
                                       params, root_dir);
}

PyDoc_STRVAR(get_image_filename_doc,
"get_image_filename($module, params, root_dir)\n--\n\n"
"Return the path of the disk image that params name (str).\n\n"
"params: mapping with get(): image_name (default \"image\"), image_format (default\n"
"\"qcow2\"), image_raw_device (\"yes\": image_name is returned as it is).\n"
"root_dir: folder for a relative name (str).");

static PyObject *join_filename(struct state *st, PyObject *root_dir, PyObject *name,
                               PyObject *format)
{
    PyObject *filename = PyUnicode_FromFormat("%S.%S", name, format);
    PyObject *path = filename ? get_path(st, root_dir, filename) : NULL;
    Py_XDECREF(filename);
    return path;
}

static PyObject *get_image_filename(PyObject *module, PyObject *args, PyObject *kwargs)
{
    PyObject *params, *root_dir;
    if (!parse_arguments(args, kwargs, "OO:get_image_filename", &params, &root_dir))
        return NULL;
    PyObject *format = NULL, *raw = NULL, *filename = NULL;
    PyObject *name = vm_param(params, "image_name", "image");
    if (name == NULL || (format = vm_param(params, "image_format", "qcow2")) == NULL
        || (raw = vm_param(params, "image_raw_device", NULL)) == NULL)
        goto out;
    int is_raw = vm_equals_text(raw, "yes");
    if (is_raw > 0)
        filename = Py_NewRef(name);
    else if (is_raw == 0)
        filename = join_filename(PyModule_GetState(module), root_dir, name, format);
out:
    Py_XDECREF(name);
    Py_XDECREF(format);
    Py_XDECREF(raw);
    return filename;
}

/* Creating */

PyDoc_STRVAR(create_image_doc,
"create_image($module, params, root_dir)\n--\n\n"
"Create the disk image that params name with qemu-img and return its path (str).\n\n"
"params: as for get_image_filename, and qemu_img_binary (default \"qemu-img\", taken\n"
"from root_dir unless absolute), image_size (text for qemu-img, default \"10G\"),\n"
"image_cluster_size (bytes, or a size with a suffix; default: qemu-img's own).\n"
"root_dir: folder for relative names (str).\n"
"Raises error.CmdError if qemu-img fails.");

/* command + " " + format % value, quoted; steals command, which may be NULL, and value. */
static PyObject *append_word(PyObject *command, const char *format, PyObject *value,
                             PyObject *(*quote)(PyObject *))
{
    PyObject *word = value ? PyUnicode_FromFormat(format, value) : NULL;
    PyObject *quoted = word && command ? quote(word) : NULL;
    PyObject *longer = quoted ? PyUnicode_FromFormat("%U %U", command, quoted) : NULL;
    Py_XDECREF(quoted);
    Py_XDECREF(word);
    Py_XDECREF(value);
    Py_XDECREF(command);
    return longer;
}

static PyObject *append_text(PyObject *command, const char *text)
{
    PyObject *longer = command ? PyUnicode_FromFormat("%U%s", command, text) : NULL;
    Py_XDECREF(command);
    return longer;
}

/* Steals command. */
static PyObject *append_cluster_size(PyObject *command, PyObject *params)
{
    PyObject *size = command ? vm_param_or_none(params, "image_cluster_size") : NULL;
    if (size == NULL) {
        Py_XDECREF(command);
        return NULL;
    }
    if (size == Py_None) {
        Py_DECREF(size);
        return command;
    }
    return append_word(append_text(command, " -o"), "cluster_size=%S", size, vm_quote);
}

/* Options that come before the file name. */
static PyObject *create_options(struct state *st, PyObject *params, PyObject *root_dir)
{
    PyObject *command = append_text(qemu_img(st, params, root_dir), " create -f");
    if (command == NULL)
        return NULL;
    command = append_word(command, "%S", vm_param(params, "image_format", "qcow2"), vm_quote);
    return append_cluster_size(command, params);
}

static PyObject *create_image(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *params, *root_dir;
    if (!parse_arguments(args, kwargs, "OO:create_image", &params, &root_dir))
        return NULL;
    PyObject *command = create_options(st, params, root_dir);
    PyObject *filename = command ? find_filename(st, params, root_dir) : NULL;
    if (filename == NULL) {
        Py_XDECREF(command);
        return NULL;
    }
    command = append_word(command, "%S", Py_NewRef(filename), vm_quote_file);
    if (command != NULL)
        command = append_word(command, "%S", vm_param(params, "image_size", "10G"), vm_quote);
    if (command == NULL
        || vm_discard(vm_invoke(st, st->n.utils, st->n.system, command, NULL)) < 0)
        Py_CLEAR(filename);
    Py_XDECREF(command);
    return filename;
}

/* Removing */

PyDoc_STRVAR(remove_image_doc,
"remove_image($module, params, root_dir)\n--\n\n"
"Remove the disk image that params name; one that does not exist is logged only.\n\n"
"params, root_dir: as for get_image_filename.  Raises OSError if it can't be removed.");

static int remove_file(struct state *st, PyObject *filename)
{
    int exists = path_exists(st, filename);
    if (exists > 0)
        return vm_discard(vm_invoke(st, st->n.os, st->n.unlink, filename, NULL));
    if (exists == 0)
        return vm_log(st, st->n.debug, "Image file %s not found", filename, NULL);
    return -1;
}

static PyObject *remove_image(PyObject *module, PyObject *args, PyObject *kwargs)
{
    struct state *st = PyModule_GetState(module);
    PyObject *params, *root_dir;
    if (!parse_arguments(args, kwargs, "OO:remove_image", &params, &root_dir))
        return NULL;
    PyObject *filename = find_filename(st, params, root_dir);
    if (filename == NULL)
        return NULL;
    int rc = vm_log(st, st->n.debug, "Removing image file %s", filename, NULL);
    if (rc == 0)
        rc = remove_file(st, filename);
    Py_DECREF(filename);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

/* Checking */

/* One check_image: what it works on.  Zeroed is empty. */
struct check {
    struct state *st;
    PyObject *filename;     /* as get_image_filename gave it */
    PyObject *qemu_img;     /* quoted command */
    PyObject *quoted;       /* filename as a word of a command */
};

static void check_fini(struct check *c)
{
    Py_CLEAR(c->filename);
    Py_CLEAR(c->qemu_img);
    Py_CLEAR(c->quoted);
}

/* utils.run(command, ignore_status=True); steals command, which may be NULL. */
static PyObject *run_any_status(struct state *st, PyObject *command)
{
    PyObject *run = command ? vm_global_attr(st, st->n.utils, st->n.run) : NULL;
    PyObject *args = run ? PyTuple_Pack(1, command) : NULL;
    PyObject *kwargs = args ? Py_BuildValue("{s:O}", "ignore_status", Py_True) : NULL;
    PyObject *result = kwargs ? PyObject_Call(run, args, kwargs) : NULL;
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(run);
    Py_XDECREF(command);
    return result;
}

static PyObject *run_for_stdout(struct state *st, PyObject *command)
{
    PyObject *result = run_any_status(st, command);
    PyObject *text = result ? PyObject_GetAttr(result, st->n.stdout) : NULL;
    Py_XDECREF(result);
    return text;
}

/* Whether text names the sub-commands; bit 0: check, bit 1: info; -1. */
static int find_subcommands(PyObject *text)
{
    int has_check = vm_contains(text, "check");
    int has_info = has_check < 0 ? -1 : vm_contains(text, "info");
    return has_info < 0 ? -1 : has_check | has_info << 1;
}

/* A bare qemu-img used to list its sub-commands; since then only --help does. */
static int list_subcommands(struct check *c)
{
    PyObject *text = run_for_stdout(c->st, Py_NewRef(c->qemu_img));
    int found = text ? find_subcommands(text) : -1;
    Py_XDECREF(text);
    if (found != 0)
        return found;
    text = run_for_stdout(c->st, PyUnicode_FromFormat("%U --help", c->qemu_img));
    found = text ? find_subcommands(text) : -1;
    Py_XDECREF(text);
    return found;
}

/* 1 if qemu-img can check images, 0 (logged) if not. */
static int can_check(struct check *c)
{
    struct state *st = c->st;
    int found = list_subcommands(c);
    if (found < 0)
        return -1;
    if (!(found & 1) && vm_log(st, st->n.error, "qemu-img does not support 'check', "
                               "skipping check", NULL, NULL) < 0)
        return -1;
    if (!(found & 2) && vm_log(st, st->n.error, "qemu-img does not support 'info', "
                               "skipping check", NULL, NULL) < 0)
        return -1;
    return found == 3;
}

/* Whether exc is error.CmdError, which is looked up only now. */
static int is_command_error(struct state *st, PyObject *exc)
{
    PyObject *class = vm_global_attr(st, st->n.error, st->n.CmdError);
    if (class == NULL)
        return -1;
    int matches = PyErr_GivenExceptionMatches(exc, class);
    Py_DECREF(class);
    return matches;
}

/* An image that `info` can't read is logged: `check` says what is wrong with it. */
static int show_info(struct check *c)
{
    struct state *st = c->st;
    PyObject *command = PyUnicode_FromFormat("%U info %U", c->qemu_img, c->quoted);
    PyObject *status = command ? vm_invoke(st, st->n.utils, st->n.system, command, NULL) : NULL;
    Py_XDECREF(command);
    if (status != NULL)
        return vm_discard(status);
    PyObject *exc = PyErr_GetRaisedException();
    int rc = is_command_error(st, exc);
    if (rc > 0) {
        rc = vm_log(st, st->n.error, "Error getting info from image %s", c->filename, NULL);
        Py_DECREF(exc);
        return rc;
    }
    if (rc == 0)
        PyErr_SetRaisedException(exc);
    else
        Py_DECREF(exc);
    return -1;
}

/* logging.error(text, line) for each line of result.<stream>. */
static int log_stream(struct state *st, PyObject *result, PyObject *stream, const char *text)
{
    PyObject *output = PyObject_GetAttr(result, stream);
    PyObject *lines = output ? vm_split_lines(st, output) : NULL;
    PyObject *items = lines ? PySequence_Fast(lines, "splitlines() gave no sequence") : NULL;
    int rc = items ? 0 : -1;
    for (Py_ssize_t i = 0; rc == 0 && i < PySequence_Fast_GET_SIZE(items); i++)
        rc = vm_log(st, st->n.error, text, PySequence_Fast_GET_ITEM(items, i), NULL);
    Py_XDECREF(items);
    Py_XDECREF(lines);
    Py_XDECREF(output);
    return rc;
}

static int log_output(struct state *st, PyObject *result)
{
    if (log_stream(st, result, st->n.stdout, "[stdout] %s") < 0)
        return -1;
    return log_stream(st, result, st->n.stderr, "[stderr] %s");
}

static void warn(struct state *st, const char *text)
{
    PyObject *class = vm_global_attr(st, st->n.error, st->n.TestWarn);
    PyObject *message = class ? PyUnicode_FromString(text) : NULL;
    if (message != NULL)
        vm_raise(class, message);
    Py_XDECREF(message);
    Py_XDECREF(class);
}

/* Which of 1, 2 and 3 the status equals; 0 for anything else. */
static int known_status(struct state *st, PyObject *status)
{
    PyObject *const known[] = {st->num_1, st->num_2, st->num_3};
    for (int i = 0; i < 3; i++) {
        int equal = vm_equals(status, known[i]);
        if (equal != 0)
            return equal < 0 ? -1 : i + 1;
    }
    return 0;
}

/* Raises what the result of `qemu-img check` calls for. */
static int judge(struct check *c, PyObject *result)
{
    struct state *st = c->st;
    PyObject *status = PyObject_GetAttr(result, st->n.exit_status);
    int code = status ? known_status(st, status) : -1;
    Py_XDECREF(status);
    if (code <= 0 || ((code == 1 || code == 2) && log_output(st, result) < 0))
        return code == 0 ? 0 : -1;
    if (code == 1)
        warn(st, "qemu-img check error. Some bad data in the image may have gone unnoticed");
    else if (code == 2)
        vm_raise_named(st, st->n.VMImageCheckError, c->filename);
    else
        warn(st, "Leaked clusters were noticed during image check. No data integrity "
                 "problem was found though.");
    return -1;
}

static int check_file(struct check *c)
{
    int rc = can_check(c);
    if (rc <= 0)
        return rc;
    if ((c->quoted = quote_value(c->filename, vm_quote_file)) == NULL || show_info(c) < 0)
        return -1;
    PyObject *result = run_any_status(
        c->st, PyUnicode_FromFormat("%U check %U", c->qemu_img, c->quoted));
    rc = result ? judge(c, result) : -1;
    Py_XDECREF(result);
    return rc;
}

/* qcow2 is the default format, here as in the file's name. */
static int is_qcow2(PyObject *params)
{
    PyObject *format = vm_param(params, "image_format", NULL);
    if (format == NULL)
        return -1;
    int answer = format == Py_None ? 1 : vm_equals_text(format, "qcow2");
    Py_DECREF(format);
    return answer;
}

static int log_skipped(struct check *c, int qcow2)
{
    int exists = path_exists(c->st, c->filename);
    if (exists < 0)
        return -1;
    if (!exists)
        return vm_log(c->st, c->st->n.debug, "Image file %s not found, skipping check",
                      c->filename, NULL);
    if (!qcow2)
        return vm_log(c->st, c->st->n.debug, "Image file %s not qcow2, skipping check",
                      c->filename, NULL);
    return 0;
}

static int check_kvm_image(struct check *c, PyObject *params, PyObject *root_dir)
{
    struct state *st = c->st;
    if ((c->filename = find_filename(st, params, root_dir)) == NULL
        || vm_log(st, st->n.debug, "Checking image file %s", c->filename, NULL) < 0
        || (c->qemu_img = qemu_img(st, params, root_dir)) == NULL)
        return -1;
    int qcow2 = is_qcow2(params);
    int exists = qcow2 < 0 ? -1 : path_exists(st, c->filename);
    if (exists < 0)
        return -1;
    return exists && qcow2 ? check_file(c) : log_skipped(c, qcow2);
}

PyDoc_STRVAR(check_image_doc,
"check_image($module, params, root_dir)\n--\n\n"
"Check the disk image that params name with qemu-img.\n\n"
"Acts only if params have vm_type \"kvm\", the image exists and its format is qcow2.\n"
"params, root_dir: as for create_image.\n"
"Raises VMImageCheckError if the image is corrupt, error.TestWarn if it could not be\n"
"checked or has leaked clusters.");

static PyObject *check_image(PyObject *module, PyObject *args, PyObject *kwargs)
{
    PyObject *params, *root_dir;
    if (!parse_arguments(args, kwargs, "OO:check_image", &params, &root_dir))
        return NULL;
    PyObject *vm_type = vm_param(params, "vm_type", NULL);
    int rc = vm_type ? vm_equals_text(vm_type, "kvm") : -1;
    Py_XDECREF(vm_type);
    if (rc > 0) {
        struct check c = {.st = PyModule_GetState(module)};
        rc = check_kvm_image(&c, params, root_dir);
        check_fini(&c);
    }
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

PyMethodDef vm_image_functions[] = {
    {"get_image_filename", WITH_KEYWORDS(get_image_filename), get_image_filename_doc},
    {"create_image", WITH_KEYWORDS(create_image), create_image_doc},
    {"remove_image", WITH_KEYWORDS(remove_image), remove_image_doc},
    {"check_image", WITH_KEYWORDS(check_image), check_image_doc},
    {NULL, NULL, 0, NULL},
};
