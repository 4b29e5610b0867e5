/* text.c - words for a shell, escapes of string literals, lines. */
#include "state.h"

#include <string.h>

/* Shell words */

static int is_plain(Py_UCS4 c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
           || (c != 0 && c < 128 && strchr("_@%+=:,./-", (int)c) != NULL);
}

static int needs_quotes(PyObject *text)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    for (Py_ssize_t i = 0; i < length; i++)
        if (!is_plain(PyUnicode_READ_CHAR(text, i)))
            return 1;
    return length == 0;
}

static PyObject *replace(PyObject *text, const char *old, const char *new)
{
    PyObject *from = PyUnicode_FromString(old), *to = PyUnicode_FromString(new);
    PyObject *result = from && to ? PyUnicode_Replace(text, from, to, -1) : NULL;
    Py_XDECREF(from);
    Py_XDECREF(to);
    return result;
}

static PyObject *put_quotes(PyObject *text)
{
    PyObject *inner = replace(text, "'", "'\"'\"'");
    PyObject *quoted = inner ? PyUnicode_FromFormat("'%U'", inner) : NULL;
    Py_XDECREF(inner);
    return quoted;
}

static int check_text(PyObject *text)
{
    if (PyUnicode_Check(text))
        return 0;
    PyErr_Format(PyExc_TypeError, "expected str for a command line, got %s",
                 Py_TYPE(text)->tp_name);
    return -1;
}

PyObject *vm_quote(PyObject *text)
{
    if (check_text(text) < 0)
        return NULL;
    return needs_quotes(text) ? put_quotes(text) : Py_NewRef(text);
}

PyObject *vm_quote_command(PyObject *text)
{
    if (check_text(text) < 0)
        return NULL;
    Py_ssize_t sign = PyUnicode_FindChar(text, '=', 0, PyUnicode_GET_LENGTH(text), 1);
    if (sign == -2)
        return NULL;
    return sign >= 0 || needs_quotes(text) ? put_quotes(text) : Py_NewRef(text);
}

/* qemu-img takes what stands before a colon for a protocol unless a slash comes
 * first.  An absolute name starts with one. */
static int is_misread(PyObject *name)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(name);
    if (length > 0 && PyUnicode_READ_CHAR(name, 0) == '-')
        return 1;
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 c = PyUnicode_READ_CHAR(name, i);
        if (c == ':' || c == '/')
            return c == ':';
    }
    return 0;
}

PyObject *vm_quote_file(PyObject *name)
{
    if (check_text(name) < 0)
        return NULL;
    PyObject *path = is_misread(name) ? PyUnicode_FromFormat("./%U", name) : Py_NewRef(name);
    PyObject *quoted = path ? vm_quote(path) : NULL;
    Py_XDECREF(path);
    return quoted;
}

/* Escapes */

/* A text that is read from the left, one code point at a time. */
struct reader {
    PyObject *text;
    Py_ssize_t at, length;
};

static Py_UCS4 peek(const struct reader *in, Py_ssize_t ahead)
{
    return in->at + ahead < in->length ? PyUnicode_READ_CHAR(in->text, in->at + ahead) : 0;
}

static int digit_value(Py_UCS4 c, int base)
{
    int value = c >= '0' && c <= '9' ? (int)c - '0'
                : c >= 'a' && c <= 'f' ? (int)c - 'a' + 10
                : c >= 'A' && c <= 'F' ? (int)c - 'A' + 10 : base;
    return value < base ? value : -1;
}

/* Reads up to max digits that start `ahead`; returns how many there were. */
static int read_digits(const struct reader *in, int ahead, int base, int max, Py_UCS4 *value)
{
    int n = 0;
    for (*value = 0; n < max; n++) {
        int digit = digit_value(peek(in, ahead + n), base);
        if (digit < 0)
            break;
        *value = *value * (Py_UCS4)base + (Py_UCS4)digit;
    }
    return n;
}

/* Each of these looks at the text behind a backslash.  It returns how many code
 * points the escape takes there, 0 if there is none. */

static int simple_escape(const struct reader *in, Py_UCS4 *value)
{
    static const char letters[] = "\\'\"abfnrtv", meanings[] = "\\'\"\a\b\f\n\r\t\v";
    Py_UCS4 c = peek(in, 0);
    const char *found = c != 0 && c < 128 ? strchr(letters, (int)c) : NULL;
    if (found == NULL)
        return 0;
    *value = (Py_UCS4)meanings[found - letters];
    return 1;
}

