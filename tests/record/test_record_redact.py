"""The redaction point: nothing of a local part comes out unless the profile is `full`."""

import sys
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.base.errors import ConfigError
from outrider.model.address import Address
from outrider.record.redact import (
    NULL_PATH,
    REDACTED,
    TEXT_LIMIT,
    TOKENS_OF_ONE_TEXT,
    Profile,
    Redactor,
    clean,
)
from tests.record.tokens import FixedTokens

ALICE = Address("alice", "example.com")
BOB = Address("bob.smith", "sender.example")
TOKENS = FixedTokens()
TOKEN = TOKENS.token(ALICE)
HIDING = [profile for profile in Profile if profile is not Profile.FULL]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ok: queued as 4XyZ", "Ok: queued as 4XyZ"),
        ("<alice@example.com>: Recipient address rejected", "<*@example.com>: Recipient address rejected"),
        ("<ALICE@EXAMPLE.COM>... User unknown", "<*@EXAMPLE.COM>... User unknown"),
        ("RCPT TO:alice@example.com denied", "RCPT TO:*@example.com denied"),
        ("mailto:alice@example.com?subject=x", "mailto:*@example.com"),
        ('"john doe"@example.com is unknown', "*@example.com is unknown"),
        (r'"a\"b c"@example.com is unknown', "*@example.com is unknown"),
        ("alice@[192.0.2.1] denied", "*@[192.0.2.1] denied"),
        ("eve@bob@example.com denied", "*@example.com denied"),
        ("bounce+alice=example.com@sender.example", "*@sender.example"),
        ("o'brien@example.com, d`arc@example.com", "*@example.com, *@example.com"),
        ("see alice@example.com/alice for more", "see *@example.com for more"),
        ("User alice unknown", "User <redacted> unknown"),
        ("User Alice unknown", "User <redacted> unknown"),
        ("alice%40example.com unknown", "<redacted>%40example.com unknown"),
        ("malice is not alices", "malice is not alices"),
        ("Grüße an björn@bücher.example", "Grüße an *@bücher.example"),
        ("@ alone", "*@ alone"),
    ],
)
def test_a_text_shows_only_domains(text: str, shown: str) -> None:
    assert Redactor().text(text, ALICE) == shown


@pytest.mark.parametrize(
    ("local_part", "echo"),
    [
        ("b\u00e9n\u00e9dicte", "be\u0301ne\u0301dicte"),  # decomposed, as some file systems and libraries do
        ("be\u0301ne\u0301dicte", "b\u00e9n\u00e9dicte"),  # composed
        ("be\u0301n\u00e9", "BE\u0301NE\u0301"),
        ("\uff41lice", "alice"),  # full width, brought to ASCII
        ("stra\u00dfe", "STRASSE"),
        ("\u03b1\u03bb\u03ad\u03be\u03b7\u03c2", "\u0391\u039b\u0388\u039e\u0397\u03a3"),
    ],
)
@pytest.mark.parametrize("profile", HIDING)
def test_a_local_part_is_found_in_another_form_of_unicode(
    local_part: str, echo: str, profile: Profile
) -> None:
    address = Address(local_part, "example.com")
    redactor = Redactor(profile, tokens=TOKENS)
    stand_in = TOKENS.token(address) if profile is Profile.TOKEN else REDACTED
    assert redactor.text(f"User {echo} is unknown", address) == f"User {stand_in} is unknown"
    if profile is Profile.TOKEN:
        assert (
            redactor.text(f"<{echo}@example.com> is unknown", address)
            == f"<{stand_in}@example.com> is unknown"
        )


def test_none_shows_no_domain_either() -> None:
    redactor = Redactor(Profile.NONE)
    assert redactor.text("<alice@example.com>: no", ALICE) == "<<redacted>>: no"
    assert redactor.address(ALICE) == REDACTED
    assert redactor.domain("example.com") == ""
    assert redactor.client("192.0.2.1") == ""


def test_full_shows_all_but_cleaned() -> None:
    redactor = Redactor(Profile.FULL)
    assert redactor.address(ALICE) == "alice@example.com"
    assert redactor.text("no \x1b[2J alice@example.com") == "no �[2J alice@example.com"
    assert redactor.path_text("alice@example.com") == "alice@example.com"


