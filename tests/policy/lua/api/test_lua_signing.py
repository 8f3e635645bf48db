"""Signing and checking from Lua: what is asked of the signer, and what checks say of messages."""

import base64
from typing import Any

import pytest

from outrider.base.clock import FakeClock
from outrider.model.hooks import HookPhase
from outrider.policy.errors import ForbiddenError, ScriptError
from outrider.policy.lua.api.dkim import FLAGS, STATUS, armoured
from outrider.privacy.signing_keys import parse_private_key
from outrider.wire.dkim.record import format_record
from outrider.wire.dkim.request import OVERSIGNED_FIELDS, SIGNED_FIELDS, SignRequest
from outrider.wire.dkim.signer import sign
from outrider.wire.smtp.content import stuff_plain
from tests.policy.acting import PLAIN
from tests.policy.lua.api.service_stage import Make
from tests.policy.lua.api.signed import SIGNED
from tests.wire.dkim.signing import KEYS, key_of, pem

FINAL = HookPhase.FINAL_VALIDATION
PEM = pem("rsa2048").decode()
SIGN = "local o = ... o.selector = o.selector or 's1' o.keybuf = o.keybuf or 'KEY'"
SIGNERS = ("msys.validate.opendkim", "msys.validate.dkim", "msys.validate.dk", "msys.sign.dk")


@pytest.fixture
def packed() -> str:
    """A key as Momentum's pages have it: one line without armour."""
    return "".join(PEM.split("\n")[1:-2])


@pytest.mark.parametrize("package", SIGNERS)
@pytest.mark.parametrize("arguments", ["msg, vctx", "nil, nil"])
async def test_every_package_signs_with_dkim(stage: Make, packed: str, package: str, arguments: str) -> None:
    made = stage(f"local o = ... {package}.sign({arguments}, o)")
    options = {"signing_domain": "sender.test", "selector": "s1", "keybuf": packed}
    await made.call(FINAL, options)
    assert made.mail.signing == (SignRequest("sender.test", "s1", "text:1"),)
    assert parse_private_key(made.keys[0], "key").public == key_of("rsa2048").public
    retired = package in {"msys.validate.dk", "msys.sign.dk"}
    assert len(made.logged("policy.domainkeys_is_retired")) == retired
    for phase in HookPhase:
        if phase is not FINAL:
            with pytest.raises(ForbiddenError, match="final_validation only"):
                await made.call(phase, options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"domain": "sender.test"}),
        ({"base_domain": "other.test"}, {"domain": "other.test"}),
        ({"base_domain": "x.test", "signing_domain": "other.test"}, {"domain": "other.test"}),
        ({"header_canon": "simple", "body_canon": "SIMPLE"}, {"header": "simple", "body": "simple"}),
        ({"identity": "@news.sender.test"}, {"identity": "@news.sender.test"}),
        ({"headerlist": "From:Subject : X-A"}, {"fields": ("from", "subject", "x-a")}),
        ({"headerlist": "Subject"}, {"fields": ("from", "subject"), "oversigned": ("from", "subject")}),
        ({"headerlist": ["To", "Received"]}, {"fields": ("from", "to")}),
        ({"digest": "rsa-sha256"}, {"fields": SIGNED_FIELDS, "oversigned": OVERSIGNED_FIELDS}),
        ({"digest": "sha1", "body_length_limit": 100}, {"key": "text:1"}),
    ],
)
async def test_options(stage: Make, options: dict[str, Any], expected: dict[str, Any]) -> None:
    made = stage("msys.validate.opendkim.sign(msg, nil, ...)")
    await made.call(FINAL, {"selector": "s1", "keybuf": PEM, **options})
    [request] = made.mail.signing
    assert {name: getattr(request, name) for name in expected} == expected
    told = sum(name in options for name in ("body_length_limit",)) + (options.get("digest") == "sha1")
    assert len(made.logged("policy.dkim_option")) == told


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"selector": None}, "needs a selector"),
        ({"keybuf": None}, "needs a key"),
        ({"keybuf": "!"}, "neither PEM nor"),
        ({"keybuf": base64.b64encode(b"no key at all").decode()}, "no private key"),
        ({"header_canon": "loose"}, "simple or relaxed"),
        ({"signing_domain": "no domain"}, "domain: is not a domain name"),
        ({"identity": "@other.test"}, "identity: must be of the signing domain"),
        ({"keyfile": "../key.pem", "keybuf": None}, "not below the scripts' folder"),
        ({"keyfile": "none.pem", "keybuf": None}, "cannot be read: No such file"),
        ({"keyfile": "%{q}.pem", "keybuf": None}, r"the macro %\{q\} is not known"),
        ({"selecter": "x"}, "no option 'selecter'"),
    ],
)
async def test_what_cannot_be_signed_is_told(stage: Make, options: dict[str, Any], reason: str) -> None:
    made = stage("msys.validate.opendkim.sign(msg, nil, ...)")
    given = {"selector": "s1", "keybuf": PEM, **options}
    with pytest.raises(ScriptError, match=reason):
        await made.call(FINAL, {name: value for name, value in given.items() if value is not None})
    assert made.mail.signing == ()


