/* What costs in Python is the number of passes over a content; here each takes one.
 *
 * scan(block: bytes, after_crlf: bool, plain: bool) -> (end, found)   outrider.wire.smtp.scan
 * relaxed(body: bytes) -> bytes                                       outrider.wire.dkim.canonical
 * fields(header: bytes) -> {name: [(raw, name, value, relaxed)]}      outrider.wire.dkim.fields
 *
 * Invariant: reads only inside its argument, allocates nothing but its result, and gives what the Python
 * function beside it gives; see there for what it means.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

enum { STRAY = 1, NUL = 2, EIGHT_BIT = 4, DOTTED = 8, LONG = 16 };

#define LINE_WITH_CRLF 1000 /* RFC 5322 section 2.1.1: 998 octets and CRLF */

static long
octets_in(const unsigned char *at, Py_ssize_t size)
{
    unsigned char high = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        high |= at[i];
    long found = (high & 0x80) ? EIGHT_BIT : 0;
    if (size && memchr(at, 0, (size_t)size) != NULL)
        found |= NUL;
    return found;
}

static PyObject *
scan(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 3 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "scan(block: bytes, after_crlf: bool, plain: bool)");
        return NULL;
    }
    int after_crlf = PyObject_IsTrue(args[1]);
    int plain = PyObject_IsTrue(args[2]);
    if (after_crlf < 0 || plain < 0)
        return NULL;

    const unsigned char *block = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    const Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    Py_ssize_t start = 0, end = -1;
    long found = 0;

    while (start < size) {
        const unsigned char *line = block + start;
        const unsigned char *lf = memchr(line, '\n', (size_t)(size - start));
        Py_ssize_t length = lf ? lf - line + 1 : size - start;
        int ends_in_crlf = lf && length > 1 && lf[-1] == '\r';

        if (line[0] == '.') {
            if (!plain && after_crlf && length == 3 && ends_in_crlf) {
                end = start;
                break;
            }
            found |= DOTTED;
        }
        Py_ssize_t inner = ends_in_crlf ? length - 2 : length;
        if ((lf && !ends_in_crlf) || (inner && memchr(line, '\r', (size_t)inner) != NULL))
            found |= STRAY;
        if (length > LINE_WITH_CRLF)
            found |= LONG;
        after_crlf = ends_in_crlf;
        start += length;
    }
    found |= octets_in(block, end >= 0 ? end : size);
    return Py_BuildValue("(nl)", end, found);
}

enum { ALONE = 1 << 20 }; /* chosen: a millisecond; a longer body is worked on while other threads go on */
enum { BLOCK = 16 }; /* octets that are looked at together; compilers make one vector of them */

static inline int
is_white(unsigned char octet)
{
    return (octet == ' ') | (octet == '\t');
}

/* True when the relaxed form of these octets is what they are, `at[-1]` being read too. */
static inline int
is_relaxed(const unsigned char *at)
{
    unsigned char found = 0;
    for (int i = 0; i < BLOCK; i++)
        found |= (unsigned char)((is_white(at[i - 1]) & (is_white(at[i]) | (at[i] == '\r'))) | (at[i] == '\t'));
    return !found;
}

/* Writes the relaxed form of a body at `start` and returns its length: no longer than the body, but for the
 * CRLF that a last line may lack. */
static Py_ssize_t
write_relaxed(const unsigned char *first, Py_ssize_t size, char *start)
{
    char *to = start;
    int white = 0; /* the octet before is white space, and stands as one space before `to` */

    for (Py_ssize_t at = 0; at < size;) {
        if (at && size - at >= BLOCK && is_relaxed(first + at)) {
            memcpy(to, first + at, BLOCK);
            to += BLOCK;
            at += BLOCK;
            white = first[at - 1] == ' ';
            continue;
        }
        /* without branches on the octets, which nobody can foresee */
        for (Py_ssize_t stop = size - at > BLOCK ? at + BLOCK : size; at < stop; at++) {
            const unsigned char octet = first[at];
            const int is_space = is_white(octet);
            const int is_end = (octet == '\r') & (at + 1 < size && first[at + 1] == '\n');
            to -= is_end & white;
            *to = (char)(is_space ? ' ' : octet);
            to += 1 - (is_space & white);
            white = is_space;
        }
    }
    to -= white; /* a last line without CRLF */
    while (to - start >= 2 && to[-2] == '\r' && to[-1] == '\n')
        to -= 2;
    if (to != start) {
        *to++ = '\r';
        *to++ = '\n';
    }
    return to - start;
}

