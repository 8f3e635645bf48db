"""Finds which standards the code cites, where, and in which sections."""

from pathlib import PurePath

from tools.check_citations import cited_documents, load_standards
from tools.project_files import read_texts


def standards_rows() -> list[tuple[object, ...]]:
    """Document, title, role and packages, for every document that the source cites."""
    places: dict[str, set[str]] = {}
    for path, text in read_texts((".py",), ("src",)):
        for _, document, _ in cited_documents(text):
            parts = PurePath(path).with_suffix("").parts[2:]
            places.setdefault(document, set()).add(".".join(parts[:2]))
    return [
        (name, standard.title, standard.role, ", ".join(sorted(places[name])))
        for name, standard in load_standards().documents.items()
        if name in places
    ]
