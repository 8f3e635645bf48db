"""Well-formed mails, read here and by Python's email package: the same parts, names, texts and octets."""

import email
import email.message
import email.policy
from email.mime.application import MIMEApplication
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from email.mime.text import MIMEText

from hypothesis import given
from hypothesis import strategies as st

from outrider.wire.message.content import decoded, maybe_text, set_text
from outrider.wire.message.editable import EditableMessage
from outrider.wire.message.makers import make_binary, make_message, make_multipart, make_text
from outrider.wire.message.tree import Part, read_part
from outrider.wire.smtp.content import stuff_plain, unstuff

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=100).map(lambda text: text + "\n")
names = st.text(st.characters(codec="utf-8", categories=["L", "Nd"]), min_size=1, max_size=40)


@st.composite
def mime_texts(draw: st.DrawFn) -> MIMENonMultipart:
    return MIMEText(draw(texts), draw(st.sampled_from(["plain", "html"])), "utf-8")


@st.composite
def applications(draw: st.DrawFn) -> MIMENonMultipart:
    made = MIMEApplication(draw(st.binary(max_size=200)))
    made.add_header("Content-Disposition", "attachment", filename=("utf-8", "", draw(names)))
    return made


@st.composite
def containers(draw: st.DrawFn, parts: st.SearchStrategy[email.message.Message]) -> email.message.Message:
    children = draw(st.lists(parts, min_size=1, max_size=3))
    if len(children) == 1 and draw(st.booleans()):
        return MIMEMessage(children[0])
    made = MIMEMultipart(draw(st.sampled_from(["mixed", "alternative", "related"])))
    for child in children:
        made.attach(child)
    return made


mails = st.recursive(mime_texts() | applications(), containers, max_leaves=8)


def same(part: Part, other: email.message.Message) -> None:
    """The two readings of one part say the same."""
    assert part.media_type == other.get_content_type()
    assert part.charset == (other.get_param("charset") or "")
    assert part.filename == (other.get_filename() or "")
    assert [name.lower() for name in part.header.names()] == [name.lower() for name, _ in other.items()]
    if other.is_multipart():
        children = part.children
        others = other.get_payload()
        assert len(children) == len(others)
        for child, each in zip(children, others, strict=True):
            assert isinstance(each, email.message.Message)
            same(child, each)
        return
    assert part.children == []
    payload = other.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert decoded(part) == payload
    if part.media_type.startswith("text/"):
        assert maybe_text(part) == payload.decode(part.charset or "ascii")


@given(mails, st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=80))
def test_agrees_with_the_email_package(mail: email.message.Message, subject: str) -> None:
    mail["Subject"] = email.header.Header(subject, "utf-8").encode()
    octets = mail.as_bytes(policy=email.policy.compat32.clone(linesep="\r\n"))
    content = stuff_plain(octets)
    message = EditableMessage(content)
    same(message.root, email.message_from_bytes(octets))
    assert message.header.get("Subject") == subject
    assert message.content() is content


leaves = (
    st.tuples(st.just("text"), texts, names).map(lambda args: make_text(args[1]))
    | st.tuples(st.binary(max_size=100), names).map(lambda args: make_binary(args[0], filename=args[1]))
    | texts.map(
        lambda text: make_message(
            b"Subject: x\r\n\r\n" + text.replace("\n", "\r\n").encode("ascii", "replace")
        )
    )
)
made_parts = st.recursive(
    leaves,
    lambda parts: st.lists(parts, min_size=1, max_size=3).map(lambda found: make_multipart("mixed", found)),
    max_leaves=6,
)


@given(made_parts, texts)
def test_what_is_made_here_is_read_there(part: Part, subject: str) -> None:
    message = EditableMessage(stuff_plain(b"From: a@a.test\r\n\r\n"))
    message.header.append("Subject", subject.strip())
    message.root.set_octets(message.header.octets() + part.octets())
    plain = unstuff(message.content())
    other = email.message_from_bytes(plain)
    same(read_part(plain), other)
    for leaf in list(message.walk()):
        if leaf.media_type == "text/plain":
            set_text(leaf, "other → text\n")
    same(read_part(unstuff(message.content())), email.message_from_bytes(unstuff(message.content())))
