"""Pictures and music in and out of a conversation, over the real responder with tiny models.

That of `artist` says REPLY, speaks, draws a picture and plays a tune, whatever is said to it, where it may.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from assistant.checkpoints import CheckpointError
from assistant.conversation import Dialogue
from assistant.decoders.music import MusicDecoder
from assistant.media import Lazy
from assistant.tokenizers.text import TextTokenizer
from assistant.vocabulary import Vocabulary
from streaming.types import (
    MUSIC_RATE,
    Abilities,
    AttachmentFailed,
    AttachmentProgress,
    AttachmentStarted,
    Finished,
    MusicDelta,
    MusicDone,
    Output,
    Perceived,
    PictureDone,
    Request,
    SpeechDelta,
    Turn,
)
from tests.assistant.test_responder import HEARD, REPLY, SPOKEN, House, chain, finished, house, scripted, utterance
from tests.assistant.tiny import add_eyes_and_hands, write_model_set

CODE = 3
FRAMES = 40
PICTURE = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
MUSIC = (0.3 * np.random.default_rng(2).standard_normal(MUSIC_RATE)).astype(np.float32)
ENDS = PictureDone | MusicDone | AttachmentFailed
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of diffusers' imports


def artist_folder(folder: Path, tokenizer_folder: Path, then: Sequence[str]) -> None:
    """A model set of a chain: after its speech comes what `then` says, "image" or "music" or both, or the end."""
    tokenizer = TextTokenizer.load(tokenizer_folder)
    vocabulary = Vocabulary.load(tokenizer_folder, tokenizer.text_size)
    dialogue = Dialogue(tokenizer, vocabulary)
    spoken, typed = scripted(dialogue, heard=True), scripted(dialogue, heard=False)
    spoken = spoken[spoken.index(vocabulary.transcript_mark) : spoken.index(dialogue.reply_end)]
    image, music = vocabulary.image, vocabulary.music
    assert image is not None and music is not None
    picture = [image.start, image.tokens[CODE], image.tokens[CODE]]
    frame = vocabulary.music_tokens([[0], [1], [1], [0]])
    tune = [music.start, *frame, frame[0]]
    scripts = [
        [*spoken, *(picture if "image" in then else tune)],
        [image.end, *(tune if "music" in then else [dialogue.reply_end])],
    ]
    scripts += [[dialogue.user_turn_tokens(text="x")[-1], typed[0]]]
    write_model_set(folder, tokenizer_folder, chain(vocabulary, scripts))
    add_eyes_and_hands(folder, vocabulary)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("artist")
    artist_folder(folder, tokenizer_folder, ("image", "music"))
    return folder


@pytest.fixture(scope="module")
def artist_house(both: Path) -> House:
    artist = house(both, music={"max_tokens": 4 * FRAMES, "temperature": 0.0}, image={"temperature": 0.0})
    artist.responder.media.hand.get().steps = 3
    return artist


@pytest.fixture(scope="module")
def musician_house(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> House:
    folder = tmp_path_factory.mktemp("musician")
    artist_folder(folder, tokenizer_folder, ("music",))
    return house(folder, music={"max_tokens": 4 * FRAMES, "temperature": 0.0})


@pytest.fixture
def artist(artist_house: House) -> Iterator[House]:
    yield artist_house
    artist_house.tidy()


@pytest.fixture
def musician(musician_house: House) -> Iterator[House]:
    yield musician_house
    musician_house.tidy()


def run(house: House, *requests: Request) -> list[Output]:
    """All outputs in their order, until nothing is left to do."""
    for request in requests:
        house.responder.submit(request)
    outputs: list[Output] = []
    for _ in range(3_000):
        outputs += house.responder.step()
        if house.responder.idle:
            return outputs
    raise AssertionError("it never ends")


def asking(*turns: Turn, session: str = "s", name: str = "r", **options: bool) -> Request:
    return Request(session, name, turns, **({"attachments": True} | options))


def only(outputs: Sequence[Output], kind: type) -> list:  # type: ignore[type-arg]
    return [output for output in outputs if isinstance(output, kind)]


def shown() -> Turn:
    return Turn("user", image=PICTURE, media_id="photo")


def spoken() -> Turn:
    return Turn("user", speech=utterance())


# ---- what there is


def test_abilities_are_what_the_folder_holds(artist: House, script_plain: House) -> None:
    kinds = frozenset({"image", "music"})
    assert artist.responder.abilities == Abilities(takes=kinds, makes=kinds, overhears=True)
    assert script_plain.responder.abilities == Abilities(overhears=True)


def test_rarely_used_models_are_loaded_when_first_asked_for(both: Path) -> None:
    fresh = house(both).responder
    assert not any(model.ready() for model in (fresh.media.eyes, fresh.media.hand, fresh.media.codec))
    fresh.submit(Request("s", "r", (shown(), Turn("user", "hello"))))
    fresh.step()
    assert fresh.media.eyes.ready() and not fresh.media.hand.ready() and not fresh.media.codec.ready()


def test_a_model_that_cannot_be_loaded_says_so_every_time() -> None:
    def fail() -> int:
        raise ValueError("torn")

    broken = Lazy(fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="torn"):
            broken.get()
    assert broken.ready()


def test_models_are_loaded_one_at_a_time_and_after_what_they_need() -> None:
    loading: list[str] = []

    def load(name: str) -> str:
        loading.append(name)
        threading.Event().wait(0.02)
        assert loading[-1] == name, "another one began meanwhile"
        return name

    first, second = Lazy(lambda: load("first")), Lazy(lambda: load("second"))
    last = Lazy(lambda: load(f"last after {first.get()}"), needs=first)
    for model in (last, second):
        model.start()
    assert (last.get(), second.get()) == ("last after first", "second")


def test_a_package_that_is_missing_is_named() -> None:
    def fail() -> int:
        raise ModuleNotFoundError("No module named 'diffusers'", name="diffusers")

    with pytest.raises(CheckpointError, match="pip install diffusers"):
        Lazy(fail).get()


# ---- shown


def test_a_picture_is_perceived_and_stands_before_the_words(artist: House) -> None:
    outputs = run(artist, asking(shown(), spoken(), attachments=False))
    (seen,) = only(outputs, Perceived)
    words = artist.responder.vocabulary
    assert seen.turn == 0 and list(seen.tokens) == artist.responder.media.see(PICTURE)
    last = finished([outputs[-1]])
    dialogue, codes = artist.dialogue, artist.responder.ears.listen(utterance())
    assert list(last.user_tokens) == dialogue.user_turn_tokens(codes)
    prompt = dialogue.system_tokens() + dialogue.with_shown(last.user_tokens, [seen.tokens])
    assert artist.responder._sequences["s"].tokens[: len(prompt)] == prompt
    assert last.usage.image_in == 32 and words.image is not None and prompt.count(words.image.start) == 1


@pytest.mark.parametrize("words", [Turn("user", "what is this?"), spoken()], ids=["typed", "spoken"])
@pytest.mark.parametrize(
    "what",
    [Turn("user", image=PICTURE), Turn("user", music=MUSIC[::2])],  # with the longest reply it fills the context
    ids=["picture", "music"],
)
def test_the_next_turn_finds_all_of_it_in_the_cache(artist: House, what: Turn, words: Turn) -> None:
    first = run(artist, asking(what, words, attachments=False))
    (seen,), last = only(first, Perceived), finished([first[-1]])
    cached = list(artist.responder._sequences["s"].tokens)
    history = (Turn("user", tokens=seen.tokens), Turn("user", tokens=last.user_tokens))
    answer = Turn("assistant", tokens=last.assistant_tokens)
    again = run(artist, asking(*history, answer, Turn("user", "and now?"), attachments=False))
    assert not only(again, Perceived), "it has tokens already"
    assert finished([again[-1]]).usage.cached == len(cached) - cached.count(-1)


def test_a_picture_alone_can_be_answered(artist: House) -> None:
    outputs = run(artist, asking(shown(), attachments=False))
    last = finished([outputs[-1]])
    assert list(last.user_tokens) == artist.responder.media.see(PICTURE) and last.text == REPLY
    assert not only(outputs, Perceived), "the last turn's tokens are the user's"


def test_words_and_a_picture_in_one_turn(artist: House) -> None:
    outputs = run(artist, asking(Turn("user", "what is this?", image=PICTURE), attachments=False))
    tokens = list(finished([outputs[-1]]).user_tokens)
    dialogue = artist.dialogue
    question = dialogue.user_turn_tokens(text="what is this?", shown=True)
    assert tokens == dialogue.with_shown(question, [artist.responder.media.see(PICTURE)])


def test_a_picture_that_comes_again_is_not_looked_at_again(artist: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run(artist, asking(shown(), Turn("user", "hello"), attachments=False))
    monkeypatch.setattr(artist.responder.media, "see", lambda picture: pytest.fail("it was looked at"))
    (seen,) = only(run(artist, asking(shown(), Turn("user", "well?"), attachments=False)), Perceived)
    assert len(seen.tokens) == 34


def test_what_is_read_ahead_waits_in_the_cache(artist: House) -> None:
    prepared = run(artist, asking(shown(), prepare_only=True))
    (seen,), last = only(prepared, Perceived), finished([prepared[-1]])
    assert last.text == "" and last.assistant_tokens == () and not only(prepared, SpeechDelta)
    read = len(artist.responder._sequences["s"].tokens)
    outputs = run(artist, asking(Turn("user", tokens=seen.tokens), spoken(), attachments=False))
    assert finished([outputs[-1]]).usage.cached == read > 34


def test_a_covered_camera_is_told_in_words(artist: House) -> None:
    outputs = run(artist, asking(Turn("user", "what is this?", dark_camera=True), attachments=False))
    said = artist.dialogue.tokenizer.decode(finished([outputs[-1]]).user_tokens)
    assert "dark" in said and "what is this?" in said


def test_without_eyes_a_picture_is_passed_over(script_plain: House) -> None:
    outputs = run(script_plain, asking(shown(), spoken()))
    assert finished([outputs[-1]]).text == REPLY and not only(outputs, Perceived)


def test_old_pictures_are_forgotten_before_words_are(artist: House) -> None:
    picture = tuple(artist.responder.media.see(PICTURE))
    turns: list[Turn] = []
    for number in range(12):
        turns += [Turn("user", tokens=picture), Turn("user", f"number {number}"), Turn("assistant", "yes")]
    kept = artist.responder.media.without_old([*turns, Turn("user", tokens=picture), Turn("user", "this?")], 256)
    pictures = [index for index, turn in enumerate(kept) if turn.tokens]
    assert 1 < len(pictures) <= 256 // len(picture)
    assert pictures[-1] == len(kept) - 2, "what is shown now stays"
    album = [*turns, *[Turn("user", tokens=picture)] * 20, Turn("user", "these?")]
    assert artist.responder.media.without_old(album, 256)[-21:] == album[-21:], "however much it is"
    assert [turn.text for turn in kept if turn.text] == [
        turn.text for turn in [*turns, Turn("user", "this?")] if turn.text
    ]


# ---- made


def test_a_drawing_and_a_tune_are_made_beside_the_answer(artist: House) -> None:
    outputs = run(artist, asking(spoken()))
    kinds = [type(output) for output in outputs]
    drawing, tune = only(outputs, AttachmentStarted)
    assert (drawing.kind, tune.kind, drawing.prompt, tune.prompt) == ("image", "music", HEARD, HEARD)
    assert kinds.index(AttachmentStarted) < kinds.index(Finished), "it starts before its response ends"
    (picture,), (music,) = only(outputs, PictureDone), only(outputs, MusicDone)
    words = artist.responder.vocabulary
    assert words.image is not None and words.music is not None
    assert picture.image.shape == (16, 16, 3) and picture.attachment_id == drawing.attachment_id
    assert list(picture.tokens) == words.image.segment([CODE] * 32)
    codes = words.music.to_codes(music.tokens[1:-1])
    whole = MusicDecoder(artist.responder.media.codec.get()).decode(codes)
    assert len(codes) == 4 * FRAMES and np.allclose(music.pcm, whole, atol=1e-4) and music.sample_rate == 1600
    assert not only(outputs, MusicDelta), "nobody asked to listen meanwhile"
    progress = [
        output.progress for output in only(outputs, AttachmentProgress) if output.attachment_id == drawing.attachment_id
    ]
    assert progress == sorted(progress) and len(progress) == 3
    assert len(np.concatenate([output.pcm for output in only(outputs, SpeechDelta)])) == len(SPOKEN) * 320


def test_nothing_is_made_where_nobody_asked_for_attachments(artist: House) -> None:
    outputs = run(artist, asking(spoken(), attachments=False))
    assert not only(outputs, AttachmentStarted) and finished([outputs[-1]]).reason == "completed"


def test_a_written_answer_can_be_followed_by_a_drawing(artist: House) -> None:
    """The chain always speaks first, so the mark of speech is made to lead to a picture."""
    words = artist.responder.vocabulary
    head = artist.responder.engine.model.lm_head.weight
    assert words.image is not None
    kept = head[words.speech.start].clone(), head[words.image.start].clone()
    head[words.image.start] += 2 * head[words.speech.start]
    try:
        outputs = run(artist, asking(Turn("user", "draw"), speak=False))
    finally:
        head[words.speech.start], head[words.image.start] = kept
    assert only(outputs, PictureDone) and not only(outputs, SpeechDelta)
    assert only(outputs, Finished)[0].text == REPLY


def test_a_tune_can_be_heard_while_it_is_being_made(musician: House) -> None:
    outputs = run(musician, asking(spoken(), stream_music=True))
    deltas, (done,) = only(outputs, MusicDelta), only(outputs, MusicDone)
    assert len(deltas) > 1 and np.array_equal(np.concatenate([delta.pcm for delta in deltas]), done.pcm)
    assert outputs.index(deltas[0]) < outputs.index(done)


def test_what_was_made_is_in_the_dialogue_from_then_on(artist: House) -> None:
    first = run(artist, asking(spoken()))
    (picture,), last = only(first, PictureDone), only(first, Finished)[0]
    dialogue = artist.dialogue
    assert list(last.assistant_tokens) == scripted(dialogue, heard=True), "the answer alone"
    turns = [Turn("user", tokens=last.user_tokens), Turn("assistant", tokens=last.assistant_tokens)]
    written = artist.responder._turn_tokens(
        [*turns, Turn("assistant", tokens=picture.tokens), Turn("user", "thank you")]
    )
    assert written[1] == dialogue.with_made(scripted(dialogue, heard=True), picture.tokens)
    again = run(
        artist, asking(*turns, Turn("assistant", tokens=picture.tokens), Turn("user", "and now?"), attachments=False)
    )
    assert finished([again[-1]]).text == REPLY


def test_an_answer_ends_without_waiting_for_what_it_makes(musician: House) -> None:
    outputs = run(musician, asking(spoken()))
    assert outputs.index(only(outputs, Finished)[0]) < outputs.index(only(outputs, MusicDone)[0])


def test_one_can_go_on_talking_meanwhile(artist: House) -> None:
    """Another listener's sound goes first: no step of a drawing is made while he waits for it."""
    responder, clock = artist.responder, artist.clock
    responder.submit(asking(spoken(), session="a", name="drawing"))
    outputs: list[Output] = []
    while not only(outputs, Finished):
        outputs += responder.step()
        clock.now += 0.01
    assert not only(outputs, PictureDone), "there is something left to draw"
    responder.submit(asking(spoken(), session="b", name="talk", attachments=False))
    waiting = True
    meanwhile: list[Output] = []
    while waiting:
        made = responder.step()
        waiting = not any(output.response_id == "talk" and isinstance(output, SpeechDelta) for output in made)
        meanwhile += made if waiting else []
    assert not only(meanwhile, AttachmentProgress), "the first sound was not held up"
    rest = run(artist)
    assert only(rest, PictureDone) and only(rest, MusicDone)
    assert next(o for o in rest if isinstance(o, Finished)).response_id == "talk"


