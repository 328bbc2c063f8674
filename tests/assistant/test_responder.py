"""A turn becomes a stream of outputs. Tiny real models; those of `script` and `babble` differ in the language model.

That of `script` is a chain in which each token has one successor, so what it will say is known; all else is random.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from assistant.checkpoints import CheckpointError
from assistant.conversation import Dialogue
from assistant.decoders.speech import FORESIGHT_FRAMES
from assistant.models.llama import Llama, LlamaConfig
from assistant.responder import ANSWER_WITHIN_S, COMFORTABLY_AHEAD_S, AnyGPTResponder
from assistant.tokenizers.text import TextTokenizer
from assistant.vocabulary import Vocabulary
from configuration import ROOT, load, parse
from streaming.actions import PlayAudio, StartResponse
from streaming.events import Limits
from streaming.pcm import PCM16, Encoder
from streaming.playout import Played
from streaming.session import Session
from streaming.settings import SessionSettings
from streaming.types import (
    Failed,
    Finished,
    FirstSpeechToken,
    Output,
    Overheard,
    Request,
    SpeechDelta,
    TextDelta,
    TranscriptDelta,
    TranscriptDone,
    Turn,
)
from tests.assistant.tiny import LLAMA, WIDTH, babbling, write_model_set
from tools.manifest import read_speech

HEARD, REPLY = "who are you?", "sky😀naïve old mill"
SPOKEN = [3, 7, 1, 15, 8, 2, 9, 0, 12, 5, 11, 4, 6, 10, 13, 14]
FIRST_CHUNK = 6
CONTEXT = 512
HOP = 320
NANO = ROOT / "models" / "nano" / "MANIFEST"


def chain(vocabulary: Vocabulary, scripts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Weights of a LLaMA that says, after each token of a script, the next one. A token has one successor in all."""
    torch.manual_seed(5)
    config = LlamaConfig.from_dict(LLAMA | {"vocab_size": vocabulary.size})
    weights = Llama(config).state_dict()
    for name, weight in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()
    embedding = torch.nn.functional.normalize(torch.randn(vocabulary.size, WIDTH), dim=-1)
    head = torch.zeros(vocabulary.size, WIDTH)
    successors: dict[int, int] = {}
    for script in scripts:
        for token, following in zip(script, script[1:], strict=False):
            assert successors.setdefault(token, following) == following, "a script contradicts itself"
    for token, following in successors.items():
        head[following] += embedding[token]
    return weights | {"model.embed_tokens.weight": embedding, "lm_head.weight": head}


@dataclass
class Clock:
    """Wall time that moves when the test says so, and a little with every look."""

    now: float = 100.0

    def __call__(self) -> float:
        self.now += 1e-6
        return self.now


@dataclass
class House:
    """A responder and the means to look into what it said."""

    responder: AnyGPTResponder
    dialogue: Dialogue
    clock: Clock = field(default_factory=Clock)

    def run(self, *requests: Request, cancel_after: int | None = None) -> dict[str, list[Output]]:
        """Submit all, step until idle; outputs by response. Cancels all after so many steps."""
        for request in requests:
            self.responder.submit(request)
        outputs: dict[str, list[Output]] = {request.response_id: [] for request in requests}
        steps = 0
        while not self.responder.idle:
            if steps == cancel_after:
                for request in requests:
                    self.responder.cancel(request.response_id)
            for output in self.responder.step():
                outputs[output.response_id].append(output)
            steps += 1
            assert steps < 2_000
        for response in outputs.values():
            assert [isinstance(output, Finished | Failed) for output in response].count(True) == 1
            assert isinstance(response[-1], Finished | Failed)
        return outputs

    def tidy(self) -> None:
        """Between tests: nothing runs, no session is open."""
        for session in list(self.responder._sequences):
            self.responder.close_session(session)
        self.responder.step()
        assert self.responder.idle and not self.responder._sequences

    def ask(self, *turns: Turn, name: str = "r", session: str = "s", **options: object) -> list[Output]:
        return self.run(Request(session, name, turns, **options))[name]  # type: ignore[arg-type]


def utterance(seconds: float = 0.5, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(16_000 * seconds))).astype(np.float32)


class Silence:
    """Nobody speaks."""

    def __call__(self, window: np.ndarray) -> float:
        return 0.0

    def reset(self) -> None: ...


def _on_the_wire(pcm: np.ndarray) -> bytes:
    encoder = Encoder(PCM16)
    return encoder.encode(pcm) + encoder.finish()


