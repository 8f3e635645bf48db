"""Options of the node itself: name, processes, directories, and the limits that concern all of it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from outrider.base.errors import AddressError
from outrider.model.mailbox import parse_domain


def _host_name(text: str) -> str:
    try:
        return parse_domain(text)
    except AddressError as error:
        raise ValueError(f"{error.message}; give the name of this server, such as mx.example.com") from error


HostName = Annotated[str, AfterValidator(_host_name)]


class ServerOptions(BaseModel):
    """Section `server`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hostname: HostName = Field(
        "localhost.localdomain",
        description="Name by which the server greets, says EHLO, writes Received and signs its reports. "
        "Receivers expect a fully qualified name that resolves to the sending address.",
        json_schema_extra={"source": "RFC 5321 §2.3.5, RFC 5321 §4.1.1.1"},
    )
    workers: int = Field(
        2,
        ge=1,
        le=64,
        description="Worker processes; one for each core that the server may use.",
        json_schema_extra={"unit": "processes", "source": "design: one single-threaded worker per core"},
    )
    state_directory: Path = Field(
        Path("outrider-state"),
        description="Holds spool, events, locks and, by default, the sockets between processes. "
        "Relative to the configuration file.",
    )
    run_directory: Path | None = Field(
        None,
        description="Holds the Unix sockets between processes; the default is `run` in the state directory.",
    )
    loop: Literal["auto", "uvloop", "asyncio"] = Field(
        "auto", description="Event loop; auto takes uvloop where it is installed."
    )
    scheduling: Literal["batch", "inherit"] = Field(
        "batch",
        description="Class in which the kernel schedules the server's processes. `batch`: one that wakes up "
        "does not interrupt another at work, which saves CPU under load; `inherit`: as whoever started the "
        "server.",
        json_schema_extra={"source": "sched(7); measured: 8 to 10 % less CPU for a message"},
    )
    watchdog_seconds: float = Field(
        30.0,
        ge=2,
        description="A process whose loop did not turn for so long is ended and started again.",
        json_schema_extra={
            "unit": "seconds",
            "source": "chosen, because no callback holds a loop over 20 ms",
        },
    )
    drain_seconds: float = Field(
        20.0,
        ge=0,
        description="After a stop signal: how long sessions and deliveries in flight may take to finish.",
        json_schema_extra={"unit": "seconds", "source": "chosen, below systemd's 90 s"},
    )
    min_free_bytes: int = Field(
        256 * 1024 * 1024,
        ge=0,
        description="Free space of the state directory below which new mail is refused with 452 (HTTP: 503); "
        "mail already queued goes on.",
        json_schema_extra={"unit": "octets", "source": "chosen: four log segments"},
    )
    memory_limit_bytes: int = Field(
        1024 * 1024 * 1024,
        ge=64 * 1024 * 1024,
        description="Resident memory of one worker above which new mail is refused with 421 (HTTP: 503) "
        "until it is below nine tenths of it.",
        json_schema_extra={"unit": "octets", "source": "chosen, about ten times a busy worker"},
    )
    content_cache_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        description="Content that a worker keeps in memory for delivery after accepting it; beyond it "
        "content is read from the log again.",
        json_schema_extra={"unit": "octets", "source": "chosen: 1,000 messages of 64 KiB"},
    )
    users_file: Path | None = Field(
        None,
        description="Users and API keys, made by `outrider user`. Relative to the configuration file.",
    )

    @property
    def spool_directory(self) -> Path:
        return self.state_directory / "spool"

    @property
    def inbound_directory(self) -> Path:
        return self.state_directory / "inbound"

    @property
    def events_directory(self) -> Path:
        return self.state_directory / "events"

    @property
    def sockets_directory(self) -> Path:
        return self.run_directory or self.state_directory / "run"
