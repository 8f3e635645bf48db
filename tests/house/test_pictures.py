"""The pictures of the manual: drawn anew from their descriptions, readable, and true to the code."""

import itertools
import re
import typing
from pathlib import Path

import pytest

from outrider.model import changes, dispatch, flow
from outrider.model.scopes import LEVELS, Layer, Scope, in_order, sources_of
from outrider.server.control_api.models import Entry
from tools.gen_pictures import BOX_HEIGHT, BOX_WIDTH, PICTURES, Box, main, read_picture
from tools.project_files import ROOT

SOURCES = sorted(PICTURES.glob("*.toml"))
BOX = '[[box]]\nid = "a"\nat = [0, 0]\ntitle = "a"\n'
EM = 0.6
# of a letter of a sans-serif typeface, of its size; measured in DejaVu Sans, which is a wide one


def boxes(name: str) -> dict[str, Box]:
    return read_picture(PICTURES / f"{name}.toml").boxes


def test_pictures_are_drawn_anew_and_each_is_on_a_page() -> None:
    assert main(["--check"]) == 0
    pages = "".join(page.read_text("utf-8") for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
    assert SOURCES
    for source in SOURCES:
        assert re.search(rf"!\[[^\]]+\]\((?:\S*/)?pictures/{source.stem}\.svg\)", pages), source.stem


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_nothing_in_a_picture_hides_another_thing(source: Path) -> None:
    picture = read_picture(source)
    places = [box.middle for box in picture.boxes.values()]
    pairs = itertools.combinations(places, 2)
    assert not [(a, b) for a, b in pairs if abs(a[0] - b[0]) < BOX_WIDTH and abs(a[1] - b[1]) < BOX_HEIGHT]
    for box in picture.boxes.values():
        assert max(len(box.title) * 13, *(len(line) * 11 for line in box.text), 0) * EM <= BOX_WIDTH, box.id
        assert 13 + len(box.text) * 15 < BOX_HEIGHT, box.id
    for arrow in picture.arrows:
        line, *label = arrow.svg()
        x1, y1, x2, y2 = (number(line, name) for name in ("x1", "y1", "x2", "y2"))
        way = [(x1 + (x2 - x1) * step / 50, y1 + (y2 - y1) * step / 50) for step in range(1, 50)]
        half = len(arrow.label) * 11 * EM / 2
        for text in label:
            way += [(number(text, "x") + side, number(text, "y") - 4) for side in (-half, half)]
        assert not [place for place in way for box in picture.boxes.values() if covers(box, place)], arrow


def number(element: str, name: str) -> float:
    """An attribute of an element that is a number."""
    (found,) = re.findall(rf' {name}="([^"]+)"', element)
    return float(found)


def covers(box: Box, place: tuple[float, float]) -> bool:
    x, y = box.middle
    return abs(place[0] - x) < BOX_WIDTH / 2 - 1 and abs(place[1] - y) < BOX_HEIGHT / 2 - 1


def test_the_flow_goes_through_the_rooms_with_the_types_of_the_model() -> None:
    picture = read_picture(PICTURES / "flow.toml")
    for box in picture.boxes.values():
        assert box.kind == "outside" or (ROOT / "src/outrider" / box.title).is_dir(), box.title
    types = {
        word
        for arrow in picture.arrows
        for word in arrow.label.split(", ")
        if re.fullmatch("[A-Z][a-z]+", word)
    }
    known = {name for module in (changes, dispatch, flow) for name in vars(module)} | {"Event"}
    assert {"Submission", "Verdict"} <= types <= known


def test_the_processes_talk_over_the_sockets_and_keep_the_files_that_the_code_names() -> None:
    picture = read_picture(PICTURES / "processes.toml")
    code = "".join(path.read_text("utf-8") for path in (ROOT / "src/outrider").rglob("*.py"))
    names = [arrow.label for arrow in picture.arrows] + [box.title for box in picture.boxes.values()]
    files = [name for name in names if re.fullmatch(r"\w+\.(sock|sqlite|db)", name)]
    assert len(files) == 5
    assert not [name for name in files if f'"{name}"' not in code]


def test_the_life_of_an_entry_has_every_state_and_every_end() -> None:
    states = set(typing.get_args(Entry.model_fields["state"].annotation))
    ends = set(re.findall(r"`(\w+)`", (changes.Finished.__doc__ or "").split("kind: ")[1].split("\n")[0]))
    drawn = boxes("entry").values()
    assert {box.title for box in drawn if box.kind == "step"} == states
    assert {box.title for box in drawn if box.kind == "end"} == ends


def test_the_seven_levels_stand_in_their_order_and_the_example_comes_out_so() -> None:
    drawn = boxes("levels")
    left = sorted(
        (box for box in drawn.values() if box.at[0] == 0 and box.kind == "step"), key=lambda box: -box.at[1]
    )
    assert tuple(box.title for box in left) == LEVELS
    names = {"group": "pool", "binding": "news", "site": "bigmail"}
    layers = []
    for level in LEVELS:
        given = [box for name, box in drawn.items() if name.endswith(f" {level}") and box.title]
        scope = Scope(**{part: names[part] for part in level.split("::") if part != "global"})
        layers.append(Layer(scope, {box.text[0]: box.title for box in given}, level))
    found = sources_of(in_order(layers), ("pool",), "news", "bigmail")
    assert len(found) == 3
    for option, layer in found.items():
        assert drawn[option].title == layer.values[option]
        assert [box.id for box in drawn.values() if box.kind == "end" and option in box.text] == [
            f"{option} {layer.place}",
            option,
        ]


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (BOX + 'kind = "cloud"\n', "no kind cloud"),
        (BOX + '[[arrow]]\nfrom = "a"\nto = "b"\n', "'b' is missing"),
        (BOX + "colour = 1\n", "colour"),
        ("[[box]]\n", "'id' is missing"),
    ],
)
def test_a_description_that_is_wrong_is_named(tmp_path: Path, told: str, fault: str) -> None:
    source = tmp_path / "wrong.toml"
    source.write_text(f'title = "a"\nabout = "a"\n{told}', encoding="utf-8")
    with pytest.raises(ValueError, match=fault) as raised:
        read_picture(source)
    assert "wrong.toml" in str(raised.value)
