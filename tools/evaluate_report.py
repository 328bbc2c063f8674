"""The figures of an evaluation, as JSON and as Markdown tables.

    python -m tools.evaluate_report REPORT.json [--into README.md]

prints the tables of a report again. With --into they take the place of what stands in that file between the lines
`<!-- figures: NAME -->` and `<!-- end of figures -->`, NAME being the report's without its suffix.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.answers import Answered, Made
from tools.manifest import LABELS, Row
from tools.words import WordErrors, says_any

Judged = Sequence[tuple[Row, list[Answered]]]


# ---- figures


def share(judged: Iterable[bool | None]) -> float | None:
    known = [hit for hit in judged if hit is not None]
    return round(sum(known) / len(known), 4) if known else None


def summarise(answers: Sequence[Answered]) -> dict[str, Any]:
    heard, own = WordErrors(), WordErrors()
    for answer in answers:
        heard.add(answer.heard_errors)
        own.add(answer.own_errors)
    return {
        "turns": len(answers),
        "word_error_rate": heard.rate,
        "expected_words": share(answer.expected_words for answer in answers),
        "expected_outputs": share(answer.expected_output for answer in answers),
        "own_speech_wer": own.rate,
        "errors": sum(answer.error is not None for answer in answers),
    }


def percentiles(values: Iterable[float]) -> dict[str, float]:
    p50, p95 = np.percentile(list(values), (50, 95))
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}


def milestones(answers: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """Percentiles of every milestone, in the order in which they are passed."""
    passed: dict[str, list[float]] = {}
    for answer in answers:
        for name, ms in answer.milestones_ms.items():
            passed.setdefault(name, []).append(ms)
    return dict(sorted(((name, percentiles(ms)) for name, ms in passed.items()), key=lambda item: item[1]["p50"]))


def labelled(judged: Judged, label: str) -> dict[str, list[Answered]]:
    """The answers by the values of one of LABELS, in their order."""
    groups: dict[str, list[Answered]] = {}
    for row, answers in judged:
        for answer in answers:
            if (value := answer.said.labels.get(label, row.extra.get(label))) is not None:
                groups.setdefault(str(value), []).append(answer)
    return dict(sorted(groups.items()))


def confusions(answers: Sequence[Answered]) -> dict[str, dict[str, int]]:
    """For each intent, "expected → said" and how often: what else it might have been, by the other answers of the
    intent, is looked for in a wrong reply."""
    known: dict[str, dict[str, tuple[str, ...]]] = {}
    for answer in answers:
        if words := answer.said.expect_any:
            known.setdefault(answer.said.labels.get("intent", ""), {})[words[0]] = words
    found: dict[str, Counter[str]] = {}
    for answer in answers:
        if answer.expected_words is False:
            intent = answer.said.labels.get("intent", "")
            others = (name for name, words in known[intent].items() if says_any(answer.reply, words))
            mistake = f"{answer.said.expect_any[0]} → {next(others, 'none of them')}"
            found.setdefault(intent, Counter())[mistake] += 1
    return {intent: dict(counts.most_common()) for intent, counts in sorted(found.items())}


def summarise_made(answers: Sequence[Answered], made: Sequence[Made]) -> dict[str, Any]:
    """Of all drawings, or of all tunes."""
    own_views = [answer for one in made for answer in one.again]
    figures: dict[str, Any] = {
        "asked": sum(answer.said.expect_output == made[0].kind for answer in answers),
        "made": len(made),
        "took_ms": percentiles(one.took_ms for one in made),
        "again": {
            intent: summarise([answer for answer in own_views if answer.said.labels.get("intent", "") == intent])
            for intent in dict.fromkeys(answer.said.labels.get("intent", "") for answer in own_views)
        },
        "confusions": confusions(own_views),
    }
    lasts_s = [one.lasts_s for one in made if one.lasts_s is not None]
    return figures | ({"shortest_s": round(min(lasts_s), 2)} if lasts_s else {})


def make_report(judged: Judged) -> dict[str, Any]:
    everything = [answer for _, answers in judged for answer in answers]
    report: dict[str, Any] = {
        "rows": [
            {"id": row.id, **row.extra, "turns": [answer.as_json() for answer in answers]} for row, answers in judged
        ],
        "summary": summarise(everything) | {"rows": len(judged), "milestones_ms": milestones(everything)},
    }
    for label in LABELS:
        if groups := labelled(judged, label):
            report[f"by_{label}"] = {name: summarise(answers) for name, answers in groups.items()}
    shown = [answer for answer in everything if answer.said.image or answer.said.music]
    if mistakes := confusions(shown):
        report["confusions"] = mistakes
    for kind in ("image", "music"):
        if made := [one for answer in everything for one in answer.made if one.kind == kind]:
            report[f"made_{kind}"] = summarise_made(everything, made)
    return report


# ---- tables

COLUMNS = {
    "turns": "turns",
    "word_error_rate": "heard wrong",
    "expected_words": "right words",
    "expected_outputs": "right kind",
    "own_speech_wer": "own speech wrong",
    "errors": "errors",
}


def table(report: dict[str, Any]) -> str:
    """The figures of a report in Markdown, a table for all rows and for each label, then of what was made."""
    blocks = [block("", {"all": report["summary"]})]
    blocks += [block(label, report[f"by_{label}"]) for label in LABELS if f"by_{label}" in report]
    blocks += mistakes(report.get("confusions", {}))
    for kind, name in (("image", "drawings"), ("music", "tunes")):
        if figures := report.get(f"made_{kind}"):
            blocks += made_blocks(name, figures)
    if milestones := report["summary"]["milestones_ms"]:
        rows = [[name, f"{at['p50']:.0f} ms", f"{at['p95']:.0f} ms"] for name, at in milestones.items()]
        blocks.append(markdown(["since the question", "p50", "p95"], rows))
    return "\n\n".join(blocks)


def made_blocks(name: str, figures: dict[str, Any]) -> list[str]:
    took = figures["took_ms"]
    rows = [
        [f"{name} asked for", str(figures["asked"])],
        [f"{name} made", str(figures["made"])],
        ["first token to the whole, p50", f"{took['p50'] / 1000:.1f} s"],
        ["first token to the whole, p95", f"{took['p95'] / 1000:.1f} s"],
    ]
    if "shortest_s" in figures:
        rows.append(["the shortest", f"{figures['shortest_s']:.1f} s"])
    rows += [[f"shown again, {asked} right", show(of["expected_words"])] for asked, of in figures["again"].items()]
    rows += [[f"another listener, {tag} right", show(right)] for tag, right in figures.get("listener", {}).items()]
    return [markdown([name, ""], rows), *mistakes(figures["confusions"])]


def mistakes(confusions: dict[str, dict[str, int]]) -> list[str]:
    return [
        f"{intent} mistaken: " + ", ".join(f"{what} {count}" if count > 1 else what for what, count in counts.items())
        for intent, counts in confusions.items()
    ]


def block(title: str, groups: dict[str, dict[str, Any]]) -> str:
    """A row for each group; columns in which nothing was expected are left out."""
    columns = [name for name in COLUMNS if any(figures[name] is not None for figures in groups.values())]
    rows = [[name, *(show(figures[column]) for column in columns)] for name, figures in groups.items()]
    return markdown([title, *(COLUMNS[name] for name in columns)], rows)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table whose columns are wide enough to be read as it is."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines.insert(1, ["-" * max(3, width) for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(figure: float | int | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure:.1f} %" if isinstance(figure, float) else str(figure)


END = "<!-- end of figures -->"


def replace_figures(path: Path, name: str, tables: str) -> None:
    """Raises ValueError where the file has no place for figures of that name."""
    begin = f"<!-- figures: {name} -->"
    before, found, after = path.read_text("utf-8").partition(begin)
    _, ended, after = after.partition(END)
    if not found or not ended:
        raise ValueError(f"{path} has no lines {begin} and {END}")
    path.write_text(f"{before}{begin}\n\n{tables}\n\n{END}{after}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--into", type=Path, help="a Markdown file with a place for the figures")
    options = parser.parse_args()
    tables = table(json.loads(options.report.read_text("utf-8")))
    if options.into is None:
        print(tables)
    else:
        replace_figures(options.into, options.report.stem, tables)


if __name__ == "__main__":
    main()
