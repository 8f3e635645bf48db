"""Lines of names in TOML: all that the document holds, and nothing else."""

import tomllib
from typing import Any

import pytest

from outrider.server.toml_places import Location, places_of

DOCUMENT = '''\
# a comment with a = sign and [brackets]
title = "a # in \\"quotes\\""

[server] # behind a header
"quoted name" = 1
dotted.inner.deep = [ # in an array
    "one",
    { two = 2, three = [3] },
]
text = """
[not.a.table]
x = 1 \\""" still
""""
literal = \'\'\'
y = 2 \\\'\'\'
date = 1979-05-27 07:32:00
after = true

[[listener]]
name = "a"
[listener.limits]
size = 1
[[listener]]
name = "b"
[[listener.deep]]
[[listener.deep]]
value = { }
'''


def locations(value: Any, at: Location = ()) -> set[Location]:
    found = {at} if at else set()
    if isinstance(value, dict):
        return found.union(*(locations(each, (*at, key)) for key, each in value.items()))
    if isinstance(value, list):
        return found.union(*(locations(each, (*at, index)) for index, each in enumerate(value)))
    return found


def test_each_place_of_a_document_has_its_line() -> None:
    places = places_of(DOCUMENT)
    assert set(places) == locations(tomllib.loads(DOCUMENT))
    lines = DOCUMENT.splitlines()
    for location, words in {
        ("title",): "title =",
        ("server",): "[server]",
        ("server", "quoted name"): '"quoted name"',
        ("server", "dotted", "inner", "deep", 0): '"one"',
        ("server", "dotted", "inner", "deep", 1, "three", 0): "three = [3]",
        ("server", "text"): 'text = """',
        ("server", "literal"): "literal =",
        ("server", "after"): "after =",
        ("listener", 0, "limits", "size"): "size = 1",
        ("listener", 1): "[[listener]]",
        ("listener", 1, "name"): 'name = "b"',
        ("listener", 1, "deep", 1, "value"): "value =",
    }.items():
        assert words in lines[places[location] - 1], location
    assert places["listener", 0] < places["listener", 1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "a=1",
        "a = 1\r\n[b]\r\nc = [\r\n1,\r\n2]\r\n",
        "a.b = 1\na.c = 2\n[d.e]\n[d.f]\n",
        'a = ""\nb = \'\'\nc = """"""\nd = """\\\n  x"""\n',
        "a = [[1], [2, [3]], []]",
        "a = [{b = 1}, {b = {c = []}}]",
        "[[a.b]]\n[a.b.c]\nd = 1\n[[a.b]]\n[[a.b.e]]\n",
        "a = 0xff\nb = -1e-3\nc = inf\n",
        '["a.b"."c d"]\n\'e\' = 1\n',
        'a = """x"""""\nb = 1\n',
    ],
)
def test_whatever_a_document_holds_has_a_line(text: str) -> None:
    places = places_of(text)
    assert set(places) == locations(tomllib.loads(text))
    assert all(1 <= line <= text.count("\n") + 1 for line in places.values())
