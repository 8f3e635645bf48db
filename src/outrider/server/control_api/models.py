"""What is asked and answered: the models from which OpenAPI is made.

Times are RFC 3339 in UTC, durations seconds. A field of an answer is never taken away within `/v1`; new
ones may come.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from outrider.model.domain_patterns import parse_domain_pattern, parse_site_pattern

ITEMS_MAX = 1_000
# chosen: one answer is at most some 500 KiB; further ones come by cursor
IDS_MAX = 1_000
# chosen: beyond it a filter says better what is meant
REASON_CHARACTERS = 1_000
# store.editor: the audit log takes no more
NUMBER_MAX = 2**63 - 1
# what SQLite and PostgreSQL store, and what processes can tell each other
DAY_SECONDS = 86_400.0
_ADDRESS = re.compile(r"[^\s/*]@")
# a domain that is queued for itself has an @ before it, also behind the binding of a path: `@slow.example`


def _no_address(text: str) -> str:
    """What chooses mail is written into the audit log for good, so nobody's address may stand in it."""
    if _ADDRESS.search(text):
        raise ValueError(
            "an address cannot stand here, because the audit log keeps what was asked for; "
            "`outrider trace --recipient` (or /v1/trace) tells the ids of its mail"
        )
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Choice = Annotated[Name, AfterValidator(_no_address)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=REASON_CHARACTERS)]
Number = Annotated[int, Field(ge=0, le=NUMBER_MAX)]
Seconds = Annotated[float, Field(ge=0, le=10 * 366 * DAY_SECONDS)]


class Asked(BaseModel):
    """What a client sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class QueueFilter(Asked):
    """Which entries are meant: all that is given must hold; nothing at all means every entry."""

    domain: Annotated[Choice, AfterValidator(parse_domain_pattern)] | None = Field(
        None, description="Routing domain: exact, or `*.suffix`."
    )
    site: Annotated[Choice, AfterValidator(parse_site_pattern)] | None = Field(
        None, description="Site that the domain is known to go to; `*.suffix` too."
    )
    path: Choice | None = Field(None, description="CHANNEL/BINDING/SITE; each may be `*`.")
    channel: Name | None = Field(None, description="Channel.")
    binding: Name | None = Field(None, description="Binding.")
    tenant: Name | None = Field(None, description="Tenant.")
    stream: Name | None = Field(None, description="Stream of the tenant.")
    id: list[Choice] | None = Field(None, max_length=IDS_MAX, description="Ids of messages.")
    entry: list[Number] | None = Field(None, max_length=IDS_MAX, description="Numbers of entries.")
    older_than: Seconds | None = Field(None, description="Received at least so many seconds ago.")
    newer_than: Seconds | None = Field(None, description="Received at most so many seconds ago.")
    attempts: Number | None = Field(None, description="At least so many attempts made.")
    attempts_max: Number | None = Field(None, description="At most so many attempts made.")
    state: Literal["held", "due", "deferred"] | None = Field(None, description="State in the queue.")
    held: bool | None = Field(None, description="Only what is on hold, or only what is free.")
    reply: Choice | None = Field(
        None, description="Somewhere in the last reply, whatever its case; `*` stands for any text."
    )

    def _given(self) -> dict[str, Any]:
        return {
            name: value for name in QueueFilter.model_fields if (value := getattr(self, name)) is not None
        }

    def criteria(self) -> dict[str, Any]:
        """As the dispatcher's operations name them."""
        names = {
            "domain": "routing_domain",
            "id": "message_ids",
            "entry": "entries",
            "older_than": "older_than_seconds",
            "newer_than": "newer_than_seconds",
            "attempts": "min_attempts",
            "attempts_max": "max_attempts",
        }
        return {names.get(name, name): value for name, value in self._given().items()}

    def told(self) -> str:
        """In words, for the audit log and for people."""
        said = (
            f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in self._given().items()
        )
        return " ".join(said)[:REASON_CHARACTERS] or "everything"


class QueuePage(QueueFilter):
    """A filter and where to go on."""

    limit: int = Field(50, ge=1, le=ITEMS_MAX, description="At most so many.")
    cursor: int = Field(-1, ge=-1, le=NUMBER_MAX, description="`next_cursor` of the page before.")


class Entry(BaseModel):
    """One recipient of one message in the queue."""

    message_id: str
    entry: int
    channel: str
    binding: str
    routing_domain: str
    site: str = Field(description="By the last look-up; empty where there was none, or no route.")
    tenant: str
    stream: str
    priority: int
    size: int
    attempts: int
    received_time: str
    due_time: str
    state: Literal["held", "sending", "due", "deferred"]
    held: str = Field(description="Why it is on hold.")
    last_reply: str = Field(description="Of the last attempt that failed, without addresses.")
    last_host: str
    last_attempt_time: str


class Entries(BaseModel):
    """A page of entries, by number."""

    items: list[Entry]
    next_cursor: int | None = Field(description="Ask again with it for more; null is the end.")


class Count(BaseModel):
    """How many entries are meant."""

    count: int
    unresolved: int = Field(0, description="Queued domains that a filter for a site could not judge.")


