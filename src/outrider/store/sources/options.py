"""Options of data sources; `server` nests them as `[[data_source]]`.

A source is told where it is by its URL, whose scheme is its kind. Its password is never here: it comes from a
file or from the environment (`secret.py`).
"""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from outrider.store.sources.address import Address, parse_address
from outrider.store.sources.failures import SourceQueryError
from outrider.store.sources.query_text import check_query

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]*$"


def _about(unit: str, source: str) -> dict[str, Any]:
    return {"unit": unit, "source": source}


class SourcePoolOptions(BaseModel):
    """Connections of one process to one source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: int = Field(
        1,
        ge=0,
        le=64,
        description="So many connections stay open once they were made, however long nobody asks.",
        json_schema_extra=_about("connections", "chosen: the first question after a pause waits for none"),
    )
    max: int = Field(
        4,
        ge=1,
        le=64,
        description="At most so many in each worker; further questions wait, within query_seconds.",
        json_schema_extra=_about("connections", "chosen: most look-ups are answered from the cache"),
    )
    idle_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Those beyond `min` are closed after so long without a question.",
        json_schema_extra=_about("seconds", "chosen: a burst is over by then"),
    )

    @model_validator(mode="after")
    def _min_is_below_max(self) -> Self:
        if self.min > self.max:
            raise ValueError("min is larger than max")
        return self


class SourceCacheOptions(BaseModel):
    """What one process remembers of one source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entries: int = Field(
        10_000,
        ge=0,
        le=10_000_000,
        description="Results kept, by query and parameters; the least recently used go first. 0 keeps none.",
        json_schema_extra=_about("results", "chosen: more customers than most have, some 10 MiB"),
    )
    octets: int = Field(
        16 << 20,
        ge=0,
        le=1 << 34,
        description="All results together take at most so much memory, roughly.",
        json_schema_extra=_about("octets", "chosen: small beside what a worker may use"),
    )
    seconds: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="A result is used for so long; 0 asks every time.",
        json_schema_extra=_about("seconds", "chosen: who changes a table sees it within a minute"),
    )
    negative_seconds: float = Field(
        10.0,
        ge=0,
        le=86_400,
        description="A result without any row is used for so long.",
        json_schema_extra=_about("seconds", "chosen: a new customer does not wait for long"),
    )
    stale_seconds: float = Field(
        0.0,
        ge=0,
        le=604_800,
        description="While the source is down, a result is used for so long beyond its time; 0 never does.",
        json_schema_extra=_about(
            "seconds", "chosen: whether old answers are better than 451 is yours to say"
        ),
    )


class SourceBreakerOptions(BaseModel):
    """When a source that does not answer is left alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    failures: int = Field(
        3,
        ge=1,
        le=1_000,
        description="After so many questions in a row that got no answer, the source is left alone: further "
        "ones fail at once. A query that the source refuses is an answer.",
        json_schema_extra=_about("questions", "chosen: one lost connection is no outage"),
    )
    open_seconds: float = Field(
        5.0,
        gt=0,
        le=3_600,
        description="For so long; then one question is let through, and its answer decides.",
        json_schema_extra=_about("seconds", "chosen: clients that heard 451 try again much later"),
    )


class SourceQueryOptions(BaseModel):
    """A query by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN, max_length=63, description="By which it is asked for.")
    text: str = Field(
        min_length=1,
        description="SQL with `?`, a Redis command (`HGETALL customer:?`), or `GET /path/{}#/rows`.",
    )
    parameters: tuple[str, ...] = Field(
        (), description="Names of what fills the placeholders, in their order, such as `recipient_domain`."
    )


