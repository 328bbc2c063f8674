"""A turn becomes a stream of outputs: what was heard, the answer's text, and its sound while it is being decoded.

    speech -> tokens (ears) -> prompt -> engine: transcript, reply text, speech tokens -> sound (mouth)
    pictures, music -> tokens (assistant.media) -> prompt   engine: their tokens -> drawings, tunes (assistant.works)

One session has one sequence in the engine, whose cache outlives the turns. Nothing of the dialogue is kept here beside
it: every request brings the whole dialogue, and the engine computes what differs from the tokens that it holds.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from assistant.checkpoints import CheckpointError, ModelSet, load_model_set, load_weights
from assistant.conversation import DARK, TEMPLATES, Dialogue
from assistant.decoders.speech import SpeechDecoder, SpeechStream
from assistant.engine import engine, grammar
from assistant.engine.engine import Engine, EngineConfig
from assistant.engine.grammar import IMAGE_TOKENS, Kind
from assistant.engine.sampling import Sampling
from assistant.layers.linear import quantize
from assistant.media import MediaModels
from assistant.models.llama import Llama
from assistant.tokenizers.speech import HeardSoFar, SpeechEars
from assistant.tokenizers.text import TextStream, TextTokenizer
from assistant.vocabulary import MUSIC_CODEBOOKS, Vocabulary
from assistant.works import Workshop
from configuration import Configuration, Generation
from configuration import Sampling as Limits
from streaming.types import (
    SPEECH_RATE,
    Failed,
    Finished,
    FirstSpeechToken,
    Output,
    Overheard,
    Perceived,
    Request,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    TranscriptDone,
    Turn,
    Usage,
)

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 0.3
"""When the first sound of an answer is due after the question: until then, sounds about to run dry come first."""
COMFORTABLY_AHEAD_S = 1.5
"""A response whose listener has that much more to hear makes no sound while another's listener waits for the first."""
READ_AHEAD_S = 0.2
"""Nobody's sound may be due so soon when an utterance that goes on is read ahead."""
FORGET_SHARE = 2
"""When a dialogue outgrows the context, half of the room is made free at once: dropping turns changes the start of the
prompt, which is then computed anew, so it should not happen every turn."""
MEDIA_SHARE = 2
"""Pictures and music may take half of the context; the oldest are forgotten before any words are."""

Part = Literal["opening", "transcript", "text", "speech", "end"]
Reason = Literal["completed", "cancelled", "max_output_tokens"]


class Refused(Exception):
    """A request that cannot be answered; the sentence is for the user."""

    def __init__(self, code: str, sentence: str):
        super().__init__(sentence)
        self.code = code


