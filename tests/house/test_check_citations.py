"""Citations: the one form is taken, everything else is refused with advice."""

import pytest

from tools.check_citations import Standards, check_text, cited_documents, load_standards


@pytest.fixture(scope="module")
def standards() -> Standards:
    return load_standards()


@pytest.mark.parametrize(
    "text",
    [
        "RFC 5321 §4.5.3.1.4 (command line)",
        "See RFC 5321.",
        "RFC 5321 §4.1.1.2, RFC 3461 §4.1",
        "ends here: RFC 5321\n    §4.2 goes on",
        "# ends here: RFC 5321\n# §4.2 goes on",
        "RFC 5321 §D.1",
        "SMPP 3.4 §4.4.1",
        "rfc822;user@example.test",
        "message/rfc822",
    ],
)
def test_the_form_is_taken(standards: Standards, text: str) -> None:
    assert check_text("file.py", text, standards) == []


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("RFC5321", "`RFC` space number"),
        ("RFC-5321 §4.2", "`RFC` space number"),
        ("rfc 5321", "capitals"),
        ("RFC 5321 section 4.2", "as §N"),
        ("RFC 5321, section 4.2", "as §N"),
        ("RFC 5321 Sec. 4.2", "as §N"),
        ("RFC 5321 § 4.2", "as §N"),
        ("RFC 5321, §4.2", "nothing stands between"),
        ("section 4.2 of RFC 5321", "document first"),
        ("RFC 5321 §4.1 and §4.2", "names its document"),
        ("see §4.2", "names its document"),
        ("RFC 2821 §4.2", "obsolete: cite RFC 5321"),
        ("RFC 7489", "obsolete: cite RFC 9989"),
        ("RFC 1 §2 and RFC 99999", "not in tools/standards.toml"),
        ("RFC 5321 §4.9", "has no section 4.9"),
        ("RFC 5321 §4.5.3.1.11", "has no section 4.5.3.1.11"),
        ("RFC 5321 §0", "has no section 0"),
        ("RFC 5321 §G", "has no section G"),
        ("RFC 2034 §4.1", "has no section 4.1"),
        ("SMPP 3.4 §9", "has no section 9"),
    ],
)
def test_everything_else_is_refused_with_advice(standards: Standards, text: str, advice: str) -> None:
    faults = check_text("file.py", f"first line\n{text}\n", standards)
    assert any(advice in fault.text for fault in faults), faults
    assert {fault.line for fault in faults} == {2}


def test_citations_are_found_with_their_sections() -> None:
    found = [
        (document, section)
        for _, document, section in cited_documents("RFC 5321 §4.2; RFC\n# 3463 §2; RFC 6531")
    ]
    assert found == [("RFC 5321", "4.2"), ("RFC 3463", "2"), ("RFC 6531", None)]
