"""The table of policies as a picture: a plain SVG that any browser shows, light or dark."""

from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT, TOP = 960, 300, 40, 96
BAR, GAP, GROUP = 12, 3, 26
COLOURS = {"ours": "#0b7285", "idle back-off": "#e8590c", "skipping": "#f08c00", "AIMD": "#9c36b5", "oracle": "#868e96"}
LEAST, MOST = -0.8, 1.2


def drawn(rows: Sequence[Any]) -> str:
    """One group of bars a trace; a bar is a policy's mean delay, its thin line the 95th percentile, zero a fixed interval."""
    names = list(rows[0].found)
    high = len(names) * (BAR + GAP) + GROUP
    height = TOP + high * len(rows) + 46
    parts = [_head(height), *_axis(height), *_legend(names)]
    for number, row in enumerate(rows):
        top = TOP + number * high + GROUP // 2
        middle = top + len(names) * (BAR + GAP) / 2
        parts.append(_text(20, middle + 4, row.trace.name, kind="name"))
        for place, name in enumerate(names):
            parts += _bar(top + place * (BAR + GAP), name, row.found[name])
    return "\n".join([*parts, "</svg>", ""])


def _x(value: float) -> float:
    inside = min(MOST, max(LEAST, value))
    return LEFT + (inside - LEAST) / (MOST - LEAST) * (WIDTH - LEFT - RIGHT)


def _bar(top: float, name: str, late: Any) -> list[str]:
    colour = COLOURS[name]
    if late is None:
        return [_text(_x(0) + 6, top + BAR - 2, "knows no such rate", kind="small")]
    zero, mean, far = _x(0), _x(late.mean), _x(late.p95)
    middle = top + BAR / 2
    more = " or more" if late.mean > MOST else ""
    said = f"{100 * late.mean:+.0f} %{more}"
    bar = f'x="{min(zero, mean):.1f}" y="{top:.1f}" width="{max(1.0, abs(mean - zero)):.1f}" height="{BAR}"'
    parts = [
        f'<rect {bar} fill="{colour}"/>',
        f'<line x1="{zero:.1f}" x2="{far:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" class="far"/>',
    ]
    if late.p95 <= MOST:
        parts.append(f'<line x1="{far:.1f}" x2="{far:.1f}" y1="{top - 1:.1f}" y2="{top + BAR + 1:.1f}" class="end"/>')
    left = min(zero, mean, far) - 6
    return [*parts, _text(left, top + BAR - 2, said, anchor="end", kind="small")]


def _axis(height: float) -> list[str]:
    parts = []
    for tenths in range(-8, 13, 2):
        x = _x(tenths / 10)
        kind = "zero" if tenths == 0 else "grid"
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - 40}" class="{kind}"/>')
        parts.append(_text(x, height - 24, "fixed" if tenths == 0 else f"{tenths * 10:+d} %", anchor="middle", kind="small"))
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    parts = [
        _text(20, 30, "How late what happens is seen, beside a fixed interval with as many requests", kind="title"),
        _text(
            20,
            52,
            "Bars: mean delay, shorter is better; thin lines end at the 95th percentile, without an end where it lies beyond.",
            kind="small",
        ),
    ]
    for place, name in enumerate(names):
        x = 20 + place * 130
        parts.append(f'<rect x="{x}" y="66" width="12" height="12" fill="{COLOURS[name]}"/>')
        parts.append(_text(x + 18, 76, name, kind="small"))
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _head(height: float) -> str:
    style = (
        "text{font-family:system-ui,sans-serif;fill:#212529}.title{font-size:17px;font-weight:600}.name{font-size:13px}"
        ".small{font-size:11px}.grid{stroke:#dee2e6}.zero{stroke:#495057;stroke-width:1.5}.far{stroke:#212529;stroke-width:0.7}.end{stroke:#212529;stroke-width:2}"
    )
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style><rect width="100%" height="100%" fill="white"/>'
    )