@pytest.mark.parametrize("words", ["=3Cann=40bank.test=3E", "ann=40bank.test=2C"])
async def test_an_encoded_word_is_no_author(stage: Make, words: str) -> None:
    """A display name says what its writer likes."""
    plain = f"From: =?utf-8?q?{words}?= <shop@sender.test>\r\n\r\nHello\r\n".encode()
    made = stage("msys.validate.opendkim.sign(msg, nil, ...)", plain=plain)
    await made.call(FINAL, {"selector": "s1", "keybuf": PEM})
    [request] = made.mail.signing
    assert request.domain == "sender.test"
    asked = stage("return msys.validate.dk.get_responsible_domain(msg)", plain=plain)
    assert await asked.call() == b"sender.test"


async def test_a_key_may_be_a_file_beside_the_scripts(stage: Make) -> None:
    made = stage("msys.validate.opendkim.sign(msg, nil, {selector = 's1', keyfile = 'key.pem'})")
    (made.folder / "key.pem").write_text(PEM)
    await made.call(FINAL)
    assert made.keys == [PEM]


async def test_the_name_of_a_key_file_may_have_macros(stage: Make) -> None:
    made = stage(
        """
        msg:context_set(msys.core.ECMESS_CTX_MESS, "customer", "c7")
        local name = "%{vctx_mess:customer}-%{vctx_mess:mailfrom_domain}.pem"
        msys.validate.opendkim.sign(msg, nil, {selector = "s1", keyfile = name})
        """
    )
    (made.folder / "c7-sender.test.pem").write_text(PEM)
    await made.call(FINAL)
    assert made.keys == [PEM]


async def test_the_name_of_a_key_file_may_have_domain_and_selector(stage: Make) -> None:
    options = "{signing_domain = 'sender.test', selector = 's1', keyfile = '%{d}/%{s}.key'}"
    made = stage(f"msys.validate.opendkim.sign(msg, nil, {options})")
    (made.folder / "sender.test").mkdir()
    (made.folder / "sender.test" / "s1.key").write_text(PEM)
    await made.call(FINAL)
    assert made.keys == [PEM]


async def test_macros_do_not_lead_out_of_the_folder(stage: Make) -> None:
    made = stage(
        """
        msg:context_set(msys.core.ECMESS_CTX_MESS, "customer", "../x")
        msys.validate.opendkim.sign(msg, nil, {selector = "s1", keyfile = "%{vctx_mess:customer}.pem"})
        """
    )
    (made.folder.parent / "x.pem").write_text(PEM)
    with pytest.raises(ScriptError, match="not below the scripts' folder"):
        await made.call(FINAL)


