"""`outrider init`: writes a configuration that works, and says what is to do next.

On a terminal it asks for what was not given; without one it takes flags and defaults.
"""

import contextlib
import ipaddress
import os
import re
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from outrider.base.errors import ConfigError
from outrider.base.exits import Exit
from outrider.cli.output import CONFIG_DEFAULT, AsJson, ConfigPath, print_json, printable, say

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
HOSTNAME_DEFAULT = "localhost.localdomain"
_PLACE_OF_DRAFT = re.compile(r"^.*?\.draft(:\d+)?: ")

_TEMPLATE = """\
# Outrider. `outrider config explain NAME` says what an option or section means, and its default; the manual
# has a page of all. `outrider check-config` checks this file, `outrider doctor` what is around.

[server]
# The name by which the server greets. It must lead to the address from which you send, and back.
hostname = {hostname}
# One for each core that the server may use.
workers = {workers}
# Spool, control database, keys and events; closed to everybody else.
state_directory = {state}
{run}
# SMTP for programs and people that submit mail.
[[listener]]
name = "submission"
address = {address}
port = {port}
# Nobody may relay until you say who: networks here, or users by `outrider user add`, who need TLS below.
trusted_networks = [{trusted}]
{tls}
# HTTP for programs; each needs a key.
[[http]]
name = "api"
address = {http_address}
port = {http_port}
{net}
[record]
# What events show of an address: full, masked, domain, token, customer-id or none.
redaction = "{redaction}"
# Metrics for Prometheus, on loopback; 0 switches them off.
metrics_port = {metrics_port}
"""


def _text(value: str) -> str:
    """A TOML string."""
    import msgspec

    return msgspec.json.encode(value).decode()


def _tls(certificate: Path | None, key: Path | None) -> str:
    if certificate is None or key is None:
        return '# tls = "starttls"\n# certificate = "server.pem"\n# private_key = "server.key"\n'
    return (
        f'tls = "starttls"\ncertificate = {_text(str(certificate.absolute()))}\n'
        f"private_key = {_text(str(key.absolute()))}\n"
    )


def _asked(hostname: str | None, trust: list[str] | None) -> tuple[str, list[str]]:
    """What was not given is asked for on a terminal."""
    if sys.stdin.isatty():
        if hostname is None:
            hostname = str(typer.prompt("Fully qualified name of this server", default=HOSTNAME_DEFAULT))
        if trust is None:
            answer = str(
                typer.prompt("Networks that may relay without a password, with commas", default="none")
            )
            trust = [] if answer == "none" else [part.strip() for part in answer.split(",") if part.strip()]
    return hostname or HOSTNAME_DEFAULT, trust or []


def _hand_over(draft: Path, config: Path) -> None:
    """Give the draft to who owns the file that it replaces, so that whoever could read that still can."""
    if not config.exists():
        return
    like = config.stat()
    if os.geteuid() == 0:
        os.chown(draft, like.st_uid, like.st_gid, follow_symlinks=False)
    draft.chmod(FILE_MODE | stat.S_IMODE(like.st_mode) & stat.S_IRGRP)


def _write(config: Path, text: str) -> None:
    """Write it closed to others, and take it away again when it is wrong.

    A file that is there keeps its owner, its group, and that the group reads it.
    """
    from outrider.base.files import OsFiles, write_atomic
    from outrider.server.configuration import load

    draft = config.with_name(f".{config.name}.draft")
    try:
        config.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        write_atomic(OsFiles(), str(draft), text.encode(), FILE_MODE)
    except OSError as error:
        sys.stderr.write(f"outrider: {printable(str(config))} cannot be written: {error.strerror}\n")
        raise typer.Exit(
            Exit.NO_PERMISSION if isinstance(error, PermissionError) else Exit.CANNOT_CREATE
        ) from None
    try:
        settings = load(draft)
        _hand_over(draft, config)
        draft.replace(config)
    except ConfigError as error:
        # the draft is gone: what was given is at fault, by the names of options
        faults = tuple(_PLACE_OF_DRAFT.sub("", fault) for fault in error.faults)
        raise ConfigError("nothing was written, as what was given cannot be", faults) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    settings.server.state_directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)


def init(
    config: ConfigPath = CONFIG_DEFAULT,
    hostname: Annotated[
        str | None, typer.Option(help="Fully qualified name of this server; asked for on a terminal.")
    ] = None,
    address: Annotated[str, typer.Option(help="Address to listen on for SMTP.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="SMTP port.", min=0, max=65535)] = 2525,
    http_address: Annotated[str, typer.Option(help="Address to listen on for HTTP.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="HTTP port.", min=0, max=65535)] = 8025,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Port of the metrics, on loopback; 0 switches them off.", min=0, max=65535),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; the default is one a core.")] = None,
    trust: Annotated[
        list[str] | None, typer.Option(help="Network that may relay, such as 127.0.0.0/8. May be repeated.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file with the certificate chain.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="PEM file with its private key.")] = None,
    nameserver: Annotated[
        list[str] | None, typer.Option(help="Recursive resolver instead of the system's. May be repeated.")
    ] = None,
    state: Annotated[str, typer.Option(help="Directory of spool and events.")] = "outrider-state",
    run: Annotated[str, typer.Option(help="Directory of the sockets; else in the state directory.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a configuration that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a configuration that works, by default on loopback only; on a terminal it asks.

    Examples:
      outrider init --trust 127.0.0.0/8
      outrider init -c /etc/outrider/outrider.toml --hostname mx.example.com --address 0.0.0.0
    """
    from outrider.server.settings import Settings

    if config.exists() and not force:
        raise typer.BadParameter(f"{config} exists already; nothing was changed (--force replaces it)")
    if (certificate is None) is not (private_key is None):
        raise typer.BadParameter("--certificate and --private-key belong together")
    for given in (address, http_address):
        try:
            ipaddress.ip_address(given)
        except ValueError:
            raise typer.BadParameter(f"{given!r} is no IP address") from None
    name, networks = _asked(hostname, trust)
    servers = ", ".join(_text(one) for one in nameserver or ())
    record = Settings().record
    _write(
        config,
        _TEMPLATE.format(
            hostname=_text(name),
            workers=len(os.sched_getaffinity(0)) if workers is None else workers,
            state=_text(state),
            run=f"# Sockets between the processes.\nrun_directory = {_text(run)}\n" if run else "",
            address=_text(address),
            port=port,
            trusted=", ".join(_text(network) for network in networks),
            tls=_tls(certificate, private_key),
            http_address=_text(http_address),
            http_port=http_port,
            net=f"\n[net]\nnameservers = [{servers}]\n" if servers else "",
            redaction=record.redaction,
            metrics_port=record.metrics_port if metrics_port is None else metrics_port,
        ),
    )
    if as_json:
        print_json({"written": str(config)})
    else:
        say(f"Wrote {config}. Next: outrider doctor -c {config}, then outrider serve -c {config}")