def joined(outputs: Sequence[Output], kind: type[TranscriptDelta] | type[TextDelta]) -> str:
    return "".join(output.text for output in outputs if isinstance(output, kind))


def sound(outputs: Sequence[Output]) -> np.ndarray:
    deltas = [output.pcm for output in outputs if isinstance(output, SpeechDelta)]
    return np.concatenate(deltas) if deltas else np.zeros(0, np.float32)


def finished(outputs: Sequence[Output]) -> Finished:
    assert isinstance(outputs[-1], Finished), outputs[-1]
    return outputs[-1]


def house(folder: Path, dtype: str = "float32", **generation: object) -> House:
    text = {"temperature": 0.0, "max_tokens": 40} | dict(generation.get("text", {}))  # type: ignore[call-overload]
    speech = {"temperature": 0.0, "repetition_penalty": 1.0, "max_tokens": 60}
    configuration = parse(
        {
            "model": {"directory": str(folder), "threads": 1, "dtype": dtype, "context_tokens": CONTEXT},
            "generation": generation | {"text": text, "speech": speech | dict(generation.get("speech", {}))},  # type: ignore[call-overload]
            "speech": {"soundstorm_steps": 1, "first_chunk_frames": FIRST_CHUNK, "max_chunk_frames": 16},
        }
    )
    responder = AnyGPTResponder.from_configuration(configuration, seed=0)
    clock = Clock()
    responder._clock = clock
    return House(responder, responder.dialogue, clock)


@pytest.fixture(scope="module")
def script_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A model set that hears HEARD, replies REPLY and speaks SPOKEN, whatever is said to it."""
    tokenizer = TextTokenizer.load(tokenizer_folder)
    vocabulary = Vocabulary.load(tokenizer_folder, tokenizer.text_size)
    dialogue = Dialogue(tokenizer, vocabulary)
    asked_in_writing = dialogue.user_turn_tokens(text="x")[-1]
    spoken, typed = scripted(dialogue, heard=True), scripted(dialogue, heard=False)
    scripts = [spoken[spoken.index(vocabulary.transcript_mark) :], [asked_in_writing, typed[0]]]
    folder = tmp_path_factory.mktemp("script")
    write_model_set(folder, tokenizer_folder, chain(vocabulary, scripts))
    return folder


@pytest.fixture(scope="module")
def script_house(script_folder: Path) -> House:
    return house(script_folder)


def scripted(dialogue: Dialogue, heard: bool, codes: Sequence[int] = SPOKEN) -> list[int]:
    """The assistant's turn that the script makes."""
    words, encode = dialogue.vocabulary, dialogue.tokenizer.encode_plain
    opening = dialogue.assistant_turn_tokens("", "")
    opening = opening[: opening.index(words.transcript_mark) + 1]
    transcript = [*opening, *encode(HEARD), words.reply_mark] if heard else []
    return [*transcript, *encode(REPLY), *words.speech.segment(codes), dialogue.reply_end, *dialogue.turn_end]


