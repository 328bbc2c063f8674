"""The user's sound until it becomes an item: how it comes, where speech begins and ends in it, what is heard ahead."""

from __future__ import annotations

import numpy as np

from streaming.echo import EchoGuard
from streaming.endpoint import SPEAKS_ON_MS, Manner, silence_ms
from streaming.events import Limits
from streaming.fields import ProtocolError
from streaming.input_buffer import InputBuffer
from streaming.loudspeaker import Loudspeaker
from streaming.pcm import AudioFormat, Decoder, ms_to_samples, samples_to_ms
from streaming.settings import TurnDetection
from streaming.types import SPEECH_RATE
from streaming.vad import (
    WINDOW,
    Interruption,
    SpeechBegan,
    SpeechEnded,
    SpeechProbability,
    SpeechResumed,
    VadEvent,
    VadSettings,
)

SHORTEST_COMMIT_MS = 100
KEPT_SILENCE_MS = 160
"""How much of the silence that ended a turn belongs to it: the last sounds fade below the detector's threshold. After
so much silence the turn is answered eagerly: if it ends there, the model has heard just what it would hear later."""

READ_AHEAD_MS = 240
"""The model hears a speaking user whenever he has said so much more, and a tenth of what he had said before."""

FALLS_SILENT_MS = 64
"""And once more after so much silence, which may turn out to be the end: little is left to read when it has."""

STALLED_MS = 2000
"""A microphone that sends nothing for so long in the middle of speech has ended it."""

SILENT_MICROPHONE_MS = 10_000


