"""What a hook can say: every code and text is a reply that can be sent, or is refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.reply import Reply, format_reply
from outrider.policy.answers import LINES_MAX, TEXT_OCTETS, Refuse, reply_of


@pytest.mark.parametrize(
    ("code", "text", "reply"),
    [
        (550, "5.7.1 Not today", Reply(550, "5.7.1", ("Not today",))),
        (550, "Not today", Reply(550, "5.7.0", ("Not today",))),
        (451, "later", Reply(451, "4.7.0", ("later",))),
        (421, "", Reply(421, "4.7.0", ("Refused by policy",))),
        (550, "5.7.1", Reply(550, "5.7.1", ("Refused by policy",))),
        (550, "5.7.1\nfirst\r\n  second  \n\n", Reply(550, "5.7.1", ("first", "second"))),
        (599, "5.777.999 odd", Reply(599, "5.777.999", ("odd",))),
        (550, "5.7.1x is no code", Reply(550, "5.7.0", ("5.7.1x is no code",))),
        (550, "5.7.1234 neither", Reply(550, "5.7.0", ("5.7.1234 neither",))),
        (550, "550 5.7.1 twice", Reply(550, "5.7.0", ("550 5.7.1 twice",))),
        (550, "Größe", Reply(550, "5.7.0", ("Größe",))),
        (550, "x" * TEXT_OCTETS, Reply(550, "5.7.0", ("x" * TEXT_OCTETS,))),
    ],
)
def test_what_can_be_said(code: int, text: str, reply: Reply) -> None:
    assert Refuse(code, text).reply == reply


@pytest.mark.parametrize("code", [-550, 0, 200, 250, 354, 399, 600, 999, 5500])
def test_codes_that_refuse_nothing(code: int) -> None:
    with pytest.raises(ValueError, match="refuses nothing"):
        Refuse(code, "5.7.1 no")


@pytest.mark.parametrize("code", [True, 550.0, "550", None])
def test_codes_that_are_no_numbers(code: object) -> None:
    with pytest.raises(TypeError, match="whole number"):
        Refuse(code, "no")  # type: ignore[arg-type]


def test_a_text_that_is_none() -> None:
    with pytest.raises(TypeError, match="a text"):
        Refuse(550, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "text", "why"),
    [
        (550, "4.7.1 later", "another class"),
        (450, "5.7.1 never", "another class"),
        (550, "2.0.0 fine", "another class"),
        (550, "bell \a", "do not print"),
        (550, "nul \0", "do not print"),
        (550, "half \ud800", "do not print"),
        (550, "escape \x1b[31m", "do not print"),
        (550, "a\rb", "do not print"),
        (550, "x" * (TEXT_OCTETS + 1), "octets"),
        (550, "ü" * (TEXT_OCTETS // 2 + 1), "octets"),
        (550, "line\n" * (LINES_MAX + 1), "lines"),
    ],
)
def test_texts_that_no_reply_can_hold(code: int, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Refuse(code, text)


@given(code=st.integers(min_value=390, max_value=610), text=st.text(max_size=60))
def test_whatever_is_said_is_one_reply_on_the_wire(code: int, text: str) -> None:
    try:
        reply = reply_of(code, text)
    except ValueError:
        return
    octets = format_reply(reply)
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert all(line[:3] == b"%d" % code for line in lines)
    assert [line[3:4] for line in lines] == [b"-"] * (len(lines) - 1) + [b" "]
    assert not any(octet in line for octet in b"\r\n\0" for line in lines)