@pytest.fixture(scope="module")
def babble_house(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> House:
    """Random weights: every part of a reply runs until its limit, or ends by chance."""
    tokenizer = TextTokenizer.load(tokenizer_folder)
    vocabulary = Vocabulary.load(tokenizer_folder, tokenizer.text_size)
    folder = tmp_path_factory.mktemp("babble")
    write_model_set(folder, tokenizer_folder, babbling(vocabulary))
    return house(folder, text={"max_tokens": 8})


@pytest.fixture
def script(script_house: House) -> Iterator[House]:
    yield script_house
    script_house.tidy()


@pytest.fixture
def babble(babble_house: House) -> Iterator[House]:
    yield babble_house
    babble_house.tidy()


@pytest.fixture(params=["script_house", "babble_house"])
def anyone(request: pytest.FixtureRequest) -> Iterator[House]:
    house = request.getfixturevalue(request.param)
    yield house
    house.tidy()


def test_a_spoken_question_is_heard_answered_and_spoken(script: House) -> None:
    outputs = script.ask(Turn("user", speech=utterance()))
    last = finished(outputs)
    assert joined(outputs, TranscriptDelta) == HEARD
    done = next(output for output in outputs if isinstance(output, TranscriptDone))
    assert (done.text, done.user_tokens) == (HEARD, last.user_tokens)
    assert joined(outputs, TextDelta) == REPLY == last.text
    assert len(sound(outputs)) == len(SPOKEN) * HOP
    assert last.reason == "completed"
    kinds = [type(output) for output in outputs]
    assert kinds.index(TranscriptDone) < kinds.index(TextDelta) < kinds.index(SpeechDelta)
    assert kinds.count(TextDelta) > 1 and kinds.count(SpeechDelta) > 1


def test_the_tokens_are_those_of_the_dialogue(script: House) -> None:
    pcm = utterance()
    last = finished(script.ask(Turn("user", speech=pcm)))
    codes = script.responder.ears.listen(pcm)
    assert len(codes) == 25
    assert list(last.user_tokens) == script.dialogue.user_turn_tokens(codes)
    assert list(last.assistant_tokens) == scripted(script.dialogue, heard=True)
    assert (last.usage.audio_in, last.usage.audio_out) == (25, len(SPOKEN))
    assert last.usage.text_out == len(script.dialogue.tokenizer.encode_plain(REPLY))


def test_the_text_comes_out_whole_characters_at_a_time(script: House) -> None:
    deltas = [output.text for output in script.ask(Turn("user", speech=utterance())) if isinstance(output, TextDelta)]
    assert "�" not in "".join(deltas) and "😀" in deltas


def test_weights_of_eight_bits_say_the_same(script_folder: Path) -> None:
    outputs = house(script_folder, dtype="int8").ask(Turn("user", speech=utterance()))
    assert joined(outputs, TranscriptDelta) == HEARD and finished(outputs).text == REPLY
    assert len(sound(outputs)) == len(SPOKEN) * HOP


def test_milestones_are_passed_in_order(script: House) -> None:
    last = finished(script.ask(Turn("user", speech=utterance())))
    names = ["speech_tokens", "prefill", "first_token", "first_text", "first_speech_token", "first_chunk", "done"]
    assert list(last.milestones_ms) == names
    assert sorted(last.milestones_ms.values()) == list(last.milestones_ms.values())


def test_the_first_speech_token_is_announced_once_between_the_words_and_the_sound(script: House) -> None:
    kinds = [type(output) for output in script.ask(Turn("user", speech=utterance()))]
    words_end, sound = len(kinds) - kinds[::-1].index(TextDelta), kinds.index(SpeechDelta)
    assert kinds.count(FirstSpeechToken) == 1 and words_end <= kinds.index(FirstSpeechToken) < sound


def test_sound_begins_before_the_speech_is_decoded(script: House) -> None:
    script.responder.submit(Request("s", "r", (Turn("user", speech=utterance()),)))
    first, decoded = None, 0
    while first is None:
        first = next((output for output in script.responder.step() if isinstance(output, SpeechDelta)), None)
        decoded = script.responder._running["s"].audio_out
    assert decoded == FIRST_CHUNK + FORESIGHT_FRAMES < len(SPOKEN)
    script.responder.cancel("r")


def test_a_typed_question_has_no_transcript(script: House) -> None:
    outputs = script.ask(Turn("user", "what is the sky?"))
    last = finished(outputs)
    assert not any(isinstance(output, TranscriptDelta | TranscriptDone) for output in outputs)
    assert last.text == REPLY and len(sound(outputs)) == len(SPOKEN) * HOP
    assert list(last.user_tokens) == script.dialogue.user_turn_tokens(text="what is the sky?")
    assert list(last.assistant_tokens) == scripted(script.dialogue, heard=False)


@pytest.mark.parametrize("turn", [Turn("user", "hello"), Turn("user", speech=utterance())], ids=["typed", "spoken"])
def test_a_text_only_reply_has_no_sound(babble: House, turn: Turn) -> None:
    outputs = babble.ask(turn, speak=False)
    last = finished(outputs)
    assert not len(sound(outputs)) and last.usage.audio_out == 0
    assert last.text == joined(outputs, TextDelta) != ""
    assert babble.responder.vocabulary.speech.start not in last.assistant_tokens


def test_a_text_only_reply_is_over_where_the_model_would_speak(script: House) -> None:
    outputs = script.ask(Turn("user", speech=utterance()), speak=False)
    last = finished(outputs)
    assert last.reason == "completed" and last.text == joined(outputs, TextDelta) == REPLY
    spoken = scripted(script.dialogue, heard=True)
    text = spoken[: spoken.index(script.responder.vocabulary.speech.start)]
    assert list(last.assistant_tokens) == script.dialogue.close(text)


def test_a_transcript_alone_stops_there(script: House) -> None:
    outputs = script.ask(Turn("user", speech=utterance()), transcript_only=True)
    assert [type(output) for output in outputs[-2:]] == [TranscriptDone, Finished]
    assert joined(outputs, TranscriptDelta) == HEARD
    last = finished(outputs)
    assert last.text == "" and last.assistant_tokens == () and last.user_tokens != ()


def test_a_typed_turn_has_nothing_to_transcribe(script: House) -> None:
    outputs = script.ask(Turn("user", "hello"), transcript_only=True)
    assert outputs == [finished(outputs)]


def test_a_follow_up_computes_only_what_is_new(anyone: House) -> None:
    first = finished(anyone.ask(Turn("user", speech=utterance())))
    assert first.usage.cached == 0
    history = (Turn("user", tokens=first.user_tokens), Turn("assistant", "", tokens=first.assistant_tokens))
    second = finished(anyone.ask(*history, Turn("user", speech=utterance(seed=1))))
    known = len(anyone.dialogue.system_tokens()) + len(first.user_tokens) + len(first.assistant_tokens)
    not_computed = 2 + len(anyone.dialogue.turn_end)  # <eosp><eos> end a reply and are not fed back; the newline is new
    assert second.usage.cached == known - not_computed


@dataclass
class Interrupted:
    """A spoken question, its answer of which half was heard, and the request that the next question makes."""

    house: House
    answer: list[Output]
    next: Request

    @property
    def prompt(self) -> list[int]:
        turns = self.house.responder._turn_tokens(self.next.turns)
        return self.house.dialogue.system_tokens() + [token for turn in turns for token in turn]

    @property
    def unchanged(self) -> int:
        """How many tokens of the prompt stand where they stood when the answer had been made."""
        last = finished(self.answer)
        before = [*self.house.dialogue.system_tokens(), *last.user_tokens, *last.assistant_tokens]
        return next(n for n, (new, old) in enumerate(zip(self.prompt, before, strict=False)) if new != old)


def interrupted(house: House, question: np.ndarray, after: np.ndarray) -> Interrupted:
    """What a session of WebRTC makes of it."""
    voices = house.responder.voices
    session = Session(SessionSettings(voices, voices[0]), Silence(), Limits(), paced=True)

    def ask(pcm: np.ndarray) -> Request:
        part = {"type": "input_audio", "audio": base64.b64encode(_on_the_wire(pcm)).decode()}
        item = {"type": "message", "role": "user", "content": [part]}
        for event in ({"type": "conversation.item.create", "item": item}, {"type": "response.create"}):
            session.receive_event(json.dumps(event), 0)
        (request,) = (action.request for action in session.actions_to_run() if isinstance(action, StartResponse))
        return request

    first = ask(question)
    answer = house.run(first)[first.response_id]
    for output in answer:
        session.receive_output(output, 0)
    (item_id,) = {action.item_id for action in session.actions_to_run() if isinstance(action, PlayAudio)}
    session.receive_playout(Played(first.response_id, item_id, len(sound(answer)) // 2), 0)
    return Interrupted(house, answer, ask(after))


def test_after_an_interruption_the_prompt_holds_what_was_heard_and_the_cache_what_stays(script: House) -> None:
    cut = interrupted(script, utterance(), utterance(seed=1))
    assert [turn.text for turn in cut.next.turns] == [HEARD, "sky😀naïve", ""], "half of three words"
    heard = script.dialogue.assistant_turn_tokens(HEARD, "sky😀naïve")
    assert script.responder._turn_tokens(cut.next.turns)[1] == heard
    assert finished(script.run(cut.next)[cut.next.response_id]).usage.cached == cut.unchanged


@pytest.mark.weights
@pytest.mark.skipif(not NANO.exists(), reason="models/nano is not here")
def test_a_trained_model_computes_none_of_the_words_again_that_were_heard() -> None:
    configuration = load(ROOT / "configs" / "nano.toml")
    responder = AnyGPTResponder.from_configuration(configuration, seed=0)
    question = read_speech(ROOT / "tests" / "browser" / "hello_who_are_you.wav")
    cut = interrupted(House(responder, responder.dialogue), question, question)
    asked, answered, _ = cut.next.turns
    assert answered.text and finished(cut.answer).text.startswith(answered.text + " ")
    user = len(responder.dialogue.system_tokens()) + len(finished(cut.answer).user_tokens)
    words = responder.dialogue.assistant_turn_tokens(asked.text, answered.text)
    ending = len(responder.dialogue.assistant_turn_tokens(None, "")) + 1  # a space is not the same before a word
    assert cut.unchanged >= user + len(words) - ending
    outputs = House(responder, responder.dialogue).run(cut.next)[cut.next.response_id]
    assert finished(outputs).usage.cached == cut.unchanged


@pytest.mark.parametrize("steps", [*range(0, 50, 4), 65, 90])
def test_a_reply_cut_off_anywhere_leaves_a_history_to_go_on_from(anyone: House, steps: int) -> None:
    asked = Request("s", "r", (Turn("user", speech=utterance()),))
    outputs = anyone.run(asked, cancel_after=steps)["r"]
    last = finished(outputs)
    if last.reason == "completed":
        return
    assert last.reason == "cancelled" and joined(outputs, TextDelta) == last.text
    tokens, words = list(last.assistant_tokens), anyone.responder.vocabulary
    if tokens:
        marks = "".join(
            {words.transcript_mark: "I", words.reply_mark: "R", words.speech.start: "(", words.speech.end: ")"}.get(
                token, "e" if token in words.reply_ends else "s" if token in words.speech.tokens else ""
            )
            for token in tokens
        )
        assert re.fullmatch(r"IR(\(s*\))?e", marks)
        assert tokens[-len(anyone.dialogue.turn_end) :] == anyone.dialogue.turn_end
    history = (Turn("user", last.text, utterance()), Turn("assistant", last.text, tokens=last.assistant_tokens))
    assert finished(anyone.ask(*history, Turn("user", "go on"), name="after")).reason == "completed"


def test_a_cancelled_response_falls_silent_at_the_next_step(script: House) -> None:
    script.responder.submit(Request("s", "r", (Turn("user", speech=utterance()),)))
    for _ in range(5):
        script.responder.step()
    script.responder.cancel("r")
    assert [type(output) for output in script.responder.step()] == [Finished]
    assert script.responder.idle
    script.responder.cancel("r")
    assert script.responder.idle


def test_a_limit_on_the_output_ends_the_reply_there(script: House) -> None:
    text = len(script.dialogue.tokenizer.encode_plain(REPLY))
    outputs = script.ask(Turn("user", speech=utterance()), max_output_tokens=text + 5)
    last = finished(outputs)
    assert last.reason == "max_output_tokens" and last.text == REPLY
    assert len(sound(outputs)) == 5 * HOP
    assert list(last.assistant_tokens) == scripted(script.dialogue, heard=True, codes=SPOKEN[:5])
    short = finished(script.ask(Turn("user", speech=utterance()), max_output_tokens=2))
    assert short.reason == "max_output_tokens" and REPLY.startswith(short.text) and short.text != REPLY


def test_a_model_that_never_stops_is_stopped_by_the_limits(babble: House) -> None:
    outputs = babble.ask(Turn("user", speech=utterance()))
    last = finished(outputs)
    assert last.reason == "completed"
    assert 0 < last.usage.text_out <= 8 and 0 < last.usage.audio_out <= 60
    assert len(sound(outputs)) == last.usage.audio_out * HOP


def test_the_oldest_turns_are_dropped_when_the_context_is_full(babble: House) -> None:
    turns: list[Turn] = []
    longest, anew = 0, []
    for number in range(18):
        turns.append(Turn("user", f"and number {number}"))
        last = finished(babble.ask(*turns))
        prompt = last.usage.text_in + last.usage.audio_in
        longest = max(longest, prompt)
        system = len(babble.dialogue.system_tokens())
        assert last.usage.cached >= system * (number > 0), "the system line stays"
        anew.append(last.usage.cached < prompt // 2)
        turns[-1] = Turn("user", tokens=last.user_tokens)
        turns.append(Turn("assistant", tokens=last.assistant_tokens))
    assert sum(len(turn.tokens) for turn in turns) > 1.5 * CONTEXT
    assert longest + 68 <= CONTEXT, "the longest reply has room"
    assert 1 <= anew[1:].count(True) <= 3, "room is made for several turns at once"


def test_an_utterance_beyond_the_context_is_refused_and_can_be_left_behind(babble: House) -> None:
    long = Turn("user", "a long story", utterance(6))
    failed = babble.ask(long)[-1]
    assert isinstance(failed, Failed) and failed.code == "input_too_long" and "5 seconds" in failed.message
    assert finished(babble.ask(long, Turn("assistant"), Turn("user", "and?"))).reason == "completed"
    typed = babble.ask(Turn("user", "the old mill " * 200))[-1]
    assert isinstance(typed, Failed) and typed.code == "input_too_long"


def test_turns_need_not_alternate(babble: House) -> None:
    dialogue = babble.dialogue
    written = babble.responder._turn_tokens(
        (Turn("assistant", "hello"), Turn("user", "a"), Turn("user", "b"), Turn("assistant", "c"))
    )
    assert written == [
        dialogue.user_turn_tokens(),
        dialogue.assistant_turn_tokens(None, "hello"),
        dialogue.user_turn_tokens(text="a"),
        dialogue.close([]),
        dialogue.user_turn_tokens(text="b"),
        dialogue.assistant_turn_tokens(None, "c"),
        dialogue.user_turn_tokens(),
    ]
    assert finished(babble.ask()).user_tokens == ()


def test_an_answer_known_by_its_words_alone_goes_with_what_was_heard(script: House) -> None:
    dialogue = script.dialogue
    codes = script.responder.ears.listen(utterance())
    question = Turn("user", "hello", tokens=tuple(dialogue.user_turn_tokens(codes)))
    written = script.responder._turn_tokens((question, Turn("assistant", "the river"), Turn("user", "yes")))
    assert written[1] == dialogue.assistant_turn_tokens("hello", "the river")


def test_instructions_replace_the_system_line(babble: House) -> None:
    plain = finished(babble.ask(Turn("user", "hello")))
    told = finished(babble.ask(Turn("user", "hello"), instructions="the mill"))
    system = babble.dialogue.system_tokens
    assert plain.usage.text_in - told.usage.text_in == len(system()) - len(system("the mill"))


def test_sessions_do_not_disturb_each_other(anyone: House) -> None:
    asked = [
        Request(f"s{n}", f"r{n}", (Turn("user", speech=utterance(0.3 + 0.2 * n, n)),), voice=("ann", "bob")[n % 2])
        for n in range(3)
    ]
    alone = [anyone.run(request)[request.response_id] for request in asked]
    for session in ("s0", "s1", "s2"):
        anyone.responder.close_session(session)
    together = anyone.run(*asked)
    for request, before in zip(asked, alone, strict=True):
        after = together[request.response_id]
        assert finished(after).assistant_tokens == finished(before).assistant_tokens
        assert np.allclose(sound(after), sound(before), atol=1e-5) and len(sound(after))


def test_a_fault_ends_its_own_response_alone(script: House, caplog: pytest.LogCaptureFixture) -> None:
    turns = (Turn("user", speech=utterance()),)
    outputs = script.run(
        Request("a", "fine", turns),
        Request("b", "nonsense", (Turn("user", tokens=(10**6,)),)),
        Request("c", "stranger", turns, voice="nobody"),
        Request("d", "deaf", (Turn("user", speech=np.full(4_000, "x")),)),
    )
    codes = {name: getattr(response[-1], "code", "") for name, response in outputs.items()}
    assert codes == {"fine": "", "nonsense": "server_error", "stranger": "unknown_voice", "deaf": "server_error"}
    assert finished(outputs["fine"]).text == REPLY
    assert "response nonsense failed" in caplog.text and "response deaf failed" in caplog.text
    assert finished(script.ask(*turns, session="b")).text == REPLY


def test_a_fault_while_speaking_ends_its_own_response_alone(script: House, monkeypatch: pytest.MonkeyPatch) -> None:
    mouth = script.responder.mouth
    monkeypatch.setitem(mouth.voices, "bob", torch.full((9, 3), 99))
    turns = (Turn("user", speech=utterance()),)
    outputs = script.run(Request("a", "fine", turns), Request("b", "broken", turns, voice="bob"))
    assert isinstance(outputs["broken"][-1], Failed) and outputs["broken"][-1].code == "server_error"
    assert finished(outputs["fine"]).reason == "completed" and len(sound(outputs["fine"])) == len(SPOKEN) * HOP


def test_a_session_answers_one_request_after_the_other(script: House) -> None:
    turns = (Turn("user", speech=utterance()),)
    outputs = script.run(Request("s", "one", turns), Request("s", "two", turns))
    assert finished(outputs["one"]).text == finished(outputs["two"]).text == REPLY


def test_closing_a_session_cancels_its_responses(script: House) -> None:
    turns = (Turn("user", speech=utterance()),)
    for name in ("one", "two"):
        script.responder.submit(Request("s", name, turns))
    for _ in range(3):
        script.responder.step()
    script.responder.close_session("s")
    ended = script.responder.step()
    assert {(output.response_id, finished([output]).reason) for output in ended} == {
        ("one", "cancelled"),
        ("two", "cancelled"),
    }
    assert script.responder.idle and "s" not in script.responder._sequences


def test_chunks_that_are_alike_are_made_together(babble: House) -> None:
    responder = babble.responder
    for name in ("a", "b"):
        responder.submit(Request(name, name, (Turn("user", "hello"),)))
    while len(responder._running) < 2 or not all(r.speech and r.speech.due for r in responder._running.values()):
        responder._outputs = []
        responder._start_next()
        responder._decode()
    responder._speak()
    assert {output.response_id for output in responder._outputs if isinstance(output, SpeechDelta)} == {"a", "b"}


def test_sound_goes_first_to_whoever_would_run_dry_first(babble: House, monkeypatch: pytest.MonkeyPatch) -> None:
    responder, clock = babble.responder, babble.clock
    monkeypatch.setattr(responder.mouth, "alike", lambda one, other: one is other)
    turns = (Turn("user", "hello"),)
    for name in ("a", "b", "c"):
        responder.submit(Request(name, name, turns))
    while len(responder._running) < 3 or not all(r.speech and r.speech.due for r in responder._running.values()):
        responder._outputs = []
        responder._start_next()
        responder._decode()
    a, b, c = (responder._running[name] for name in ("a", "b", "c"))
    a.sounds_since = b.sounds_since = clock.now
    a.samples_sent, b.samples_sent = int(16_000 * (ANSWER_WITHIN_S + 0.2)), int(16_000 * (ANSWER_WITHIN_S - 0.2))
    c.submitted = clock.now

    def served() -> list[str]:
        responder._outputs = []
        before = {r.id: len(r.speech.pending) for r in (a, b, c)}
        responder._speak()
        return [r.id for r in (a, b, c) if len(r.speech.pending) < before[r.id]]

    assert served() == ["b"]
    b.samples_sent = a.samples_sent = int(16_000 * 60)
    assert served() == ["c"]
    c.speech.pending.clear()
    c.sounds_since = None
    assert served() == [], "those with plenty to hear wait while someone has heard nothing yet"
    clock.now += 60 - COMFORTABLY_AHEAD_S
    assert served() == ["a"]
    for name in ("a", "b", "c"):
        responder.cancel(name)


# Reading ahead --------------------------------------------------------------------------------------------------------


def pieces(pcm: np.ndarray, samples: int, turns: tuple[Turn, ...] = (), session: str = "s") -> list[Overheard]:
    """An utterance as it is overheard, in pieces of so many samples."""
    return [
        Overheard(session, "u", at, pcm[at : at + samples], turns if at == 0 else ())
        for at in range(0, len(pcm), samples)
    ]


def read_ahead(house: House, overheard: Sequence[Overheard]) -> None:
    """Each piece as it comes."""
    for piece in overheard:
        house.responder.overhear(piece)
        while not house.responder.idle:
            assert house.responder.step() == []


@pytest.mark.parametrize("samples", [HOP - 1, HOP, HOP + 1, 3_000, 20_000])
def test_an_utterance_that_was_read_ahead_is_answered_as_if_it_was_not(anyone: House, samples: int) -> None:
    pcm = utterance(0.9, seed=3)
    alone = finished(anyone.ask(Turn("user", speech=pcm), session="alone"))
    read_ahead(anyone, pieces(pcm[:-1000], samples))
    last = finished(anyone.ask(Turn("user", speech=pcm)))
    assert last.user_tokens == alone.user_tokens and last.assistant_tokens == alone.assistant_tokens
    sequences = anyone.responder._sequences
    assert sequences["s"].tokens == sequences["alone"].tokens


def test_what_was_read_ahead_need_not_be_computed_again(babble: House) -> None:
    first = finished(babble.ask(Turn("user", speech=utterance())))
    turns = (Turn("user", tokens=first.user_tokens), Turn("assistant", tokens=first.assistant_tokens))
    pcm = utterance(1.2, seed=4)
    read_ahead(babble, pieces(pcm[:-1600], 4_000, turns))
    last = finished(babble.ask(*turns, Turn("user", speech=pcm)))
    assert last.usage.cached > len(first.user_tokens) + len(first.assistant_tokens) + 20, "some of the new speech too"
    assert len(last.user_tokens) - last.usage.audio_in < 60


def test_what_was_read_ahead_begins_as_the_prompt_of_any_reply(babble: House) -> None:
    pcm = utterance(0.6, seed=8)
    turns: list[Turn] = []
    anew = []
    for number in range(40):
        turns += [Turn("user", f"and number {number}"), Turn("assistant", "yes")]
        read_ahead(babble, pieces(pcm, 4_000, tuple(turns), f"{number}"))
        request = Request(f"{number}", f"{number}", (*turns, Turn("user", speech=pcm)), speak=False)
        usage = finished(babble.run(request)[f"{number}"]).usage
        anew.append(usage.text_in + usage.audio_in - usage.cached > 60)
        babble.responder.close_session(f"{number}")
    assert 1 <= anew.count(True) <= 8, "where the growing utterance itself fills the context, and nowhere else"


def test_who_goes_on_after_an_eager_answer_is_read_on(babble: House) -> None:
    pcm = utterance(1.2, seed=5)
    alone = finished(babble.ask(Turn("user", speech=pcm), session="alone"))
    before, behind = [piece for piece in pieces(pcm, 4_000) if piece.start < 8_000], pieces(pcm, 4_000)[2:]
    read_ahead(babble, before)
    eager = babble.run(Request("s", "eager", (Turn("user", speech=pcm[:9_000]),)), cancel_after=4)["eager"]
    assert finished(eager).reason == "cancelled"
    read_ahead(babble, behind)
    assert babble.responder._listening["s"].samples == len(pcm)
    assert finished(babble.ask(Turn("user", speech=pcm))).assistant_tokens == alone.assistant_tokens


def test_where_a_piece_is_missing_the_rest_is_not_read(babble: House) -> None:
    pcm = utterance(1.2, seed=6)
    first, _, *rest = pieces(pcm, 4_000)
    read_ahead(babble, [first])
    computed = babble.responder.engine.tokens_computed
    read_ahead(babble, rest)
    assert babble.responder.engine.tokens_computed == computed
    assert isinstance(babble.ask(Turn("user", speech=pcm))[-1], Finished)


def test_what_comes_too_late_does_not_touch_the_answer(babble: House) -> None:
    pcm = utterance(0.6, seed=7)
    alone = finished(babble.ask(Turn("user", speech=pcm), session="alone"))
    for piece in pieces(pcm, 4_000):
        babble.responder.overhear(piece)
    assert finished(babble.ask(Turn("user", speech=pcm))).assistant_tokens == alone.assistant_tokens
    sequences = babble.responder._sequences
    assert sequences["s"].tokens == sequences["alone"].tokens, "it has been answered; nobody reads it now"
    assert babble.responder._listening["s"].new


def test_somebody_who_waits_for_his_answer_comes_before_what_is_overheard(script: House) -> None:
    for piece in pieces(utterance(0.5, seed=8), 8_000, session="other"):
        script.responder.overhear(piece)
    script.responder.submit(Request("s", "r", (Turn("user", speech=utterance()),)))
    outputs: list[Output] = []
    while not any(isinstance(output, SpeechDelta) for output in outputs):
        assert script.responder._listening["other"].new, "read while somebody waited for the first sound"
        outputs += script.responder.step()
    script.clock.now -= 1  # his sound lasts for a while now
    script.responder.step()
    assert not script.responder._listening["other"].new
    script.responder.cancel("r")


def test_an_utterance_that_is_too_long_is_not_read_on(babble: House) -> None:
    read_ahead(babble, pieces(utterance(6, seed=9), 16_000))
    assert "s" not in babble.responder._listening
    assert isinstance(babble.ask(Turn("user", "hello"))[-1], Finished)


def test_closing_a_session_forgets_what_it_was_saying(babble: House) -> None:
    babble.responder.overhear(pieces(utterance(), 8_000)[0])
    babble.responder.close_session("s")
    babble.responder.step()
    assert babble.responder.idle and not babble.responder._listening


def test_the_configured_voice_replies_first_and_has_to_exist(script_folder: Path) -> None:
    def voices(first: str) -> tuple[str, ...]:
        model = {"directory": str(script_folder), "threads": 1, "context_tokens": CONTEXT}
        configuration = parse({"model": model, "speech": {"voice": first}})
        return AnyGPTResponder.from_configuration(configuration, warm=False).voices

    every = voices("")
    assert len(every) > 1 and voices(every[-1]) == (every[-1], *every[:-1])
    with pytest.raises(CheckpointError, match="'nobody'.*choose one"):
        voices("nobody")