class Group(BaseModel):
    """Entries that are alike."""

    name: str
    entries: int
    held: int
    octets: int
    oldest_time: str
    attempts: int = Field(description="Most attempts of one.")


class Summary(BaseModel):
    """The queue counted by something, with its totals."""

    by: str
    groups: list[Group]
    entries: int
    held: int
    octets: int


class ChangeAsked(Asked):
    """What all changes have in common."""

    reason: Reason = Field("", description="Why; kept in the audit log and in events.")


class QueueChange(ChangeAsked):
    """What to do to which part of the queue."""

    filter: QueueFilter = Field(default_factory=QueueFilter)
    dry_run: bool = Field(False, description="Only count.")
    expect: int | None = Field(
        None,
        ge=0,
        description="Do nothing (409) unless exactly so many are meant, as a dry run counted them.",
    )


class QueueMove(QueueChange):
    """Where to."""

    to_domain: Name | None = Field(None, description="New routing domain.")
    to_binding: Name | None = Field(None, description="New binding.")

    @model_validator(mode="after")
    def _says_where(self) -> "QueueMove":
        if self.to_domain is None and self.to_binding is None:
            raise ValueError("say where to: to_domain, to_binding or both")
        return self


class Changed(BaseModel):
    """What came of it."""

    matched: int
    changed: int
    busy: int = Field(description="With a worker just now, so left alone.")
    dry_run: bool
    audit: int | None = Field(None, description="Number of the row in the audit log; null for a dry run.")


class PathRow(BaseModel):
    """One path and its figures."""

    channel: str
    binding: str
    site: str
    queued: int = Field(description="All entries, on disk too; 0 where that was not counted.")
    domains: int
    waiting: int
    deferred: int
    granted: int
    on_disk: int | None = Field(
        description="Of `queued`, those that are not in memory: on hold, or due later; null: not counted."
    )
    connections: int
    connecting: int
    idle: int
    failures: int
    state: str
    more_on_disk: bool
    next_seconds: float | None
    delivered: float = Field(0, description="Since the processes that live now started.")
    transient: float = 0
    bounced: float = 0


class Paths(BaseModel):
    """Paths that match."""

    items: list[PathRow]
    next_cursor: int | None
    total: int
    counted: bool = Field(description="False: too many queue keys to count what is on disk.")
    unresolved: int = Field(description="Entries whose domain was never looked up, or never had a route.")


class PathDetail(PathRow):
    """One path in detail."""

    known: bool = Field(description="False: nothing is queued or open for it.")
    top_domains: list[dict[str, Any]]
    suspensions: list["Suspension"]
    messages: list[Entry] = Field(description="Its oldest entries.")
    replies: list[Group] = Field(description="What receivers said last, the most frequent first.")


class Suspension(BaseModel):
    """An order to keep the mail of some paths."""

    number: int
    channel: str
    binding: str
    site: str
    since_time: str
    until_time: str | None
    reason: str
    actor: str


class SuspensionAsked(ChangeAsked):
    """Which paths to suspend, and for how long."""

    channel: Name = "*"
    binding: Name = "*"
    site: Annotated[Choice, AfterValidator(parse_site_pattern)] = Field(
        description="Site, `*.suffix`, or `*` for all."
    )
    seconds: Seconds | None = Field(None, gt=0, description="How long; null is until it is resumed.")
    dry_run: bool = False


class Suspended(BaseModel):
    """What a suspension holds."""

    suspension: Suspension | None = Field(description="Null for a dry run.")
    paths: list[str] = Field(description="Paths known now that it concerns.")
    dry_run: bool
    audit: int | None = None


class Suspensions(BaseModel):
    """Those that hold now."""

    items: list[Suspension]


class Resumed(BaseModel):
    """A suspension that was lifted."""

    suspension: Suspension
    audit: int


class AuditRow(BaseModel):
    """One row of the audit log."""

    number: int
    time: str
    actor: str
    action: str
    subject: str
    tenant: str
    reason: str
    details: Any
    hash: str


class Audit(BaseModel):
    """Rows, newest first."""

    items: list[AuditRow]
    next_cursor: int | None


class AuditCheck(BaseModel):
    """What a check of the whole chain found."""

    ok: bool
    rows: int
    fault: str
    head: str = Field(description="To be kept elsewhere and given as `witness` later.")


class ReloadAsked(ChangeAsked):
    """Whether to reload, or only to say what would change."""

    dry_run: bool = False


class TenantAsked(ChangeAsked):
    """A new tenant."""

    name: Name
    description: str = Field("", max_length=REASON_CHARACTERS)
    verifies_domains: bool = True


class TenantChange(ChangeAsked):
    """What to change of a tenant; null stays."""

    description: str | None = Field(None, max_length=REASON_CHARACTERS)
    is_enabled: bool | None = None
    verifies_domains: bool | None = None


class StreamAsked(ChangeAsked):
    """A new stream."""

    name: Name
    kind: Literal["transactional", "marketing"] = "transactional"


class DomainAsked(ChangeAsked):
    """A new domain of a tenant."""

    name: Name
