/* The octet scan of outrider.wire.smtp.scan in one pass; see there for what it means.
 *
 * scan(block: bytes, after_crlf: bool, plain: bool) -> (end, found)
 *
 * Invariant: reads only inside the block, allocates nothing but its result, and gives what scan_pure gives.
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

static PyMethodDef methods[] = {
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
