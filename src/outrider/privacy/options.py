"""Options of privacy: where keys are."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class PrivacyOptions(BaseModel):
    """Section `privacy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_directory: Path | None = Field(
        None,
        description="Holds the key ring, one file for each key, readable by the server's user only; the "
        "default is `keys` in the state directory. Relative to the configuration file. Keys that systemd "
        "passes as credentials (`LoadCredential=spool-1.key:…`) are read beside it.",
        json_schema_extra={
            "source": "chosen, because a first start needs no decision; another volume is better"
        },
    )
