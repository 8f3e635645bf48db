"""Options of signing: which domain's mail is signed with which key, by configuration alone.

A `[[dkim]]` table is one signature. Of the tables that fit a message's author the most specific count: those
that name its domain, else the longest `*.domain`, else `*`; among them those of its tenant before those of
all. Where several are equally specific, each makes a signature, which is how a message gets one by RSA and
one by Ed25519.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from outrider.wire.dkim.canonical import Canonicalization
from outrider.wire.dkim.request import (
    EXPIRY_SECONDS_MAX,
    OVERSIGNED_FIELDS,
    SIGNED_FIELDS,
    RequestError,
    SignRequest,
    check_fields,
)

DOMAIN_MARK = "{domain}"
SELECTOR_MARK = "{selector}"


def _checked_pattern(text: str) -> str:
    domain = text.lower()
    bare = "any.example" if domain == "*" else domain.removeprefix("*.")
    try:
        SignRequest(bare, "any", "any")
    except RequestError:
        raise ValueError(f"{text!r}: write a domain, *.domain for all below it, or *") from None
    return domain


def _checked_fields(names: tuple[str, ...]) -> tuple[str, ...]:
    lower = tuple(name.lower() for name in names)
    try:
        check_fields("names", lower)
    except RequestError as error:
        raise ValueError(error.message) from None
    return lower


FieldNames = Annotated[tuple[str, ...], AfterValidator(_checked_fields)]


class DkimOptions(BaseModel):
    """One `[[dkim]]` table: a signature for the mail of a domain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: Annotated[str, AfterValidator(_checked_pattern)] = Field(
        description="Whose mail: the domain of the address in From, `*.domain` for all below it, or `*`."
    )
    tenant: str = Field(default="", description="Only mail of this tenant; empty is that of all.")
    selector: str = Field(
        default="",
        description="Selector of the key; empty takes the keys that `outrider dkim` made for the domain, as "
        "many as are active.",
        json_schema_extra={"source": "RFC 6376 §3.1"},
    )
    key_file: Path | None = Field(
        default=None,
        description="Private key (PEM, or the same in one line without its armour), readable by the server's "
        "user only. `{domain}` and `{selector}` in it stand for those of the signature. Relative to the "
        "configuration file.",
    )
    key_credential: str = Field(
        default="", description="Name of the systemd credential that holds the private key."
    )
    key_source: str = Field(
        default="",
        description="Name of a data source that has the private keys. Each row of the query makes a "
        "signature; mail without a row stays unsigned.",
    )
    key_query: str = Field(
        default="",
        description="Name of the query of that source (`[[data_source.query]]`).",
    )
    key_parameters: dict[str, str] = Field(
        default={},
        description="For each parameter of the query what of the message fills it, as in "
        "`[[policy.lookup]]`; one that is called `from_domain`, `tenant` and so on itself needs no entry.",
    )
    key_column: str = Field(
        default="private_key",
        min_length=1,
        description="Column with the private key (PEM, or the same in one line without its armour). A row "
        "without one makes no signature.",
    )
    selector_column: str = Field(
        default="selector",
        min_length=1,
        description="Column with its selector, unless `selector` is given here.",
    )
    domain_column: str = Field(
        default="signing_domain",
        min_length=1,
        description="Column with the domain of the signature, where the query has one and `signing_domain` "
        "is not given here; without it, and where it is empty, that of the address in From.",
    )
    signing_domain: str = Field(
        default="",
        description="Domain of the signature (`d=`); empty is the domain of the address in From.",
        json_schema_extra={"source": "RFC 6376 §3.5"},
    )
    identity: str = Field(
        default="",
        description="`i=`, such as `@news.example.com`: of the signing domain or below it; empty leaves it "
        "out.",
        json_schema_extra={"source": "RFC 6376 §3.5"},
    )
    header_canonicalization: Canonicalization = Field(
        default=Canonicalization.RELAXED,
        description="`simple` breaks when a relay folds a field anew.",
        json_schema_extra={"source": "RFC 6376 §3.4"},
    )
    body_canonicalization: Canonicalization = Field(
        default=Canonicalization.RELAXED,
        description="`simple` costs less for large bodies, and breaks when white space at line ends changes.",
        json_schema_extra={"source": "RFC 6376 §3.4"},
    )
    fields: FieldNames = Field(
        default=SIGNED_FIELDS,
        description="Fields to sign; those that a message has are, all of them. From always is.",
        json_schema_extra={"source": "RFC 6376 §5.4.1"},
    )
    oversign: FieldNames = Field(
        default=OVERSIGNED_FIELDS,
        description="Fields of which nobody may add another one.",
        json_schema_extra={"source": "RFC 6376 §8.15"},
    )
    expiry_seconds: int = Field(
        default=0,
        ge=0,
        le=EXPIRY_SECONDS_MAX,
        description="A signature is valid so long (`x=`); 0 is for ever. Below a week, late mail fails.",
        json_schema_extra={"unit": "seconds", "source": "RFC 6376 §3.5"},
    )
    allow_short_key: bool = Field(
        default=False,
        description="Sign with RSA keys of 1024 to 2047 bits too.",
        json_schema_extra={"source": "RFC 8301 §3.2 asks for 2048"},
    )
    arc: bool = Field(
        default=False,
        description="Add the next set of the ARC chain too, with the same key (the first, where there are "
        "several): for a server that passes others' mail on. Each message is then checked as it comes, which "
        "asks DNS.",
        json_schema_extra={"source": "RFC 8617 §5.1"},
    )

    def resolved(self, base: Path) -> "DkimOptions":
        """The same with a relative `key_file` made absolute below `base`."""
        if self.key_file is None:
            return self
        return self.model_copy(update={"key_file": (base / self.key_file).absolute()})

    def key_files(self) -> list[Path]:
        """The key files that there are, all of those that marks in the name may stand for."""
        if self.key_file is None:
            return []
        pattern = str(self.key_file).replace(DOMAIN_MARK, "*").replace(SELECTOR_MARK, "*")
        return sorted(Path("/").glob(pattern.lstrip("/")))

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if sum(map(bool, (self.key_file, self.key_credential, self.key_source))) > 1:
            raise ValueError("key_file, key_credential and key_source exclude each other")
        if bool(self.key_source) != bool(self.key_query):
            raise ValueError("key_source and key_query come together: which source, and which query of it")
        if self.key_source and self.arc:
            raise ValueError("arc seals with a key of a file: use another table for it")
        if self.key_parameters and not self.key_source:
            raise ValueError("key_parameters are for a key_query; there is none")
        if (self.key_file is not None or self.key_credential) and not self.selector:
            raise ValueError("a key needs the selector under which its public half is published")
        fixed = self.signing_domain or self.domain.removeprefix("*.")
        try:
            SignRequest(
                "any.example" if fixed == "*" else fixed,
                self.selector or "any",
                "any",
                identity="" if fixed == "*" else self.identity,
            )
        except RequestError as error:
            raise ValueError(error.message) from None
        if self.identity and self.domain.startswith("*") and not self.signing_domain:
            raise ValueError("an identity needs a signing_domain where domain is a pattern")
        return self
