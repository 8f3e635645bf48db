"""Holds citations of standards to one form, to known documents and to sections that exist.

In: the text of src, tests, docs, tools, bench and the pages at the top; tools/standards.toml. Out: a list of
faults, exit status 1 if there are any.

The form is the document, a space, a section sign and the section, as in RFC 5321 §4.5.3.1.4; a document
may be named without a section. Each section names its document anew, so that a search finds every place.

Not here: whether the section says what the code claims; that is what reviews are for.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.project_files import ROOT, Fault, read_texts, report

SUFFIXES = (".py", ".md", ".toml", ".smtp", ".sh", ".why", ".in", "")
FOLDERS = ("", "src", "tests", "docs", "tools", "bench", "changes")
EXEMPT = ("LICENSE", "tools/standards.toml")

# A line break inside a citation is taken, with the comment sign that may begin the next line.
_GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:#|//|>)?[ \t]*)"
_DOCUMENT = r"(?:RFC" + _GAP + r"\d{3,5}|SMPP" + _GAP + r"\d\.\d|FIPS" + _GAP + r"\d+-\d+|SEC" + _GAP + r"\d)"
CITATION = re.compile(rf"(?<![\w/-])({_DOCUMENT})(?:{_GAP}§([0-9A-Z]+(?:\.[0-9]+)*))?(?!\w)")
_SECTION_WORD = r"(?:sections?|sect\.?|sec\.|chapter|para(?:graph)?\.?)"
WRONG: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(rf"{_DOCUMENT}(?:'s)?\s*[,;:(]?\s*(?:§§|§\s+|{_SECTION_WORD}\s*)\s*\d", re.IGNORECASE),
        "write the section as §N after the document and one space",
    ),
    (
        re.compile(rf"{_SECTION_WORD}\s+\d[\d.]*\s+(?:of|in)\s+(?:the\s+)?{_DOCUMENT}", re.IGNORECASE),
        "write the document first, then §N",
    ),
    (
        re.compile(rf"{_DOCUMENT}[,(:;]\s*§", re.IGNORECASE),
        "nothing stands between the document and its section",
    ),
    (re.compile(r"(?<![\w/.-])(?:RFC|Rfc|rfc)[-_]?\d{4,5}\b"), "write the document as `RFC` space number"),
    (re.compile(r"(?<![\w/.-])(?:Rfc|rfc)[ \t]+\d{3,5}\b"), "write RFC in capitals"),
    (re.compile(r"\bRFCs?[ \t]+\d{3,5}/\d{3,5}\b"), "name each document on its own"),
)
_BARE_SECTION = re.compile(r"§")


@dataclass(frozen=True, slots=True)
class Standard:
    """One document of tools/standards.toml."""

    name: str
    title: str
    status: str
    role: str
    sections: dict[str, int] = field(default_factory=dict)
    depth: int = 0
    appendices: str = ""

    def has(self, section: str) -> bool:
        """True when the document has such a section, as far as the table knows."""
        parts = section.split(".")
        if not parts[0].isdigit():
            return bool(self.appendices) and len(parts[0]) == 1 and parts[0] <= self.appendices
        if self.depth:
            return len(parts) <= self.depth and 1 <= int(parts[0]) <= self.sections[""]
        return all(
            1 <= int(part) <= self.sections.get(".".join(parts[:level]), 0)
            for level, part in enumerate(parts)
        )


@dataclass(frozen=True, slots=True)
class Standards:
    """All documents that may be cited, and the successors of those that may not."""

    documents: dict[str, Standard]
    obsolete: dict[str, str]


def load_standards(path: Path = ROOT / "tools" / "standards.toml") -> Standards:
    """Reads the table; a document that is both known and obsolete is refused."""
    data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    documents = {item["name"]: Standard(**item) for item in data["standard"]}
    obsolete: dict[str, str] = data["obsolete"]
    both = documents.keys() & obsolete.keys()
    unknown = set(obsolete.values()) - documents.keys()
    if both or unknown:
        raise ValueError(f"standards.toml: both cited and obsolete {both}, successors not listed {unknown}")
    return Standards(documents, obsolete)


def _line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _fault_of(standards: Standards, document: str, section: str | None) -> str | None:
    if successor := standards.obsolete.get(document):
        return f"{document} is obsolete: cite {successor} and its section"
    known = standards.documents.get(document)
    if known is None:
        return f"{document} is not in tools/standards.toml: add it with its sections"
    if section is not None and not known.has(section):
        return f"{document} has no section {section}"
    return None


def cited_documents(text: str) -> Iterator[tuple[int, str, str | None]]:
    """Position, document and section of every well-formed citation in `text`."""
    for match in CITATION.finditer(text):
        yield match.start(), " ".join(re.sub(r"[#>/]", " ", match[1]).split()), match[2]


def check_text(path: str, text: str, standards: Standards) -> list[Fault]:
    """Every fault of the citations in `text`."""
    faults = []
    covered: list[tuple[int, int]] = []
    for pattern, advice in WRONG:
        for match in pattern.finditer(text):
            covered.append(match.span())
            faults.append(Fault(path, _line_of(text, match.start()), f"{match[0]!r}: {advice}"))
    for start, document, section in cited_documents(text):
        if fault := _fault_of(standards, document, section):
            faults.append(Fault(path, _line_of(text, start), fault))
    covered.extend(match.span() for match in CITATION.finditer(text))
    for match in _BARE_SECTION.finditer(text):
        if not any(start <= match.start() <= end for start, end in covered):
            advice = "a section names its document: `RFC 5321 §4.2`, each section anew"
            faults.append(Fault(path, _line_of(text, match.start()), advice))
    return sorted(set(faults))


def project_faults(root: Path = ROOT) -> list[Fault]:
    """The faults of the whole project."""
    standards = load_standards()
    faults: list[Fault] = []
    for path, text in read_texts(SUFFIXES, FOLDERS, root):
        if path not in EXEMPT and not path.endswith(("check_citations.py", "test_check_citations.py")):
            faults.extend(check_text(path, text, standards))
    return faults


if __name__ == "__main__":
    sys.exit(report(project_faults()))
