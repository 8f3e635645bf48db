"""Whatever text a script gives, its refusal can be sent."""

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