static PyObject *
relaxed(PyObject *module, PyObject *body)
{
    (void)module;
    if (!PyBytes_Check(body)) {
        PyErr_SetString(PyExc_TypeError, "relaxed(body: bytes)");
        return NULL;
    }
    const unsigned char *first = (const unsigned char *)PyBytes_AS_STRING(body);
    const Py_ssize_t size = PyBytes_GET_SIZE(body);
    PyObject *result = PyBytes_FromStringAndSize(NULL, size + 2);
    if (result == NULL)
        return NULL;
    char *start = PyBytes_AS_STRING(result);
    Py_ssize_t length;
    if (size < ALONE) {
        length = write_relaxed(first, size, start);
    }
    else { /* nobody else knows the result yet, and the body never changes */
        Py_BEGIN_ALLOW_THREADS
        length = write_relaxed(first, size, start);
        Py_END_ALLOW_THREADS
    }
    if (_PyBytes_Resize(&result, length) < 0)
        return NULL;
    return result;
}

static inline int
is_name(unsigned char octet)
{
    return octet > ' ' && octet < 127 && octet != ':';
}

/* The relaxed form of a field with its CRLF: the name in lower case, the value with white space reduced. */
static PyObject *
relaxed_field(const unsigned char *name, Py_ssize_t name_size, const unsigned char *value, Py_ssize_t size)
{
    PyObject *result = PyBytes_FromStringAndSize(NULL, name_size + size + 3);
    if (result == NULL)
        return NULL;
    char *start = PyBytes_AS_STRING(result), *to = start;

    for (Py_ssize_t i = 0; i < name_size; i++)
        *to++ = (char)Py_TOLOWER(name[i]);
    *to++ = ':';
    int white = 1; /* so that none stands after the colon */
    for (Py_ssize_t i = 0; i < size; i++) {
        const unsigned char octet = value[i];
        if (octet == '\r' || octet == '\n')
            continue;
        const int is_space = is_white(octet);
        if (!is_space || !white)
            *to++ = (char)(is_space ? ' ' : octet);
        white = is_space;
    }
    if (to[-1] == ' ')
        to--;
    *to++ = '\r';
    *to++ = '\n';
    if (_PyBytes_Resize(&result, to - start) < 0)
        return NULL;
    return result;
}

/* Puts a field to those of its name; -1 with an exception. */
static int
add_field(PyObject *found, const unsigned char *first, const unsigned char *name_end,
          const unsigned char *value, const unsigned char *end)
{
    const Py_ssize_t name_size = name_end - first;
    PyObject *relaxed = relaxed_field(first, name_size, value, end - value);
    if (relaxed == NULL)
        return -1;
    PyObject *key = PyBytes_FromStringAndSize(PyBytes_AS_STRING(relaxed), name_size);
    PyObject *field = Py_BuildValue("(y#y#y#N)", first, end - first, first, name_size, value, end - value, relaxed);
    PyObject *same = NULL;
    int result = -1;
    if (key == NULL || field == NULL)
        goto done;
    same = Py_XNewRef(PyDict_GetItemWithError(found, key));
    if (same == NULL && !PyErr_Occurred()) {
        same = PyList_New(0);
        if (same != NULL && PyDict_SetItem(found, key, same) < 0)
            Py_CLEAR(same);
    }
    if (same != NULL)
        result = PyList_Append(same, field);
done:
    Py_XDECREF(same);
    Py_XDECREF(field);
    Py_XDECREF(key);
    return result;
}

static PyObject *
fields(PyObject *module, PyObject *header)
{
    (void)module;
    if (!PyBytes_Check(header)) {
        PyErr_SetString(PyExc_TypeError, "fields(header: bytes)");
        return NULL;
    }
    const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(header);
    const unsigned char *stop = at + PyBytes_GET_SIZE(header); /* a zero stands there */
    PyObject *found = PyDict_New();

    while (found != NULL && at < stop) {
        const unsigned char *name_end = at, *end;
        while (is_name(*name_end))
            name_end++;
        const unsigned char *colon = name_end;
        while (is_white(*colon))
            colon++;
        end = at;
        if (name_end > at && *colon == ':') {
            end = colon + 1;
            for (;;) {
                while (end < stop && *end != '\r' && *end != '\n')
                    end++;
                if (stop - end < 3 || end[0] != '\r' || end[1] != '\n' || !is_white(end[2]))
                    break;
                end += 3;
            }
            if (add_field(found, at, name_end, colon + 1, end) < 0)
                Py_CLEAR(found);
        }
        at = memchr(end, '\n', (size_t)(stop - end));
        at = at == NULL ? stop : at + 1;
    }
    return found;
}

static PyMethodDef methods[] = {
    {"fields", fields, METH_O, "See outrider.wire.dkim.fields."},
    {"relaxed", relaxed, METH_O, "See outrider.wire.dkim.canonical."},
    {"scan", (PyCFunction)(void (*)(void))scan, METH_FASTCALL, "See outrider.wire.smtp.scan."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_scan", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__scan(void)
{
    return PyModule_Create(&definition);
}
