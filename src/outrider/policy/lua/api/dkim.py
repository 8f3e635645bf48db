"""Signing and checking: `msys.validate.opendkim`, `.dkim`, `.dk`, `msys.sign.dk`, `opendkim.dkim`.

In: messages and options. Out: requests for signatures, which are made at the door after the last change,
and results of checks.

Theory: `sign` of any of the packages asks for a DKIM signature; DomainKeys is retired (RFC 6376 succeeds
it). The algorithm is the key's; SHA-1 is asked for in vain (RFC 8301 §3.1), and so is a length of the body,
because who may add to a body may replace it (RFC 6376 §8.2): both are said to the log. A check looks keys
up in DNS, so the script waits; its results are kept as long as the message does not change.

Standards: RFC 6376 §3.5 (tags), RFC 6376 §6.1 (checks), RFC 8601 §2.7.1 (words of results).
"""

import asyncio
import base64
import binascii
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Final

from outrider.net.answers import Kind, Status
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, needs, options_of, text_of, whole_of
from outrider.policy.lua.api.macros import expand_macros
from outrider.policy.lua.convert import kind_of
from outrider.policy.lua.registry import LuaRegistry, ObjectClass
from outrider.policy.mail import Mail
from outrider.wire.dkim.canonical import Canonicalization
from outrider.wire.dkim.request import (
    OVERSIGNED_FIELDS,
    SIGNED_FIELDS,
    UNSIGNED_FIELDS,
    RequestError,
    SignRequest,
)
from outrider.wire.dkim.results import Fault, Records, SignatureResult
from outrider.wire.dkim.verifier import Verification

STATUS: Final = {
    "OK": 0,
    "BADSIG": 1,
    "NOSIG": 2,
    "NOKEY": 3,
    "CANTVRFY": 4,
    "SYNTAX": 5,
    "NORESOURCE": 6,
    "INTERNAL": 7,
    "REVOKED": 8,
    "INVALID": 9,
    "NOTIMPLEMENT": 10,
    "KEYFAIL": 11,
    "CBREJECT": 12,
    "CBINVALID": 13,
    "CBTRYAGAIN": 14,
    "CBERROR": 15,
}
"""DKIM_STAT_… of OpenDKIM's dkim.h."""
FLAGS: Final = {"IGNORE": 0x01, "PROCESSED": 0x02, "PASSED": 0x04, "TESTKEY": 0x08, "NOSUBDOMAIN": 0x10}
"""DKIM_SIGFLAG_… of OpenDKIM's dkim.h."""
OK: Final = STATUS["OK"]

_OF_FAULT: Final = {
    Fault.NONE: "OK",
    Fault.SYNTAX: "SYNTAX",
    Fault.ALGORITHM: "NOTIMPLEMENT",
    Fault.OLD_ALGORITHM: "NOTIMPLEMENT",
    Fault.IDENTITY: "INVALID",
    Fault.FROM_UNSIGNED: "INVALID",
    Fault.EXPIRED: "INVALID",
    Fault.FUTURE: "INVALID",
    Fault.BODY_LENGTH: "CANTVRFY",
    Fault.NO_KEY: "NOKEY",
    Fault.KEY_SYNTAX: "SYNTAX",
    Fault.KEY_REVOKED: "REVOKED",
    Fault.KEY_UNFIT: "CANTVRFY",
    Fault.KEY_SHORT: "CANTVRFY",
    Fault.LOOKUP: "KEYFAIL",
    Fault.BODY: "BADSIG",
    Fault.SIGNATURE: "BADSIG",
    Fault.TOO_MANY: "NORESOURCE",
}
_WORDS: Final = ("none", "pass", "fail", "policy", "neutral", "temperror", "permerror")
# RFC 8601 §2.7.1, by the number that `verify_status_to_string` takes
_SIGN_OPTIONS: Final = frozenset(
    {
        "base_domain",
        "signing_domain",
        "header_canon",
        "body_canon",
        "digest",
        "headerlist",
        "identity",
        "selector",
        "keyfile",
        "keybuf",
        "body_length_limit",
    }
)
_KEY_OCTETS_MAX: Final = 65_536
# chosen: a key of 8,192 bits has 6,500
_PKCS8_AFTER_VERSION: Final = 0x30
# RFC 5958 §2: a sequence, the algorithm, follows the version; in PKCS #1 (RFC 8017 §A.1.2) an integer does


