"""What we say when *we* failed: each a reply of our own that becomes an `Outcome` marked as ours.

All are transient (4xx): nobody has judged the recipient. The text names the host and what happened to it,
and holds no personal data.

Standards: RFC 3463 §3.5 (X.4.1 no answer, X.4.2 bad connection), RFC 3463 §3.6 (X.5.0), RFC 3463 §3.8
(X.7.5), RFC 3463 §3.4 (X.3.0, X.3.5).
"""

import ssl

from outrider.model.flow import Host, Phase
from outrider.model.reply import Reply
from outrider.net.options import UNIX_PREFIX

NO_HOST = Reply(451, "4.4.1", ("No host to try",))
"""RFC 3463 §3.5 X.4.1: the grant named none."""

HELD = Reply(451, "4.7.1", ("Held back before sending",))
"""RFC 3463 §3.8 X.7.1: the guard did not clear it."""

INTERNAL = Reply(451, "4.3.0", ("Internal error in delivery; the server log has the details",))
"""RFC 3463 §3.4 X.3.0: a fault of ours."""

UNREADABLE = Reply(451, "4.3.0", ("The message cannot be read from the spool",))
"""RFC 3463 §3.4 X.3.0: its frame is damaged or gone."""

STOPPING = Reply(451, "4.3.2", ("This server stopped before the host had replied",))
"""RFC 3463 §3.4 X.3.2: our own stop, which says nothing about the host. It may have taken the message."""

PASSWORD_UNREADABLE = Reply(451, "4.3.5", ("The password file for this smart host cannot be read",))
"""RFC 3463 §3.4 X.3.5: a fault of our configuration."""

PROXY_PASSWORD_UNREADABLE = Reply(451, "4.3.5", ("The password file for the proxy cannot be read",))
"""RFC 3463 §3.4 X.3.5: a fault of our configuration."""

SUBMISSIONS_PORT = 465
"""RFC 8314 §7.3: where TLS is spoken from the first octet."""

_WAITED = {
    Phase.GREETING: "the greeting",
    Phase.EHLO: "the reply to EHLO",
    Phase.STARTTLS: "the TLS handshake",
    Phase.AUTH: "the reply to AUTH",
    Phase.MAIL: "the reply to MAIL",
    Phase.RCPT: "the reply to RCPT",
    Phase.DATA: "the reply to DATA",
    Phase.BODY: "the reply to the content",
}


def format_peer(host: Host) -> str:
    """`address:port`, an IPv6 address in brackets; `unix:/path` as it is."""
    if host.address.startswith(UNIX_PREFIX):
        return host.address
    return f"[{host.address}]:{host.port}" if ":" in host.address else f"{host.address}:{host.port}"


def _named(host: Host) -> str:
    peer = format_peer(host)
    return f"{host.name} ({peer})" if host.name not in {"", peer} else peer


def _reason(error: BaseException | None) -> str:
    """The system's short text for an error; never more than one line."""
    if error is None:
        return "the host closed it"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]


def not_usable(host: Host, why: str) -> Reply:
    """The host may not be tried from here: address family or source address."""
    return Reply(451, "4.4.1", (f"{_named(host)}: {why}",))


def not_connected(host: Host, error: BaseException) -> Reply:
    """The system says why."""
    return Reply(451, "4.4.1", (f"Connecting to {_named(host)} failed: {_reason(error)}",))


def proxy_failed(host: Host, why: str) -> Reply:
    """The proxy is not there, does not want us, or did not reach the host; reports go out, so not which."""
    return Reply(451, "4.4.1", (f"Connecting to {_named(host)} by way of our proxy failed: {why}",))


def not_ours(host: Host, source: str) -> Reply:
    """What we are to send from is no address of this host."""
    return Reply(
        451,
        "4.4.1",
        (f"Connecting to {_named(host)} failed: {source} is no address of this host; see outrider doctor",),
    )


def connect_timed_out(host: Host, seconds: float) -> Reply:
    """The host did not even refuse."""
    return Reply(451, "4.4.1", (f"Connecting to {_named(host)} took over {seconds:g} s",))


def lost(host: Host, phase: Phase | None, error: BaseException | None) -> Reply:
    """The connection ended while something was being waited for."""
    waited = f" while waiting for {_WAITED[phase]}" if phase in _WAITED else ""
    return Reply(451, "4.4.2", (f"Connection to {_named(host)} lost{waited}: {_reason(error)}",))


def timed_out(host: Host, phase: Phase, seconds: float, *, in_tls: bool = True) -> Reply:
    """No complete reply within the phase's time-out; `in_tls` is False without TLS from the first octet."""
    told = f"{_named(host)}: waited {seconds:g} s for {_WAITED[phase]}"
    if phase is Phase.GREETING and host.port == SUBMISSIONS_PORT and not in_tls:
        told += '; on that port hosts wait for TLS, which is spoken at once where tls = "implicit"'
    return Reply(451, "4.4.2", (told,))


def blocked(host: Host, seconds: float) -> Reply:
    """The transport took no more octets."""
    return Reply(451, "4.4.2", (f"{_named(host)}: took nothing of the content for {seconds:g} s",))


def broke_protocol(host: Host, message: str) -> Reply:
    """What came is no SMTP, or not in its place."""
    return Reply(451, "4.5.0", (f"{_named(host)}: {message}",))


def tls_failed(host: Host, error: BaseException) -> Reply:
    """The handshake, or the certificate."""
    why = _reason(error)
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        why = "it answers in clear text, so STARTTLS may be its way"
    return Reply(451, "4.7.5", (f"TLS with {_named(host)} failed: {why}",))
