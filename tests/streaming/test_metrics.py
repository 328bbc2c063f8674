"""What /metrics shows of answers."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streaming import milestones
from streaming.metrics import Metrics
from streaming.types import Usage


def samples(metrics: Metrics, name: str, label: str) -> dict[str, float]:
    """The values of one metric by one of its labels."""
    families = text_string_to_metric_families(metrics.text(worker_alive=True).decode())
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {sample.labels[label]: sample.value for sample in found}


def test_milestones_have_the_same_names_as_in_the_event() -> None:
    metrics = Metrics()
    metrics.answered_speech({name: 100.0 * (n + 1) for n, name in enumerate(milestones.NAMES)})
    seconds = samples(metrics, "tertulia_milestone_seconds_sum", "milestone")
    assert [name + "_ms" for name in sorted(seconds, key=seconds.__getitem__)] == list(milestones.NAMES)
    assert seconds["first_sound"] == pytest.approx(0.1 * len(milestones.NAMES))


def test_the_buckets_tell_what_must_hold_from_what_does_not() -> None:
    metrics = Metrics()
    for milliseconds in (299, 301, 699, 701, 999, 1001, 1599, 1601):
        metrics.answered_speech({"first_sound_ms": milliseconds})
    below = samples(metrics, "tertulia_milestone_seconds_bucket", "le")
    assert [below[le] for le in ("0.3", "0.7", "1.0", "1.6")] == [1, 3, 5, 7]


def test_tokens_of_prompts_are_counted_as_reused_or_computed() -> None:
    metrics = Metrics()
    metrics.prompted(Usage(text_in=30, audio_in=100, image_in=32, cached=150))
    metrics.prompted(Usage(text_in=10))
    assert samples(metrics, "tertulia_prompt_tokens_total", "kind") == {"reused": 150, "computed": 22}
