"""One-shot tasks: any of text, speech, pictures and music into any other, without a conversation.

    say        text -> speech         transcribe  speech -> text
    draw       text -> picture        describe    picture or music -> text
    compose    text -> music          ask         anything -> an answer of any kinds

A task is a prompt and a grammar of what may follow. A chat model is asked in its dialogue, in the words of its
configured style; the base model in its own published prompts, which are no dialogue.
"""

from __future__ import annotations

import random
import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from assistant.checkpoints import part_files
from assistant.engine import grammar
from assistant.engine.engine import ContextTooLong
from assistant.engine.grammar import GrammarState, Segment
from assistant.prompts import BASE_INSTRUCTIONS, one_shot
from assistant.responder import AnyGPTResponder
from assistant.tokenizers.speech import at_speech_level
from assistant.tokenizers.text import TextStream
from assistant.vocabulary import MUSIC_CODEBOOKS, Modality
from configuration import Configuration
from streaming.types import (
    SPEECH_RATE,
    Finished,
    Kind,
    Output,
    Request,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    Turn,
)

Verb = Literal["ask", "say", "transcribe", "draw", "compose", "describe"]
Reason = Literal["completed", "max_output_tokens"]

ID = "task"
"""Of the only session and response."""
PAUSE_S = 0.15
"""Between the sentences of what is said."""
VOICE_S = 10.0
"""How much of a recording tells how a voice sounds."""

NEEDS: dict[tuple[Literal["takes", "makes"], Kind], tuple[tuple[str, ...], str]] = {
    ("takes", "image"): (("seed",), "cannot see yet: it has no picture tokenizer"),
    ("makes", "image"): (("seed", "unclip"), "cannot draw yet: it has no picture decoder"),
    ("takes", "music"): (("encodec",), "cannot hear music yet: it has no music codec"),
    ("makes", "music"): (("encodec",), "cannot play music yet: it has no music codec"),
}
"""The parts (assistant.checkpoints.PARTS) that make a model set able, and what is said where one is missing."""


class CannotDo(Exception):
    """A task that this model set cannot do, or not with this input; the sentence says why and what to do."""


def check_able(configuration: Configuration, verb: Verb, turns: Sequence[Turn] = ()) -> None:
    """Raises CannotDo where the model folder lacks a part for a task, before any model is loaded."""
    model = configuration.model
    wanted: dict[tuple[Literal["takes", "makes"], Kind], bool] = {
        ("takes", "image"): any(turn.image is not None for turn in turns),
        ("takes", "music"): any(turn.music is not None for turn in turns),
        ("makes", "image"): verb == "draw",
        ("makes", "music"): verb == "compose",
    }
    for need, (parts, sentence) in NEEDS.items():
        if wanted[need] and not all(part_files(model.path, part) for part in parts):
            raise CannotDo(f"{model.name} {sentence} in {model.directory}.")
    if verb == "ask" and model.style == "base":
        others = "say, transcribe, draw, compose or describe"
        raise CannotDo(f"{model.name} is a base model and holds no conversation: ask it to {others}.")


