"""The jitter buffer against lists of losses, delays and reorderings. Packet n holds 20 ms that begin at n * 20 ms."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Sequence

import pytest

from streaming.jitter import LONGEST_FILL_S, PATIENCE_S, Conceal, Decode, JitterBuffer, Packet, Recover, Step

RATE = 48_000
TICKS = 960

Arrival = tuple[float, int]  # ms, packet


def packet(number: int, ssrc: int = 1, first_sequence: int = 0, first_timestamp: int = 0, unsent: int = 0) -> Packet:
    """unsent: how many packets before this one were never sent, as in a pause."""
    sequence = (first_sequence + number - unsent) % (1 << 16)
    timestamp = (first_timestamp + number * TICKS) % (1 << 32)
    return Packet(ssrc, sequence, timestamp, f"packet {number}".encode(), TICKS)


def deliver(buffer: JitterBuffer, arrivals: Iterable[tuple[float, Packet]], until_ms: float = 0.0) -> list[tuple]:
    """(ms, step) of all that is taken: after each arrival, and whenever more is due."""
    taken: list[tuple[float, Step]] = []
    for at, arrived in [*sorted(arrivals, key=lambda arrival: arrival[0]), (until_ms, None)]:
        while buffer.due * 1000 < at:
            due = buffer.due
            taken += [(due * 1000, step) for step in buffer.take(due)]
        if arrived is not None:
            buffer.push(arrived, at / 1000)
            taken += [(at, step) for step in buffer.take(at / 1000)]
    return taken


def script(taken: Sequence[tuple[float, Step]]) -> str:
    """What became of each 20 ms: `5` was decoded, `5+` recovered from packet 5 for the one before, `~` concealed."""
    words = {Decode: "{}", Recover: "{}+", Conceal: "~"}
    return " ".join(
        words[type(step)].format(getattr(step, "payload", b"").decode().removeprefix("packet ")) for _, step in taken
    )


def on_time(numbers: Iterable[int]) -> list[Arrival]:
    return [(20.0 * number, number) for number in numbers]


def placed(arrivals: Iterable[Arrival]) -> list[tuple[float, Packet]]:
    return [(at, packet(number)) for at, number in arrivals]


def test_on_a_perfect_network_each_packet_is_passed_on_at_once() -> None:
    buffer = JitterBuffer(RATE)
    taken = deliver(buffer, placed(on_time(range(500))))
    assert taken == [(20.0 * number, Decode(packet(number).payload, TICKS)) for number in range(500)]
    assert buffer.counts.decoded == buffer.counts.received == 500 and buffer.delay_s == 0.01


@pytest.mark.parametrize(
    "arrivals, heard",
    [
        pytest.param(on_time([0, 1, 3, 4]), "0 1 3+ 3 4", id="one lost"),
        pytest.param(on_time([0, 1, 4, 5]), "0 1 ~ 4+ 4 5", id="two lost"),
        pytest.param(on_time([0, 1, 7, 8]), "0 1 ~ ~ ~ ~ 7+ 7 8", id="a burst lost"),
        pytest.param(on_time([0, 2, 4, 6]), "0 2+ 2 4+ 4 6+ 6", id="every second lost"),
        pytest.param([*on_time([0, 1, 3]), (46, 2)], "0 1 2 3", id="late, but nothing overtook it"),
        pytest.param([*on_time([0, 1, 3, 4]), (63, 2)], "0 1 3+ 3 4", id="overtaken, and too late"),
        pytest.param([(0, 0), (50, 1), (60, 3), (68, 2)], "0 1 2 3", id="overtaken within the delay"),
        pytest.param([(0, 0), (80, 1), (81, 4), (90, 3), (95, 2)], "0 1 2 3 4", id="in the wrong order"),
        pytest.param([(0, 0), (0, 0), (20, 1), (21, 0), (40, 2), (40, 2)], "0 1 2", id="twice"),
        pytest.param([(0, 1), (5, 0), (40, 2)], "1 2", id="what came first begins"),
        pytest.param(
            [*on_time([0, 1]), *((190.0, number) for number in range(2, 10))], "0 1 2 3 4 5 6 7 8 9", id="stalled"
        ),
        pytest.param(
            [*on_time([0, 1]), *((290.0, number) for number in range(2, 16))],
            "0 1 ~ ~ ~ 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
            id="stalled for long, and it all comes",
        ),
        pytest.param(
            on_time([0, 1, *range(16, 19)]), "0 1 " + 13 * "~ " + "16+ 16 17 18", id="stalled, and it is lost"
        ),
        pytest.param([(100.0 * number, number) for number in range(6)], "0 1 2 3 4 5", id="a sender that lags"),
    ],
)
def test_losses_delays_and_reorderings(arrivals: list[Arrival], heard: str) -> None:
    assert script(deliver(JitterBuffer(RATE), placed(arrivals))) == heard


def test_a_lost_packet_costs_no_time_on_a_network_without_jitter() -> None:
    taken = deliver(JitterBuffer(RATE), placed(on_time([0, 1, 3, 4])))
    assert [at for at, _ in taken] == [0, 20, 60, 60, 80]


def test_an_overtaken_packet_is_waited_for_until_the_delay_has_passed_and_no_longer() -> None:
    buffer = JitterBuffer(RATE)
    taken = deliver(buffer, placed([(0, 0), (50, 1), (60, 3), (61, 4)]), until_ms=100)
    assert script(taken) == "0 1 3+ 3 4" and taken[2][0] == pytest.approx(70)


def test_the_delay_grows_with_the_packet_that_shows_the_need_and_the_next_one_is_waited_for() -> None:
    late = [*on_time([0, 1, 3, 4, 5, 7, 8, 9]), (65, 2), (143, 6)]
    buffer = JitterBuffer(RATE)
    assert script(deliver(buffer, placed(late))) == "0 1 3+ 3 4 5 6 7 8 9"
    assert buffer.delay_s == pytest.approx(0.025, abs=0.001) and buffer.counts.late == 1


def test_the_delay_shrinks_slowly_when_the_network_recovers() -> None:
    buffer = JitterBuffer(RATE)
    deliver(buffer, placed([*on_time([0, 1, 3]), (85, 2)]))
    assert buffer.delay_s == pytest.approx(0.045)
    seen = []
    for number in range(4, 600):
        deliver(buffer, placed([(20.0 * number, number)]))
        seen.append(buffer.delay_s)
    assert seen[240] == pytest.approx(0.045)  # remembered for five seconds
    assert all(0 <= before - after <= 0.00021 for before, after in itertools.pairwise(seen))
    assert seen[-1] == 0.01


def test_no_packet_is_waited_for_longer_than_the_bound() -> None:
    buffer = JitterBuffer(RATE, most_delay_s=0.06)
    deliver(buffer, placed([(0, 0), (400, 1), (400, 20)]))
    assert buffer.delay_s == 0.06


@pytest.mark.parametrize("first_timestamp", [(1 << 32) - 3 * TICKS, (1 << 31) - 3 * TICKS, (1 << 32) - 1])
@pytest.mark.parametrize("first_sequence", [(1 << 16) - 3, (1 << 15) - 3, (1 << 16) - 1])
def test_numbers_wrap(first_timestamp: int, first_sequence: int) -> None:
    order = [0, 1, 3, 2, 4, 6, 7, 9, 8, 10]
    arrivals = [
        (20.0 * max(number, place) - (9 if number > place else 0), packet(number, 1, first_sequence, first_timestamp))
        for place, number in enumerate(order)
        if number != 6
    ]
    heard = script(deliver(JitterBuffer(RATE), arrivals))
    assert heard.startswith("0 1 ") and heard.endswith(" 10") and heard.count(" ") == 10, heard


def test_sequence_numbers_wrap_again_and_again() -> None:
    buffer = JitterBuffer(RATE)
    numbers = range(0, 200_001, 10)
    taken = deliver(buffer, ((20.0 * number, packet(number, 1, 7, (1 << 32) - 99)) for number in numbers))
    assert buffer.counts.restarts == 0 and buffer.counts.late == 0
    assert sum(step.ticks for _, step in taken) == 200_001 * TICKS


def test_silence_that_is_not_sent_is_filled_as_it_passes() -> None:
    quiet = Packet(1, 2, 2 * TICKS, b"\x78", TICKS)
    arrivals = [*placed(on_time([0, 1])), (40.0, quiet), *((20.0 * n, packet(n, unsent=19)) for n in range(22, 25))]
    buffer = JitterBuffer(RATE)
    taken = deliver(buffer, arrivals)
    assert [type(step) for _, step in taken] == [*[Decode] * 3, *[Conceal] * 19, *[Decode] * 3]
    filled = [at for at, step in taken if isinstance(step, Conceal)]
    assert filled == pytest.approx([20.0 * number + 10 for number in range(3, 22)])
    assert buffer.counts.concealed_ticks == 19 * TICKS


def test_a_pause_without_a_word_is_no_loss_and_nothing_is_waited_for() -> None:
    taken = deliver(JitterBuffer(RATE), [*placed(on_time([0, 1])), (100.0, packet(5, unsent=3))])
    assert taken[2:] == [(100, Conceal(TICKS))] * 3 + [(100, Decode(packet(5).payload, TICKS))]


def test_a_microphone_that_is_switched_off_is_silent_and_then_gone() -> None:
    buffer = JitterBuffer(RATE)
    taken = deliver(buffer, placed([(0, 0)]), until_ms=60_000)
    assert sum(step.ticks for _, step in taken) == TICKS + LONGEST_FILL_S * RATE
    assert taken[1][0] == pytest.approx(20 + PATIENCE_S * 1000) and math.isinf(buffer.due)
    again = deliver(buffer, placed(on_time(range(3000, 3003))))
    assert script(again) == "3000 3001 3002" and [at for at, _ in again] == [60_000, 60_020, 60_040]


def test_a_new_source_goes_on_behind_the_old_one() -> None:
    other = [(20.0 * number, packet(number, ssrc=2, first_timestamp=123_456)) for number in range(5, 8)]
    buffer = JitterBuffer(RATE)
    assert script(deliver(buffer, [*placed([(0, 0), (41, 2), (45, 4)]), *other])) == "0 2+ 2 4+ 4 5 6 7"
    assert buffer.counts.restarts == 1


@pytest.mark.parametrize("leap", [-100 * TICKS, 100 * TICKS, 1 << 31, 12_345])
def test_timestamps_that_leap_begin_anew_without_a_gap(leap: int) -> None:
    leaping = [(20.0 * n, packet(n, first_timestamp=leap if n > 4 else 0)) for n in range(10)]
    taken = deliver(JitterBuffer(RATE), leaping)
    decoded = [number for number, (_, step) in enumerate(taken) if isinstance(step, Decode)]
    assert len(decoded) == 10 and len(taken) == (23 if leap == 12_345 else 10)  # 257 ms may be a pause


@pytest.mark.parametrize("drift", [-500e-6, -50e-6, 50e-6, 500e-6])
def test_a_clock_that_runs_differently_costs_neither_sound_nor_delay(drift: float) -> None:
    buffer = JitterBuffer(RATE)
    taken = deliver(buffer, ((20.0 * number * (1 + drift), packet(number)) for number in range(10_000)))
    assert all(isinstance(step, Decode) for _, step in taken) and len(taken) == 10_000
    assert buffer.delay_s == 0.01


def test_packets_that_overlap_do_not_make_time_longer() -> None:
    buffer = JitterBuffer(RATE)
    for number in range(100):
        buffer.push(Packet(1, number, number * 10, b"abc", TICKS), 0.001 * number)
    taken = buffer.take(0.1)
    assert sum(step.ticks for step in taken) == TICKS * 2 and buffer.counts.late == 98


def test_packets_that_nobody_takes_are_dropped_the_oldest_first() -> None:
    buffer = JitterBuffer(RATE, most_waiting=10)
    for number in range(100):
        buffer.push(packet(number), 0.02 * number)
    assert script([(0, step) for step in buffer.take(2.0)]) == " ".join(str(number) for number in range(90, 100))
    assert buffer.counts.overflowed == 90


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_network_does_sound_is_in_its_place(seed: int) -> None:
    chance = random.Random(seed)
    loss, jitter_ms = chance.choice([0.0, 0.02, 0.2]), chance.choice([0.0, 5.0, 40.0, 150.0])
    numbers = [n for n in range(1500) if n == 0 or chance.random() > loss for _ in range(1 + (chance.random() < 0.05))]
    arrivals = [(20.0 * n + (chance.uniform(0, jitter_ms) if n else 0.0), n) for n in numbers]
    buffer = JitterBuffer(RATE)
    taken = deliver(buffer, placed(arrivals))
    position, last = 0, 0.0
    for at, step in taken:
        if isinstance(step, Decode):
            assert step.payload == packet(position // TICKS).payload
        if isinstance(step, Recover):
            assert step.payload == packet(position // TICKS + 1).payload
        assert at >= last and at - position / RATE * 1000 <= max(PATIENCE_S * 1000, jitter_ms) + 1e-6
        position, last = position + step.ticks, at
    counts = buffer.counts
    assert counts.received == len(arrivals) and counts.restarts == counts.overflowed == 0
    if not jitter_ms:
        assert counts.decoded == len(set(numbers))
