"""What a soak found, as one HTML page that needs nothing else: verdict, figures, plots (inline SVG), what went wrong.

`page` takes the report that tools.soak makes. Its look is in soak_report.css, which is put into the page.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEIGHT, LEFT, FOOT, RIGHT, HEAD = 560, 210, 46, 24, 22, 12
COLOURS = 8  # of sessions; then they repeat
STYLE = Path(__file__).with_name("soak_report.css")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit, and whether it holds."""

    name: str
    value: float | None  # None: there was nothing to measure, and the limit does not hold
    most: float

    @property
    def holds(self) -> bool:
        return self.value is not None and self.value <= self.most

    @property
    def words(self) -> str:
        found = "unknown" if self.value is None else f"{self.value:g}"
        return f"{self.name} is {found}, and {self.most:g} is the limit"


Points = Sequence[tuple[float, float | None]]
"""(s since the soak began, value or None)."""


def page(report: dict[str, Any], verdicts: Sequence[Verdict]) -> str:
    figures = report["summary"]
    network = f"{report['loss_percent']:g} % of the packets lost each way, {report['jitter_ms']:g} ms jitter"
    about = (
        f"{report['sessions']} sessions for {report['minutes']:g} minutes; {network}; "
        f"{html.escape(report['device'])}; commit {html.escape(report['commit'])}"
    )
    cards = [
        ("Latency p50 / p95", _pair(figures["latency_p50_ms"], figures["latency_p95_ms"], "ms")),
        ("Barge-in p50 / p95", _pair(figures["barge_in_p50_ms"], figures["barge_in_p95_ms"], "ms")),
        ("Gaps in played audio", _value(figures["gaps_percent"], "%")),
        ("Memory growth", _value(figures["memory_growth_percent"], "%")),
        ("Turns", _value(figures["turns"])),
        ("Leaks", _value(figures["leaks"])),
        ("Errors", _value(figures["errors"])),
    ]
    warnings = "".join(f'<p class="bad">{words}.</p>' for words in report["warnings"])
    shown = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in cards)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Soak of {report["when"]}</title><style>{STYLE.read_text("utf-8")}</style>
