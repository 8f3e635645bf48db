"""TLS of the simulated providers, as a pipe between octets and octets.

In: what arrives on the connection. Out: clear text for the session and octets for the connection. The session
stays a plain callback without tasks, and a broken handshake is just other octets.

Not here: the client's TLS (`net.tls`); this server shows wrong certificates on purpose.
"""

import random
import ssl
from pathlib import Path

from outrider.sim.certificates import self_signed
from outrider.sim.options import TlsOptions

_READ_OCTETS = 262_144  # chosen, because sixteen TLS records of 16 KiB are read at once (RFC 8446 §5.1)
_DAY_SECONDS = 86_400.0
_VALID_DAYS = 30  # chosen, because a practice internet does not live longer


class TlsPipe:
    """The server end of one TLS connection."""

    __slots__ = ("_incoming", "_object", "_outgoing", "_shaken")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaken = False

    def receive(self, data: bytes) -> bytes:
        """Clear text that `data` completes; what must be sent in return is in `pending`.

        Raises:
            ssl.SSLError: The client broke off or broke the protocol.
        """
        self._incoming.write(data)
        if not self._shaken:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self._shaken = True
        clear = []
        try:
            while part := self._object.read(_READ_OCTETS):
                clear.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(clear)

    def pending(self) -> bytes:
        """Octets that wait to be sent."""
        return self._outgoing.read()

    def wrap(self, data: bytes) -> bytes:
        """`data` encrypted, with whatever else waits to be sent."""
        self._object.write(data)
        return self._outgoing.read()


def server_context(
    options: TlsOptions, names: list[str], folder: Path, wall: float, chance: random.Random
) -> ssl.SSLContext:
    """The TLS context of a provider.

    Args:
        options: With a fault `expired` or `wrong-name`, the certificate made has it.
        names: The exchangers' names.
        folder: Where a made certificate and key are put.
        wall: Unix seconds now.
        chance: Source of the key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if options.certificate:
        context.load_cert_chain(options.certificate, options.key)
        return context
    first, last = wall - _DAY_SECONDS, wall + _VALID_DAYS * _DAY_SECONDS
    if options.fault == "expired":
        first, last = wall - 2 * _DAY_SECONDS, wall - _DAY_SECONDS
    shown = ["elsewhere.invalid"] if options.fault == "wrong-name" else names
    certificate, key = self_signed(shown, first, last, chance)
    folder.mkdir(parents=True, exist_ok=True)
    certificate_file, key_file = folder / f"{names[0]}.crt", folder / f"{names[0]}.key"
    certificate_file.write_text(certificate)
    key_file.touch(mode=0o600)
    key_file.write_text(key)
    context.load_cert_chain(certificate_file, key_file)
    return context
