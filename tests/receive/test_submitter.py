"""Authors and streams in headers: what passes, what is refused, and what no trick gets through."""

from typing import Any

import pytest

from outrider.model.flow import Content, Traits
from outrider.receive.submitter import Named, Submitter
from outrider.wire.smtp import replies
from tests.receive.principals import FakePrincipal


def bound(**more: Any) -> Submitter:
    return Submitter(FakePrincipal("joe", **more), "default")


def refusal(field: str) -> Any:
    header = f"Subject: x\r\n{field}\r\nTo: b@other.example\r\n".encode()
    return bound().refuse_author(header, header.lower())


@pytest.mark.parametrize(
    "field",
    [
        "From: a@acme.example",
        "FROM : a@ACME.example",
        'From: "Evil (evil@other.example)" <a@acme.example>',
        "From: (evil@other.example) a@acme.example",
        "From: Joe\r\n <a@acme.example>",
        "From: a@acme.example, B <b@acme.example>",
        'From: "a@b"@acme.example',
        "From: =?utf-8?q?evil=40other.example?= <a@acme.example>",
        "Sender: x@other.example",
    ],
)
def test_own_authors_pass(field: str) -> None:
    assert refusal(field) is None


@pytest.mark.parametrize(
    "field",
    [
        "From: a@other.example",
        "From: a@acme.example.evil.example",
        "From: a@sub.acme.example",
        "From: A <a@acme.example>, B <b@other.example>",
        "From: b@other.example <a@acme.example>",
        "From : a@other.example",
        "From:\r\n a@other.example",
        "From: a@[192.0.2.1]",
        "From: a@acme.example\r\nFrom: a@other.example",
        "From: a@acme.example\r\nFrom : a@acme.example",
        "From: <@acme.example:a@other.example>",
        "From: <a@acme.example> <b@other.example>",
        "From: group: a@acme.example;",
        "From: a@other.example (a@acme.example",
        'From: "a@acme.example',
        "From: a@other.example\\@acme.example",
        "From: nobody",
        "From:",
        "From: a@b@acme.example",
        "From: <>",
        "From: " + "x@acme.example, " * 1000 + "a@acme.example",
    ],
)
def test_other_authors_do_not(field: str) -> None:
    assert refusal(field) is not None


@pytest.mark.parametrize(
    "author", ['a@acme"x".example', 'a@acme.example".x"', '"A" a@acme""', 'a@acme"x" <a@acme>']
)
def test_a_quoted_string_is_no_part_of_a_domain(author: str) -> None:
    """RFC 5322 §3.4.1: it stood for a letter, so that who owns acmeq.example had an author elsewhere."""
    allowed = frozenset({"acmeq.example", "acme.exampleq", "acme.example.q", "acmeq", "acme"})
    header = f"From: {author}\r\n".encode()
    submitter = bound(sender_domains=allowed)
    assert submitter.refuse_author(header, header.lower()) == replies.AUTHOR_UNREADABLE


def test_the_refusal_names_the_domain() -> None:
    assert refusal("From: a@other.example") == replies.author_denied("other.example")
    header = b"From: a@new.example\r\n"
    waits = bound(pending_domains=frozenset({"new.example"}))
    assert waits.refuse_author(header, header.lower()) == replies.domain_unverified("new.example")
    anyone = Submitter(None, "default")
    assert anyone.refuse_author(b"From: a@other.example\r\n", b"from: a@other.example\r\n") is None


def content(header: str) -> Content:
    wire = header.encode() + b"\r\nbody\r\n"
    return Content(wire, Traits.NONE, len(header))


def take(submitter: Submitter, header: str) -> Any:
    made = content(header)
    return submitter.take_stream(made, header.encode(), header.lower().encode())


def test_the_stream_is_named_and_the_field_removed() -> None:
    submitter = bound(streams=frozenset({"news", "default"}))
    named = take(submitter, "From: a@b.example\r\nX-OUTRIDER-Stream:\r\n news\r\nTo: c@d.example\r\n")
    assert isinstance(named, Named)
    assert named.stream == "news"
    assert named.content == content("From: a@b.example\r\nTo: c@d.example\r\n")
    first = take(submitter, "x-outrider-stream : news\r\nTo: c@d.example\r\n")
    assert first.content == content("To: c@d.example\r\n")
    unnamed = take(submitter, "Subject: x-outrider-stream\r\n")
    assert unnamed == Named("default", content("Subject: x-outrider-stream\r\n"))


def test_only_a_stream_of_the_list_may_be_named() -> None:
    submitter = bound(streams=frozenset({"news"}))
    assert submitter.stream == "news"
    assert take(submitter, "X-Outrider-Stream: other\r\n") == replies.stream_denied("other")
    for header in (
        "X-Outrider-Stream: news\r\nX-Outrider-Stream: news\r\n",
        "X-Outrider-Stream:\r\n",
        "X-Outrider-Stream: a b\r\n",
        "X-Outrider-Stream: \u00e4\r\n",
    ):
        assert take(submitter, header) == replies.STREAM_UNREADABLE
    assert take(Submitter(None, "default"), "X-Outrider-Stream: any.name\r\n").stream == "any.name"
