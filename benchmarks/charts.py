"""SVG charts, as text. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "bars", "curve", "figure"]

_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:15px;font-weight:600}"
    ".v{fill:#57606a}.o{fill:#1f6feb}.p{fill:#9aa4af}.c{fill:#d4a72c}"
    ".w{stroke:#24292f;stroke-width:1}.g{stroke:#d0d7de;stroke-width:1}"
    ".l{stroke:#1f6feb;stroke-width:2;fill:none}"
)
_WIDTH, _LABEL, _VALUE, _ROW, _TOP = 760, 230, 150, 24, 44


@dataclass(frozen=True, slots=True)
class Bar:
    """Attributes:
    kind: `ours`, `theirs` or `control`.
    """

    label: str
    median: float
    low: float
    high: float
    kind: str


def bars(title: str, unit: str, shown: Sequence[Bar]) -> str:
    """Bars from the left, with whiskers from the least to the most."""
    most = max((bar.high for bar in shown), default=0.0) or 1.0
    room = _WIDTH - _LABEL - _VALUE
    lines = []
    for number, bar in enumerate(shown):
        y = _TOP + number * _ROW
        kind = {"ours": "o", "theirs": "p", "control": "c"}[bar.kind]
        length, low, high = (room * value / most for value in (bar.median, bar.low, bar.high))
        middle = y + 8
        lines += [
            f'<text x="{_LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{kind}" x="{_LABEL}" y="{y}" width="{length:.1f}" height="16" rx="2"/>',
            f'<line class="w" x1="{_LABEL + low:.1f}" x2="{_LABEL + high:.1f}" '
            f'y1="{middle}" y2="{middle}"/>',
            f'<text class="v" x="{_LABEL + high + 8:.1f}" y="{y + 12}">'
            f"{figure(bar.median)} {escape(unit)}</text>",
        ]
    return _svg(title, _TOP + len(shown) * _ROW + 8, lines)


def curve(title: str, unit: str, points: Sequence[tuple[int, float]]) -> str:
    """A line over numbers that grow by powers of ten; its axis begins at 0."""
    left, right, bottom, height = 70, _WIDTH - 40, 240, 180
    most = max((value for _, value in points), default=0.0) or 1.0
    last = max((math.log10(x) for x, _ in points), default=0.0) or 1.0
    lines, path = [], []
    for share in (0.0, 0.5, 1.0):
        y = bottom - height * share
        lines += [
            f'<line class="g" x1="{left}" x2="{right}" y1="{y:.0f}" y2="{y:.0f}"/>',
            f'<text class="v" x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">'
            f"{figure(most * share)}</text>",
        ]
    for number, value in points:
        x = left + 20 + (right - left - 60) * math.log10(number) / last
        y = bottom - height * value / most
        path.append(f"{x:.1f},{y:.1f}")
        lines += [
            f'<circle class="o" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
            f'<text class="v" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{number}</text>',
            f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{figure(value)}</text>',
        ]
    lines.append(f'<polyline class="l" points="{" ".join(path)}"/>')
    return _svg(f"{title}, {unit}", bottom + 32, lines)


def figure(value: float) -> str:
    """Three digits that count; more before the point where it takes them."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 3)}f}"


def _svg(title: str, height: int, lines: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img"><title>{escape(title)}</title>'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        f'<text class="t" x="12" y="26">{escape(title)}</text>'
    )
    return "\n".join([head, *lines, "</svg>"]) + "\n"