def test_a_listener_with_plenty_to_hear_leaves_time_for_a_drawing(artist: House) -> None:
    responder = artist.responder
    responder.submit(asking(spoken(), session="a", name="drawing"))
    outputs: list[Output] = []
    while not only(outputs, Finished):
        outputs += responder.step()
    responder.submit(asking(spoken(), session="b", name="talk", attachments=False))
    while not any(isinstance(o, SpeechDelta) and o.response_id == "talk" for o in outputs):
        outputs += responder.step()
    responder._running["b"].samples_sent = 16_000 * 60
    assert responder._running["b"].speech is not None and not responder._running["b"].all_sent
    assert only(responder.step(), AttachmentProgress)


def test_a_cancelled_drawing_ends_there(artist: House) -> None:
    responder = artist.responder
    responder.submit(asking(spoken()))
    outputs: list[Output] = []
    while not only(outputs, AttachmentStarted):
        outputs += responder.step()
    drawing = only(outputs, AttachmentStarted)[0].attachment_id
    responder.cancel_attachment(drawing)
    outputs += run(artist)
    (ended,) = only(outputs, AttachmentFailed)
    assert (ended.attachment_id, ended.code) == (drawing, "cancelled") and not only(outputs, PictureDone)
    assert only(outputs, Finished)[0].reason == "completed"
    responder.cancel_attachment(drawing)
    responder.cancel_attachment("of another time")
    assert responder.idle


