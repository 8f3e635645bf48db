"""TLS contexts: made once, cached, and only here.

Towards receivers there are two kinds. `opportunistic` encrypts and checks nothing, because an unverified
channel is still better than clear text, which is what it falls back to (RFC 7435 §3). `required` checks the
chain and the host name, and the caller never falls back.

Standards: RFC 3207 §4 (STARTTLS), RFC 8314 §4.1 and RFC 8996 §2 (TLS 1.2 at least).
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from outrider.base.errors import ConfigError
from outrider.base.private_files import is_there
from outrider.net.options import TlsOptions

TlsMode = Literal["opportunistic", "required"]
ClientContext = ssl.SSLContext
"""For whoever hands a context on and is not at home with TLS."""

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class TlsContexts:
    """Client contexts by mode, for one configuration.

    Raises:
        ConfigError: From `client`: the file of authorities cannot be read.
    """

    __slots__ = ("_cached", "_options")

    def __init__(self, options: TlsOptions) -> None:
        self._options = options
        self._cached: dict[str, ssl.SSLContext] = {}

    def client(self, mode: TlsMode) -> ssl.SSLContext:
        """The context for `opportunistic` or `required`; the same object each time."""
        context = self._cached.get(mode)
        if context is None:
            context = self._cached[mode] = self._make(mode)
        return context

    def _make(self, mode: TlsMode) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = _VERSIONS[self._options.minimum_version]
        if mode == "opportunistic":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        if self._options.ca_file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
            return context
        try:
            context.load_verify_locations(cafile=self._options.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"net.tls.ca_file: {self._options.ca_file} cannot be used: {_reason(error)}"
            ) from error
        return context


def server_context(certificate: Path, key: Path | None, *, where: str) -> ssl.SSLContext:
    """The context of a listener.

    Args:
        certificate: PEM file with the certificate and its chain.
        key: PEM file with the private key; None when the certificate file holds it too.
        where: Dotted option, named in the error.

    Raises:
        ConfigError: A file is missing or unreadable, or key and certificate do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    for path in (certificate, key):
        if path is not None and not is_there(path):
            raise ConfigError(f"{where}: {path} is not a file; give a PEM file that this user can read")
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError, _EncryptedKeyError) as error:
        raise ConfigError(
            f"{where}: {certificate} with key {key or certificate} cannot be used: "
            f"{_absent(certificate, key or certificate) or _reason(error)}"
        ) from error
    return context


def _absent(certificate: Path, key: Path) -> str:
    """What a file should hold and does not, in words; OpenSSL only says that it could not read PEM."""
    for path, mark, what in (
        (certificate, b"CERTIFICATE", "certificate"),
        (key, b"PRIVATE KEY", "private key"),
    ):
        try:
            is_there = mark + b"-----" in path.read_bytes()
        except OSError as error:
            return f"{path}: {error.strerror}"
        if not is_there:
            return f"{path} holds no {what} in PEM (-----BEGIN {what.upper()}-----)"
    return ""


def describe(tls: ssl.SSLObject | ssl.SSLSocket | None) -> str | None:
    """Protocol and cipher such as `TLSv1.3 TLS_AES_256_GCM_SHA384`; None without TLS."""
    if tls is None:
        return None
    cipher = tls.cipher()
    return f"{tls.version()} {cipher[0] if cipher else 'unknown'}"


class _EncryptedKeyError(Exception):
    """The private key asks for a passphrase, and nobody is there to type it."""


def _no_password() -> str:
    raise _EncryptedKeyError(
        "the private key is encrypted; store it without a passphrase, readable by us only"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, ssl.SSLError):
        return "what stands between the BEGIN and END lines is damaged"
    return getattr(error, "strerror", None) or str(error)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says of itself.

    Attributes:
        not_before_time: Unix seconds from which on it is valid.
        not_after_time: Unix seconds after which it is not.
        names: DNS names that it is for, lower case; `*.example.com` stands for one label.
    """

    not_before_time: float
    not_after_time: float
    names: tuple[str, ...]

    def is_for(self, host: str) -> bool:
        """True when the certificate covers `host` (RFC 9525 §6.3)."""
        host = host.lower()
        return host in self.names or f"*.{host.partition('.')[2]}" in self.names


def certificate_facts(certificate: Path) -> CertificateFacts:
    """Facts of the first certificate of a PEM file.

    Raises:
        ConfigError: The file cannot be read or holds none.
    """
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{certificate} is no certificate that can be read: {error}") from error
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        names = ()
    return CertificateFacts(
        found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp(), names
    )
