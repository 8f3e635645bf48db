"""Bindings: sending identities, each a `[[binding]]` table.

What a binding says of itself holds at the level of a binding (`model.scopes`): what is written for its group
and a site, or for itself and a site, comes before it. Its other options are overrides that name it.
"""

from datetime import date

from pydantic import Field, field_validator

from outrider.deliver.identity_options import IdentityOptions
from outrider.model.binding import NAME_CHARACTERS, NAME_PATTERN, check_name
from outrider.model.scopes import Layer, Scope


class BindingOptions(IdentityOptions):
    """One binding."""

    name: str = Field(
        min_length=1,
        max_length=NAME_CHARACTERS,
        pattern=NAME_PATTERN,
        description="Name by which policy assigns it and overrides name it; a binding called `default` is "
        "what mail gets that policy assigns nothing to.",
        json_schema_extra={"source": "operator's choice"},
    )
    since: date | None = Field(
        default=None,
        description="First day on which its addresses sent mail, `2026-01-31`; none is not known. Its age is "
        "shown by `outrider explain path`.",
        json_schema_extra={"source": "operator's knowledge"},
    )

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        return check_name(name)

    def age_days(self, today: date) -> int | None:
        """For how many days its addresses have been sending."""
        return None if self.since is None else max((today - self.since).days, 0)

    def layer(self) -> Layer:
        """What it says of itself."""
        said = self.model_fields_set & set(IdentityOptions.model_fields)
        return Layer(
            Scope(binding=self.name), {name: getattr(self, name) for name in said}, f"binding.{self.name}"
        )
