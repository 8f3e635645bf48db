"""The corpus of outcomes and verdicts, and what holds for every outcome."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.classify.table import ABOUT_SENDER, CLASSES, FIRM, OURS, PATTERNS, TELLING, WEAK
from outrider.classify.verdict import classify
from outrider.model.flow import Disposition, Outcome, Phase, Verdict
from outrider.model.reply import Reply

CORPUS = Path(__file__).parents[1] / "corpus" / "classify"
FILES = {"01-remote.expect": False, "02-ours.expect": True, "03-receivers.expect": False}
REPLY = re.compile(r"(\d{3})(?: (\d\.\d{1,3}\.\d{1,3}))?(?: (.*))?")


def outcome_of(phase: str, text: str, *, ours: bool) -> Outcome:
    match = REPLY.fullmatch(text)
    assert match is not None, text
    code, enhanced, words = match.groups()
    return Outcome(Reply(int(code), enhanced, (words or "",)), Phase[phase], ours=ours)


def format_verdict(verdict: Verdict) -> str:
    name = Disposition(verdict.disposition).name.lower()
    return " ".join(filter(None, (name, verdict.bounce_class, "site" if verdict.site_trouble else "")))


@pytest.mark.parametrize(("file", "ours"), FILES.items())
def test_corpus(file: str, ours: bool) -> None:
    lines = (CORPUS / file).read_text().splitlines()
    judged = []
    for line in lines:
        if line and not line.startswith("#"):
            phase, text, _ = line.split(" | ")
            line = f"{phase} | {text} | {format_verdict(classify(outcome_of(phase, text, ours=ours)))}"  # noqa: PLW2901 - the new line
        judged.append(line)
    if os.environ.get("OUTRIDER_UPDATE"):
        (CORPUS / file).write_text("\n".join(judged) + "\n")
    assert judged == lines


replies = st.builds(
    Reply,
    st.integers(200, 599),
    st.none() | st.builds("{}.{}.{}".format, st.sampled_from("245"), st.integers(0, 9), st.integers(0, 30)),
    st.lists(st.text(max_size=200), min_size=1, max_size=3).map(tuple),
)
outcomes = st.builds(Outcome, replies, st.sampled_from(Phase), st.booleans())


@given(outcomes)
def test_verdicts_keep_their_invariants(outcome: Outcome) -> None:
    verdict = classify(outcome)
    code = outcome.reply.code
    if verdict.disposition == Disposition.DELIVERED:
        assert code < 300
        assert outcome.phase == Phase.BODY
        assert not outcome.ours
        assert verdict.bounce_class == ""
        return
    assert verdict.bounce_class in CLASSES
    if verdict.disposition == Disposition.PERMANENT:
        assert code >= 500, "only a 5xx ends an entry"
        assert outcome.ours or outcome.phase > Phase.AUTH, "a refusal before MAIL is about the host"
    elif code >= 500:
        assert not outcome.ours
        assert outcome.phase <= Phase.AUTH or (outcome.phase == Phase.RCPT and code == 552)


@given(replies, st.sampled_from(Phase), st.text(max_size=300))
def test_text_never_changes_the_disposition(reply: Reply, phase: Phase, text: str) -> None:
    other = Reply(reply.code, reply.enhanced, (text,))
    first, second = classify(Outcome(reply, phase)), classify(Outcome(other, phase))
    assert first.disposition == second.disposition


@given(replies, st.sampled_from(Phase), st.text(max_size=300))
def test_text_of_ours_means_nothing(reply: Reply, phase: Phase, text: str) -> None:
    other = Reply(reply.code, reply.enhanced, (text, "user unknown", "spamhaus"))
    assert classify(Outcome(reply, phase, ours=True)) == classify(Outcome(other, phase, ours=True))


@given(
    st.sampled_from(["", "<{}>: ", "{} ", "({}) "]),
    st.sampled_from(
        ["spam", "dmarc", "spamhaus", "greylist", "over.quota", "user-unknown", "virus", "relay"]
    ),
    st.sampled_from([(550, None), (550, "5.7.1"), (450, "4.2.0")]),
    st.sampled_from(["go away", "unknown user", "try again later"]),
)
def test_an_address_says_nothing(form: str, name: str, code: tuple[int, str | None], text: str) -> None:
    plain = Reply(*code, (form.format("a@b.example") + text,))
    told = Reply(*code, (form.format(f"{name}@{name}.example") + text,))
    assert classify(Outcome(told, Phase.RCPT)) == classify(Outcome(plain, Phase.RCPT))


@given(replies)
def test_a_reply_to_mail_says_nothing_of_the_recipient(reply: Reply) -> None:
    assert classify(Outcome(reply, Phase.MAIL)).bounce_class not in ABOUT_SENDER


@pytest.mark.parametrize(
    ("lines", "bounce_class"),
    [
        (("5.2.2: no",), "mailbox-full"),
        (("no (5.2.2)",), "mailbox-full"),
        (("no [5.2.2]",), "mailbox-full"),
        (("no #5.2.2",), "mailbox-full"),
        (("no", "5.2.2 no"), "mailbox-full"),
        (("no 5.2.2",), "mailbox-unknown"),
        (("no [5.2.2.1]",), "mailbox-unknown"),
        (("no (5.2.22222)",), "mailbox-unknown"),
        (("no (2.2.2)",), "mailbox-unknown"),
    ],
    ids=str,
)
def test_a_status_code_may_stand_in_the_text(lines: tuple[str, ...], bounce_class: str) -> None:
    assert classify(Outcome(Reply(550, None, lines), Phase.RCPT)).bounce_class == bounce_class


def test_hostile_length_costs_no_more_than_the_bound() -> None:
    """A reason behind the bound is not seen, which is what bounds the work."""
    long = Reply(554, None, ("x" * 100_000 + " spamhaus",))
    assert classify(Outcome(long, Phase.BODY)).bounce_class == "undetermined"
    assert classify(Outcome(Reply(554, None, ("x" * 500 + " spamhaus",)), Phase.BODY)).bounce_class == (
        "reputation-block"
    )


def test_every_row_names_a_class_and_every_class_is_used() -> None:
    from outrider.classify import verdict

    named = {*FIRM.values(), *WEAK.values(), *OURS.values(), *(name for _, name in (*TELLING, *PATTERNS))}
    named |= {*ABOUT_SENDER, *ABOUT_SENDER.values()}
    named |= {*verdict._PHASE_CLASS.values(), *verdict._CODE_CLASS.values()}
    named |= set(verdict._RCPT_CODE_CLASS.values())
    assert named <= set(CLASSES)
    assert set(CLASSES) - named == {"undetermined"}


def test_status_codes_stand_in_one_table_each() -> None:
    assert not set(FIRM) & set(WEAK)
    assert all(re.fullmatch(r"\d\.\d{1,2}", detail) for detail in (*FIRM, *WEAK, *OURS))
