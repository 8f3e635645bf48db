"""The spool's options."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20


class SpoolOptions(BaseModel):
    """How the spool uses its disk. The defaults serve a server with one fast disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    segment_octets: int = Field(
        64 * MIB,
        ge=64 << 10,
        le=1 << 30,
        description="Length to which a log segment is preallocated.",
        json_schema_extra={
            "unit": "octets",
            "source": "chosen: 25,000 messages of 2 KiB",
        },
    )
    pending_octets: int = Field(
        64 * MIB,
        ge=MIB,
        description="Octets of one worker waiting for a sync above which new messages are answered 451.",
        json_schema_extra={"unit": "octets", "source": "chosen: one segment"},
    )
    finish_delay_seconds: float = Field(
        0.02,
        gt=0,
        le=1,
        description="Longest time that a finish waits for a commit to share its sync with.",
        json_schema_extra={"unit": "seconds", "source": "chosen: bounds the duplicates after a power cut"},
    )
    gather_seconds: float = Field(
        0.001,
        ge=0,
        le=0.1,
        description="How long a busy worker gathers messages before it syncs them together.",
        json_schema_extra={
            "unit": "seconds",
            "source": "measured: some 6 % less CPU at 100 connections",
        },
    )
    write_retry_seconds: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Pause before finishes that could not be written are tried in a new segment.",
        json_schema_extra={"unit": "seconds", "source": "chosen: a full disk seldom empties faster"},
    )
    open_segments: int = Field(
        64,
        ge=4,
        le=1024,
        description="Segments that one process keeps open for reading.",
        json_schema_extra={"unit": "files", "source": "chosen: 4 GiB of spool at the default segment"},
    )
    checkpoint_seconds: float = Field(
        5.0,
        gt=0,
        le=300,
        description="Time between checkpoints of the dispatcher.",
        json_schema_extra={
            "unit": "seconds",
            "source": "chosen: start replays at most this much of the logs",
        },
    )
    checkpoint_changes: int = Field(
        50_000,
        ge=100,
        description="Changed entries in memory above which replay takes a checkpoint before going on.",
        json_schema_extra={"unit": "entries", "source": "measured: some 30 MiB"},
    )
    checkpoint_cache_octets: int = Field(
        8 * MIB,
        ge=MIB,
        description="Memory for pages of the checkpoint database.",
        json_schema_extra={"unit": "octets", "source": "chosen: holds the inner pages for a million entries"},
    )
    compact_below: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="Share of live content below which a closed segment is compacted; 0 is never.",
        json_schema_extra={"unit": "share", "source": "chosen: copies at most a third of what it frees"},
    )
    carry_below: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="A dead segment is kept while more than this share of it had to be copied forward.",
        json_schema_extra={
            "unit": "share",
            "source": "chosen: as compact_below; bounds the copying of copies",
        },
    )
    compression: Literal["none", "zstd"] = Field(
        "none",
        description="Compression of what is written to the log; what is in it already is read either way.",
        json_schema_extra={
            "source": "chosen, because disks are large and it costs CPU; see bench/micro_frames.py"
        },
    )
    zstd_level: int = Field(
        1,
        ge=-7,
        le=9,
        description="Level of zstd; higher is smaller and slower.",
        json_schema_extra={
            "unit": "level",
            "source": "measured: 2 KiB shrink by 39 % in 8 µs; level 3 takes 10 for the same",
        },
    )
    encryption: Literal["none", "aes-256-gcm"] = Field(
        "none",
        description="Encryption of what is written to the log, by the newest `spool` key of the key ring "
        "(`outrider keys generate spool`); what is in it already is read either way, while its key exists.",
        json_schema_extra={"source": "chosen, because a key must be kept safe before anything depends on it"},
    )
