"""Bindings and groups as scripts and the policy without scripts assign them."""

from pathlib import Path

import pytest

from outrider.model.flow import Decided, Message, Refusal
from outrider.model.hooks import HookPhase
from outrider.policy.bindings import Bindings
from outrider.policy.connection import Connection
from outrider.policy.errors import ForbiddenError
from outrider.policy.group_options import BindingGroupOptions
from outrider.policy.mail import Mail
from outrider.policy.routing import RoutingPolicy
from outrider.wire.smtp import replies
from tests.policy.acting import Stage, submission

POOL = BindingGroupOptions.model_validate({"name": "pool", "members": ["a", "b"]})


def bindings(default: str = "a") -> Bindings:
    return Bindings(("a", "b", "c"), [POOL], default)


def mail(default: str = "a", phase: HookPhase = HookPhase.SET_BINDING) -> Mail:
    submitted = submission()
    made = Mail(submitted, Connection(submitted.origin), bindings(default))
    made.enter(phase)
    return made


def stage(folder: Path, text: str, default: str) -> Stage:
    made = Stage(folder, text)
    made.door._bindings = bindings(default)
    return made


def test_a_group_is_resolved_to_a_member() -> None:
    one = mail("c")
    assert (one.binding, one.binding_group) == ("c", "")
    assert one.try_binding("pool")
    assert (one.binding, one.binding_group) == ("a", "pool")
    one.binding_group = "pool"
    assert (one.binding, one.binding_group) == ("b", "pool")
    one.binding = "c"
    assert (one.binding, one.binding_group) == ("c", "")


def test_what_there_is_not_changes_nothing() -> None:
    one = mail()
    assert not one.try_binding("x")
    with pytest.raises(LookupError, match="no binding and no group 'x'"):
        one.binding = "x"
    with pytest.raises(LookupError, match="no group of bindings 'b'"):
        one.binding_group = "b"
    assert (one.binding, one.binding_group) == ("a", "")


def test_a_group_is_assigned_in_its_phase_only() -> None:
    one = mail(phase=HookPhase.EACH_RCPT)
    with pytest.raises(ForbiddenError, match="in set_binding only, not in each_rcpt"):
        one.binding_group = "pool"
    assert one.binding == "a"


def test_each_recipient_has_a_member_of_its_own(tmp_path: Path) -> None:
    text = "def set_binding(mail):\n    mail.binding_group = 'pool'\n"
    decided = stage(tmp_path, text, "none").decide(submission("j@one.test", "k@one.test", "l@one.test"))
    assert isinstance(decided, Decided)
    found = [each.binding for message in decided.messages for each in message.deliveries]
    assert found == ["a", "b", "a"]


@pytest.mark.parametrize(("default", "found"), [("c", ["c", "c"]), ("pool", ["a", "b"])])
def test_what_no_script_assigns_gets_the_default(tmp_path: Path, default: str, found: list[str]) -> None:
    two = submission("j@one.test", "k@one.test")
    text = "def final_validation(mail):\n    assert mail.binding\n"
    decided = stage(tmp_path, text, default).decide(two)
    assert isinstance(decided, Decided)
    assert [each.binding for message in decided.messages for each in message.deliveries] == found
    message = RoutingPolicy(bindings(default)).decide(two)
    assert isinstance(message, Message)
    assert [each.binding for each in message.deliveries] == found


def test_without_a_default_mail_that_gets_none_is_refused_for_now(tmp_path: Path) -> None:
    text = "def set_binding(mail):\n    if mail.rcpt_to == 'j@one.test':\n        mail.binding = 'b'\n"
    asked = stage(tmp_path, text, "none")
    assert isinstance(asked.decide(submission("j@one.test")), Decided)
    refused = asked.decide(submission("j@one.test", "k@one.test"))
    assert isinstance(refused, Refusal)
    assert refused.reply is replies.NO_BINDING
    refused_too = RoutingPolicy(bindings("none")).decide(submission())
    assert isinstance(refused_too, Refusal)
    assert refused_too.reply.code == 451


def test_what_is_discarded_needs_none(tmp_path: Path) -> None:
    decided = stage(tmp_path, "def data(mail):\n    mail.discard('a test')\n", "none").decide()
    assert isinstance(decided, Decided)
    assert decided.messages[0].discard == "a test"


def test_our_reports_go_out_all_the_same() -> None:
    message = RoutingPolicy(bindings("none"), fallback="default").decide(submission())
    assert isinstance(message, Message)
    assert message.deliveries[0].binding == "default"
