"""Options of look-ups: what a named query of a data source decides about a message, without a script.

A `[[policy.lookup]]` table asks one query and says which column of its first row decides what. It is asked
where the first of these is decided and again where the next is: notes and the routing domain in `each_rcpt`,
where a message can still be refused, binding and priority in `set_binding`.
"""

from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from outrider.policy import script
from outrider.policy.answers import reply_of
from outrider.policy.connection import NAME_CHARACTERS
from outrider.policy.value_names import check_parameters
from outrider.store.sources.options import NAME_PATTERN

CONTINUE: Final = "continue"
_OURS: Final[dict[str, Any]] = {"unit": "", "source": "operator's choice"}


class AssignOptions(BaseModel):
    """Which column decides what; a column that is NULL or empty in the row decides nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    binding: str = Field(
        "",
        description="Column with the name of a binding, or of a group.",
        json_schema_extra=_OURS,
    )
    binding_group: str = Field(
        "",
        description="Column with the name of a group of bindings.",
        json_schema_extra=_OURS,
    )
    priority: str = Field(
        "",
        description="Column with the priority: 0, or 1 for what goes before all others of its path.",
        json_schema_extra=_OURS,
    )
    routing_domain: str = Field(
        "",
        description="Column with the domain whose exchangers take the message.",
        json_schema_extra=_OURS,
    )

    @model_validator(mode="after")
    def _one_binding(self) -> Self:
        if self.binding and self.binding_group:
            raise ValueError("binding and binding_group exclude each other: binding takes groups too")
        return self

    @property
    def late(self) -> dict[str, str]:
        """What is decided in `set_binding`, with its column."""
        found = {name: getattr(self, name) for name in ("binding", "binding_group", "priority")}
        return {name: column for name, column in found.items() if column}


class LookupOptions(BaseModel):
    """One `[[policy.lookup]]` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=script.NAME_PATTERN,
        max_length=script.NAME_CHARACTERS,
        description="Its name in events and messages, as a script's.",
        json_schema_extra=_OURS,
    )
    source: str = Field(
        pattern=NAME_PATTERN, description="Name of the data source that is asked.", json_schema_extra=_OURS
    )
    query: str = Field(
        pattern=NAME_PATTERN,
        description="Name of one of its queries (`[[data_source.query]]`).",
        json_schema_extra=_OURS,
    )
    parameters: dict[str, str] = Field(
        default={},
        description="For each parameter of the query what of the message fills it: `from_domain`, "
        "`mail_from`, `mail_from_domain`, `rcpt_to`, `rcpt_domain`, `routing_domain`, `tenant`, `stream`, "
        "`user`, `listener`, `client`, `helo`, `header:NAME`, `context:KEY`. A parameter that is called so "
        "itself needs no entry. Where all of them are absent or empty, there is no row and nothing is asked.",
        json_schema_extra=_OURS,
    )
    assign: AssignOptions = Field(AssignOptions(), description="Which column decides what.")
    notes: dict[str, str] = Field(
        default={},
        description="Notes that the message gets, each with its column; what begins with `secret_` is never "
        "written. Scripts and later look-ups read them (`context:KEY`).",
        json_schema_extra=_OURS,
    )
    no_row: str = Field(
        CONTINUE,
        description="What holds without a row: `continue` goes on with the defaults, a code with a text, "
        "such as `550 5.7.1 Unknown customer`, refuses the message.",
        json_schema_extra=_OURS,
    )

    @field_validator("parameters")
    @classmethod
    def _readable(cls, parameters: dict[str, str]) -> dict[str, str]:
        return check_parameters(parameters)

    @field_validator("notes")
    @classmethod
    def _named(cls, notes: dict[str, str]) -> dict[str, str]:
        for name, column in notes.items():
            if not column or not 0 < len(name) <= NAME_CHARACTERS:
                raise ValueError(f"{name!r} = {column!r} is no note with its column")
        return notes

    @field_validator("no_row")
    @classmethod
    def _refuses(cls, no_row: str) -> str:
        if no_row != CONTINUE:
            code, _, text = no_row.partition(" ")
            if not code.isascii() or not code.isdigit():
                raise ValueError("write continue, or a code and a text, such as 550 5.7.1 Unknown customer")
            reply_of(int(code), text)
        return no_row

    @model_validator(mode="after")
    def _decides(self) -> Self:
        assign = self.assign
        if not (assign.late or assign.routing_domain or self.notes or self.no_row != CONTINUE):
            raise ValueError("it decides nothing: add assign, notes or no_row")
        return self
