"""What a client notes is its own word: it replaces nothing that scripts, or the session itself, say."""

from ast import literal_eval
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider.model.ends import Ends
from outrider.model.flow import Origin, Recipient, Submission
from outrider.policy.connection import Context
from tests.policy.acting import HTTP, SMTP, Stage, address, messages, submission
from tests.policy.lua.lua_stage import LuaStage, hook

CLAIMS = (("auth_user", "boss"), ("rcptto_domain", "bank.test"), ("mailfrom_domain", "bank.test"), ("x", "1"))


def claiming(origin: Origin) -> Submission:
    """A message whose client notes all of these."""
    sent = submission(origin=origin)
    if origin is SMTP:
        return replace(sent, notes=CLAIMS)
    recipient = Recipient(address("joe@one.test"), metadata=CLAIMS)
    return replace(sent, envelope=replace(sent.envelope, recipients=(recipient,)))


READS = """
local kind = msys.core.VCTX_MESS
local function told()
  local file = msys.expandMacro("%{vctx_mess:mailfrom_domain}.pem")
  print(table.concat({vctx:get(kind, "auth_user"), msg:context_get(kind, "rcptto_domain"),
    vctx:get(kind, "x"), file}, " "))
end
told()
vctx:set(kind, "auth_user", "ann")
told()
return 0
"""


@pytest.mark.parametrize(("origin", "user"), [(SMTP, ""), (HTTP, "key")], ids=["smtp", "http"])
def test_what_is_predefined_is_not_the_client_s_to_say(tmp_path: Path, origin: Origin, user: str) -> None:
    stage = LuaStage(tmp_path, hook("validate_data_spool_each_rcpt", READS))
    stage.decide(claiming(origin))
    assert stage.told.failures == []
    assert stage.printed == [f"{user} one.test 1 sender.test.pem", "ann one.test 1 sender.test.pem"]
    stage.close()


def test_what_a_script_has_noted_is_not_replaced_by_the_client(tmp_path: Path) -> None:
    script = """
    def mailfrom(connection, sender):
        connection.message["x"] = "ours"
    def data(mail):
        mail.context["seen"] = mail.context["x"] + mail.context["auth_user"]
    """
    stage = Stage(tmp_path, script)
    session = stage.open()
    session.mail_from(SMTP, address("shop@sender.test"))
    decided = session.decide(claiming(SMTP))
    [message] = messages(decided)  # type: ignore[arg-type]
    assert dict(message.notes) == {**dict(CLAIMS), "x": "ours", "seen": "oursboss"}


def test_a_claim_is_one_until_a_script_sets_it() -> None:
    context = Context()
    context.seed((("a", "1"), ("b", "1")), are_claims=True)
    context.seed((("a", "2"),), are_claims=True)
    context["b"] = "ours"
    context.seed((("b", "2"),), are_claims=True)
    assert dict(context) == {"a": "2", "b": "ours"}
    assert [context.copy().is_claimed(name) for name in ("a", "b", "c")] == [True, False, False]
    context.clear()
    assert not context.is_claimed("a")


def test_a_trusted_client_notes_what_its_connection_is_until_tls_begins(tmp_path: Path) -> None:
    stage = Stage(
        tmp_path,
        """
        def mailfrom(connection, sender):
            print(sorted(connection.context.items()))
        """,
        notes={"smtp": {"customer": "acme", "plan": "gold"}},
    )
    ends = Ends()
    session = stage.door.open(SMTP, ends)

    def noted() -> object:
        with redirect_stdout(StringIO()) as said:
            assert session.mail_from(SMTP, None) is None
        return literal_eval(said.getvalue())

    given = [("customer", "acme"), ("plan", "gold")]
    assert noted() == given
    ends.notes += [("customer", "other"), ("extra", "1")]
    ends.notes.append(("extra", "2"))
    assert noted() == [("customer", "other"), ("extra", "2"), ("plan", "gold")]
    ends.notes = []
    assert noted() == given
    ends.notes = [("plan", "tin")]
    assert noted() == [("customer", "acme"), ("plan", "tin")]
    ends.notes = [("extra", "3")]
    assert noted() == [*given[:1], ("extra", "3"), *given[1:]]
