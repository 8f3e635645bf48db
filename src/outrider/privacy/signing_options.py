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
        if self.key_file is not None and self.key_credential:
            raise ValueError("key_file and key_credential exclude each other")
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