class DataSourceOptions(BaseModel):
    """One `[[data_source]]` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=NAME_PATTERN, max_length=63, description="By which scripts and configuration ask for it."
    )
    url: str = Field(
        description="Where it is: `sqlite:///FILE`, `csv:///FILE` (relative to the configuration file, four "
        "slashes for an absolute path), `postgresql://USER@HOST:PORT/DATABASE`, "
        "`mysql://USER@HOST:PORT/DATABASE`, `redis://HOST:PORT/NUMBER`, `https://HOST/PATH`. On a Unix "
        "socket: `postgresql://USER@/DATABASE?host=DIRECTORY`, `mysql://USER@/DATABASE?socket=FILE`, "
        "`redis:///0?socket=FILE`.",
    )
    password_file: Path | None = Field(
        None,
        description="File with the password, alone in its first line, readable by the server's user only. "
        "For HTTP without a user in the URL it is sent as a bearer token. Relative to the configuration "
        "file.",
    )
    password_credential: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]*$",
        max_length=255,
        description="Name of the systemd credential (`LoadCredential=`) that holds the password instead.",
    )
    password_environment: str = Field(
        "", max_length=255, description="Name of an environment variable that holds the password instead."
    )
    writable: bool = Field(
        False,
        description="Statements may change something. Otherwise SQLite files are opened for reading, "
        "sessions of servers are read-only, and Redis gets reading commands only.",
    )
    tls: bool = Field(
        False,
        description="Speak TLS with PostgreSQL, MySQL or Redis and check the server's certificate and name. "
        "`https` always does.",
    )
    ca_file: Path | None = Field(
        None,
        description="Authorities (PEM) that the server's certificate is checked by; none: those of the "
        "system. Relative to the configuration file.",
    )
    connect_seconds: float = Field(
        3.0,
        gt=0,
        le=60,
        description="Longest wait for a connection to be made.",
        json_schema_extra=_about("seconds", "chosen: a packet that was lost is sent again meanwhile"),
    )
    query_seconds: float = Field(
        5.0,
        gt=0,
        le=300,
        description="Longest wait for an answer in all, for a connection to come free included.",
        json_schema_extra=_about(
            "seconds", "chosen: clients wait for each reply for minutes (RFC 5321 §4.5.3.2)"
        ),
    )
    rows_max: int = Field(
        1_000,
        ge=1,
        le=10_000_000,
        description="A query that gives more rows fails.",
        json_schema_extra=_about("rows", "chosen: a look-up gives a handful"),
    )
    octets_max: int = Field(
        16 << 20,
        ge=1_024,
        le=1_000_000_000,
        description="Largest answer of an HTTP server, largest CSV file, largest value of SQLite.",
        json_schema_extra=_about("octets", "chosen: it is held in memory, and copied once"),
    )
    pool: SourcePoolOptions = Field(SourcePoolOptions(), description="Connections.")
    cache: SourceCacheOptions = Field(SourceCacheOptions(), description="Results that are remembered.")
    breaker: SourceBreakerOptions = Field(SourceBreakerOptions(), description="When it is left alone.")
    query: tuple[SourceQueryOptions, ...] = Field(
        (), description="Queries by name; each is a `[[data_source.query]]` table."
    )

    @field_validator("url")
    @classmethod
    def _url_is_known(cls, url: str) -> str:
        parse_address(url)
        return url

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        kind = self.address.kind
        given = (self.password_file, self.password_credential, self.password_environment)
        if sum(map(bool, given)) > 1:
            raise ValueError("give one of password_file, password_credential and password_environment")
        if self.tls and (kind in {"sqlite", "csv", "http"} or self.address.socket):
            raise ValueError(f"tls is for servers of databases; leave it out of {self.url}")
        if self.writable and kind in {"csv", "http"}:
            raise ValueError(f"a {kind} source cannot be written; leave writable out")
        names = [query.name for query in self.query]
        for query in self.query:
            if names.count(query.name) > 1:
                raise ValueError(f"two queries have the name {query.name!r}; each needs its own")
            try:
                check_query(kind, query.text, len(query.parameters), writable=self.writable)
            except SourceQueryError as error:
                raise ValueError(f"query {query.name}: {error.message}") from error
        return self

    @property
    def address(self) -> Address:
        """The URL, taken apart."""
        return parse_address(self.url)

    def resolved(self, base: Path) -> "DataSourceOptions":
        """The same with every relative path made absolute below `base`."""
        address = self.address
        update: dict[str, Any] = {
            name: base / path for name in ("password_file", "ca_file") if (path := getattr(self, name))
        }
        if address.kind in {"sqlite", "csv"}:
            update["url"] = f"{address.kind}:///{(base / address.path).absolute().as_posix()}"
        return self.model_copy(update=update)
