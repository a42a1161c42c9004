"""Numbers over time as an SVG image, drawn by the library leather. It is read in light and in dark, and says in a title what it shows; the page has the
same numbers as a table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from reconciler.reading.overview import Moment
from reconciler.reading.picture import State

WIDTH, HEIGHT = 800, 260
LINES = {State.FAILED: "none", State.UNKNOWN: "2 3", State.DRIFTED: "8 3", State.CHANGING: "8 3 2 3"}
"""How the line of each state is dashed, so that they are told apart without colours."""
TICKS = 6
STYLE = (
    "text{fill:#444;font-family:system-ui,sans-serif}.tick line{stroke:#8886}rect.back{fill:none}"
    ".failed{--c:#b3261e}.unknown{--c:#6b4fa0}.drifted{--c:#9a5b00}.changing{--c:#1a5fb4}"
    "path.line{stroke:var(--c)}rect.mark{fill:var(--c)}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}"
    ".failed{--c:#ff8a80}.unknown{--c:#c4adff}.drifted{--c:#ffb74d}.changing{--c:#8ab4f8}}"
)
CSP = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""The image is a document of its own, with its own style."""


def chart(moments: Sequence[Moment]) -> bytes:
    """The hosts that were not converged at each moment."""
    if len(moments) < 2:
        return _image("Nothing has been noted yet: every five minutes is.", "")
    import leather  # type: ignore[import-untyped]  # noqa: PLC0415 - only who looks at a chart needs it

    drawn: Any = leather.Chart()
    most = 1
    for state, dashes in LINES.items():
        points = [(_time(moment.at), getattr(moment.hosts, state.value)) for moment in moments]
        most = max([most, *(number for _, number in points)])
        drawn.add_line(points, name=state.value, stroke_color=f"var-{state.value}", stroke_dasharray=dashes)
    drawn.add_x_scale(_time(moments[0].at), _time(moments[-1].at))
    drawn.add_y_scale(0, most)
    drawn.add_y_axis(ticks=_numbers(most))
    first, last = moments[0].at, moments[-1].at
    ats = [_time(first + (last - first) * part / TICKS) for part in range(TICKS + 1)]
    form = "%H:%M" if last - first <= 86_400 * 1.5 else "%d %b"
    drawn.add_x_axis(ticks=ats, tick_formatter=lambda at, *_: f"{at:{form}}")
    return _image(
        "Hosts that were failed, unknown, drifted or changing, over time (UTC)", _classed(drawn.to_svg(width=WIDTH, height=HEIGHT))
    )


def _time(at: float) -> datetime:
    """As the library takes it: without a zone."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None)


def _numbers(most: int) -> list[int]:
    """Whole numbers from 0 to the most, a few of them."""
    step = max(1, -(-most // 4))
    return list(range(0, most + 1, step))


def _classed(svg: str) -> str:
    """The drawing with classes in place of the library's colours, which are for light paper."""
    inner = svg[svg.index(">") + 1 : svg.rindex("</svg>")]
    inner = inner.replace('fill="#f9f9f9"', 'class="back"', 1)
    for state in State:
        inner = inner.replace(f'<path stroke="var-{state.value}"', f'<path class="line {state.value}"')
        inner = inner.replace(f'fill="var-{state.value}"', f'class="mark {state.value}"')
    return inner


def _image(title: str, inner: str) -> bytes:
    text = f'<text x="20" y="40">{escape(title)}</text>' if not inner else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>{inner}{text}</svg>"
    ).encode()
