"""Charts as SVG text. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["bars", "curve", "histogram"]

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _HEIGHT = 720, 210, 90, 40, 22, 200
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:15px;font-weight:600}"
    ".v{fill:#57606a}.b{fill:#1f6feb}.g{stroke:#d0d7de}.i{stroke:#9aa4af;stroke-dasharray:4 4}"
    ".l{stroke:#1f6feb;stroke-width:2;fill:none}"
)


def bars(title: str, values: Sequence[tuple[str, float]]) -> str:
    """A bar from the left for each value."""
    most = max((value for _, value in values), default=0) or 1
    room = _WIDTH - _LEFT - _RIGHT
    lines = []
    for number, (label, value) in enumerate(values):
        y = _TOP + number * _ROW
        shown = label if len(label) <= 30 else label[:29] + "…"
        lines += [
            f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(shown)}</text>',
            f'<rect class="b" x="{_LEFT}" y="{y}" width="{room * value / most:.1f}" height="15" '
            f'rx="2"><title>{escape(label)}: {value:,.6g}</title></rect>',
            f'<text class="v" x="{_LEFT + room * value / most + 6:.1f}" y="{y + 12}">'
            f"{value:,.6g}</text>",
        ]
    return _svg(title, _TOP + len(values) * _ROW + 8, lines)


def histogram(title: str, values: Sequence[int], *, most_bins: int = 40) -> str:
    """How often each value comes, in bins of equal width."""
    if not values:
        return _svg(title, _TOP + 24, ['<text class="v" x="12" y="56">no values</text>'])
    low, high = min(values), max(values)
    width = max(1, -(-(high - low + 1) // most_bins))
    counts = [0] * ((high - low) // width + 1)
    for value in values:
        counts[(value - low) // width] += 1
    left, bottom = 60, _TOP + _HEIGHT
    step = (_WIDTH - left - 30) / len(counts)
    lines = _scale(left, bottom, max(counts))
    for number, count in enumerate(counts):
        height = _HEIGHT * count / max(counts)
        start = low + number * width
        name = f"{start}" if width == 1 else f"{start}–{start + width - 1}"
        lines.append(
            f'<rect class="b" x="{left + number * step + 0.5:.1f}" y="{bottom - height:.1f}" '
            f'width="{max(1.0, step - 1):.1f}" height="{height:.1f}">'
            f"<title>{name}: {count}</title></rect>"
        )
    for x, value in ((left, low), (left + step * len(counts), high)):
        lines.append(
            f'<text class="v" x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{value}</text>'
        )
    return _svg(title, bottom + 28, lines)


def curve(title: str, points: Sequence[tuple[float, float]], *, ideal: bool = False) -> str:
    """A line through points whose coordinates are shares, 0 to 1.

    Args:
        ideal: draw what would be if nothing but the removed were lost, too.
    """
    left, bottom = 60, _TOP + _HEIGHT
    room = _WIDTH - left - 30

    def place(x: float, y: float) -> str:
        return f"{left + room * x:.1f},{bottom - _HEIGHT * y:.1f}"

    lines = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + room * share, bottom - _HEIGHT * share
        lines += [
            f'<line class="g" x1="{left}" x2="{left + room}" y1="{y:.0f}" y2="{y:.0f}"/>',
            f'<text class="v" x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{share:.0%}</text>',
            f'<text class="v" x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">'
            f"{share:.0%}</text>",
        ]
    if ideal:
        lines.append(f'<polyline class="i" points="{place(0, 1)} {place(1, 0)}"/>')
    lines.append(f'<polyline class="l" points="{" ".join(place(x, y) for x, y in points)}"/>')
    return _svg(title, bottom + 28, lines)


def _scale(left: int, bottom: int, most: float) -> list[str]:
    lines = []
    for share in (0.0, 0.5, 1.0):
        y = bottom - _HEIGHT * share
        lines += [
            f'<line class="g" x1="{left}" x2="{_WIDTH - 30}" y1="{y:.0f}" y2="{y:.0f}"/>',
            f'<text class="v" x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">'
            f"{most * share:,.0f}</text>",
        ]
    return lines


def _svg(title: str, height: float, lines: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        f'width="{_WIDTH}" height="{height:.0f}" role="img"><title>{escape(title)}</title>'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        f'<text class="t" x="12" y="24">{escape(title)}</text>'
    )
    return "\n".join([head, *lines, "</svg>"]) + "\n"