class Checked:
    """What `verify` gives: the results of a message's signatures."""

    __slots__ = ("results",)

    def __init__(self, results: tuple[SignatureResult, ...]) -> None:
        self.results = results

    @property
    def status(self) -> int:
        """OK when one of them passes, NOSIG without any, else what is wrong with the first."""
        if not self.results:
            return STATUS["NOSIG"]
        if any(result.is_pass for result in self.results):
            return OK
        return STATUS[_OF_FAULT[self.results[0].fault]]


class Signature:
    """One result, as scripts hold it."""

    __slots__ = ("result",)

    def __init__(self, result: SignatureResult) -> None:
        self.result = result


class Dkim:
    """The functions of all packages."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._last: tuple[object, Checked] | None = None

    # signing

    def sign(self, msg: Any = None, _vctx: Any = None, options: Any = None) -> None:
        """Ask for a DKIM signature."""
        mail = self._mail(msg)
        chosen = options_of(options, _SIGN_OPTIONS, "sign")
        domain = self._option(chosen, "signing_domain") or self._option(chosen, "base_domain")
        selector = self._option(chosen, "selector")
        if not selector:
            raise ValueError("sign needs a selector")
        self._tell(chosen)
        canon = {name: self._canon(chosen, name) for name in ("header_canon", "body_canon")}
        fields, oversigned = self._fields(chosen.get("headerlist"))
        try:
            request = SignRequest(
                domain or _author_domain(mail),
                selector,
                self._key(chosen, domain or _author_domain(mail), selector),
                self._option(chosen, "identity"),
                canon["header_canon"],
                canon["body_canon"],
                fields,
                oversigned,
            )
        except RequestError as error:
            raise ValueError(f"sign: {error.message}") from None
        mail.sign(request)

    def sign_retired(self, msg: Any = None, vctx: Any = None, options: Any = None) -> None:
        """Ask for a DKIM signature where DomainKeys was asked for."""
        self._host.log.warning(
            "policy.domainkeys_is_retired", text="dk.sign signs with DKIM (RFC 6376); use opendkim.sign"
        )
        self.sign(msg, vctx, options)

    def _mail(self, msg: Any) -> Mail:
        if msg is not None:
            return self._host.mail_of(msg)
        mail = self._host.current().mail
        if mail is None:
            raise ValueError("there is no message at hand")
        return mail

    @staticmethod
    def _option(chosen: dict[str, Any], name: str) -> str:
        value = chosen.get(name)
        return "" if value is None else text_of(value, name)

    def _canon(self, chosen: dict[str, Any], name: str) -> Canonicalization:
        word = self._option(chosen, name).lower() or "relaxed"
        if word not in {"simple", "relaxed"}:
            raise ValueError(f"{name} is simple or relaxed, not {word!r}")
        return Canonicalization(word)

    def _tell(self, chosen: dict[str, Any]) -> None:
        digest = self._option(chosen, "digest").lower()
        if "sha1" in digest.replace("-", ""):
            self._host.log.warning(
                "policy.dkim_option", text="digest: SHA-1 is not signed with (RFC 8301 §3.1)"
            )
        if chosen.get("body_length_limit") is not None:
            self._host.log.warning(
                "policy.dkim_option", text="body_length_limit: the whole body is signed (RFC 6376 §8.2)"
            )

    @staticmethod
    def _fields(given: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if given is None:
            return SIGNED_FIELDS, OVERSIGNED_FIELDS
        names = (
            given if isinstance(given, list) else text_of(given, "headerlist").replace(",", ":").split(":")
        )
        lower = [text_of(name, "a name in headerlist").strip().lower() for name in names]
        wanted = dict.fromkeys(["from", *(name for name in lower if name and name not in UNSIGNED_FIELDS)])
        return tuple(wanted), tuple(name for name in OVERSIGNED_FIELDS if name in wanted)

    def _key(self, chosen: dict[str, Any], domain: str, selector: str) -> str:
        """The name of the key that the options bring. Raises ValueError, OutriderError.

        In the name of a file `%{d}` is the signing domain and `%{s}` the selector, as in Momentum's.
        """
        text = self._option(chosen, "keybuf")
        name = self._option(chosen, "keyfile")
        if not text and not name:
            raise ValueError("sign needs a key: keybuf or keyfile")
        if not text:
            text = self._read(expand_macros(self._host, name, {"d": domain, "s": selector}))
        keep: Callable[[str], str] = needs(self._host.keep_key, "a place for signing keys")
        return keep(armoured(text))

    def _read(self, name: str) -> str:
        folder = needs(self._host.folder, "files").resolve()
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise ValueError(f"keyfile: {name!r} is not below the scripts' folder; use keybuf, or [[dkim]]")
        try:
            with path.open("rb") as file:
                return file.read(_KEY_OCTETS_MAX).decode("ascii", "replace")
        except OSError as error:
            raise ValueError(f"keyfile: {name!r} cannot be read: {error.strerror}") from None

    # checking

    def verify(self, msg: Any = None) -> Any:
        """The results of the message's signatures, and one word for all."""
        mail = self._mail(msg)
        if self._last is not None and self._last[0] is mail.content:
            return self._last[1], self._last[1].status
        return self._verify(mail)

    async def _verify(self, mail: Mail) -> Any:
        checked = await self._checked(mail)
        return checked, checked.status

    async def _checked(self, mail: Mail) -> Checked:
        content = mail.content
        if self._last is not None and self._last[0] is content:
            return self._last[1]
        verification = Verification(content, self._host.clock.wall())
        names = verification.names
        answers = await asyncio.gather(*(self._records(name) for name in names)) if names else ()
        checked = Checked(verification.results(dict(zip(names, answers, strict=True))))
        self._last = (content, checked)
        return checked

    async def _records(self, name: str) -> Records:
        answer = await needs(self._host.resolver, "DNS").lookup(name, Kind.TXT)
        if answer.status is Status.FAILED:
            return Records(trouble=answer.trouble or "no answer")
        return Records(answer.texts)

    @staticmethod
    def get_num_sigs(dkim: Any) -> Any:
        return len(_checked(dkim).results), OK

    @staticmethod
    def get_sig(dkim: Any, index: Any = 0) -> Any:
        results = _checked(dkim).results
        place = whole_of(0 if index is None else index, "an index")
        if not 0 <= place < len(results):
            return None, STATUS["INVALID"]
        return Signature(results[place]), OK

    # the older package

    def get_verify_results(self, _vctx: Any = None) -> Any:
        """How many results, and the results."""
        return self._results(self._mail(None))

    async def _results(self, mail: Mail) -> Any:
        checked = await self._checked(mail)
        return len(checked.results), checked

    @staticmethod
    def verify_results_get_count(results: Any = None) -> int:
        if not isinstance(results, Checked):
            raise ValueError("No verification results to count.")  # noqa: TRY004 - the page's text
        return len(results.results)

    @staticmethod
    def verify_results_get_item(results: Any = None, index: Any = None) -> Any:
        if not isinstance(results, Checked):
            raise ValueError("No verification results to get item from")  # noqa: TRY004 - the page's text
        if index is None:
            raise ValueError("Index value not specified")
        place = whole_of(index, "an index")
        if not 0 <= place < len(results.results):
            raise ValueError("Index value is greater than the number of verification results")
        result = results.results[place]
        return {
            "status": _WORDS.index(result.result),
            "diagnostic": result.reason,
            "query": f"{result.selector}._domainkey.{result.domain}" if result.domain else "",
            "algorithm": result.algorithm,
        }

    @staticmethod
    def verify_status_to_string(status: Any = None) -> str:
        if status is None:
            raise ValueError("No status code is passed in")
        place = whole_of(status, "a status")
        if not 0 <= place < len(_WORDS):
            raise ValueError(f"there is no status {place}")
        return _WORDS[place]

    def get_domains(self, msg: Any = None, _vctx: Any = None) -> Any:
        """Domains whose signatures pass."""
        return self._domains(self._mail(msg))

    async def _domains(self, mail: Mail) -> list[str]:
        checked = await self._checked(mail)
        return list(dict.fromkeys(each.domain for each in checked.results if each.is_pass))

    def get_responsible_domain(self, msg: Any = None, _vctx: Any = None) -> Any:
        """The domain of a signature that passes, the author's before others; nil without one."""
        return self._responsible(self._mail(msg))

    async def _responsible(self, mail: Mail) -> str | None:
        domains = await self._domains(mail)
        author = _author_domain(mail)
        ours = [each for each in domains if author == each or author.endswith(f".{each}")]
        return next(iter([*ours, *domains]), None)

    def get_sending_domain(self, msg: Any = None, _vctx: Any = None) -> str | None:
        """Of Sender, else of From: who would have signed with DomainKeys (RFC 4870 §3.3, historic)."""
        mail = self._mail(msg)
        domains = (_first_domain(mail, name) for name in ("Sender", "From"))
        return next((each for each in domains if each is not None), None)

    @staticmethod
    def reflect(*_values: Any) -> None:
        raise ValueError(
            "dkim.reflect is not carried over: it answers mail to whoever claims to have sent it; use verify"
        )