@dataclass(slots=True, eq=False)
class _Response:
    """One request on its way to its last output."""

    request: Request
    submitted: float
    sequence: engine.Sequence | None = None  # from its start on
    user_tokens: tuple[int, ...] = ()
    asked: str = ""  # the user's words, once they are known
    part: Part = "opening"  # what the next token belongs to
    words: TextStream | None = None  # of the transcript, then of the text
    reply: str = ""  # the text sent so far
    speech: SpeechStream | None = None
    sounds_since: float | None = None
    samples_sent: int = 0
    cancelled: bool = False
    cut: bool = False  # by max_output_tokens
    text_in: int = 0
    audio_in: int = 0
    image_in: int = 0
    cached: int = 0
    text_out: int = 0
    audio_out: int = 0
    milestones_ms: dict[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.request.response_id

    @property
    def all_sent(self) -> bool:
        """Whether all is decoded, and all of its sound made."""
        decoded = self.sequence is not None and self.sequence.finished is not None
        return decoded and (self.speech is None or self.speech.finished)

    @property
    def runs_dry_at(self) -> float:
        """When its listener, who began at once, will have heard all that was sent."""
        if self.sounds_since is None:
            return self.submitted + ANSWER_WITHIN_S
        return self.sounds_since + self.samples_sent / SPEECH_RATE


@dataclass(slots=True, eq=False)
class _Listening:
    """An utterance that goes on, and the dialogue before it."""

    overheard: Overheard  # its first piece
    heard: HeardSoFar = field(default_factory=HeardSoFar)
    new: list[np.ndarray] = field(default_factory=list)  # pieces that have not been read
    samples: int = 0
    due: bool = False  # to be read; not while a request may bring it all


class AnyGPTResponder:
    """Owns the models and the sessions' caches. `submit`, then `step` while not `idle`: streaming.types.Responder."""

    def __init__(
        self,
        llm: Engine,
        tokenizer: TextTokenizer,
        vocabulary: Vocabulary,
        dialogue: Dialogue,
        ears: SpeechEars,
        mouth: SpeechDecoder,
        generation: Generation,
        media: MediaModels | None = None,
        *,
        seed: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """With a seed, the same requests in the same order get the same replies."""
        self.voices = tuple(mouth.voices)
        self.engine, self.tokenizer, self.vocabulary, self.dialogue = llm, tokenizer, vocabulary, dialogue
        self.ears, self.mouth, self._generation = ears, mouth, generation
        self.media = media or MediaModels(Path(), frozenset(), vocabulary)
        self.abilities = replace(self.media.abilities, overhears=True)
        self.works = Workshop(llm, vocabulary, self.media)
        self.sampling: dict[Kind, Sampling] = {
            "text": _sampling(generation.text),
            "transcript": replace(_sampling(generation.text), beams=generation.transcript_beams),
            "speech": _sampling(generation.speech),
            "image": _sampling(generation.image),
            "music": _sampling(generation.music),
        }
        self._random, self._clock = random.Random(seed), clock
        self._sequences: dict[str, engine.Sequence] = {}
        self._waiting: deque[_Response] = deque()
        self._running: dict[str, _Response] = {}  # by session: one at a time
        self._listening: dict[str, _Listening] = {}  # by session
        self._closing: set[str] = set()
        self._outputs: list[Output] = []

    @classmethod
    def from_configuration(
        cls, configuration: Configuration, seed: int | None = None, *, warm: bool = True
    ) -> AnyGPTResponder:
        """Load the models that the configuration names and warm them up, unless for a single task.

        Raises CheckpointError where the model folder is not whole.
        """
        model = configuration.model
        torch.set_num_threads(model.threads)
        parts = load_model_set(model.path)
        if parts.speech_tokenizer.sample_rate != SPEECH_RATE:
            raise ValueError(f"{model.path}: speech must be sampled at {SPEECH_RATE} Hz")
        device = torch.device(model.device)
        llama = _language_model(parts, model.path / "llama.safetensors", device, model.dtype)
        tokenizer = TextTokenizer.load(model.path)
        vocabulary = Vocabulary.load(model.path, tokenizer.text_size)
        codec = parts.speech_tokenizer.to(device)
        mouth = SpeechDecoder(
            parts.soundstorm.to(device),
            codec,
            _with_first(parts.voices, configuration.speech.voice),
            steps=configuration.speech.soundstorm_steps,
            first_chunk_frames=configuration.speech.first_chunk_frames,
            max_chunk_frames=configuration.speech.max_chunk_frames,
        )
        page_size = 64
        beams = configuration.generation.transcript_beams  # each needs a page of its own
        pages = (-(-model.context_tokens // page_size) + beams) * configuration.server.max_sessions
        limits = EngineConfig(pages=pages, page_size=page_size, max_context=model.context_tokens)
        responder = cls(
            Engine(llama, limits),
            tokenizer,
            vocabulary,
            Dialogue(tokenizer, vocabulary, TEMPLATES[model.template]),
            SpeechEars(codec),
            mouth,
            configuration.generation,
            MediaModels(
                model.path,
                parts.parts,
                vocabulary,
                configuration.pictures,
                configuration.music,
                device=model.device,
                seed=seed or 0,
            ),
            seed=seed,
        )
        if warm:
            responder.warm_up()
        return responder

    def warm_up(self) -> None:
        """Go once through all that a spoken answer needs, so that the first user does not wait for first-time costs."""
        noise = np.random.default_rng(0).normal(0, 0.1, 2 * SPEECH_RATE).astype(np.float32)
        self.submit(Request("warm-up", "warm-up", (Turn("user", speech=noise),)))
        stream = self.mouth.open(self.voices[0])
        stream.feed([0] * self.mouth.max_chunk_frames)
        stream.end()
        for _ in range(32):
            for output in self.step():
                if isinstance(output, Failed):
                    raise RuntimeError(f"the model set cannot answer: {output.message}")
        while not stream.finished:
            self.mouth.speak(stream)
        self.close_session("warm-up")
        self.step()

    # ---- the protocol

    def submit(self, request: Request) -> None:
        """Queue a request: it starts when the session's earlier responses have ended."""
        self._waiting.append(_Response(request, self._clock()))
        if request.session_id in self._listening:
            self._listening[request.session_id].due = False

    def overhear(self, overheard: Overheard) -> None:
        """Queue what is being said. Where a piece is missing, the rest of the utterance is not read ahead."""
        if overheard.start == 0:
            self._listening[overheard.session_id] = _Listening(overheard)
        listening = self._listening.get(overheard.session_id)
        if listening is None:
            return
        if (listening.overheard.utterance_id, listening.samples) != (overheard.utterance_id, overheard.start):
            del self._listening[overheard.session_id]
            return
        listening.new.append(overheard.pcm)
        listening.samples += len(overheard.pcm)
        listening.due = True

    def cancel(self, response_id: str) -> None:
        """End a response at the next step. One that has ended already is not missed."""
        for response in self._all():
            if response.id == response_id:
                response.cancelled = True

    def cancel_attachment(self, attachment_id: str) -> None:
        """End a drawing or a tune at the next step. One that has ended already is not missed."""
        self.works.cancel(attachment_id)

    def close_session(self, session_id: str) -> None:
        """Cancel the session's responses and attachments and give its cache back, at the next step."""
        self._closing.add(session_id)
        for response in self._all():
            if response.request.session_id == session_id:
                response.cancelled = True

    @property
    def idle(self) -> bool:
        return self._silent and self.works.idle

    @property
    def _silent(self) -> bool:
        """Nothing is left to do but works."""
        due = any(listening.due for listening in self._listening.values())
        return not (self._waiting or self._running or self._closing or due) and self.engine.idle

    def step(self) -> list[Output]:
        """Cancel, start one response, read ahead, decode a token of each that runs, make one chunk of sound, then a bit
        of what is made beside them."""
        self._outputs = []
        self._end_cancelled()
        self._close_sessions()
        self._start_next()
        self._read_ahead()
        self._decode()
        self._speak()
        self._work()
        self._end_complete()
        return self._outputs

    # ---- the steps of a step

    def _end_cancelled(self) -> None:
        for response in [response for response in self._all() if response.cancelled]:
            with self._work_of(response):
                self._finish(response, "cancelled")

    def _close_sessions(self) -> None:
        for session_id in self._closing:
            self._listening.pop(session_id, None)
            sequence = self._sequences.pop(session_id, None)
            if sequence is not None:
                self.engine.close(sequence)
            self.works.close_session(session_id)
            self.media.forget(session_id)
        self._closing.clear()

    def _start_next(self) -> None:
        for response in self._waiting:
            if response.request.session_id not in self._running:
                self._waiting.remove(response)
                self._running[response.request.session_id] = response
                with self._work_of(response):
                    self._start(response)
                return

    def _read_ahead(self) -> None:
        """Hear one utterance that goes on, and have what is new of the prompt computed, unless somebody waits."""
        soon = self._clock() + READ_AHEAD_S
        waited_for = (
            response.sounds_since is None or response.runs_dry_at < soon for response in self._running.values()
        )
        if self._waiting or any(waited_for):
            return
        for session_id, listening in list(self._listening.items()):
            if listening.due and session_id not in self._running:
                listening.due = False
                try:
                    self._hear_on(session_id, listening)
                except Refused:  # which will be said when the turn is over
                    del self._listening[session_id]
                except Exception:
                    logger.exception("session %s: reading ahead failed", session_id)
                    del self._listening[session_id]
                return

    def _hear_on(self, session_id: str, listening: _Listening) -> None:
        longest = self._room // 2
        if self.ears.frames(listening.samples) > longest:
            raise Refused("input_too_long", "That is too long to understand at once.")
        first = listening.overheard
        listening.heard = self.ears.listen_on(listening.heard, np.concatenate(listening.new))
        listening.new.clear()
        turn = self.dialogue.user_turn_tokens(listening.heard.codes)
        begun = Turn("user", tokens=tuple(turn[: turn.index(self.vocabulary.speech.end)]))
        request = Request(session_id, "", (*first.turns, begun))
        turns = self._prompt_turns(self._read(request)[0])
        system = self.dialogue.system_tokens(first.instructions)
        prompt = self._within_context(len(system), turns, self._reserve(True, request))
        self.engine.set_prompt(self._sequence(session_id), [*system, *prompt])

    def _decode(self) -> None:
        for session_id, token in self.engine.step():
            if self.works.take(session_id, token):
                continue
            response = self._running.get(session_id)
            if response is not None and not response.cut:
                with self._work_of(response):
                    self._take(response, token)

    def _speak(self) -> None:
        """One chunk for whoever's sound would run dry first, and for those whose next chunk is like that one."""
        due = [(response, response.speech) for response in self._running.values() if response.speech is not None]
        due = [(response, stream) for response, stream in due if stream.due]
        if not due:
            return
        response, stream = min(due, key=lambda pair: pair[0].runs_dry_at)
        ahead_s = response.runs_dry_at - self._clock()
        if ahead_s > COMFORTABLY_AHEAD_S and any(r.sounds_since is None for r in self._running.values()):
            return
        group = [(one, other) for one, other in due if self.mouth.alike(stream, other)]
        sounds: list[np.ndarray] = []
        with self._work_of(response):  # if it is at fault, the others are due again in the next step
            sounds = self.mouth.speak_together([stream for _, stream in group])
        for (response, _), pcm in zip(group, sounds, strict=False):
            if len(pcm):
                self._passed(response, "first_chunk")
                if response.sounds_since is None:
                    response.sounds_since = self._clock()
                response.samples_sent += len(pcm)
                self._outputs.append(SpeechDelta(response.id, pcm))

    def _work(self) -> None:
        """A bit of a drawing or a tune, if no listener has to wait for sound because of it."""
        soon = self._clock() + COMFORTABLY_AHEAD_S
        hurry = any(
            response.request.speak and not response.all_sent and response.runs_dry_at < soon
            for response in self._running.values()
        )
        self._outputs += self.works.step(work=not hurry, wait=self._silent)

    def _end_complete(self) -> None:
        for response in list(self._running.values()):
            with self._work_of(response):
                assert response.sequence is not None
                match response.sequence.finished:
                    case None:
                        if response.request.prepare_only and not response.sequence.active:
                            self._finish(response, "completed")
                        continue
                    case "error":
                        raise response.sequence.error or RuntimeError("the engine failed")
                    case "length":
                        response.cut = True
                if response.cut:
                    self._close_part(response)
                if response.all_sent and not self.works.may_begin_more(response.id):
                    self._finish(response, "max_output_tokens" if response.cut else "completed")

    # ---- one response

    def _start(self, response: _Response) -> None:
        """Hear, write the prompt, and begin to decode."""
        request, words = response.request, self.vocabulary
        if request.voice and request.voice not in self.voices:
            raise Refused("unknown_voice", f"There is no voice {request.voice!r}; there are {', '.join(self.voices)}.")
        system = self.dialogue.system_tokens(request.instructions)
        read, perceived = self._read(request)
        self._outputs += perceived
        if read and read[-1].role == "user":
            response.user_tokens, response.asked = read[-1].tokens, read[-1].text
        turns = self._prompt_turns(read)
        self._passed(response, "speech_tokens")
        heard = words.speech.start in turns[-1]
        if request.transcript_only and not heard:
            self._finish(response, "completed")
            return
        response.part = "opening" if heard else "text"
        response.words = TextStream(self.tokenizer)
        if request.prepare_only:
            turns[-1] = self.dialogue.to_be_continued(turns[-1])
        prompt = [*system, *self._within_context(len(system), turns, self._reserve(heard, request))]
        response.audio_in, response.image_in = words.count(prompt, "speech", "music"), words.count(prompt, "image")
        response.text_in = len(prompt) - response.audio_in - response.image_in
        response.sequence = self._sequence(request.session_id)
        response.cached = self.engine.set_prompt(response.sequence, prompt)
        if request.prepare_only:
            return
        state, seed = self._grammar(request, heard), self._random.getrandbits(32)
        self.engine.generate(response.sequence, state, self.sampling, self._room, seed)

    def _grammar(self, request: Request, heard: bool) -> grammar.GrammarState:
        words, text, speech = self.vocabulary, self._generation.text.max_tokens, self._generation.speech.max_tokens
        before_transcript: list[int] = []
        if heard:
            turn = self.dialogue.assistant_turn_tokens("", "")
            before_transcript = turn[: turn.index(words.transcript_mark)]
        if request.transcript_only:
            return grammar.transcript(words, opening=before_transcript, max_transcript=text)
        return grammar.reply(
            words,
            heard=heard,
            speak=request.speak,
            opening=before_transcript,
            end=self.dialogue.reply_end,
            max_transcript=text,
            max_text=text,
            max_speech=speech,
            makes=self.media.makes if request.attachments else (),
            max_music_frames=self._music_frames,
        )

    def _take(self, response: _Response, token: int) -> None:
        """One more token of the reply."""
        words, request, sequence = self.vocabulary, response.request, response.sequence
        assert sequence is not None
        if response.part == "opening":
            if token == words.transcript_mark:
                response.part = "transcript"
            return
        self._passed(response, "prefill")
        self._passed(response, "first_token")
        if token in words.speech.tokens:
            if response.audio_out == 0:
                self._passed(response, "first_speech_token")
                self._outputs.append(FirstSpeechToken(response.id))
            response.audio_out += 1
            assert response.speech is not None
            response.speech.feed(words.speech.to_codes([token]))
        elif token in words.text and token not in words.reply_ends:
            response.text_out += response.part == "text"
            assert response.words is not None
            self._say(response, response.words.push(token))
        else:
            self._close_part(response)
            if token == words.reply_mark and not request.transcript_only:
                response.part, response.words = "text", TextStream(self.tokenizer)
            elif token == words.speech.start and request.speak:
                response.part, response.speech = "speech", self.mouth.open(request.voice or self.voices[0])
            elif words.kind_begun(token) in self.media.makes:
                self.works.begin(
                    sequence,
                    response.id,
                    request.session_id,
                    response.asked,
                    streamed=request.stream_music,
                    music_frames=self._music_frames,
                )
        limit = request.max_output_tokens
        if limit is not None and response.text_out + response.audio_out >= limit and sequence.finished is None:
            response.cut = True
            self.engine.stop(sequence)

    def _close_part(self, response: _Response) -> None:
        """The part that its tokens belonged to is over: send what was held back."""
        if response.part in ("transcript", "text"):
            assert response.words is not None
            self._say(response, response.words.finish())
            if response.part == "transcript":
                response.asked = response.words.text
                self._outputs.append(TranscriptDone(response.id, response.words.text, response.user_tokens))
        elif response.part == "speech":
            assert response.speech is not None
            response.speech.end()
        response.part = "end"

    def _say(self, response: _Response, delta: str) -> None:
        if not delta:
            return
        if response.part == "transcript":
            self._outputs.append(TranscriptDelta(response.id, delta))
        else:
            self._passed(response, "first_text")
            response.reply += delta
            self._outputs.append(TextDelta(response.id, delta))

    def _finish(self, response: _Response, reason: Reason) -> None:
        if response.sequence is not None:
            self.engine.stop(response.sequence)
        self.works.end_response(response.id)
        self._passed(response, "done")
        finished = Finished(
            response.id,
            reason,
            response.reply,
            response.user_tokens,
            self._assistant_tokens(response),
            Usage(
                response.text_in,
                response.audio_in,
                response.cached,
                response.text_out,
                response.audio_out,
                response.image_in,
            ),
            response.milestones_ms,
        )
        self._forget(response)
        self._outputs.append(finished)

    def _assistant_tokens(self, response: _Response) -> tuple[int, ...]:
        """The assistant's turn as the next prompt will hold it, wherever it was cut off; none if nothing was said."""
        if response.sequence is None or not response.sequence.generated or response.request.transcript_only:
            return ()
        words, tokens = self.vocabulary, list(response.sequence.generated)
        if words.transcript_mark in tokens and words.reply_mark not in tokens:
            tokens.append(words.reply_mark)
        return tuple(self.dialogue.close(tokens))

    # ---- the prompt

    def _read(self, request: Request) -> tuple[list[Turn], list[Perceived]]:
        """The request's turns, with tokens for pictures, music and what is asked; and what is to be told of these."""
        turns, perceived, shown = list(request.turns), [], False
        for index, turn in enumerate(turns):
            asked = index == len(turns) - 1
            words = bool(turn.text) or turn.speech is not None
            if not turn.tokens:
                tokens: list[int] = []
                before = turns[index - 1] if index else Turn("assistant")
                if turn.image is None and turn.music is None:
                    tokens = self._write(turn, before, asked, shown) if asked and turn.role == "user" else []
                elif segment := self.media.segment(request.session_id, turn, self._room // MEDIA_SHARE):
                    tokens = segment
                    if words and turn.role == "user":
                        tokens = self.dialogue.with_shown(self._write(turn, before, asked, True), [segment])
                    if not asked or request.prepare_only:
                        perceived.append(Perceived(request.response_id, index, tuple(tokens)))
                turns[index] = replace(turn, tokens=tuple(tokens), image=None, music=None)
            shown = turn.role == "user" and self.media.is_segment(turns[index].tokens)
        return turns, perceived

    def _prompt_turns(self, turns: Sequence[Turn]) -> list[list[int]]:
        return self._turn_tokens(self.media.without_old(turns, self._room // MEDIA_SHARE))

    def _turn_tokens(self, turns: Sequence[Turn]) -> list[list[int]]:
        """The turns as tokens, user's and assistant's by turns, the user's first and last.

        Where two of one side follow each other, an empty turn of the other stands between them. What the user shows
        joins the words that follow, what the assistant made the words before.
        """
        written: list[list[int]] = []
        shown: list[Sequence[int]] = []
        before = Turn("assistant")

        def say(turn: Turn, tokens: list[int]) -> None:
            nonlocal before
            if turn.role == before.role:
                written.append(self._silence(turn.role))
            written.append(tokens)
            before = turn

        def show() -> None:
            if shown:
                say(Turn("user"), self.dialogue.with_shown(self.dialogue.user_turn_tokens(shown=True), shown))
                shown.clear()

        for turn in turns:
            media = self.media.is_segment(turn.tokens)
            if media and turn.role == "user":
                shown.append(turn.tokens)
            elif media and written and before.role == "assistant" and not shown:
                written[-1] = self.dialogue.with_made(written[-1], turn.tokens)
            elif turn.role == "assistant":
                show()
                said = self.dialogue.close([]) if media else list(turn.tokens) or self._write(turn, before, asked=False)
                say(turn, self.dialogue.with_made(said, turn.tokens) if media else said)
            else:
                said = list(turn.tokens) or self._write(turn, before, turn is turns[-1], bool(shown))
                say(turn, self.dialogue.with_shown(said, shown) if shown else said)
                shown.clear()
        show()
        if before.role == "assistant":
            written.append(self.dialogue.user_turn_tokens())
        return written

    def _silence(self, beside: str) -> list[int]:
        """An empty turn of the other side."""
        return self.dialogue.user_turn_tokens() if beside == "assistant" else self.dialogue.close([])

    def _write(self, turn: Turn, before: Turn, asked: bool, shown: bool = False) -> list[int]:
        """A turn that no tokens are known of. What is asked now must be heard; of the past the text is enough.

        shown: the user shows something before these words.
        """
        words = self.vocabulary
        if turn.role == "assistant":
            spoken_to = before.role == "user" and (before.speech is not None or words.speech.start in before.tokens)
            transcript = before.text if spoken_to else None
            return self.dialogue.assistant_turn_tokens(transcript, turn.text)
        longest = self._room // 2
        too_long = turn.speech is not None and self.ears.frames(len(turn.speech)) > longest
        if too_long and asked:
            seconds = longest * self.ears.frame_samples // SPEECH_RATE
            raise Refused("input_too_long", f"That was too long to understand at once: at most {seconds} seconds.")
        dark = DARK if turn.dark_camera and "image" in self.media.takes else ""
        if turn.speech is None or too_long:
            return self.dialogue.user_turn_tokens(text=f"{dark} {turn.text}".strip(), shown=shown)
        return self.dialogue.user_turn_tokens(self.ears.listen(turn.speech), dark)

    def _within_context(self, system: int, turns: list[list[int]], reserve: int) -> Iterator[int]:
        """The tokens of the latest turns that leave room for the system line and the reply.

        Turns go in pairs, so that the user's still comes first. Refused when the last one alone is too long. What is
        left depends on the turns and not on what is asked: what is read ahead must begin as the reply's prompt will.
        """
        if len(turns[-1]) > self._room - system - reserve:
            raise Refused("input_too_long", "That was too long to answer: please say it in fewer words.")
        room = self._room - system - self._longest_reply
        excess = sum(map(len, turns)) - room
        if excess > 0:
            block = max(1, room // FORGET_SHARE)
            excess = -(-excess // block) * block
        start = 0
        while excess > 0 and start + 2 < len(turns):
            excess -= len(turns[start]) + len(turns[start + 1])
            start += 2
        return (token for turn in turns[start:] for token in turn)

    def _reserve(self, heard: bool, request: Request) -> int:
        """Tokens to keep free for this reply: its longest, though never more than half of the context."""
        limits = self._generation
        reply = limits.text.max_tokens + limits.speech.max_tokens * request.speak
        reply += (IMAGE_TOKENS + 2) * (request.attachments and "image" in self.media.makes)
        reply = min(reply, request.max_output_tokens or reply)
        return min(limits.text.max_tokens * heard + reply * (not request.transcript_only), self._room // 2)

    @property
    def _longest_reply(self) -> int:
        """What any request may need at most: _reserve."""
        return self._reserve(True, Request("", "", (), attachments=True))

    @property
    def _music_frames(self) -> int:
        """The longest tune."""
        return max(1, self._generation.music.max_tokens // MUSIC_CODEBOOKS)

    @property
    def _room(self) -> int:
        return self.engine.config.max_context

    # ---- bookkeeping

    def _all(self) -> list[_Response]:
        return [*self._running.values(), *self._waiting]

    def _sequence(self, session_id: str) -> engine.Sequence:
        if session_id not in self._sequences:
            self._sequences[session_id] = self.engine.open(session_id)
        return self._sequences[session_id]

    def _forget(self, response: _Response) -> None:
        if self._running.get(response.request.session_id) is response:
            del self._running[response.request.session_id]
        else:
            self._waiting.remove(response)

    def _passed(self, response: _Response, milestone: str) -> None:
        response.milestones_ms.setdefault(milestone, 1000 * (self._clock() - response.submitted))

    @contextmanager
    def _work_of(self, response: _Response) -> Iterator[None]:
        """A fault in one response's work ends that response, and no other."""
        try:
            yield
        except Refused as refusal:
            self._fail(response, refusal.code, str(refusal))
        except Exception:
            logger.exception("response %s failed", response.id)
            self._fail(response, "server_error", "The answer could not be made because of a fault in the server.")

    def _fail(self, response: _Response, code: str, sentence: str) -> None:
        if response.sequence is not None:
            self.engine.stop(response.sequence)
        self.works.end_response(response.id)
        self._forget(response)
        self._outputs.append(Failed(response.id, code, sentence))


def _sampling(limits: Limits) -> Sampling:
    return Sampling(limits.temperature, limits.top_k, limits.top_p, limits.repetition_penalty)


def _with_first(voices: dict[str, torch.Tensor], first: str) -> dict[str, torch.Tensor]:
    """The voices with that one in front; "" leaves them as they are. CheckpointError where it is not among them."""
    if first and first not in voices:
        raise CheckpointError(f"[speech] voice is {first!r} and the model has {', '.join(voices)}: choose one of these")
    return voices if not first else {first: voices[first], **voices}


def _language_model(parts: ModelSet, source: Path, device: torch.device, dtype: str) -> Llama:
    """Weights go straight to their place and type: nothing is initialised that is going to be overwritten."""
    loaded = torch.float32 if dtype == "int8" else getattr(torch, dtype)
    with torch.device("meta"):
        model = Llama(parts.llama_config)
    model = model.to(loaded).to_empty(device=device)
    load_weights(model, parts.llama_state, source)
    if dtype == "int8":
        quantize(model)
    return model