@pytest.mark.parametrize("key", ["rsa2048", "ed25519"])
def test_both_forms_of_a_key_are_armoured(key: str) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = key_of(key)._private
    forms = [PrivateFormat.PKCS8, *([PrivateFormat.TraditionalOpenSSL] if key.startswith("rsa") else [])]
    for form in forms:
        der = private.private_bytes(Encoding.DER, form, NoEncryption())
        text = armoured(base64.b64encode(der).decode())
        assert parse_private_key(text, "key").public == key_of(key).public


@pytest.mark.parametrize(
    ("change", "records", "status", "word"),
    [
        (lambda plain: plain, SIGNED.records, "OK", "pass"),
        (lambda plain: plain.replace(b"Hello", b"Hallo"), SIGNED.records, "BADSIG", "fail"),
        (lambda plain: plain.replace(b"hello", b"hallo"), SIGNED.records, "BADSIG", "fail"),
        (lambda plain: plain, {}, "NOKEY", "permerror"),
        (lambda plain: plain, {"one._domainkey.sender.test": "v=DKIM1; p="}, "REVOKED", "permerror"),
        (lambda plain: plain, {"one._domainkey.sender.test": "p=!"}, "SYNTAX", "permerror"),
        (lambda _: PLAIN, SIGNED.records, "NOSIG", None),
    ],
)
async def test_what_checks_say(
    stage: Make, change: Any, records: dict[str, str], status: str, word: str | None
) -> None:
    made = stage(
        "local d, s = msys.validate.opendkim.verify(msg) local v = msys.validate.dkim"
        " local n, r = v.get_verify_results() local w ="
        " n > 0 and v.verify_status_to_string(v.verify_results_get_item(r, 0).status) or nil"
        " return {s, n, tostring(w), v.get_responsible_domain(msg)}",
        plain=change(SIGNED.plain),
    )
    made.names.texts = records
    found = await made.call()
    number, count, text, domain = [*found, None] if isinstance(found, list) and len(found) == 3 else found
    assert number == STATUS[status]
    assert text == (word or "nil").encode()
    assert count == (2 if word else 0)
    assert domain == (b"sender.test" if status == "OK" else None)


async def test_keys_are_looked_up_once_for_a_message(stage: Make) -> None:
    made = stage("local d = msys.validate.opendkim.verify(msg) return true", plain=SIGNED.plain)
    made.names.texts = SIGNED.records
    for _ in range(3):
        await made.call()
    assert sorted(made.names.asked) == ["one._domainkey.sender.test", "two._domainkey.other.test"]


async def test_a_key_in_test_and_a_strict_one_have_flags(stage: Make) -> None:
    request = SignRequest("sender.test", "one", "ed25519")
    plain = sign(stuff_plain(PLAIN), (request,), KEYS, FakeClock().wall()) + PLAIN
    made = stage(
        "local o = msys.validate.opendkim local s = o.get_sig((o.verify(msg))) return (o.get_sig_flags(s))",
        plain=plain,
    )
    record = format_record(key_of("ed25519"))
    made.names.texts = {"one._domainkey.sender.test": record.replace("v=DKIM1;", "v=DKIM1; t=y:s;")}
    flags = await made.call()
    assert flags == FLAGS["PROCESSED"] | FLAGS["PASSED"] | FLAGS["TESTKEY"] | FLAGS["NOSUBDOMAIN"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("msys.validate.opendkim.get_num_sigs('x')", "what verify gave is expected, not a string"),
        ("msys.validate.opendkim.get_sig_domain(nil)", "what get_sig gave is expected, not nil"),
        ("msys.validate.opendkim.verify('x')", "a message was expected"),
        ("msys.validate.dkim.reflect(msg, nil, 'a', 'b')", "not carried over"),
    ],
)
async def test_faults_of_checks(stage: Make, body: str, reason: str) -> None:
    with pytest.raises(ScriptError, match=reason):
        await stage(body).call()


async def test_who_would_have_signed_with_domainkeys(stage: Make) -> None:
    made = stage(
        "return msys.validate.dk.get_responsible_domain(msg)",
        plain=b"From: a@one.test\r\nSender: b@Two.test\r\n\r\nx\r\n",
    )
    assert await made.call() == b"two.test"