def _checked(dkim: Any) -> Checked:
    if not isinstance(dkim, Checked):
        raise ValueError(f"what verify gave is expected, not {kind_of(dkim)}")  # noqa: TRY004 - scripts hear it
    return dkim


def _result(sig: Any) -> SignatureResult:
    if not isinstance(sig, Signature):
        raise ValueError(f"what get_sig gave is expected, not {kind_of(sig)}")  # noqa: TRY004 - scripts hear it
    return sig.result


def _author_domain(mail: Mail) -> str:
    return _first_domain(mail, "From") or ""


def _first_domain(mail: Mail, name: str) -> str | None:
    """The domain of a field's first address; None where it has none.

    The field is read as it stands: an encoded word is of a display name, whatever it says (RFC 2047 §5).
    """
    addresses = mail.message.header.addresses(name).addresses
    return addresses[0].domain.lower() if addresses else None


def _flags(result: SignatureResult) -> int:
    flags = FLAGS["PROCESSED"] if result.was_looked_up else 0
    flags |= FLAGS["PASSED"] if result.is_pass else 0
    flags |= FLAGS["TESTKEY"] if result.key_is_testing else 0
    flags |= FLAGS["NOSUBDOMAIN"] if result.key_is_strict else 0
    return flags | (FLAGS["IGNORE"] if result.fault is Fault.TOO_MANY else 0)