@pytest.mark.parametrize("profile", list(Profile))
def test_the_null_path_is_nobody(profile: Profile) -> None:
    assert Redactor(profile, tokens=TOKENS).address(None) == NULL_PATH
    assert Redactor(profile, tokens=TOKENS).sender(None) == NULL_PATH
    assert Redactor(profile, tokens=TOKENS).path_text("<>") == NULL_PATH


def test_a_long_local_part_is_found_inside_words() -> None:
    address = Address("alice.smith", "example.com")
    assert Redactor().text("mailboxALICE.SMITH1 full", address) == "mailbox<redacted>1 full"


def test_text_that_never_was_an_address_is_not_shown() -> None:
    assert Redactor().path_text("alice") == REDACTED
    assert Redactor().path_text("<alice@example.com> SIZE=1") == "<*@example.com> SIZE=1"


@pytest.mark.parametrize(
    ("profile", "recipient", "sender", "client"),
    [
        (Profile.FULL, "alice@example.com", "bob.smith@sender.example", "192.0.2.77"),
        (Profile.MASKED, "a***@example.com", "b***@sender.example", "192.0.2.0/24"),
        (Profile.DOMAIN, "*@example.com", "*@sender.example", "192.0.2.77"),
        (Profile.CUSTOMER_ID, "c.4711@example.com", "*@sender.example", "192.0.2.77"),
        (Profile.TOKEN, f"{TOKEN}@example.com", f"{TOKENS.token(BOB)}@sender.example", "192.0.2.77"),
        (Profile.NONE, REDACTED, REDACTED, ""),
    ],
)
def test_each_profile_shows_what_it_says(profile: Profile, recipient: str, sender: str, client: str) -> None:
    redactor = Redactor(profile, tokens=TOKENS)
    assert redactor.address(ALICE, "4711") == recipient
    assert redactor.sender(BOB) == sender
    assert redactor.client("192.0.2.77") == client


@pytest.mark.parametrize("customer", ["", "alice@example.com", "a b", "x" * 65, "\n", "ü"])
def test_what_is_no_customer_id_is_not_shown(customer: str) -> None:
    assert Redactor(Profile.CUSTOMER_ID).address(ALICE, customer) == "*@example.com"


@pytest.mark.parametrize(
    ("local", "shown"), [("a", "***"), ("ab", "***"), ("abc", "a***"), ('"abc d"', "a***"), ('"@bc"', "***")]
)
def test_a_mask_shows_less_than_half_of_a_name(local: str, shown: str) -> None:
    assert Redactor(Profile.MASKED).address(Address(local, "example.com")) == f"{shown}@example.com"


@pytest.mark.parametrize(("client", "shown"), [("2001:db8:1:2::3", "2001:db8:1::/48"), ("nonsense", "")])
def test_a_masked_client_is_a_network(client: str, shown: str) -> None:
    assert Redactor(Profile.MASKED).client(client) == shown


def test_a_field_may_have_a_profile_of_its_own() -> None:
    redactor = Redactor(Profile.DOMAIN, mail_from=Profile.FULL, client=Profile.NONE, text=Profile.NONE)
    assert redactor.address(ALICE) == "*@example.com"
    assert redactor.sender(BOB) == "bob.smith@sender.example"
    assert redactor.client("192.0.2.77") == ""
    assert redactor.text("<alice@example.com> no", ALICE) == "<<redacted>> no"
    assert redactor.domain("example.com") == "example.com"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<alice@example.com>: unknown", f"<{TOKEN}@example.com>: unknown"),
        ("rcpt=ALICE@Example.Com.", f"{TOKEN}@example.com"),
        ("User alice unknown", f"User {TOKEN} unknown"),
        ("malice@example.com is another", "*@example.com is another"),
        ("x+alice@example.com is another", "*@example.com is another"),
        ("forwarded to eve@other.example", "forwarded to *@other.example"),
    ],
)
def test_in_a_text_the_token_stands_for_the_address_it_speaks_of(text: str, shown: str) -> None:
    assert Redactor(Profile.TOKEN, tokens=TOKENS).text(text, ALICE) == shown


