"""Groups of bindings: each a `[[binding_group]]` table, of which one member is chosen for each recipient."""

from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from outrider.model.binding import NAME_CHARACTERS, NAME_PATTERN, check_name

Order = Literal["round_robin", "random", "weighted"]


class MemberOptions(BaseModel):
    """One member of a group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    binding: str = Field(
        min_length=1,
        max_length=NAME_CHARACTERS,
        description="The member's name.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    weight: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="Its share of the group's mail, in relation to the other members' weights.",
        json_schema_extra={"unit": "shares", "source": "chosen: equal shares unless told"},
    )


class BindingGroupOptions(BaseModel):
    """One group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        min_length=1,
        max_length=NAME_CHARACTERS,
        pattern=NAME_PATTERN,
        description="Name by which policy assigns it and overrides name it.",
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )
    order: Order = Field(
        "round_robin",
        description="How a member is chosen for each recipient: one after the other, by chance, or by chance "
        "with the weights of the members. Members that are suspended or not of this host are left out while "
        "there are others.",
        json_schema_extra={"unit": "", "source": "chosen: the one that spreads most evenly"},
    )
    members: tuple[MemberOptions, ...] = Field(
        min_length=1,
        max_length=10_000,
        description='Bindings: names, or tables such as `{ binding = "a", weight = 3 }`.',
        json_schema_extra={"unit": "", "source": "operator's choice"},
    )

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        return check_name(name)

    @field_validator("members", mode="before")
    @classmethod
    def _from_names(cls, members: Any) -> Any:
        if not isinstance(members, list | tuple):
            return members
        return [{"binding": each} if isinstance(each, str) else each for each in members]

    @model_validator(mode="after")
    def _whole(self) -> "BindingGroupOptions":
        counts = Counter(member.binding for member in self.members)
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"the group {self.name!r} names {twice[0]!r} twice; give it a weight instead")
        if self.order != "weighted" and any(member.weight != 1 for member in self.members):
            raise ValueError(f'weights need order = "weighted"; the group {self.name!r} has {self.order!r}')
        return self