def _algorithm(result: SignatureResult) -> str:
    known = {"rsa-sha1", "rsa-sha256", "ed25519-sha256"}
    return result.algorithm if result.algorithm in known else "unknown"


def _has_signed(sig: Any, header: Any) -> Any:
    return _result(sig).has_signed(text_of(header, "a header")), OK


def _identity(dkim: Any, sig: Any) -> Any:
    _checked(dkim)
    return _result(sig).identity, OK


def armoured(text: str) -> str:
    """A key as PEM: with its lines around it, or only what is between them, on one line or several.

    Raises:
        ValueError: It is neither.
    """
    if "-----BEGIN" in text:
        return text
    packed = "".join(text.split())
    try:
        octets = base64.b64decode(packed, validate=True)
    except binascii.Error:
        raise ValueError("keybuf is neither PEM nor the Base64 of one") from None
    head = octets[:24].find(b"\x02\x01\x00")  # the version, 0, of either form
    if octets[:1] != b"\x30" or head < 0:
        raise ValueError("keybuf is the Base64 of no private key")
    kind = "PRIVATE KEY" if octets[head + 3] == _PKCS8_AFTER_VERSION else "RSA PRIVATE KEY"
    body = "\n".join(textwrap.wrap(packed, 64))
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n"


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register all of them."""
    dkim = Dkim(host)
    install(
        registry,
        host,
        rows,
        "msys.validate.opendkim",
        {
            "sign": dkim.sign,
            "verify": dkim.verify,
            "get_num_sigs": dkim.get_num_sigs,
            "get_sig": dkim.get_sig,
            "get_sig_domain": lambda sig: (_result(sig).domain, OK),
            "get_sig_selector": lambda sig: (_result(sig).selector, OK),
            "get_sig_canons": lambda sig: (f"{_result(sig).header}/{_result(sig).body}", OK),
            "get_sig_errorstr": lambda sig: (_result(sig).reason or "no error", OK),
            "get_sig_identity": _identity,
            "get_sig_keysize": lambda sig: (_result(sig).key_bits, OK),
            "get_sig_signalg": lambda sig: (_algorithm(_result(sig)), OK),
            "get_sig_flags": lambda sig: (_flags(_result(sig)), OK),
            "get_sig_hdrsigned": _has_signed,
        },
    )
    older = (
        "sign",
        "get_domains",
        "get_responsible_domain",
        "get_verify_results",
        "verify_results_get_count",
        "verify_results_get_item",
        "verify_status_to_string",
        "reflect",
    )
    install(registry, host, rows, "msys.validate.dkim", {name: getattr(dkim, name) for name in older})
    install(
        registry,
        host,
        rows,
        "msys.validate.dk",
        {"sign": dkim.sign_retired, "get_responsible_domain": dkim.get_sending_domain},
    )
    install(registry, host, rows, "msys.sign.dk", {"sign": dkim.sign_retired})
    constants = {f"DKIM_STAT_{name}": number for name, number in STATUS.items()}
    constants |= {f"DKIM_SIGFLAG_{name}": number for name, number in FLAGS.items()}
    registry.register("opendkim.dkim", constants)
    registry.register_class(Checked, ObjectClass("opendkim.dkim"))
    registry.register_class(Signature, ObjectClass("opendkim.siginfo"))
