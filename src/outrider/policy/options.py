"""The policy's options: which scripts decide, and what they may cost."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from outrider.model.binding import DEFAULT, NAME_CHARACTERS
from outrider.policy import script
from outrider.policy.audit import MONITORS_MAX, parse_monitor
from outrider.policy.lookup_options import LookupOptions
from outrider.policy.shared import SLOTS_DEFAULT, SLOTS_MAX


class ScriptOptions(BaseModel):
    """One script."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=script.NAME_PATTERN,
        max_length=script.NAME_CHARACTERS,
        description="Its name in events and messages; a Lua script registers its module under it.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    source: Path = Field(
        description="Its file; `.py` is Python, `.lua` is Lua as Momentum's scripts are.",
        json_schema_extra={"unit": "path", "source": "operator's choice"},
    )

    @field_validator("source")
    @classmethod
    def _is_script(cls, source: Path) -> Path:
        if source.suffix not in {".py", ".lua"}:
            raise ValueError(f"{source.name} is no script: its name ends in .py or .lua")
        return source


class PolicyOptions(BaseModel):
    """What scripts decide."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    script: tuple[ScriptOptions, ...] = Field(
        (),
        description="Scripts in the order in which they are asked; each is a `[[policy.script]]` table.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    lookup: tuple[LookupOptions, ...] = Field(
        (),
        description="Queries that decide without a script, in the order in which they are asked, before the "
        "scripts of the same phase; each is a `[[policy.lookup]]` table.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    lua_folders: tuple[Path, ...] = Field(
        (),
        description="Where scripts in Lua find what they `require`, before the scripts' own folders.",
        json_schema_extra={"unit": "paths", "source": "operator's choice"},
    )
    lua_operators: Literal["momentum", "lua53"] = Field(
        "momentum",
        description="How `|`, `^^`, `&`, `<<` and `>>` group in scripts in Lua: `momentum`, as in Momentum's "
        "runtime, the first three as addition and the shifts as multiplication; `lua53`, as in Lua 5.3, all "
        "of them looser than `..` and addition.",
        json_schema_extra={"unit": "", "source": "the published source of Momentum's runtime"},
    )
    default_binding: str = Field(
        DEFAULT,
        min_length=1,
        max_length=NAME_CHARACTERS,
        description="Binding or group of mail to which no script assigns one; `none`: such mail is refused "
        "with a 451 until the policy is mended.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    hook_seconds: float = Field(
        0.1,
        gt=0,
        le=10,
        description="Processor time of one hook between its waits; who needs more is stopped, and the peer "
        "hears 421.",
        json_schema_extra={"unit": "seconds", "source": "chosen: a thousand times what a hook needs"},
    )
    wait_seconds: float = Field(
        20.0,
        gt=0,
        le=300,
        description="How long one hook may wait for databases and the like; then the peer hears 451.",
        json_schema_extra={"unit": "seconds", "source": "chosen: well below a client's time-outs"},
    )
    shared_numbers: int = Field(
        SLOTS_DEFAULT,
        ge=64,
        le=SLOTS_MAX,
        description="Room for numbers that scripts count over all workers: allowances, gauges, counters. A "
        "change takes effect when the server is started again, and begins all of them anew.",
        json_schema_extra={"unit": "numbers", "source": "chosen: some ten thousand keys, 3 MB"},
    )
    audit_monitors: tuple[str, ...] = Field(
        (),
        max_length=MONITORS_MAX,
        description="What is counted by network for `msys.audit` of scripts in Lua, each as seconds of a "
        'window and number of windows: `["60,1"]`. With none nothing is. Sessions that are open when the '
        "first one is added are not counted.",
        json_schema_extra={"unit": "seconds,windows", "source": "Momentum's inbound_audit"},
    )
    alert_failures: int = Field(
        10,
        ge=1,
        le=1_000_000,
        description="Failures of one script in one worker within `alert_seconds` that are an alert.",
        json_schema_extra={"unit": "failures", "source": "chosen: more than a single odd message brings"},
    )
    alert_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Time in which failures are counted; there is one alert in it at most.",
        json_schema_extra={"unit": "seconds", "source": "chosen: what an operator looks at"},
    )

    @field_validator("audit_monitors")
    @classmethod
    def _are_monitors(cls, monitors: tuple[str, ...]) -> tuple[str, ...]:
        known = [parse_monitor(each) for each in monitors]
        for at, each in enumerate(known):
            if each in known[:at]:
                raise ValueError(f"the monitor '{each}' is there twice")
        return monitors

    @property
    def module_folders(self) -> tuple[Path, ...]:
        """Where `require` looks, in order."""
        own = (each.source.parent for each in self.script if each.source.suffix == ".lua")
        return tuple(dict.fromkeys((*self.lua_folders, *own)))

    def files(self) -> list[Path]:
        """The scripts, and what those in Lua may require."""
        modules = [path for folder in self.module_folders for path in sorted(folder.rglob("*.lua"))]
        return [*(each.source for each in self.script), *modules]

    def resolved(self, base: Path) -> "PolicyOptions":
        """The same with every file made absolute below `base`."""
        return self.model_copy(
            update={
                "script": tuple(
                    each.model_copy(update={"source": base / each.source}) for each in self.script
                ),
                "lua_folders": tuple(base / each for each in self.lua_folders),
            }
        )

    @model_validator(mode="after")
    def _names_differ(self) -> "PolicyOptions":
        names = [script.name for script in self.script] + [each.name for each in self.lookup]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two scripts or look-ups have the name {name!r}; each needs its own")
        return self
