"""The constants that the manual names are there; those that are compared differ, those or-ed are bits."""

from pathlib import Path
from typing import Final

import pytest

from tests.policy.acting import submission
from tests.policy.lua.lua_stage import LuaStage, hook

GROUPS: Final = {
    "phase results": "VALIDATE_CONT VALIDATE_DONE VALIDATE_AGAIN",
    "contexts of msg": "ECMESS_CTX_MESS ECMESS_CTX_CONN",
    "contexts of vctx": "VCTX_MESS VCTX_CONN",
    "envelope": "EC_MSG_ENV_FROM EC_MSG_ENV_TO EC_MSG_ENV_COMPLETE",
    "encodings": "EC_MIME_TE_7BIT EC_MIME_TE_8BIT EC_MIME_TE_BASE64 EC_MIME_TE_QUOTED_PRINTABLE",
    "authentication": "EC_AUTH_OK EC_AUTH_FAIL EC_AUTH_ERROR",
    "DSN actions": "FAILED DELAYED DELIVERED RELAYED EXPANDED",
    "files": "O_RDONLY O_WRONLY O_RDRW O_CREAT O_APPEND O_BINARY",
    "pools": "ECTP_COMPLETE_CALLBACK ECTP_COMPLETE_CALLBACK_SCHED",
    "protocols": "P_ESMTP P_SMPP P_MM7",
    "sieve": "SIEVEREQ_MSG SIEVEREQ_MSG_BODY SIEVEREQ_ENV_FROM SIEVEREQ_ENV_TO SIEVEREQ_AC SIEVEREQ_550_OK"
    " SIEVEREQ_DNS_LOOKUP_OK SIEVEREQ_PHASE_ACCEPT SIEVEREQ_PHASE_CONNECT SIEVEREQ_PHASE_EHLO"
    " SIEVEREQ_PHASE_MAILFROM SIEVEREQ_PHASE_RCPTTO SIEVEREQ_PHASE_DATA SIEVEREQ_PHASE_SPOOL"
    " SIEVEREQ_PHASE_EACH_RCPT",
}
BITS: Final = ("envelope", "sieve")
BARE: Final = {
    "enqueue": "EC_MESSAGE_ENQUEUE_HOOK_CONT EC_MESSAGE_ENQUEUE_HOOK_OK EC_MESSAGE_ENQUEUE_HOOK_ERR",
    "mcmt": "EC_MSG_MCMT_OK EC_MSG_MCMT_INVALID EC_MSG_MCMT_ERROR",
    "mcmt reception": "MCMT_RECEPTION_ALLOW MCMT_RECEPTION_REJECT MCMT_RECEPTION_PASSTHRU",
    "bounces": "GENERATE_BOUNCES_HOOK_CONT GENERATE_BOUNCES_HOOK_OK",
    "delays": "GENERATE_DELAY_DSN_HOOK_CONT GENERATE_DELAY_DSN_HOOK_OK",
    "notes": "VCTX_MESS VCTX_CONN",
    "mm7": "MM7_CONTINUE MM7_TEMP_FAIL MM7_PERM_FAIL MM7_DELIVERED",
    "one": "DELAY_DSN_SEND_NOTIFICATION_OK",
    "other": "EC_BINDING_SLOT_UNBOUND",
}


def values(folder: Path, prefix: str, names: str) -> list[float]:
    """What scripts find under these names."""
    list_of = ", ".join(f"tostring({prefix}{name})" for name in names.split())
    body = f'print(table.concat({{{list_of}}}, " "))\nreturn msys.core.VALIDATE_CONT'
    stage = LuaStage(folder, hook("validate_data", body))
    stage.decide(submission())
    [printed] = stage.printed
    return [float(each) for each in printed.split(" ")]


@pytest.mark.parametrize("group", GROUPS)
def test_those_of_the_core_differ(tmp_path: Path, group: str) -> None:
    found = values(tmp_path, "msys.core.", GROUPS[group])
    assert len(set(found)) == len(found)
    if group in BITS:
        assert all(int(each).bit_count() == 1 for each in found)


@pytest.mark.parametrize("group", BARE)
def test_those_without_a_module_differ(tmp_path: Path, group: str) -> None:
    found = values(tmp_path, "", BARE[group])
    assert len(set(found)) == len(found)


def test_spellings_of_the_manual_are_one(tmp_path: Path) -> None:
    assert len(set(values(tmp_path, "msys.core.", "O_RDRW O_RDWR"))) == 1
    assert values(tmp_path, "msys.core.", "EM_SUCCEEDED") != []


def test_a_client_is_told_by_its_connection(tmp_path: Path) -> None:
    body = "print(ac.remote_addr, msys.core.protocol_string(ac.protocol))\nreturn msys.core.VALIDATE_CONT"
    stage = LuaStage(tmp_path, hook("validate_data", body))
    stage.decide(submission())
    assert stage.printed == ["192.0.2.1\tESMTP"]
