"""The generated pages: up to date, and made of what the code declares."""

import ast

from pydantic import BaseModel, Field

from outrider.server.catalogue import toml_value
from tools.gen_reference import PAGES, REFERENCE, field_texts, type_name
from tools.project_files import ROOT
from tools.reference_code import reply_constants
from tools.reference_commands import help_lines
from tools.reference_options import option_sections, sections_of


class Inner(BaseModel):
    """Inner options. More words."""

    rate: int = Field(
        20_000, ge=1, le=90_000, description="How fast.", json_schema_extra={"unit": "messages"}
    )


class Outer(BaseModel):
    name: str = Field(description="A name.")
    inner: Inner = Field(Inner(), description="One.")
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = {}


def test_every_generated_page_is_up_to_date() -> None:
    late = [name for name, make in PAGES.items() if (REFERENCE / name).read_text(encoding="utf-8") != make()]
    assert late == []


def test_nested_models_become_sections() -> None:
    found = {section.heading: section for section in sections_of(Outer, "top", "", "")}
    assert list(found) == ["`[top]`", "`[top.inner]`", "`[[top.many]]`", "`[top.named.NAME]`"]
    (option,) = found["`[top.inner]`"].options
    assert (option.name, option.default, option.bounds, option.unit) == (
        "rate",
        "`20_000`",
        "≥ 1, ≤ 90_000",
        "messages",
    )
    assert found["`[top]`"].options[0].default == "required"


def test_every_option_has_a_description() -> None:
    bare = [
        f"{s.heading}.{option.name}" for s in option_sections() for option in s.options if not option.text
    ]
    assert bare == []


def test_every_reply_has_its_source() -> None:
    constants = reply_constants()
    assert len(constants) > 30
    bare = [f"{one.module}.{one.name}" for one in constants if not one.source]
    assert bare == []


def replies_made_in(source: str) -> list[int]:
    """Lines within functions where a reply is made of a code that stands there."""
    return [
        call.lineno
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        if isinstance(call.func, ast.Name) and call.func.id == "Reply"
        if call.args and isinstance(call.args[0], ast.Constant)
    ]


def test_what_talks_to_clients_makes_no_reply_of_its_own() -> None:
    """Only the replies' modules do, and what says EHLO's name and extensions."""
    talking = [
        *(ROOT / "src/outrider/receive").glob("*.py"),
        *(ROOT / "src/outrider/wire/smtp").glob("server*.py"),
    ]
    assert len(talking) > 20
    found = {
        path.name: lines for path in talking if (lines := replies_made_in(path.read_text(encoding="utf-8")))
    }
    assert set(found) == {"server_limits.py"}
    assert replies_made_in('def f():\n    return Reply(550, "5.1.1", ("No",))\n') == [2]


def test_values_are_written_as_toml() -> None:
    assert toml_value({"a": [True, 1.5, "x"]}) == '{a = [true, 1.5, "x"]}'
    assert toml_value(frozenset({"b", "a"})) == '["a", "b"]'


def test_examples_become_blocks_of_code() -> None:
    assert list(help_lines("Do it.\n\nExamples:\n  one\n\n  two\n")) == [
        "Do it.", "", "Examples:", "", "```sh", "one", "", "two", "```",
    ]  # fmt: skip


def test_fields_are_described_by_the_class_and_its_bases() -> None:
    class Base:
        """Base.

        Attributes:
            a: First,
                on two lines.
        """

    class Derived(Base):
        """Derived.

        Attributes:
            b: Second.
        """

    assert field_texts(Derived) == {"a": "First, on two lines.", "b": "Second."}


def test_types_have_short_names() -> None:
    assert (
        type_name({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]})
        == "string (date-time) or null"
    )
