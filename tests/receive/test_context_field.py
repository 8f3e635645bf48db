"""Notes for policy in the header: what is read, what is refused, and that no such field ever leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.flow import Content, Traits
from outrider.model.reply import Reply
from outrider.receive.context_field import NOTES_MAX, TEXT_CHARACTERS, Noted, take_notes
from outrider.wire.smtp import replies


def content(header: bytes) -> Content:
    return Content(header + b"\r\nbody\r\n", Traits.NONE, len(header))


def take(header: bytes) -> Noted | Reply:
    return take_notes(content(header), header, header.lower())


def test_fields_are_read_and_removed() -> None:
    header = (
        b"X-Outrider-Context: customer=42\r\nFrom: a@b.test\r\n"
        b"x-outrider-context :\r\n campaign = spring, new\r\n"
        b"Subject: x-outrider-context: no=field\r\nX-OUTRIDER-CONTEXT: empty=\r\n"
    )
    noted = take(header)
    assert isinstance(noted, Noted)
    assert noted.notes == (("customer", "42"), ("campaign", "spring, new"), ("empty", ""))
    assert noted.content == content(b"From: a@b.test\r\nSubject: x-outrider-context: no=field\r\n")


def test_a_text_that_only_looks_like_it_is_left_alone() -> None:
    header = b"Subject: about x-outrider-context\r\nX-Outrider-Context-Of: a=b\r\n"
    assert take(header) == Noted((), content(header))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no pair",
        b"=x",
        b"1a=x",
        b"a b=c",
        b"\xc3\xa4=c",
        b"a=\xff",
        b"n" * 65 + b"=x",
        b"a=" + b"x" * (TEXT_CHARACTERS + 1),
        b"a=1\r\nX-Outrider-Context: a=2",
        b"a=1" + b"".join(b"\r\nX-Outrider-Context: a%d=x" % number for number in range(NOTES_MAX)),
    ],
)
def test_what_cannot_be_read_refuses_the_message(value: bytes) -> None:
    assert take(b"X-Outrider-Context: " + value + b"\r\n") is replies.CONTEXT_UNREADABLE


FIELDS = st.lists(
    st.sampled_from(
        [
            b"X-Outrider-Context: a=1\r\n",
            b"x-outrider-context:b=\r\n 2\r\n",
            b"X-Outrider-Context\t: c=3\r\n\td\r\n",
            b"Subject: x-outrider-context: z=1\r\n",
            b"X-Other: 1\r\n",
        ]
    ),
    unique=True,
)


@given(FIELDS)
def test_no_field_is_left_and_no_other_is_touched(fields: list[bytes]) -> None:
    noted = take(b"".join(fields))
    assert isinstance(noted, Noted)
    kept = [each for each in fields if each.startswith((b"Subject", b"X-Other"))]
    assert noted.content == content(b"".join(kept))
    assert len(noted.notes) == len(fields) - len(kept)
