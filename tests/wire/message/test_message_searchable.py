"""A section to be searched is the section, or there is none."""

import pytest

from outrider.wire.message.searchable import SECTION_OCTETS, searchable

FIELDS = b"From: A@b.test\r\nSubject: One\r\n two\r\n\tthree\r\n"


def test_folds_are_marked_and_the_rest_is_as_it_is() -> None:
    fields, lower = searchable(FIELDS) or (b"", b"")
    assert fields == b"From: A@b.test\r\nSubject: One\0 two\0\tthree\r\n"
    assert lower == b"\nfrom: a@b.test\r\nsubject: one\0 two\0\tthree\r\n"


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"Subject: cut",
        b"Subject: =?utf-8?q?a?=\r\n",
        "Subject: grüße\r\n".encode(),
        b"Subject: a\0b\r\n",
        b"Subject : a\r\n",
        b"Subject\t: a\r\n",
        b"Subject: " + b"a" * SECTION_OCTETS + b"\r\n",
    ],
)
def test_what_takes_more_than_a_search_is_none(section: bytes) -> None:
    assert searchable(section) is None
