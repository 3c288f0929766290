"""A small SVG canvas: shapes by class name, escaped text, round ticks. Knows no data and no colours.

Colours are CSS classes, so that one drawing serves light, dark and print. A standalone file carries the style
sheet inside. Coordinates are pixels, y grows downwards.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

_CHARACTER = 0.56
_TEMPLATES = Path(__file__).parent / "templates"


class Canvas:
    """Collects shapes; ``render`` makes the drawing. ``width`` and ``height`` in pixels."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def text(self, x: float, y: float, content: str, cls: str = "", anchor: str = "start") -> None:
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" class="{escape(cls)}" text-anchor="{anchor}">{escape(content)}</text>'
        )

    def heading(self, x: float, y: float, title: str, note: str) -> None:
        """A strong title and, right behind it, a note."""
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}"><tspan class="label strong">{escape(title)}</tspan>'
            f'<tspan dx="10" class="note">{escape(note)}</tspan></text>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, cls: str, title: str = "", radius: float = 2
    ) -> None:
        """A box; ``title`` shows on hover and is read aloud."""
        tip = f"<title>{escape(title)}</title>" if title else ""
        size = f'x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0))}" height="{_n(height)}" rx="{_n(radius)}"'
        self._parts.append(f'<rect {size} class="{escape(cls)}">{tip}</rect>')

    def line(self, x1: float, y1: float, x2: float, y2: float, cls: str) -> None:
        self._parts.append(f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{escape(cls)}"/>')

    def circle(self, x: float, y: float, radius: float, cls: str) -> None:
        self._parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" class="{escape(cls)}"/>')

    def path(self, points: list[tuple[float, float]], cls: str) -> None:
        """A polyline."""
        steps = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        self._parts.append(f'<path d="M{steps}" class="{escape(cls)}"/>')

    def render(self, label: str, *, standalone: bool = False, cls: str = "") -> Markup:
        """The drawing as ``<svg>``; ``label`` is its text alternative."""
        inside = "".join(self._parts)
        size = f'viewBox="0 0 {_n(self.width)} {_n(self.height)}" width="{_n(self.width)}" height="{_n(self.height)}"'
        style = f"<style>{style_sheet()} svg{{background:var(--card)}}</style>" if standalone else ""
        space = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
        return Markup(
            f'<svg{space} {size} class="plot {escape(cls)}" role="img" aria-label="{escape(label)}">'
            f"<title>{escape(label)}</title>{style}{inside}</svg>"
        )


@cache
def style_sheet() -> str:
    """Colours and plot classes, as pages and standalone drawings share them."""
    return "".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("tokens.css", "plots.css"))


def _n(value: float) -> str:
    """A coordinate: one digit is finer than any screen."""
    return f"{value:.1f}".removesuffix(".0")


def text_width(text: str, size: float) -> float:
    """Estimated width in pixels of ``text`` at ``size`` pixels."""
    return _CHARACTER * size * len(text)


def fit(text: str, width: float, size: float = 12) -> str:
    """``text`` shortened to ``width`` pixels, with an ellipsis where something is missing."""
    room = max(1, int(width / (_CHARACTER * size)))
    return text if len(text) <= room else text[: room - 1] + "…"


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that lie within ``low`` to ``high``."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within ``low`` to ``high``; only the powers where there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    return [f * 10.0**p for p in powers for f in factors if low * 0.999 <= f * 10.0**p <= high * 1.001]
