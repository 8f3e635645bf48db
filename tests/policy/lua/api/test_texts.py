"""JSON and XML beyond a first call: faults, bounds, what is copied and what is referenced; getopt."""

import pytest

from outrider.policy.errors import ScriptError
from outrider.policy.lua.api.host import ApiLimits
from outrider.policy.lua.api.json_text import ERRORS
from tests.policy.lua.api.service_stage import Make


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "PARSE_EOF"),
        ("[1, ", "PARSE_EOF"),
        ('{"a"', "PARSE_EOF"),
        ("x", "PARSE_UNEXPECTED"),
        ("nul", "PARSE_NULL"),
        ("tru", "PARSE_BOOLEAN"),
        ("-", "PARSE_NUMBER"),
        ("NaN", "PARSE_NUMBER"),
        ("9" * 5000, "PARSE_NUMBER"),
        ("[1 2]", "PARSE_ARRAY"),
        ('["]", 1 2]', "PARSE_ARRAY"),
        ("{a:1}", "PARSE_OBJECT_KEY_NAME"),
        ('{"a" 1}', "PARSE_OBJECT_KEY_SEP"),
        ('{"a":1 "b":2}', "PARSE_OBJECT_VALUE_SEP"),
        ('"a\\q"', "PARSE_STRING"),
        ('"a', "PARSE_STRING"),
        ("/* x */ 1", "PARSE_COMMENT"),
        ("1 2", "PARSE_UNEXPECTED"),
        ("[" * 101 + "]" * 101, "DEPTH"),
        ("[" * 100_000, "DEPTH"),
    ],
)
async def test_faults_of_json_have_the_numbers_of_their_constants(stage: Make, text: str, error: str) -> None:
    made = stage("local o, code, text = json.decode(...) return {tostring(o), code, #text > 0}")
    assert await made.call("data", text.encode()) == [b"nil", ERRORS[f"ERROR_{error}"], True]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return tostring(json.decode('[1,null,2.5,\"\\195\\164\",true,{}]'))", '[1,null,2.5,"ä",true,{}]'),
        ("return tostring(json.decode('[[],[null]]'))", "[[],[null]]"),
        ("return tostring(json.decode('  \"x\" '))", '"x"'),
        ("return tostring(json.encode(nil))", "null"),
        ("return tostring(json.encode({1, 2, nil, 4}))", "[1,2]"),
        ("return tostring(json.encode({[3] = 'x', a = {}}))", '{"3":"x","a":{}}'),
        ("local o = json.new() o.a = {x = 1} local a = o.a a.x = 2 return tostring(o)", '{"a":{"x":2}}'),
        ("local t = {x = 1} local o = json.new() o.a = t t.x = 2 return tostring(o)", '{"a":{"x":1}}'),
        ("local o, p = json.new(), json.new() o.p = p p.x = 1 return tostring(o)", '{"p":{"x":1}}'),
        ("local o = json.decode('{\"a\":1}') o.a = nil o.b = false return tostring(o)", '{"b":false}'),
        ("local o = json.decode('[1,2]') o[3] = 'x' o[1] = 9 return tostring(o) .. #o", '[9,2,"x"]3'),
        ("local o = json.decode('[1,2]') return 'list: ' .. o", "list: [1,2]"),
        ("local s = '' for _, v in ipairs(json.decode('[\"a\",\"b\"]')) do s = s .. v end return s", "ab"),
        (
            "local o = json.new() o.l = {} for i = 1, 3 do table.insert(o.l, i) end return tostring(o)",
            '{"l":[1,2,3]}',
        ),
        ("local l = json.encode({}) table.insert(l, {x = 1}) l[2] = 'y' return tostring(l)", '[{"x":1},"y"]'),
        (
            "local l = json.new() table.insert(l, 'a') for _, v in pairs(l) do return v .. #l end",
            "a1",
        ),
        ("return tostring(json.encode('</a>\\n\"\\\\'))", '"</a>\\n\\"\\\\"'),
        ("local o = json.new() o.o = o return tostring(pcall(tostring, o))", "false"),
        ("local o = json.new() return tostring(pcall(function() o.f = print end))", "false"),
        ("local t = {} t.t = t return tostring(pcall(json.encode, t))", "false"),
        ('local o = json.decode(\'{"a":{"b":1}}\') return tostring(o.a == o.a) .. tostring(o.x)', "truenil"),
    ],
)
async def test_json_objects(stage: Make, body: str, expected: str) -> None:
    assert (await stage(body).call()).decode() == expected


async def test_an_object_of_json_is_the_sessions_own(stage: Make) -> None:
    made = stage("local o = json.decode('{\"n\":1}') o.n = o.n + 1 return o.n")
    assert [await made.call() for _ in range(3)] == [2, 2, 2]


