"""The bad network is as bad as it says; a call through it is heard."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest

from tests.streaming.fakes import tone
from tools.bench_network import SPEECH, call, figures, has_correction, packets_of_speech, read
from tools.network import Link, Relay, without_candidates


@pytest.mark.parametrize("loss, burst", [(0.02, 1), (0.05, 3), (0.3, 5)])
def test_so_many_packets_are_lost_in_bursts_of_that_length(loss: float, burst: float) -> None:
    fates = Link(loss=loss, burst=burst).fates(seed=1)
    lost = [fate is None for fate in itertools.islice(fates, 100_000)]
    bursts = sum(now and not before for before, now in itertools.pairwise(lost))
    assert sum(lost) / len(lost) == pytest.approx(loss, rel=0.1)
    assert sum(lost) / bursts == pytest.approx(burst, rel=0.1)


def test_delays_lie_between_the_bounds_and_repeat() -> None:
    link = Link(delay_ms=10, jitter_ms=40, unharmed=5)
    delays = list(itertools.islice(link.fates(seed=1), 1000))
    assert delays[:5] == [0.01] * 5 and 0.01 < min(delays[5:]) < 0.012 and 0.048 < max(delays) <= 0.05
    assert delays == list(itertools.islice(link.fates(seed=1), 1000))
    assert delays != list(itertools.islice(link.fates(seed=2), 1000))


def test_who_answers_learns_no_address_and_the_caller_only_the_relays() -> None:
    sdp = "\r\n".join(
        [
            "v=0",
            "a=candidate:1 1 udp 5 127.0.0.1 4000 typ host",
            "a=candidate:2 1 udp 4 fe80::1 4001 typ host",
            "a=end-of-candidates",
            "m=audio",
        ]
    )
    assert without_candidates(sdp) == "v=0\r\nm=audio\r\n"

    async def body() -> None:
        relay = await Relay.open(sdp, Link())
        (line,) = [line for line in relay.sdp.splitlines() if "candidate:" in line]
        assert line.startswith("a=candidate:1 1 udp 5 127.0.0.1 ") and " 4000 " not in line
        assert "a=end-of-candidates" in relay.sdp
        relay.close()
        with pytest.raises(ValueError, match="no candidate"):
            await Relay.open("v=0\r\n", Link())

    asyncio.run(body())


def test_packets_of_speech_carry_the_one_before() -> None:
    payloads = packets_of_speech(read(SPEECH), 60)
    assert sum(has_correction(payload) for payload in payloads) >= 40, "most of them; Opus leaves it out of soft ones"
    assert len(set(payloads)) == 60


@pytest.mark.parametrize("own", [True, False])
def test_a_call_through_the_relay_is_heard(own: bool) -> None:
    payloads = packets_of_speech(np.concatenate([read(SPEECH), tone(0.5)]), 130)
    lossy = Link(loss=0.1, unharmed=25)
    sent, log = asyncio.run(call(payloads, lossy, seed=3, own=own))
    at = figures(sent, log)
    assert len(sent) == 130 and at["packets"] == 55 and 0.8 < at["arrived"] < 1
    assert at["reached"] > 0.95 if own else at["reached"] <= at["arrived"]