def test_the_address_of_a_refused_command_has_its_token() -> None:
    redactor = Redactor(Profile.TOKEN, tokens=TOKENS)
    assert redactor.path_text("<Alice@EXAMPLE.com> SIZE=1") == f"<{TOKEN}@example.com> SIZE=1"
    many = redactor.path_text(" ".join(f"a{number}@x.example" for number in range(9)))
    assert many.count("t1.") == TOKENS_OF_ONE_TEXT


def test_tokens_without_a_key_are_refused() -> None:
    with pytest.raises(ConfigError, match="no key"):
        Redactor(Profile.DOMAIN, text=Profile.TOKEN)


def test_a_token_is_remembered_and_made_anew_after_a_rotation() -> None:
    class Rotating(FixedTokens):
        calls = 0
        is_rotated = False

        def token(self, address: Address) -> str:
            self.calls += 1
            return super().token(address) if not self.is_rotated else "t2.new"

        def refresh(self) -> bool:
            return self.is_rotated

    tokens = Rotating()
    redactor = Redactor(Profile.TOKEN, tokens=tokens)
    assert redactor.address(ALICE) == redactor.sender(ALICE) == f"{TOKEN}@example.com"
    assert tokens.calls == 1
    tokens.is_rotated = True
    redactor.refresh()
    assert redactor.address(ALICE) == "t2.new@example.com"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb", "a  b"),
        ("a\x00b", "a�b"),
        ("a\x1b[31mb", "a�[31mb"),
        ("a\u202eb\u2066c\u200bd", "abcd"),
        ("a\u2028b\x85c\u00a0d", "a b c d"),
        ("a\ud800b", "a�b"),
    ],
)
def test_nothing_that_steers_a_terminal_or_reader_is_left(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_hidden_characters_do_not_hide_an_address() -> None:
    assert Redactor().text("ali\u200bce is full", ALICE) == "<redacted> is full"
    assert Redactor().text("al\x00ice@example.com") == "*@example.com"


local_parts = st.from_regex(r"[a-z][a-z0-9_+-]{7,20}(\.[a-z0-9]{2,8})?", fullmatch=True).filter(
    lambda text: text not in "redacted"
)
around = st.text(st.characters(codec="utf-8", exclude_characters="@"), max_size=40)


@given(local_parts, around, around, st.sampled_from(HIDING), st.data())
def test_no_local_part_comes_out(
    local: str, before: str, after: str, profile: Profile, data: st.DataObject
) -> None:
    address = Address(local, "example.com")
    form = data.draw(
        st.sampled_from(
            [local, local.upper(), f"{local}@example.com", f"<{local}@EXAMPLE.com>", f"{local}%40example.com"]
        )
    )
    shown = Redactor(profile, tokens=TOKENS).text(before + form + after, address)
    assert local not in shown.lower()
    assert len(shown) <= TEXT_LIMIT


@given(local_parts, around, around, st.sampled_from(HIDING))
def test_an_unknown_address_is_found_by_its_at_sign(
    local: str, before: str, after: str, profile: Profile
) -> None:
    shown = Redactor(profile, tokens=TOKENS).text(f"{before} {local}@example.com {after}")
    assert local not in shown


@given(st.text(st.characters(), max_size=2_000), st.sampled_from(list(Profile)))
def test_any_text_becomes_one_bounded_printable_line(text: str, profile: Profile) -> None:
    shown = Redactor(profile, tokens=TOKENS).text(text)
    assert shown.isprintable()
    assert len(shown) <= TEXT_LIMIT


def test_cutting_leaves_no_half_address() -> None:
    text = "x" * (TEXT_LIMIT - 8) + " alice.smith@example.com"
    assert "alice" not in Redactor().text(text)


@pytest.mark.parametrize("unit", ['"', '"\\', "@", "a@", "<", "alice ", '"a"@'])
def test_work_grows_with_the_text_only(unit: str) -> None:
    steps = [_count_calls(partial(Redactor().text, unit * size, ALICE)) for size in (2_000, 4_000)]
    assert steps[1] <= 2.6 * steps[0] + 50


def _count_calls(run: Callable[[], object]) -> int:
    """Python and C calls made: a measure of work that no load on the machine disturbs."""
    count = 0

    def profile(_frame: object, event: str, _arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count