<h1>Soak of {report["when"]}</h1><p class="about">{about}</p>
{_verdict(verdicts)}{warnings}<div class="cards">{shown}</div>
<h2>Over time</h2><div class="plots">{"".join(_plots(report))}</div>
<h2>Sessions</h2>{_by_session(report)}
<h2>From the end of speech, on average, by the server</h2>{_milestones(report["milestones_ms"])}
<h2>All figures</h2>{_table([[name.replace("_", " "), _value(value)] for name, value in figures.items()])}
<h2>What went wrong</h2>{_wrong(report)}
</html>
"""


def _verdict(verdicts: Sequence[Verdict]) -> str:
    broken = [each for each in verdicts if not each.holds]
    rows = "".join(
        f'<li class="{"holds" if each.holds else "breaks"}">{each.name.replace("_", " ")}: '
        f"{_value(each.value)}, at most {each.most:g}"
        for each in verdicts
    )
    words = f"{len(broken)} of {len(verdicts)} limits broken" if broken else "Every limit holds"
    return f'<div class="verdict {"bad" if broken else "good"}"><b>{words}</b><ul>{rows}</ul></div>'


def _plots(report: dict[str, Any]) -> list[str]:
    turns, samples, figures = report["turns"], report["samples"], report["summary"]
    by_session = {f"session {n}": [turn for turn in turns if turn["session"] == n] for n in range(report["sessions"])}
    latencies = {name: [(t["at_s"], t["latency_ms"]) for t in own] for name, own in by_session.items()}
    gaps = {
        name: [(t["at_s"], 100 * t["gaps"] / t["frames"]) for t in own if t["frames"]]
        for name, own in by_session.items()
    }
    memory = {
        "all processes": [(s["at_s"], s["resident_mb"]) for s in samples],
        "server": [(s["at_s"], s["server_mb"]) for s in samples],
    }
    marks = {"p50": figures["latency_p50_ms"], "p95": figures["latency_p95_ms"]}
    warm_s = report["warm_up_s"]
    return [
        over_time("From the last sample of speech to the first sound", "ms", latencies, marks),
        histogram("The same, how often", "ms", [t["latency_ms"] for t in turns], 50),
        histogram("From the onset of an interruption to silence", "ms", [t["barge_in_ms"] for t in turns], 25),
        over_time("Gaps in each reply", "% of its frames", gaps),
        over_time("Memory", "MB resident", memory, joined=True, warm_s=warm_s),
        over_time(
            "Open files", "", {"all": [(s["at_s"], s["open_files"]) for s in samples]}, joined=True, warm_s=warm_s
        ),
    ]


def over_time(
    title: str,
    unit: str,
    series: dict[str, Points],
    marks: dict[str, float | None] | None = None,
    *,
    joined: bool = False,
    warm_s: float = 0.0,
) -> str:
    """Dots, or lines, over minutes. marks: levels to compare with. warm_s: so much at the beginning is shaded."""
    known = {name: [(at / 60, value) for at, value in points if value is not None] for name, points in series.items()}
    everything = [point for points in known.values() for point in points]
    if not everything:
        return _figure(title, unit, '<p class="nothing">nothing was measured</p>')
    last = max(at for at, _ in everything) or 1.0
    top, step = _scale(max(value for _, value in everything))
    x = _places(last, LEFT, WIDTH - RIGHT)
    y = _places(top, HEIGHT - FOOT, HEAD)
    drawn = _levels(top, step, y) + _minutes(last, x)
    if warm_s:
        drawn += f'<rect class="warm" x="{LEFT}" y="{HEAD}" width="{x(min(warm_s / 60, last)) - LEFT:.1f}" '
        drawn += f'height="{HEIGHT - FOOT - HEAD}"><title>warming up: not compared</title></rect>'
    for number, (name, points) in enumerate(known.items()):
        colour = f"var(--c{number % COLOURS})"
        if joined:
            path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
            drawn += f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{path}"/>'
        else:
            drawn += "".join(
                f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}" fill-opacity=".75">'
                f"<title>{name}, {at:.1f} min: {value:.4g} {unit}</title></circle>"
                for at, value in points
            )
    for name, level in (marks or {}).items():
        if level is not None:
            at = y(min(level, top))
            drawn += f'<line class="mark" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            drawn += f'<text x="{WIDTH}" y="{at + 4:.1f}" text-anchor="end">{name}</text>'
    return _figure(title, unit, _svg(title, drawn), list(known) if len(known) > 1 else [])


def histogram(title: str, unit: str, values: Sequence[float | None], width: float) -> str:
    """How many values lie in each step of that width."""
    known = [value for value in values if value is not None]
    if not known:
        return _figure(title, unit, '<p class="nothing">nothing was measured</p>')
    while max(known) / width > 40:
        width *= 2
    last = width * (math.floor(max(known) / width) + 1)
    counts = np.bincount([max(0, math.floor(value / width)) for value in known], minlength=round(last / width))
    top, step = _scale(float(counts.max()))
    x, y = _places(last, LEFT, WIDTH - RIGHT), _places(top, HEIGHT - FOOT, HEAD)
    drawn = _levels(top, max(1.0, step), y)
    for number, count in enumerate(counts):
        from_, to = number * width, (number + 1) * width
        place = f'x="{x(from_) + 1:.1f}" y="{y(count):.1f}" width="{x(to) - x(from_) - 2:.1f}"'
        words = f"{from_:g} to {to:g} {unit}: {count}"
        drawn += f'<rect fill="var(--c0)" {place} height="{y(0) - y(count):.1f}"><title>{words}</title></rect>'
    _, every = _scale(last)
    drawn += "".join(_below(x(at), f"{at:g}") for at in np.arange(0, last + every / 2, every) if at <= last)
    p50, p95 = np.percentile(known, (50, 95))
    for number, (name, level) in enumerate((("p50", p50), ("p95", p95))):
        at, under = x(level), HEAD + 10 + 14 * number
        beside = f'x="{at - 4:.1f}" text-anchor="end"' if at > 0.8 * WIDTH else f'x="{at + 4:.1f}"'
        drawn += f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{HEAD}" y2="{HEIGHT - FOOT}"/>'
        drawn += f'<text class="over" {beside} y="{under}">{name} {level:.0f}</text>'
    return _figure(title, f"{unit}, {len(known)} measured", _svg(title, drawn))


def _figure(title: str, unit: str, drawn: str, names: Sequence[str] = ()) -> str:
    keys = "".join(
        f'<span class="key"><i style="background: var(--c{n % COLOURS})"></i>{name}</span> '
        for n, name in enumerate(names)
    )
    return f"<figure><figcaption><b>{title}</b>{f' ({unit})' if unit else ''}{keys}</figcaption>{drawn}</figure>"


def _svg(title: str, drawn: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{drawn}</svg>'


def _scale(most: float) -> tuple[float, float]:
    """A round number at or above it, and the step between levels."""
    most = most if most > 0 else 1.0
    rough = most / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough * 0.999)
    return step * math.ceil(most / step - 1e-9), step


def _places(last: float, from_: float, to: float) -> Any:
    return lambda value: from_ + (to - from_) * value / last


def _levels(top: float, step: float, y: Any) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{at:g}</text>'
        for at in np.round(np.arange(0, top + step / 2, step), 6)
    )


def _minutes(last: float, x: Any) -> str:
    _, step = _scale(last)
    return "".join(_below(x(at), f"{at:g} min") for at in np.round(np.arange(0, last, step), 6))


def _below(x: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{words}</text>'


def _by_session(report: dict[str, Any]) -> str:
    rows = [["session", "turns", "latency p50", "p95", "barge-in p50", "gaps", "without sound", "failed", "leaks"]]
    for number in range(report["sessions"]):
        turns = [turn for turn in report["turns"] if turn["session"] == number]
        latencies = [turn["latency_ms"] for turn in turns if turn["latency_ms"] is not None]
        barge_ins = [turn["barge_in_ms"] for turn in turns if turn["barge_in_ms"] is not None]
        frames = sum(turn["frames"] for turn in turns)
        rows.append(
            [
                str(number),
                str(len(turns)),
                _value(_percentile(latencies, 50), "ms"),
                _value(_percentile(latencies, 95), "ms"),
                _value(_percentile(barge_ins, 50), "ms"),
                _value(round(100 * sum(turn["gaps"] for turn in turns) / frames, 2) if frames else None, "%"),
                str(sum(turn["soundless"] for turn in turns)),
                str(sum(turn["failure"] is not None for turn in turns)),
                str(sum(turn["leak"] is not None for turn in turns)),
            ]
        )
    return _table(rows, headed=True)


def _milestones(milestones_ms: dict[str, float]) -> str:
    if not milestones_ms:
        return '<p class="nothing">nothing was measured</p>'
    return _table([[name.replace("_", " "), f"{at:.0f} ms"] for name, at in milestones_ms.items()])


def _wrong(report: dict[str, Any]) -> str:
    words = list(report["errors"])
    for turn in report["turns"]:
        place = f"session {turn['session']}, {turn['at_s'] / 60:.1f} min, {turn['kind']}"
        if turn["failure"] is not None:
            words.append(f"{place}: {turn['failure']}")
        if turn["leak"] is not None:
            words.append(f"{place}: named {turn['leak']}, who is another session: “{turn['said']}”")
    return "<ul>" + "".join(f"<li>{html.escape(each)}" for each in words or ["nothing"]) + "</ul>"


def _table(rows: Sequence[Sequence[str]], headed: bool = False) -> str:
    cells = ["th" if headed and not number else "td" for number in range(len(rows))]
    lines = ("<tr>" + "".join(f"<{c}>{each}" for each in row) for c, row in zip(cells, rows, strict=True))
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent))) if values else None


def _pair(first: float | None, second: float | None, unit: str) -> str:
    whole = [None if value is None else round(value) for value in (first, second)]
    return f"{_value(whole[0])} / {_value(whole[1], unit)}"


def _value(value: float | None, unit: str = "") -> str:
    return "–" if value is None else f"{value:g} {unit}".strip()