async def test_large_texts_are_refused(stage: Make) -> None:
    limits = ApiLimits(json_octets=100, xml_octets=100, xml_nodes=5)
    for body, reason in (
        ("json.decode((' '):rep(101))", "at most 100 octets"),
        ("tostring(json.encode(('x'):rep(101)))", "at most 100 octets"),
        ("xml.parsexml((' '):rep(101))", "at most 100 octets"),
        ("xml.parsexml('<a><b/><b/><b/><b/><b/></a>')", "at most 5 nodes"),
    ):
        with pytest.raises(ScriptError, match=reason):
            await stage(body, limits=limits).call()


DOCUMENT = '<r><a n="1">one</a> <a n="2">two<b>deep</b></a><x:c/></r>'


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("/r/a", ["one", "twodeep"]),
        ("//b", ["deep"]),
        ("a[@n='2']", ["twodeep"]),
        ("a[2]/b", ["deep"]),
        ("a[last()]", ["twodeep"]),
        ("/r/a[b='deep']", ["twodeep"]),
        ("/r/a[b]", ["twodeep"]),
        ("/r/a[b!='x']", ["twodeep"]),
        ("/r/a[.='one']", ["one"]),
        ("/r/a[.!='one']", ["twodeep"]),
        ("/r/a[@n!='2']", ["one"]),
        ("//a[@n]", ["one", "twodeep"]),
        ("//a[nothing]", []),
        ("//a/@n", ["1", "2"]),
        ("a/text()", ["one", "two"]),
        ("//b | a[1]", ["deep", "one"]),
        ("//b/..", ["twodeep"]),
        ("/nothing", []),
        ("*", ["one", "twodeep", ""]),
        (".", ["one twodeep"]),
    ],
)
async def test_xpath(stage: Make, query: str, found: list[str]) -> None:
    made = stage(
        f"local d, t = xml.parsexml([[{DOCUMENT}]]), {{}} for n in d:xpath(...) do"
        " t[#t + 1] = type(n) == 'string' and n or n:contents() end return t"
    )
    assert await made.call("data", query.encode()) == ([text.encode() for text in found] or {})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("xml.parsexml('<a>'):root()", "is no XML"),
        (r"xml.newnode('a'):contents('x\1')", "contents holds U\\+0001, which no XML may hold"),
        (r"xml.newnode('a'):attribute('b', 'x\0')", "a value holds U\\+0000, which no XML may hold"),
        ("xml.parsexml('')", "is no XML"),
        ("xml.parsexml('<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>')", "entities"),
        (
            'xml.parsexml(\'<!DOCTYPE a [<!ENTITY x "yyyy"><!ENTITY z "&x;&x;">]><a>&z;</a>\')',
            "entities",
        ),
        ("xml.parsexml(('<a>'):rep(201) .. ('</a>'):rep(201))", "at most 200 deep"),
        ("xml.newnode('a b')", "no name of XML"),
        ("local n = xml.newnode('a') n:addchild(n)", "hold itself"),
        ("local n = xml.newnode('a') n:addchild('b'):addchild(n)", "hold itself"),
        ("local d = xml.parsexml('<a/>') d:xpath('count(//a)')", "not supported"),
        ("local d = xml.parsexml('<a/>') d:xpath('ancestor::b')", "not supported"),
        ("local d = xml.parsexml('<a/>') d.root()", "called? with ':'|call methods with ':'"),
    ],
)
async def test_faults_of_xml(stage: Make, body: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason) as caught:
        await stage(body).call()
    assert caught.value.script == "script.lua"


async def test_blanks_are_kept_or_dropped(stage: Make) -> None:
    made = stage("local r = xml.parsexml('<a> <b/> </a>', ...):root() return r:tostring()")
    assert await made.call("data", 0) == b"<a><b/></a>"
    assert await made.call("data") == b"<a> <b/> </a>"


async def test_options_of_a_command(stage: Make) -> None:
    made = stage(
        "local argv, out = {[0] = 'cmd', '-ab', 'x', '-b1', '-z', '--', '-c', 'rest'}, {}"
        " for option, value in"
        " msys.getopt.getopt(argv, 'ab:c') do out[#out + 1] = option .. (value or '') end"
        " out[#out + 1] = table.concat(msys.getopt.rest(argv, 'ab:c'), ' ')"
        " for option, value in"
        " msys.getopt.getopt({'-b'}, 'b:') do out[#out + 1] = option .. value end return out"
    )
    assert await made.call() == [b"a", b"bx", b"b1", b"?z", b"-c rest", b":b"]


async def test_an_ec_string_is_a_text(stage: Make) -> None:
    made = stage(
        "local s = msys.core.string_new() s:set('a=b') return {msys.base64.encode(s), msys.qp.encode(s),"
        " msys.pcre.match(s, 'b')[0], tostring(json.decode(s)), msys.pcre.replace(s, '=', '-')}"
    )
    assert await made.call() == [b"YT1i", b"a=3Db", b"b", b"nil", b"a-b"]