static int hex_escape(const struct reader *in, Py_UCS4 *value)
{
    Py_UCS4 kind = peek(in, 0);
    int width = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    if (width == 0 || read_digits(in, 1, 16, width, value) < width || *value > 0x10FFFF)
        return 0;
    return 1 + width;
}

static int octal_escape(const struct reader *in, Py_UCS4 *value)
{
    return read_digits(in, 0, 8, 3, value);
}

/* \N{NAME}: Python's own decoder knows the names. */
static int name_escape(const struct reader *in, Py_UCS4 *value)
{
    if (peek(in, 0) != 'N' || peek(in, 1) != '{')
        return 0;
    Py_ssize_t end = PyUnicode_FindChar(in->text, '}', in->at, in->length, 1);
    PyObject *name = end < 0 ? NULL : PyUnicode_Substring(in->text, in->at - 1, end + 1);
    PyObject *bytes = name ? PyUnicode_AsASCIIString(name) : NULL;
    PyObject *found = bytes ? PyUnicode_DecodeUnicodeEscape(PyBytes_AS_STRING(bytes),
                                                            PyBytes_GET_SIZE(bytes), NULL)
                            : NULL;
    int taken = found != NULL && PyUnicode_GET_LENGTH(found) == 1 ? (int)(end + 1 - in->at) : 0;
    if (taken > 0)
        *value = PyUnicode_READ_CHAR(found, 0);
    Py_XDECREF(found);
    Py_XDECREF(bytes);
    Py_XDECREF(name);
    PyErr_Clear();          /* an unknown name is no escape */
    return taken;
}

/* Sets *value only if there is an escape. */
static int any_escape(const struct reader *in, Py_UCS4 *value)
{
    static int (*const kinds[])(const struct reader *, Py_UCS4 *) = {
        simple_escape, octal_escape, hex_escape, name_escape,
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        Py_UCS4 found;
        int taken = kinds[i](in, &found);
        if (taken > 0) {
            *value = found;
            return taken;
        }
    }
    return 0;
}

/* Writes the decoded text; never longer than the original. */
static Py_ssize_t decode_into(Py_UCS4 *out, struct reader *in)
{
    Py_ssize_t n = 0;
    while (in->at < in->length) {
        Py_UCS4 c = peek(in, 0);
        in->at++;
        if (c == '\\' && peek(in, 0) == '\n') {     /* continues the line */
            in->at++;
            continue;
        }
        if (c == '\\')
            in->at += any_escape(in, &c);           /* leaves c as it is if none */
        out[n++] = c;
    }
    return n;
}

PyObject *vm_decode_escapes(PyObject *text)
{
    struct reader in = {text, 0, PyUnicode_GET_LENGTH(text)};
    Py_UCS4 *out = PyMem_New(Py_UCS4, in.length + 1);
    if (out == NULL)
        return PyErr_NoMemory();
    Py_ssize_t n = decode_into(out, &in);
    PyObject *decoded = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, out, n);
    PyMem_Free(out);
    return decoded;
}

/* Lines */

static Py_ssize_t line_end(PyObject *text, Py_ssize_t at, Py_ssize_t length)
{
    for (; at < length; at++) {
        Py_UCS4 c = PyUnicode_READ_CHAR(text, at);
        if (c == '\n' || c == '\r')
            break;
    }
    return at;
}

static int append_part(PyObject *list, PyObject *text, Py_ssize_t from, Py_ssize_t to)
{
    PyObject *part = PyUnicode_Substring(text, from, to);
    int rc = part ? PyList_Append(list, part) : -1;
    Py_XDECREF(part);
    return rc;
}

PyObject *vm_split_lines(struct state *st, PyObject *text)
{
    if (!PyUnicode_Check(text))         /* bytes.splitlines cuts just there */
        return PyObject_CallMethodObjArgs(text, st->n.splitlines, NULL);
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    PyObject *lines = PyList_New(0);
    for (Py_ssize_t at = 0; lines != NULL && at < length;) {
        Py_ssize_t end = line_end(text, at, length);
        if (append_part(lines, text, at, end) < 0)
            Py_CLEAR(lines);
        int is_crlf = end + 1 < length && PyUnicode_READ_CHAR(text, end) == '\r'
                      && PyUnicode_READ_CHAR(text, end + 1) == '\n';
        at = end + 1 + is_crlf;
    }
    return lines;
}
