"""Draws the pictures of the manual: each description in docs/pictures becomes an SVG beside it.

In: TOML with a `title`, an `about` for who cannot see the picture, boxes on a grid and arrows between them:

    [[box]]
    id = "spool"            # how arrows name it
    at = [3, 0]             # column and row, counted from 0; halves are between two
    title = "spool"
    text = ["a log on disk"]
    kind = "store"          # one of KINDS; "step" where it is left out

    [[arrow]]
    from = "spool"
    to = "schedule"
    label = "Arrived"
    place = 0.5             # of the label, from 0 (at `from`) to 1; the middle where it is left out
    is_both = false         # an arrowhead at both ends
    is_dashed = false
    shift = 0               # pixels to the right of the way there, where two arrows join the same boxes

Out: SVG without a script, a font or an address of elsewhere; with --check nothing is written and the exit
status is 1 when a picture is out of date.

Invariant: a picture depends on its description alone.
Not here: the picture of a soak, which shows measures (tools/soak.py).
"""

import argparse
import math
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from tools.project_files import ROOT

PICTURES = ROOT / "docs" / "pictures"
BOX_WIDTH, BOX_HEIGHT = 160, 58
COLUMN, ROW = 260, 112
MARGIN = 20
LINE = 15
# all in pixels; chosen: three lines fit a box, and the name of a socket the gap beside it
KINDS = {
    "step": ("#e8f0fe", "#2f5fb3"),
    "process": ("#e8f0fe", "#2f5fb3"),
    "store": ("#fff4d6", "#a07000"),
    "outside": ("#f2f2f2", "#777777"),
    "end": ("#e6f4ea", "#2e7d32"),
    "empty": ("#ffffff", "#cccccc"),
}
"""Fill and border of a box: what works, keeps, is not ours, is an end, says nothing."""

HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"
 font-family="sans-serif" font-size="13" text-anchor="middle">
<title>{title}</title>
<desc>{about}</desc>
<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"
 orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="#444444"/></marker>
<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>"""


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a picture; see the module."""

    id: str
    at: tuple[float, float]
    title: str
    text: list[str] = field(default_factory=list)
    kind: str = "step"

    @property
    def middle(self) -> tuple[float, float]:
        """In pixels from the left and from the top."""
        column, row = self.at
        return MARGIN + BOX_WIDTH / 2 + column * COLUMN, MARGIN + BOX_HEIGHT / 2 + row * ROW

    def edge(self, towards: tuple[float, float], shift: tuple[float, float]) -> tuple[float, float]:
        """Where a line from the middle, moved by `shift`, leaves the box."""
        x, y = self.middle[0] + shift[0], self.middle[1] + shift[1]
        dx, dy = towards
        across = (BOX_WIDTH / 2 - math.copysign(shift[0], dx * shift[0] or 1)) / abs(dx) if dx else math.inf
        down = (BOX_HEIGHT / 2 - math.copysign(shift[1], dy * shift[1] or 1)) / abs(dy) if dy else math.inf
        share = min(across, down)
        return x + dx * share, y + dy * share

    def svg(self) -> Iterator[str]:
        """Its rectangle and its lines of text, in the middle."""
        fill, border = KINDS[self.kind]
        x, y = self.middle
        yield (
            f'<rect x="{x - BOX_WIDTH / 2:g}" y="{y - BOX_HEIGHT / 2:g}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="6" fill="{fill}" stroke="{border}"/>'
        )
        y += 4 - len(self.text) * LINE / 2
        yield f'<text x="{x:g}" y="{y:g}" font-weight="bold">{escape(self.title)}</text>'
        for number, line in enumerate(self.text, 1):
            yield f'<text x="{x:g}" y="{y + number * LINE:g}" font-size="11">{escape(line)}</text>'


@dataclass(frozen=True, slots=True)
class Arrow:
    """An arrow of a picture; see the module."""

    origin: Box
    target: Box
    label: str = ""
    place: float = 0.5
    is_both: bool = False
    is_dashed: bool = False
    shift: float = 0

    def svg(self) -> Iterator[str]:
        """Its line from edge to edge, and its label on a ground of its own."""
        (x1, y1), (x2, y2) = self.origin.middle, self.target.middle
        length = math.hypot(x2 - x1, y2 - y1)
        way = ((x2 - x1) / length, (y2 - y1) / length)
        aside = (-way[1] * self.shift, way[0] * self.shift)
        x1, y1 = self.origin.edge(way, aside)
        x2, y2 = self.target.edge((-way[0], -way[1]), aside)
        ends = ' marker-end="url(#head)"' + (' marker-start="url(#head)"' if self.is_both else "")
        dashes = ' stroke-dasharray="5 4"' if self.is_dashed else ""
        line = f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        yield f'{line} stroke="#444444"{dashes}{ends}/>'
        if self.label:
            x, y = x1 + (x2 - x1) * self.place, y1 + (y2 - y1) * self.place + (-5 if y1 == y2 else 4)
            yield (
                f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" stroke="#ffffff" stroke-width="4" '
                f'paint-order="stroke">{escape(self.label)}</text>'
            )


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it is described; see the module."""

    title: str
    about: str
    boxes: dict[str, Box]
    arrows: list[Arrow]

    def svg(self) -> str:
        """The picture: arrows first, so that boxes lie above them."""
        width = max(box.middle[0] for box in self.boxes.values()) + BOX_WIDTH / 2 + MARGIN
        height = max(box.middle[1] for box in self.boxes.values()) + BOX_HEIGHT / 2 + MARGIN
        lines = [
            HEAD.format(width=width, height=height, title=escape(self.title), about=escape(self.about)),
            *(line for arrow in self.arrows for line in arrow.svg()),
            *(line for box in self.boxes.values() for line in box.svg()),
        ]
        return "\n".join([*lines, "</svg>", ""])


def read_picture(source: Path) -> Picture:
    """The picture that a file describes.

    Raises:
        ValueError: The file is not TOML, or says something that no picture has.
    """
    try:
        told = tomllib.loads(source.read_text(encoding="utf-8"))
        boxes = {one["id"]: Box(**{**one, "at": tuple(one["at"])}) for one in told["box"]}
        arrows = [Arrow(boxes[one.pop("from")], boxes[one.pop("to")], **one) for one in told.get("arrow", ())]
        if unknown := {box.kind for box in boxes.values()} - set(KINDS):
            raise ValueError(
                f"{source.name}: no kind {', '.join(sorted(unknown))}; one of {', '.join(KINDS)}"
            )
        return Picture(told["title"], told["about"], boxes, arrows)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source.name}: {error} is missing or not known") from error


def main(argv: list[str] | None = None) -> int:
    """Writes or checks the pictures; 1 when one is out of date or cannot be drawn."""
    parser = argparse.ArgumentParser(description="Draw the pictures of the manual.")
    parser.add_argument("--check", action="store_true", help="only say which pictures are out of date")
    check = parser.parse_args(argv).check
    faults = 0
    for source in sorted(PICTURES.glob("*.toml")):
        target = source.with_suffix(".svg")
        try:
            drawn = read_picture(source).svg()
        except ValueError as error:
            print(f"docs/pictures/{error}")
            faults += 1
            continue
        if not check:
            target.write_text(drawn, encoding="utf-8")
        elif not target.is_file() or target.read_text(encoding="utf-8") != drawn:
            print(f"docs/pictures/{target.name} is out of date: run `make docs`")
            faults += 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
