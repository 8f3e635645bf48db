"""`xml`: documents of XML as trees of nodes, with parents, texts and a part of XPath.

In: a text. Out: nodes for `xml.lua`.

Theory: expat reads; entities are refused, and nothing outside the text is ever opened, so a document cannot
grow nor reach for files. Names keep their prefixes as they are written. XPath is what Python's ElementPath
knows: steps by name, `*`, `.`, `..`, `//`, `[name]`, `[name='text']`, `[.='text']`, `[@name]`,
`[@name='text']` (and with `!=`), `[position]`, `[last()]`; beside it `/` and `//` at the beginning, `|`, and
`text()` or `@name` as the last step. Axes, functions and operators raise.

Standards: XML 1.0 (W3C), XPath 1.0 (W3C) in part.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final
from xml.etree import ElementPath
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, lua_text, octets_of, text_of
from outrider.policy.lua.api.patterns import bounded
from outrider.policy.lua.registry import LuaRegistry, ObjectClass

DEPTH_MAX: Final = 200
"""Chosen: real documents have ten levels."""
TEXT: Final = "text"

_NAME: Final = re.compile(r"[^\W\d][\w.:-]*")
_NO_CHARACTER: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# XML 1.0 (W3C) production 2, without the halves of characters, which octets of scripts may stand for
_END: Final = re.compile(r"(.*?)/?(?:(text\(\))|@([\w.:-]+))$", re.DOTALL)


class Node:
    """An element or a text. The methods in the middle are those that ElementPath asks elements for."""

    __slots__ = ("attributes", "children", "document", "parent", "tag", "text_value")

    def __init__(self, document: "Document", tag: str, text: str = "") -> None:
        self.document = document
        self.tag = tag
        self.text_value = text
        self.attributes: dict[str, str] = {}
        self.children: list[Node] = []
        self.parent: Node | None = None

    @property
    def is_text(self) -> bool:
        return self.tag == ""

    def __iter__(self) -> Iterator["Node"]:
        return iter([child for child in self.children if not child.is_text])

    def findall(self, tag: str) -> list["Node"]:
        return [child for child in self if tag in {"*", child.tag}]

    def iterfind(self, tag: str) -> Iterator["Node"]:
        return iter(self.findall(tag))

    def find(self, tag: str) -> "Node | None":
        return next(self.iterfind(tag), None)

    def get(self, name: str, default: str | None = None) -> str | None:
        return self.attributes.get(name, default)

    def iter(self, tag: str | None = None) -> Iterator["Node"]:
        if not self.is_text and tag in {None, "*", self.tag}:
            yield self
        for child in list(self.children):
            if not child.is_text:
                yield from child.iter(tag)

    def itertext(self) -> Iterator[str]:
        if self.is_text:
            yield self.text_value
        for child in self.children:
            yield from child.itertext()

    def write(self, out: list[str]) -> None:
        """Its text, appended."""
        if self.is_text:
            out.append(escape(self.text_value))
            return
        attributes = "".join(f" {name}={quoteattr(value)}" for name, value in self.attributes.items())
        if not self.children:
            out.append(f"<{self.tag}{attributes}/>")
            return
        out.append(f"<{self.tag}{attributes}>")
        for child in self.children:
            child.write(out)
        out.append(f"</{self.tag}>")

    def link(self, parent: "Node") -> None:
        """Become the last child of `parent`. Raises ValueError: it would hold itself, or be too deep."""
        above, depth = parent, 1
        while above is not None:
            if above is self or depth > DEPTH_MAX:
                raise ValueError("a node cannot be put there: it would hold itself, or be nested too deep")
            if above.parent is None:
                break
            above, depth = above.parent, depth + 1
        if depth + self._height() > DEPTH_MAX:
            raise ValueError("a node cannot be put there: it would be nested too deep")
        self.unlink()
        self.parent = parent
        parent.children.append(self)

    def unlink(self) -> None:
        if self.parent is not None:
            self.parent.children.remove(self)
            self.parent = None
        elif self.document.root is self:
            self.document.root = None

    def _height(self) -> int:
        level, height = [self], 0
        while level:
            height += 1
            level = [child for node in level for child in node.children]
        return height


class Document:
    """One document."""

    __slots__ = ("nodes", "nodes_max", "root")

    def __init__(self, nodes_max: int) -> None:
        self.root: Node | None = None
        self.nodes = 0
        self.nodes_max = nodes_max

    def node(self, tag: str, text: str = "") -> Node:
        """A node that is nowhere yet."""
        self.nodes += 1
        if self.nodes > self.nodes_max:
            raise ValueError(f"an XML document has at most {self.nodes_max} nodes")
        return Node(self, tag, text)


class _Builder:
    def __init__(self, document: Document, *, keeps_blanks: bool) -> None:
        self._document = document
        self._keeps_blanks = keeps_blanks
        self._open: list[Node] = []
        self._text: list[str] = []
        parser = self.parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append
        parser.EntityDeclHandler = self._refuse

    @staticmethod
    def _refuse(*_: object) -> None:
        raise ValueError("an XML document with entities of its own is refused")

    def _flush(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        if text and self._open and (self._keeps_blanks or text.strip()):
            self._link(self._document.node("", text))

    def _link(self, node: Node) -> None:
        node.parent = self._open[-1]
        self._open[-1].children.append(node)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._flush()
        if len(self._open) >= DEPTH_MAX:
            raise ValueError(f"an XML document is nested at most {DEPTH_MAX} deep")
        node = self._document.node(tag)
        node.attributes.update(attributes)
        if self._open:
            self._link(node)
        else:
            self._document.root = node
        self._open.append(node)

    def _end(self, _tag: str) -> None:
        self._flush()
        self._open.pop()


class Xml:
    """What `xml.lua` calls."""

    def __init__(self, host: Host) -> None:
        self._limits = host.limits
        self._budget = host.budget

    def parsexml(self, text: Any, keep_blanks: Any = 1) -> Document:
        octets = octets_of(text, "an XML text")
        if len(octets) > self._limits.xml_octets:
            raise ValueError(f"an XML text has at most {self._limits.xml_octets} octets")
        document = Document(self._limits.xml_nodes)
        builder = _Builder(document, keeps_blanks=keep_blanks != 0)
        try:
            bounded(self._budget, lambda: builder.parser.Parse(octets, True))
        except expat.ExpatError as error:
            raise ValueError(f"the text is no XML: {error}") from None
        return document

    def newnode(self, name: Any) -> Node:
        return Document(self._limits.xml_nodes).node(_name(name))

    def root(self, document: Document) -> Node | None:
        return document.root

    def document_text(self, document: Document) -> str:
        return '<?xml version="1.0"?>\n' + (self.node_text(document.root) if document.root else "")

    def node_text(self, node: Node) -> str:
        out: list[str] = []
        node.write(out)
        return "".join(out)

    def xpath(self, document: Document, query: Any, context: Any = None) -> list[Any]:
        """Nodes, or texts of attributes, in a list."""
        start = context if isinstance(context, Node) else document.root
        if start is None:
            return []
        found: list[Any] = []
        for path in text_of(query, "a query").split("|"):
            found += bounded(self._budget, partial(_find, document, start, path.strip()))
        return _unique(found)

    def addchild(self, node: Node, child: Any) -> Node:
        made = child if isinstance(child, Node) else node.document.node(_name(child))
        if node.is_text:
            raise ValueError("a text has no children")
        made.link(node)
        return made

    def attribute(self, node: Node, name: Any, *value: Any) -> str | None:
        key = _name(name)
        if value and value[0] is None:
            node.attributes.pop(key, None)
        elif value:
            node.attributes[key] = _characters(value[0], "a value")
        return node.attributes.get(key)

    def children(self, node: Node) -> list[Node]:
        return list(node.children)

    def contents(self, node: Node, text: Any = None) -> str:
        if text is not None:
            new = _characters(text, "contents")
            if node.is_text:
                node.text_value = new
            else:
                for child in node.children:
                    child.parent = None
                node.children = []
                if new:
                    node.document.node("", new).link(node)
        return "".join(node.itertext())

    def name(self, node: Node) -> str:
        return node.tag or TEXT

    def doc(self, node: Node) -> Document:
        return node.document

    def unlink(self, node: Node) -> Node:
        node.unlink()
        return node


def _unique(found: list[Any]) -> list[Any]:
    """Each node once, in its place."""
    seen: set[int] = set()
    kept = []
    for each in found:
        if not isinstance(each, Node) or id(each) not in seen:
            seen.add(id(each))
            kept.append(each)
    return kept


def _characters(value: Any, what: str) -> str:
    text = text_of(value, what)
    found = _NO_CHARACTER.search(text)
    if found is not None:
        raise ValueError(f"{what} holds U+{ord(found[0]):04X}, which no XML may hold")
    return text


def _name(name: Any) -> str:
    text = text_of(name, "a name")
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name of XML")
    return text


def _find(document: Document, start: Node, path: str) -> list[Any]:
    end = _END.fullmatch(path)
    if end is not None:
        nodes = _find(document, start, end[1] or ".") if end[1] != "/" else _find(document, start, "//*")
        if end[2]:
            return [child for node in nodes for child in node.children if child.is_text]
        values = [node.attributes.get(end[3]) for node in nodes]
        return [value for value in values if value is not None]
    if path.startswith("/"):
        start = document.root or start
        above = document.node("/")  # what `/` begins at
        above.children = [start]
        document.nodes -= 1
        start, path = above, "." + path
    if not path:
        raise ValueError("a query of XPath is empty")
    try:
        elements: Any = start  # it asks for what Node has
        return list(ElementPath.iterfind(elements, path))
    except (SyntaxError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"the query {path!r} is no XPath, or has what is not supported: {error}") from None


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register `xml`."""
    native = Xml(host)
    install(
        registry,
        host,
        rows,
        "xml",
        {"parsexml": native.parsexml, "newnode": native.newnode},
        as_module="outrider.xml",
    )
    names = ("root", "document_text", "node_text", "xpath", "addchild", "attribute", "children", "contents")
    members = {name: getattr(native, name) for name in (*names, "name", "doc", "unlink")}
    registry.register("outrider.xml", members)
    registry.register_class(Document, ObjectClass("xml.doc"))
    registry.register_class(Node, ObjectClass("xml.node"))
    registry.register_source("xml", lua_text("xml"))
