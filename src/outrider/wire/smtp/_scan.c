/* What costs in Python is the number of passes over a content; here each takes one.
 *
 * scan(block: bytes, after_crlf: bool, plain: bool) -> (end, found)   outrider.wire.smtp.scan
 * relaxed(body: bytes) -> bytes                                       outrider.wire.dkim.canonical
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

static PyMethodDef methods[] = {
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