class Tasks:
    """Owns a responder for one task after the other. Each yields outputs, of which the last is Finished or Failed."""

    def __init__(self, responder: AnyGPTResponder, configuration: Configuration, seed: int | None = None) -> None:
        self._responder, self._style = responder, configuration.model.style
        self._limits = configuration.generation
        self._random = random.Random(seed)

    def add_voice(self, name: str, pcm: np.ndarray) -> None:
        """Speak as in a recording, [samples] float32 at SPEECH_RATE. Raises CannotDo for one without sound."""
        tokenizer = self._responder.ears.tokenizer
        wav = torch.from_numpy(at_speech_level(pcm[: int(VOICE_S * SPEECH_RATE)])).view(1, 1, -1)
        if wav.shape[-1] < SPEECH_RATE // 2:
            raise CannotDo("A voice needs at least half a second of speech.")
        with torch.inference_mode():
            codes = tokenizer.encode(wav.to(self._responder.mouth.device))[:, 0].T
        self._responder.mouth.voices[name] = codes
        self._responder.voices = tuple(self._responder.mouth.voices)

    def ask(self, turns: Sequence[Turn], *, speak: bool, voice: str = "") -> Iterator[Output]:
        """The answer to what the user shows and says: a conversation of one turn."""
        request = Request(ID, ID, tuple(turns), speak=speak, voice=voice, attachments=True)
        responder = self._responder
        responder.submit(request)
        while not responder.idle:
            yield from responder.step()
        responder.close_session(ID)
        responder.step()

    def say(self, text: str, voice: str = "") -> Iterator[Output]:
        """Text as speech, sentence by sentence."""
        dialogue, words = self._responder.dialogue, self._responder.vocabulary
        segment = grammar.speech(words, None, self._limits.speech.max_tokens)
        reason: Reason = "completed"
        for number, sentence in enumerate(sentences_of(text)):
            if number:
                yield SpeechDelta(ID, np.zeros(int(PAUSE_S * SPEECH_RATE), np.float32))
            if self._style == "base":
                prompt, state = self._base("say", sentence), self._base_answer(words.speech.start, segment)
            else:  # the model answers with speech to text of its own: this is to be its text
                said = dialogue.assistant_turn_tokens(None, sentence, ())
                prompt = self._asked("say", sentence)
                state = grammar.opened(said[: said.index(words.speech.start) + 1], segment)
            written = yield from self._generate(prompt, state, voice)
            if written.reason != "completed":
                reason = written.reason
        yield Finished(ID, reason, text, (), ())

    def transcribe(self, turn: Turn) -> Iterator[Output]:
        """A turn's speech as text."""
        responder, pcm = self._responder, turn.speech
        assert pcm is not None
        most = responder.engine.config.max_context // 2
        if responder.ears.frames(len(pcm)) > most:
            seconds = most * responder.ears.frame_samples // SPEECH_RATE
            raise CannotDo(f"This speech is too long for the model: at most {seconds} s at once; cut it into pieces.")
        codes = responder.ears.listen(pcm)
        if self._style == "base":
            prompt = self._base("transcribe", responder.vocabulary.speech.segment(codes))
            yield from self._answer(prompt, self._text())
        else:
            dialogue, words = responder.dialogue, responder.vocabulary
            prompt = [*dialogue.system_tokens(), *dialogue.user_turn_tokens(codes)]
            answer = dialogue.assistant_turn_tokens("", "")
            opening = answer[: answer.index(words.transcript_mark)]
            limit = self._limits.text.max_tokens
            yield from self._answer(prompt, grammar.transcript(words, opening=opening, max_transcript=limit))

    def describe(self, turn: Turn) -> Iterator[Output]:
        """A turn's picture or music as text."""
        media = self._responder.media
        if turn.image is not None:
            verb, segment = "describe image", media.see(turn.image)
        else:
            assert turn.music is not None
            verb, segment = "describe music", media.hear(turn.music, self._responder.engine.config.max_context // 2)
        prompt = self._base(verb, segment) if self._style == "base" else self._asked(verb, "", segment)
        yield from self._answer(prompt, self._text())

    def draw(self, text: str) -> Iterator[Output]:
        """Text as a picture."""
        words = self._responder.vocabulary
        assert words.image is not None
        yield from self._made("draw", text, words.image, grammar.image(words, None))

    def compose(self, text: str) -> Iterator[Output]:
        """Text as music."""
        words = self._responder.vocabulary
        assert words.music is not None
        yield from self._made("compose", text, words.music, grammar.music(words, None, self._music_frames))

    # ---- prompts and what may follow

    def _made(self, verb: str, text: str, modality: Modality, segment: Segment) -> Iterator[Output]:
        if self._style == "base":
            yield from self._answer(self._base(verb, text), self._base_answer(modality.start, segment))
        else:  # perhaps with a word before it
            words = self._responder.vocabulary
            answer = grammar.text(words, ((modality.start, segment),), 0, self._limits.text.max_tokens)
            yield from self._answer(self._asked(verb, text), GrammarState(answer))

    def _asked(self, verb: str, text: str, segment: Sequence[int] = ()) -> list[int]:
        """The start of a dialogue in which the user asks for the task."""
        dialogue = self._responder.dialogue
        assert self._style != "base", "a base model knows no dialogue"
        turn = dialogue.user_turn_tokens(text=one_shot(self._style, verb, text), shown=bool(segment))
        return [*dialogue.system_tokens(), *(dialogue.with_shown(turn, [segment]) if segment else turn)]

    def _base(self, verb: str, content: str | Sequence[int]) -> list[int]:
        """The published prompt of the base model (assistant.prompts.base_prompt), in tokens: content cannot pose as
        marks."""
        words, tokenizer = self._responder.vocabulary, self._responder.tokenizer
        name = self._responder.dialogue.assistant
        instruction = f": {BASE_INSTRUCTIONS[verb]} "
        if isinstance(content, str):
            inside = tokenizer.encode_plain(f"{instruction}This is input: {content}")
        else:
            inside = [*tokenizer.encode_plain(instruction), *content]
        ending = [words.user_end, *tokenizer.encode_plain(" "), name, *tokenizer.encode_plain(":")]
        return [tokenizer.bos, words.user, *inside, *ending]

    def _base_answer(self, start: int, segment: Segment) -> GrammarState:
        turn = self._responder.dialogue.assistant_turn_tokens("", "")
        space = turn[: turn.index(self._responder.vocabulary.transcript_mark)]
        return grammar.opened([*space, start], segment)

    def _text(self) -> GrammarState:
        """Words until the model ends its answer, or would go on in another kind."""
        words = self._responder.vocabulary
        starts = [modality.start for modality in (words.speech, words.image, words.music) if modality is not None]
        closings = tuple((end, None) for end in (*words.reply_ends, *starts))
        return GrammarState(grammar.text(words, closings, 1, self._limits.text.max_tokens))

    # ---- generation

    def _answer(self, prompt: list[int], state: GrammarState) -> Iterator[Output]:
        written = yield from self._generate(prompt, state)
        yield Finished(ID, written.reason, written.text, (), ())

    def _generate(self, prompt: list[int], state: GrammarState, voice: str = "") -> Generator[Output, None, Written]:
        """What the model writes behind a prompt, and the sound, the picture or the music that it stands for."""
        responder, words = self._responder, self._responder.vocabulary
        engine, mouth, works = responder.engine, responder.mouth, responder.works
        sequence = engine.open(ID)
        text, heard, speech, frames = TextStream(responder.tokenizer), False, None, 0
        try:
            engine.set_prompt(sequence, prompt)
            seed = self._random.getrandbits(32)
            engine.generate(sequence, state, responder.sampling, engine.config.max_context, seed)
            while sequence.finished is None or not works.idle:
                for name, token in engine.step():
                    if works.take(name, token):
                        continue
                    begun = words.kind_begun(token)
                    if begun == "speech" and speech is None:
                        speech = mouth.open(voice or responder.voices[0])
                    elif begun is not None:
                        works.begin(sequence, ID, ID, "", streamed=False, music_frames=self._music_frames)
                    elif token in words.speech.tokens and speech is not None:
                        speech.feed(words.speech.to_codes([token]))
                        frames += 1
                    elif token in words.text and token not in words.reply_ends:
                        if delta := text.push(token):
                            yield TranscriptDelta(ID, delta) if heard else TextDelta(ID, delta)
                    heard = heard or token == words.transcript_mark
                if speech is not None and speech.due:
                    yield SpeechDelta(ID, mouth.speak(speech))
                yield from works.step(wait=sequence.finished is not None)
            if sequence.finished == "error":
                raise sequence.error or RuntimeError("the engine failed")
            if speech is not None:
                speech.end()
                while speech.due:
                    yield SpeechDelta(ID, mouth.speak(speech))
        except ContextTooLong:
            raise CannotDo("That is too long for the model: give it less at once.") from None
        finally:
            engine.close(sequence)
        cut = sequence.finished == "length" or frames >= self._limits.speech.max_tokens
        return Written(text.text, "max_output_tokens" if cut else "completed")

    @property
    def _music_frames(self) -> int:
        return self._limits.music.max_tokens // MUSIC_CODEBOOKS


@dataclass(frozen=True, slots=True)
class Written:
    """The words of what was generated, and whether all of it came out."""

    text: str
    reason: Reason


def sentences_of(text: str) -> list[str]:
    """A text in pieces that a model says well: one sentence or line each."""
    pieces = [" ".join(piece.split()) for piece in re.split(r"(?<=[.!?;])\s+|\n+", text)]
    return [piece for piece in pieces if any(character.isalnum() for character in piece)]
