"""What holds for any pattern, any JSON, any network, any sequence of additions."""

import contextlib
import json
import re
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from outrider.base.clock import FakeClock
from outrider.base.log import ListLog
from outrider.policy.lua.api.cidr import Table
from outrider.policy.lua.api.host import Host
from outrider.policy.lua.api.json_text import Json
from outrider.policy.lua.api.patterns import PatternError, compile_pattern, expand, split
from outrider.policy.lua.api.xml_tree import Xml
from outrider.policy.shared import create_cells

HOST = Host(clock=FakeClock(), log=ListLog(), shared=create_cells(None, 64))
PIECES = st.sampled_from(
    [
        rb"(",
        rb")",
        rb"[",
        rb"]",
        rb"a",
        rb"|",
        rb"*",
        rb"+?",
        rb"{2,3}",
        rb"(?i)",
        rb"(?<n>",
        rb"(?=",
        rb"\Q",
        rb"\E",
        rb"\x{41}",
        rb"[:alpha:]",
        rb"\h",
        rb"$",
        rb"^",
        rb".",
        rb"(?x)",
        rb"#",
        b"\n",
        rb"\g1",
        rb"\\",
        rb"-",
    ]
)


@given(st.lists(PIECES, max_size=12).map(b"".join) | st.binary(max_size=20))
@settings(deadline=None)
def test_any_pattern_is_compiled_or_refused(pattern: bytes) -> None:
    try:
        compiled = compile_pattern(pattern)
    except PatternError:
        return
    compiled.search(b"aA b")


@given(st.text("ab.*+?^$()|", max_size=8))
def test_a_pattern_of_both_languages_means_the_same(text: str) -> None:
    pattern = text.replace("(?)", "").encode()  # no flags, which only PCRE takes
    if b"(?)" in pattern:
        return
    try:
        expected = re.compile(pattern)
    except re.error:
        with pytest.raises(PatternError):
            compile_pattern(pattern)
        return
    made = compile_pattern(pattern)
    for subject in (b"", b"ab", b"aabb.*", b"a+b?^$()|\n"):
        assert [found.span() for found in made.finditer(subject)] == [
            found.span() for found in expected.finditer(subject)
        ]


@given(st.binary(max_size=50), st.binary(max_size=20))
def test_pieces_and_what_is_between_them_are_the_subject(subject: bytes, replacement: bytes) -> None:
    pattern = compile_pattern(b"[,;]")
    assert b",".join(split(pattern, subject)) == subject.replace(b";", b",")
    found = pattern.search(b",")
    assert found is not None
    expand(found, replacement)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**50), 2**50)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_comes_back(value: Any) -> None:
    native = Json(HOST)
    row = native.decode(json.dumps(value).encode())
    octets = [each.encode() if isinstance(each, str) else each for each in row]
    assert json.loads(native.dump(octets)) == value


@given(st.binary(max_size=60) | st.text('[]{}",:0tfn-/ \\', max_size=20).map(str.encode))
def test_any_text_is_json_or_has_a_fault(text: bytes) -> None:
    answer = Json(HOST).decode(text)
    if isinstance(answer, tuple):
        assert answer[0] is None
        assert 1 <= answer[1] <= 12
        assert answer[2]


@example("", "[']")
@given(
    st.text("<>/=\"'ab &;!-[]?", max_size=40) | st.text(max_size=20), st.text("/*.[]@='ab()|", max_size=10)
)
def test_any_text_is_xml_or_refused(text: str, query: str) -> None:
    native = Xml(HOST)
    try:
        document = native.parsexml(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        document = native.parsexml(b"<a><b a='1'>x</b></a>")
    with contextlib.suppress(ValueError):
        native.xpath(document, query.encode())
    again = native.parsexml(native.document_text(document))
    assert native.document_text(again) == native.document_text(document)


NETWORKS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: ip_network((pair[0], pair[1]), strict=False)
)


@given(st.dictionaries(NETWORKS, st.integers(1, 99), max_size=20), st.integers(0, 2**32 - 1))
def test_the_narrowest_network_is_found(networks: dict[IPv4Network, int], number: int) -> None:
    table = Table()
    for network, value in networks.items():
        table.add(network, value)
    for address in (IPv4Address(number), *[network.network_address for network in networks]):
        holding = [network for network in networks if address in network]
        expected = networks[max(holding, key=lambda network: network.prefixlen)] if holding else None
        assert table.find(address) == expected


class Numbers(RuleBasedStateMachine):
    """Shared numbers beside a dictionary; there is room for all."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = create_cells(None, 4096)
        self.model: dict[int, tuple[int, float]] = {}
        self.now = 0.0

    def key(self, name: int) -> bytes:
        return self.cells.key(b"%d" % name)

    def value(self, name: int) -> int | None:
        value, until = self.model.get(name, (0, -1.0))
        return value if until > self.now else None

    @rule(name=st.integers(0, 30), delta=st.integers(-9, 9), seconds=st.integers(1, 20))
    def add(self, name: int, delta: int, seconds: int) -> None:
        until = self.now + seconds
        new = (self.value(name) or 0) + delta
        assert self.cells.add(self.key(name), delta, self.now, until) == new
        self.model[name] = (new, until)

    @rule(name=st.integers(0, 30))
    def drop(self, name: int) -> None:
        self.cells.drop(self.key(name))
        self.model.pop(name, None)

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def agrees(self) -> None:
        for name in range(31):
            assert self.cells.get(self.key(name), self.now) == self.value(name)

    def teardown(self) -> None:
        self.cells.close()


TestNumbers = Numbers.TestCase
