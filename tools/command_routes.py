"""Which operation of the control API does what a command does, or why none does.

In: nothing. Out: one row for each command, and the operations that have no command of their own. The page of
the control API shows them; a test walks all commands and all operations and refuses one that is not here.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counterpart:
    """What a command has in the control API.

    Attributes:
        routes: Operations that do what it does.
        needs_server: It asks a running server; else it works on files and the control database as well.
        why: Why there is no operation; empty where there is one.
    """

    routes: tuple[str, ...] = ()
    needs_server: bool = False
    why: str = ""


def _asks(*routes: str) -> Counterpart:
    return Counterpart(routes, needs_server=True)


def _like(*routes: str) -> Counterpart:
    return Counterpart(routes)


def _alone(why: str) -> Counterpart:
    return Counterpart(why=why)


_USERS_FILE = "A users file is a file on disk; who can write it needs no server, and no other user may."
_TRYING = "It tries scripts out as they are on disk, in a process of its own, and touches no mail."
_PRACTICE = "It is no part of a server: it plays the others, for practice and measurement."

COUNTERPARTS: dict[str, Counterpart] = {
    "init": _alone("It writes the configuration that a server is started with."),
    "serve": _alone("It is the server."),
    "check-config": Counterpart(("GET /v1/config/diff",)),
    "config explain": _like("GET /v1/config/options"),
    "config show": _like("GET /v1/config", "GET /v1/config/options"),
    "config diff": _asks("GET /v1/config/diff"),
    "reload": _asks("POST /v1/reload"),
    "doctor": _alone("It looks at what keeps a server from running, as whoever starts it, often as root."),
    "backup": _like("POST /v1/backups"),
    "restore": _alone("It writes a state directory in which no server works."),
    "status": _asks("GET /v1/status"),
    "top": _asks("GET /v1/status", "GET /v1/paths", "GET /v1/paths/{channel}/{binding}/{site}"),
    "queue list": _asks("GET /v1/queue"),
    "queue count": _asks("GET /v1/queue/count"),
    "queue summary": _asks("GET /v1/queue/summary"),
    "queue show": _asks("GET /v1/queue"),
    "queue hold": _asks("POST /v1/queue/hold"),
    "queue release": _asks("POST /v1/queue/release"),
    "queue retry": _asks("POST /v1/queue/retry"),
    "queue purge": _asks("POST /v1/queue/purge"),
    "queue move": _asks("POST /v1/queue/move"),
    "path list": _asks("GET /v1/paths"),
    "path show": _asks("GET /v1/paths/{channel}/{binding}/{site}"),
    "path suspend": _asks("POST /v1/suspensions"),
    "path resume": _asks("DELETE /v1/suspensions/{number}"),
    "path suspensions": _asks("GET /v1/suspensions"),
    "explain path": _like("GET /v1/config/path"),
    "trace": _like("GET /v1/messages/{message_id}", "POST /v1/trace"),
    "tenant add": _like("POST /v1/tenants"),
    "tenant list": _like("GET /v1/tenants"),
    "tenant show": _like("GET /v1/tenants/{name}"),
    "tenant set": _like("PATCH /v1/tenants/{name}"),
    "tenant disable": _like("PATCH /v1/tenants/{name}"),
    "tenant enable": _like("PATCH /v1/tenants/{name}"),
    "tenant remove": _like("DELETE /v1/tenants/{name}"),
    "tenant stream add": _like("POST /v1/tenants/{name}/streams"),
    "tenant stream list": _like("GET /v1/streams", "GET /v1/tenants/{name}/streams"),
    "tenant stream remove": _like("DELETE /v1/tenants/{name}/streams/{stream}"),
    "user add": _like("POST /v1/users"),
    "user list": _like("GET /v1/users"),
    "user show": _like("GET /v1/users/{name}"),
    "user set": _like("PATCH /v1/users/{name}"),
    "user passwd": _like("POST /v1/users/{name}/password"),
    "user disable": _like("PATCH /v1/users/{name}"),
    "user enable": _like("PATCH /v1/users/{name}"),
    "user remove": _like("DELETE /v1/users/{name}"),
    "user import": _like("POST /v1/users/import"),
    "user key create": _alone(_USERS_FILE),
    "user key revoke": _alone(_USERS_FILE),
    "key add": _like("POST /v1/keys"),
    "key list": _like("GET /v1/keys"),
    "key show": _like("GET /v1/keys/{name}"),
    "key set": _like("PATCH /v1/keys/{name}"),
    "key rotate": _like("POST /v1/keys/{name}/rotation"),
    "key disable": _like("PATCH /v1/keys/{name}"),
    "key enable": _like("PATCH /v1/keys/{name}"),
    "key revoke": _like("DELETE /v1/keys/{name}"),
    "domain add": _like("POST /v1/tenants/{name}/domains"),
    "domain verify": _like("POST /v1/tenants/{name}/domains/{domain}/verification"),
    "domain list": _like("GET /v1/domains"),
    "domain show": _like("GET /v1/tenants/{name}/domains/{domain}"),
    "domain remove": _like("DELETE /v1/tenants/{name}/domains/{domain}"),
    "audit list": _like("GET /v1/audit"),
    "audit verify": _like("GET /v1/audit/check"),
    "keys list": _like("GET /v1/keyring"),
    "keys generate": _like("POST /v1/keyring/{purpose}"),
    "keys rotate": _like("POST /v1/keyring/{purpose}/rotation"),
    "keys destroy": _like("POST /v1/keyring/{purpose}/{version}/destruction"),
    "keys export": _alone("A key comes out of its file only, for those who may read that."),
    "dkim keygen": _like("POST /v1/dkim/{domain}/{selector}"),
    "dkim show": _like("GET /v1/dkim"),
    "dkim check": _like("GET /v1/dkim/checks"),
    "dkim rotate": _like("POST /v1/dkim/{domain}/{selector}/activation"),
    "preflight": _alone(
        "It asks DNS and exchangers, not the server, and reads the configuration as it is on disk."
    ),
    "source list": _alone("It shows what the configuration says."),
    "source test": _alone("It asks the source itself, as it is configured on disk."),
    "policy check": _alone(_TRYING),
    "policy test": _alone(_TRYING),
    "policy run-trace": _alone(_TRYING),
    "policy record": _alone("It reads the files of events, which may be many."),
    "policy shadow start": _asks("POST /v1/policy/shadow"),
    "policy shadow report": _asks("GET /v1/policy/shadow"),
    "policy shadow stop": _asks("DELETE /v1/policy/shadow"),
    "policy stubs": _alone("It prints what this program knows of hooks."),
    "inject": _alone(_PRACTICE),
    "sink": _alone(_PRACTICE),
    "sim": _alone(_PRACTICE),
    "demo": _alone(_PRACTICE),
}
"""By the words of the command."""

ROUTES_ALONE = {
    "GET /v1/workers": "processes with memory and lag, which `outrider status` shows with the rest",
    "GET /v1/metrics": "for scrapers that cannot reach the metrics listener",
    "GET /v1/metrics/summary": "for scripts that want a number",
    "GET /v1/events": "the newest events; a shipper reads the files",
}
"""Operations that no command asks for, and for whom they are."""


def counterpart_lines() -> Iterator[str]:
    """The table for the page of the control API."""
    yield from ("| command | operation | without a server |", "| --- | --- | --- |")
    for words, found in COUNTERPARTS.items():
        routes = "<br>".join(f"`{route}`" for route in found.routes) or f"none: {found.why}"
        yield f"| `outrider {words}` | {routes} | {'no' if found.needs_server else 'yes'} |"
    yield ""
    yield "Operations that no command asks for:"
    yield ""
    for route, purpose in ROUTES_ALONE.items():
        yield f"- `{route}`: {purpose}."
