"""OpenDKIM as a verifier and a signer: its filter in test mode, which reads files and asks no DNS.

In that mode it takes exactly one space after a field's colon for granted, so messages for the simple form of
the header are written so.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.peers.processes import PeerError, find_program, peer_folder

FILTER = "/usr/sbin/opendkim"

_SIGNED = re.compile(rb"### INSHEADER: idx=0 hname='DKIM-Signature' hvalue='([^']*)'")
_VERDICT = re.compile(r"opendkim: \S*?m(\d+)\.eml: verification .*? (succeeded|failed)")


def missing() -> str | None:
    """Why OpenDKIM cannot run here, or None."""
    return None if find_program(FILTER) else "OpenDKIM is not installed; run `make peers` as root"


def _run(folder: Path, configuration: str, messages: Sequence[bytes]) -> bytes:
    """What the filter says about messages; `m0.eml` is the first."""
    (folder / "conf").write_text(configuration)
    files = []
    for number, message in enumerate(messages):
        files.append(folder / f"m{number}.eml")
        files[-1].write_bytes(message)
    command = [FILTER, "-x", str(folder / "conf"), "-vvv", "-t", ",".join(map(str, files))]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if done.returncode:
        raise PeerError(f"{command}: {done.returncode}: {done.stdout!r} {done.stderr!r}")
    return done.stdout


def verdicts(messages: Sequence[bytes], records: Mapping[str, str]) -> list[bool | None]:
    """For each message whether its first signature verified; None where nothing was said of it.

    Args:
        messages: CRLF line ends.
        records: Key records by name.
    """
    with peer_folder("opendkim") as folder:
        keys = folder / "keys"
        keys.write_text("".join(f"{name} {text}\n" for name, text in records.items()))
        configuration = f"Mode v\nTestPublicKeys {keys}\nSyslog no\nMinimumKeyBits 1024\n"
        said = _run(folder, configuration, messages).decode("latin-1")
    found: list[bool | None] = [None] * len(messages)
    for number, word in _VERDICT.findall(said):
        found[int(number)] = word == "succeeded"
    return found


def signed(message: bytes, key: bytes, *, algorithm: str, selector: str, domain: str, form: str) -> bytes:
    """The message (CRLF line ends) with OpenDKIM's signature before it.

    Args:
        message: To sign.
        key: PEM.
        algorithm: `rsa-sha256` or `ed25519-sha256`.
        selector: Of the key.
        domain: Of the key.
        form: Canonicalisations, such as `relaxed/simple`.
    """
    with peer_folder("opendkim") as folder:
        path = folder / "key.pem"
        path.write_bytes(key)
        path.chmod(0o600)
        options = {
            "Mode": "s",
            "Domain": domain,
            "Selector": selector,
            "KeyFile": path,
            "Canonicalization": form,
            "SignatureAlgorithm": algorithm,
            "OversignHeaders": "From",
            "InternalHosts": "0.0.0.0/0",
            "RequireSafeKeys": "no",  # the folder for temporary files is everybody's
            "Syslog": "no",
        }
        said = _run(folder, "".join(f"{name} {value}\n" for name, value in options.items()), [message])
    found = _SIGNED.search(said)
    if found is None:
        raise PeerError(f"no signature: {said!r}")
    return b"DKIM-Signature: " + found[1].replace(b"\n", b"\r\n") + b"\r\n" + message
