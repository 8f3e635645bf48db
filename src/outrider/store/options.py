"""Options of the control database; `server` nests them as `[store]`."""

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, field_validator

_PASSWORD: Final = re.compile(r"[^:/@]*:[^@]*@")
"""As the driver reads a URL behind its scheme: a password may hold any character but @."""
SCHEMES: Final = ("sqlite", "postgresql")


def _about(unit: str, source: str) -> dict[str, Any]:
    return {"unit": unit, "source": source}


class StoreOptions(BaseModel):
    """Section `store`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        "",
        description="Where the control database is: empty is the SQLite file `control.db` in the state "
        "directory; `sqlite:///PATH` is another file, `postgresql://USER@HOST:PORT/DATABASE` a PostgreSQL "
        "server, `postgresql://USER@/DATABASE?host=DIRECTORY` one on a Unix socket.",
    )
    password_file: Path | None = Field(
        None,
        description="File with the password of the PostgreSQL user, alone in its first line. Relative to the "
        "configuration file.",
    )
    pool_size: int = Field(
        2,
        ge=1,
        le=32,
        description="Connections that a process keeps to the database.",
        json_schema_extra=_about("connections", "chosen, because a process asks once for each new session"),
    )
    pool_overflow: int = Field(
        2,
        ge=0,
        le=32,
        description="Connections that a process may open beyond these while it has more to ask.",
        json_schema_extra=_about("connections", "chosen, as many again"),
    )
    wait_seconds: float = Field(
        5.0,
        gt=0,
        le=60,
        description="Longest wait for a connection, for a lock or for an answer; then the asker hears that "
        "the database is away.",
        json_schema_extra=_about("seconds", "chosen, because clients wait for AUTH and HTTP at least 30 s"),
    )
    stale_seconds: float = Field(
        300.0,
        ge=5,
        le=86_400,
        description="While the database is away, credentials that were known before go on to work for so "
        "long.",
        json_schema_extra=_about(
            "seconds",
            "chosen: a restart of the database is not noticed, a revocation is not put off for long",
        ),
    )

    @field_validator("url")
    @classmethod
    def _url_is_known(cls, url: str) -> str:
        if not url:
            return url
        scheme, separator, rest = url.partition("://")
        if scheme not in SCHEMES or not separator:
            raise ValueError("write sqlite:///PATH or postgresql://USER@HOST:PORT/DATABASE")
        if _PASSWORD.match(rest) or "password" in parse_qs(rest.partition("?")[2]):
            raise ValueError(
                "no password belongs here; put it into a file and name it in store.password_file"
            )
        return url