class Hearing:
    """Owns the user's sound until it becomes an item. `append` what comes in events, `hear` what a microphone brings;
    with turn detection call `next_event` while there is sound `waiting`; `take` what was said.

    While he speaks, `overhear` what he has said since, and `so_far` is what he would have said if he had ended.
    """

    def __init__(
        self,
        wire: AudioFormat,
        limits: Limits,
        probability: SpeechProbability,
        scout: SpeechProbability | None,
        min_speech_ms: int,
        interruption: Interruption,
        loudspeaker: Loudspeaker,
    ) -> None:
        self.speech_start = 0  # of what the user says, or said last
        self._limits = limits
        self._min_speech_ms = min_speech_ms
        self._interruption = interruption
        self._decoder = Decoder(wire)
        if interruption.guards_echo:
            probability = EchoGuard(probability, loudspeaker, self._listened_ms)
            scout = None if scout is None else EchoGuard(scout, loudspeaker, self._listened_ms)
        self._input = InputBuffer(probability, scout)
        self._manner = Manner()
        self._silent_from: int | None = None  # where the last turn's speech ended
        self._overheard_to = 0  # what has been said until there is read ahead
        self._now_ms = 0.0
        self._came_ms = 0.0  # when sound last came in
        self._missed = False

    # Sound as it comes

    def connect(self, now_ms: float) -> None:
        """Sound can come from now on."""
        self._came_ms, self._missed = now_ms, False

    def stalls(self, now_ms: float) -> bool:
        return now_ms - self._came_ms > STALLED_MS

    def misses_microphone(self, now_ms: float) -> bool:
        """Whether no sound has come for a long time. It is told once."""
        if self._missed or now_ms - self._came_ms <= SILENT_MICROPHONE_MS:
            return False
        self._missed = True
        return True

    def append(self, audio: bytes, by_hand: bool, now_ms: float) -> None:
        """Sound in the client's format. `by_hand`: it waits for a commit. Raises ProtocolError if it is too much."""
        limit_s = self._limits.utterance_s if by_hand else self._limits.audio_ahead_s
        held = self._input.samples if by_hand else 0
        wire = self._decoder.format
        new = len(audio) // wire.bytes_per_sample * SPEECH_RATE // wire.sample_rate
        if held + new > ms_to_samples(limit_s * 1000):
            words = f"The input audio buffer would hold more than {limit_s:g} s of audio; commit or clear it first."
            raise ProtocolError("input_audio_buffer_full", words, "audio")
        self._hear(self._decoder.decode(audio), now_ms)

    def hear(self, pcm: np.ndarray, by_hand: bool, now_ms: float) -> None:
        """Sound that never pauses. pcm: [samples] float32 at SPEECH_RATE. `by_hand`: the newest of it, as long as an
        utterance may be, waits for a commit."""
        self._hear(pcm, now_ms)
        if by_hand:
            self._input.drop_before(self._input.end - ms_to_samples(self._limits.utterance_s * 1000))

    def _hear(self, pcm: np.ndarray, now_ms: float) -> None:
        self._came_ms, self._missed = now_ms, False
        self._input.append(pcm)

    def finish(self) -> None:
        """What was appended until now is whole."""
        self._input.append(self._decoder.finish())

    def begin(self, wire: AudioFormat) -> None:
        """What is appended from now on has this format."""
        self._decoder = Decoder(wire)

    # Speech in it

    @property
    def waiting(self) -> bool:
        return self._input.waiting > 0

    @property
    def paused(self) -> bool:
        """Whether the speech has been interrupted by a silence that may turn out to be its end."""
        return self._input.state.paused

    def next_event(
        self,
        detection: TurnDetection,
        transcript: str | None,
        now_ms: float,
        max_windows: int,
        *,
        interrupts: bool,
        pauses: bool,
    ) -> VadEvent | None:
        """Listen to at most so many windows. transcript: what the user has said, if that is known. `interrupts`: he
        would speak into an answer, whose sound `pauses` or not until it is sure."""
        self._now_ms = now_ms
        vad = VadSettings(
            detection.threshold,
            silence_ms(detection, self._manner, transcript),
            KEPT_SILENCE_MS,
            self._min_speech_ms,
            int(self._limits.utterance_s * 1000),
        )
        if interrupts:
            vad = self._interruption.settings(vad, pauses)
        event = self._input.next_event(vad, detection.prefix_padding_ms, max_windows)
        match event:
            case SpeechBegan(sample):
                self._notice_haste(sample)
                padded = sample - ms_to_samples(detection.prefix_padding_ms)
                self.speech_start = self._overheard_to = max(padded, self._input.start)
            case SpeechResumed(sample, paused_at):
                self._manner = self._manner.spoke_on(samples_to_ms(sample - paused_at))
            case SpeechEnded(sample):
                self._end_turn(sample)
        return event

    def break_off(self) -> SpeechEnded:
        """No sound comes any more in the middle of speech."""
        end = self._input.end
        self._input.listen_afresh()
        self._end_turn(end)
        return SpeechEnded(end, end)

    def listen_afresh(self) -> None:
        """Forget speech that has begun."""
        self._input.listen_afresh()

    def _listened_ms(self) -> float:
        """When the microphone brought the end of the window that is being listened to."""
        return self._now_ms - samples_to_ms(self._input.end - self._input.state.position - WINDOW)

    def _notice_haste(self, sample: int) -> None:
        """A turn that begins very soon after the last one is the rest of it."""
        if self._silent_from is not None and sample - self._silent_from <= ms_to_samples(SPEAKS_ON_MS):
            self._manner = self._manner.spoke_on(samples_to_ms(sample - self._silent_from))

    def _end_turn(self, sample: int) -> None:
        self._silent_from = sample
        self._manner = self._manner.next_turn()

    # What was said

    def overhear(self) -> tuple[int, np.ndarray] | None:
        """How much had been said before, and [samples] float32 of what has been said since; None if that is little."""
        heard_to, silent_from = self._input.state.position, self._input.state.silence_from
        said = self._overheard_to - self.speech_start
        enough = heard_to - self._overheard_to >= max(ms_to_samples(READ_AHEAD_MS), said // 10)
        silent = silent_from is not None and (
            self._overheard_to < silent_from + ms_to_samples(FALLS_SILENT_MS) <= heard_to
        )
        if not (enough or silent):
            return None
        pcm = self._input.copy(self._overheard_to, heard_to)
        self._overheard_to = heard_to
        return said, pcm

    def so_far(self) -> np.ndarray | None:
        """[samples] float32: what has been said if the silence ends it. None where there is no silence."""
        silent_from = self._input.state.silence_from
        if silent_from is None:
            return None
        return self._input.copy(self.speech_start, silent_from + ms_to_samples(KEPT_SILENCE_MS))

    def take(self, end: int) -> np.ndarray:
        """[samples] float32: what has been said until there."""
        return self._input.take(self.speech_start, end)

    def check_commit(self) -> None:
        """Raises ProtocolError if there is nothing to `take_all` of."""
        held_ms = samples_to_ms(self._input.samples)
        if held_ms < SHORTEST_COMMIT_MS:
            held = f"it holds {held_ms} ms of audio, {SHORTEST_COMMIT_MS} ms are needed"
            raise ProtocolError("input_audio_buffer_commit_empty", f"The input audio buffer is too short: {held}.")

    def take_all(self) -> np.ndarray:
        """[samples] float32: all sound that has come."""
        return self._input.take(self._input.start, self._input.end)

    def clear(self) -> None:
        """Forget all sound that has come."""
        self._input.drop_before(self._input.end)