def test_a_drawing_is_left_alone_when_its_answer_is_cut_off(artist: House) -> None:
    responder = artist.responder
    responder.submit(asking(spoken()))
    outputs: list[Output] = []
    while not only(outputs, AttachmentStarted):
        outputs += responder.step()
    responder.cancel("r")
    outputs += run(artist)
    assert only(outputs, Finished)[0].reason == "cancelled"
    assert only(outputs, PictureDone) and not only(outputs, AttachmentFailed)
    assert len(only(outputs, AttachmentStarted)) == 1, "after the answer's end nothing begins"


def test_closing_a_session_ends_what_it_makes(artist: House) -> None:
    responder = artist.responder
    responder.submit(asking(spoken()))
    outputs: list[Output] = []
    while not only(outputs, AttachmentStarted):
        outputs += responder.step()
    responder.close_session("s")
    outputs += responder.step()
    assert only(outputs, AttachmentFailed)[0].code == "cancelled"
    assert responder.idle and not responder.engine._sequences


def test_a_hand_that_fails_takes_nothing_with_it(
    artist: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(artist.responder.media.hand.get(), "open", lambda codes: 1 / 0)
    outputs = run(artist, asking(spoken()))
    (failed,) = only(outputs, AttachmentFailed)
    assert failed.code == "server_error" and "fault" in failed.message and "r/image failed" in caplog.text
    assert only(outputs, MusicDone) and only(outputs, Finished)[0].reason == "completed"
    monkeypatch.undo()
    assert only(run(artist, asking(spoken())), PictureDone)


def test_a_picture_that_cannot_be_seen_fails_its_own_request(artist: House, caplog: pytest.LogCaptureFixture) -> None:
    torn = Turn("user", image=np.zeros((4, 4), np.uint8))
    outputs = run(artist, asking(torn, Turn("user", "hello")), asking(spoken(), session="t", name="fine"))
    ends = {
        output.response_id: type(output).__name__
        for output in outputs
        if type(output).__name__ in ("Finished", "Failed")
    }
    assert ends == {"r": "Failed", "fine": "Finished"} and "response r failed" in caplog.text


def test_every_attachment_ends_once(artist: House) -> None:
    outputs = run(artist, asking(spoken()), asking(Turn("user", "hello"), session="t", name="q"))
    started = sorted(output.attachment_id for output in only(outputs, AttachmentStarted))
    assert len(started) == 4 == len(set(started))
    assert sorted(output.attachment_id for output in outputs if isinstance(output, ENDS)) == started


@pytest.fixture(scope="module")
def script_plain_house(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> House:
    """Without eyes and hands."""
    tokenizer = TextTokenizer.load(tokenizer_folder)
    dialogue = Dialogue(tokenizer, Vocabulary.load(tokenizer_folder, tokenizer.text_size))
    spoken, typed = scripted(dialogue, heard=True), scripted(dialogue, heard=False)
    mark = dialogue.vocabulary.transcript_mark
    scripts = [spoken[spoken.index(mark) :], [dialogue.user_turn_tokens(text="x")[-1], typed[0]]]
    folder = tmp_path_factory.mktemp("plain")
    write_model_set(folder, tokenizer_folder, chain(dialogue.vocabulary, scripts))
    return house(folder)


@pytest.fixture
def script_plain(script_plain_house: House) -> Iterator[House]:
    yield script_plain_house
    script_plain_house.tidy()
