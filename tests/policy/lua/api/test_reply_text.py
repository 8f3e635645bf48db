"""Whatever text a script gives, its refusal can be sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.policy.answers import Refuse
from outrider.policy.lua.api.contexts import reply_of_script

PIECES = st.sampled_from(
    [b"5.7.1 ", b"4.", b"550 ", b"550-", b"\r\n", b"\n", b"\0", b"x" * 600, b" ", b"\xc3\xa4"]
)
TEXTS = st.lists(PIECES | st.binary(max_size=20), max_size=60).map(b"".join)


@given(st.integers(400, 599), TEXTS)
def test_a_refusal_never_fails_for_its_text(code: int, text: bytes) -> None:
    refusal = Refuse(*reply_of_script(code, text))
    assert refusal.reply.code == code
    assert refusal.reply.enhanced is not None
    assert refusal.reply.enhanced[0] == str(code)[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"550-5.7.1 Not from here\r\n550 5.7.1 See our page", "5.7.1 Not from here\nSee our page"),
        (b"Not from here\r\n550 See our page", "Not from here\nSee our page"),
        (b"5.7.1 Not from here\n5.7.1 See our page", "5.7.1 Not from here\nSee our page"),
        (b"5.7.1 Not from here\n5.7.15 is our host", "5.7.1 Not from here\n5.7.15 is our host"),
        (b"550-451 was said before\n551 is another code", "451 was said before\n551 is another code"),
    ],
)
def test_codes_before_lines_are_said_once(text: bytes, said: str) -> None:
    assert reply_of_script(550, text) == (550, said)
