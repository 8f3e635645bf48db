"""The redaction point: nothing of a local part comes out unless the profile is `full`."""

import sys
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.model.address import Address
from outrider.record.redact import NULL_PATH, REDACTED, TEXT_LIMIT, Profile, Redactor, clean

ALICE = Address("alice", "example.com")


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
    assert Redactor(profile).address(None) == NULL_PATH
    assert Redactor(profile).path_text("<>") == NULL_PATH


def test_a_long_local_part_is_found_inside_words() -> None:
    address = Address("alice.smith", "example.com")
    assert Redactor().text("mailboxALICE.SMITH1 full", address) == "mailbox<redacted>1 full"


def test_text_that_never_was_an_address_is_not_shown() -> None:
    assert Redactor().path_text("alice") == REDACTED
    assert Redactor().path_text("<alice@example.com> SIZE=1") == "<*@example.com> SIZE=1"


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


@given(local_parts, around, around, st.sampled_from([Profile.DOMAIN, Profile.NONE]), st.data())
def test_no_local_part_comes_out(
    local: str, before: str, after: str, profile: Profile, data: st.DataObject
) -> None:
    address = Address(local, "example.com")
    form = data.draw(
        st.sampled_from(
            [local, local.upper(), f"{local}@example.com", f"<{local}@EXAMPLE.com>", f"{local}%40example.com"]
        )
    )
    shown = Redactor(profile).text(before + form + after, address)
    assert local not in shown.lower()
    assert len(shown) <= TEXT_LIMIT


@given(local_parts, around, around)
def test_an_unknown_address_is_found_by_its_at_sign(local: str, before: str, after: str) -> None:
    shown = Redactor().text(f"{before} {local}@example.com {after}")
    assert local not in shown


@given(st.text(st.characters(), max_size=2_000), st.sampled_from(list(Profile)))
def test_any_text_becomes_one_bounded_printable_line(text: str, profile: Profile) -> None:
    shown = Redactor(profile).text(text)
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
