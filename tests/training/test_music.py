"""Music for nano: what is said of a piece can be found again in its notes; the codec's recipe; what users ask for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from assistant.vocabulary import MUSIC_CODEBOOKS
from training import encodec
from training.music import corpus
from training.music.ears import CLASSES, SAMPLES, MusicListener, share_right, targets
from training.music.score import INSTRUMENTS, MOODS, TEMPOS, Score, Tags, all_tags, compose
from training.syllabus import music as syllabus
from training.syllabus.dialogue import plain_words
from training.syllabus.intent import Answer, State

SEEDS = range(3)
PIECES = [compose(tags, seed) for tags in all_tags() for seed in SEEDS]


def tempo_heard(score: Score) -> str:
    """The fastest beat at which something of the accompaniment begins every time, from onsets in seconds alone."""
    onsets = [score.time(note.beat) for note in score.notes if note.part == "accompaniment"]
    last = max(onsets) - 0.001

    def covered(beats_per_minute: int) -> bool:
        period = 60 / beats_per_minute
        grid = [period * beat for beat in range(int(last / period) + 1)]
        return all(min(abs(onset - at) for onset in onsets) < 0.02 for at in grid)

    fitting = [(bpm, tempo) for tempo, choices in TEMPOS.items() for bpm in choices if covered(bpm)]
    return max(fitting)[1]


def mood_heard(score: Score) -> str:
    """The mood with the smallest scale that has all pitches, counted from the last and lowest one."""
    last = max(note.beat for note in score.notes if note.part == "accompaniment")
    tonic = min(note.pitch for note in score.notes if note.part == "accompaniment" and note.beat == last)
    heard = {(note.pitch - tonic) % 12 for note in score.notes}
    return min((mood for mood in MOODS if heard <= set(MOODS[mood].scale)), key=lambda mood: len(MOODS[mood].scale))


def test_there_are_enough_of_each() -> None:
    assert len(INSTRUMENTS) >= 8 and len(MOODS) >= 6 and len(TEMPOS) >= 3


def test_the_tempo_can_be_found_in_the_onsets() -> None:
    wrong = [score.tags for score in PIECES if tempo_heard(score) != score.tags.tempo]
    assert not wrong


def test_the_mood_can_be_found_in_the_pitches() -> None:
    wrong = [score.tags for score in PIECES if mood_heard(score) != score.tags.mood]
    assert not wrong


def test_pieces_fill_their_time_and_end_on_the_tonic() -> None:
    for score in PIECES:
        assert score.seconds == pytest.approx(5)
        assert all(0 <= score.time(note.beat) < score.time(note.beat + note.beats) <= 5 for note in score.notes)
        melody = [note for note in score.notes if note.part == "melody"]
        assert melody[-1].pitch % 12 == score.tonic and score.time(melody[-1].beat) > 3
        assert min(note.beat for note in score.notes) == 0


def test_notes_stay_within_the_instruments() -> None:
    for score in PIECES:
        instrument = INSTRUMENTS[score.tags.instrument]
        for note in score.notes:
            low, high = instrument.range if note.part == "melody" else instrument.partner_range
            assert low <= note.pitch <= high and 0 < note.velocity < 128


def test_no_key_is_struck_while_it_sounds() -> None:
    for score in PIECES:
        free: Counter[tuple[str, int]] = Counter()
        for note in score.notes:
            assert note.beat >= free[note.part, note.pitch] - 1e-9
            free[note.part, note.pitch] = note.beat + note.beats


def test_the_melody_lies_above_what_accompanies_it() -> None:
    for score in PIECES:
        melody, other = (
            [note.pitch for note in score.notes if note.part == part] for part in ("melody", "accompaniment")
        )
        assert sum(melody) / len(melody) > sum(other) / len(other)


def test_every_seed_is_another_piece_and_the_same_seed_the_same() -> None:
    tags = Tags("piano", "happy", "medium")
    pieces = [compose(tags, seed) for seed in range(40)]
    assert pieces == [compose(tags, seed) for seed in range(40)]
    assert len({piece.notes for piece in pieces}) == 40


def test_longer_pieces_and_loops() -> None:
    for tags in all_tags():
        long, loop = compose(tags, 1, seconds=20), compose(tags, 1, seconds=20, loop=True)
        assert long.seconds == pytest.approx(20) and max(map(long.time, (n.beat for n in long.notes))) > 16
        beats = loop.seconds * loop.beats_per_minute / 60
        assert beats == pytest.approx(round(beats)) and 17.5 < loop.seconds <= 20
        assert round(beats) - max(note.beat for note in loop.notes) <= 2, "no pause before it begins again"
    with pytest.raises(ValueError, match="too short"):
        compose(Tags("piano", "sad", "slow"), 1, seconds=2)


def test_a_rendered_piece_has_the_pitches_of_its_score_and_the_loudness_of_its_mood() -> None:
    pytest.importorskip("fluidsynth", reason="pyfluidsynth is for training alone")
    from training.music.render import RATE, SOUNDFONT, Synthesizer

    if not SOUNDFONT.is_file():
        pytest.skip("Debian's fluid-soundfont-gm is not installed")
    synthesizer, score = Synthesizer(), compose(Tags("organ", "calm", "slow"), 3)
    pcm = synthesizer.render(score)
    synthesizer.close()
    assert pcm.shape == (5 * RATE,) and pcm.dtype == np.float32
    assert np.sqrt(np.square(pcm).mean()) == pytest.approx(MOODS["calm"].level, rel=0.05)
    last = [note for note in score.notes if note.part == "melody"][-1]
    start = round(score.time(last.beat) * RATE)
    power = np.abs(np.fft.rfft(pcm[start + RATE // 4 : start + RATE] * np.hanning(3 * RATE // 4)))
    bin_of = [round(440 * 2 ** ((pitch - 69) / 12) * 0.75) for pitch in (last.pitch, last.pitch + 1)]
    there, beside = (power[at - 2 : at + 3].max() for at in bin_of)
    assert there > 5 * beside


def test_corpus_files_say_what_they_hold(tmp_path: Path) -> None:
    scores = [compose(tags, 1) for tags in all_tags()[:3]]
    pcm = np.random.default_rng(0).uniform(-1, 1, (3, 800)).astype(np.float32)
    corpus.write_shard(tmp_path / "train-00000.npz", scores, pcm)
    np.savez(tmp_path / "train-codes.npz", codes=np.zeros(1))  # what `training.encodec codes` puts beside them
    found = list(corpus.read(tmp_path, "train"))
    assert [corpus.tags_of(record) for record, _ in found] == all_tags()[:3]
    assert all(np.abs(sound / 32767 - wav).max() < 1e-4 for (_, sound), wav in zip(found, pcm, strict=True))
    assert {corpus.seed_of("train", n) for n in range(50)}.isdisjoint(
        corpus.seed_of("development", n) for n in range(50)
    )


def test_a_packed_corpus_is_the_same_music(tmp_path: Path) -> None:
    pytest.importorskip("soundfile", reason="soundfile is for training alone")
    scores, seconds = [compose(tags, 1) for tags in all_tags()[:2]], np.arange(corpus.RATE) / corpus.RATE
    pcm = np.stack([0.5 * np.sin(2 * np.pi * pitch * seconds) for pitch in (220, 330)]).astype(np.float32)
    (tmp_path / "here").mkdir()
    corpus.write_shard(tmp_path / "here" / "train-00000.npz", scores, pcm)
    corpus.pack(tmp_path / "here", tmp_path / "packed", "train", 1, kbits=36)
    corpus.unpack(tmp_path / "packed", tmp_path / "there")
    here, there = (list(corpus.read(tmp_path / place, "train")) for place in ("here", "there"))
    assert [record for record, _ in here] == [record for record, _ in there]
    for (_, before), (_, after) in zip(here, there, strict=True):
        off = np.square(before.astype(float) - after).mean()
        assert off < 0.05 * np.square(before.astype(float)).mean()


def test_segments_come_from_everywhere_in_the_corpus(tmp_path: Path) -> None:
    pcm = np.tile(np.linspace(0, 0.7, 5 * encodec.FRAME, dtype=np.float32), (2, 1))
    corpus.write_shard(tmp_path / "train-00000.npz", [compose(tags, 1) for tags in all_tags()[:2]], pcm)
    pieces = encodec.Pieces(tmp_path, "train", 3, 0, torch.device("cpu"))
    batch = pieces.batch(100)
    assert batch.shape == (100, 3 * encodec.FRAME) and batch.dtype == torch.float32
    slopes = (batch[:, -1] - batch[:, 0]) / (batch.shape[1] - 1) * (pcm.shape[1] - 1) / 0.7
    assert 0.4 <= slopes.min() < 0.5 and 1.3 < slopes.max() <= 1.41, "levels"
    starts = batch[:, 0] / slopes / 0.7 * (pcm.shape[1] - 1)
    assert starts.min() < 50 and starts.max() > 2 * encodec.FRAME - 50



def tiny_codec() -> EncodecModel:
    torch.manual_seed(0)
    return EncodecModel(EncodecConfig(**(encodec.CONFIG | {"num_filters": 4, "hidden_size": 6, "codebook_size": 16})))


def test_nano_has_the_vocabulary_s_codes() -> None:
    config = EncodecConfig(**encodec.CONFIG)
    assert (config.num_quantizers, config.codebook_size, config.frame_rate) == (MUSIC_CODEBOOKS, 256, 50)
    assert config.hop_length == encodec.FRAME


def test_codebooks_start_where_the_latents_are_and_every_code_is_of_use() -> None:
    codec, latents = tiny_codec(), torch.randn(2000, 6)
    encodec.fit_codebooks(codec, latents)
    _, left = encodec.quantized(codec, latents.T.unsqueeze(0), learn=False)
    books = encodec.codebooks(codec)
    assert float(left) < 0.35, "a share of the variance, the mean over four codebooks"
    assert all(len(book.quantize(latents).unique()) == 16 for book in books[:1])
    assert all(float(book.cluster_size.sum()) == pytest.approx(1, abs=0.02) for book in books)


def test_quantized_latents_are_what_the_codes_say_and_gradients_pass() -> None:
    codec, latent = tiny_codec(), torch.randn(2, 6, 30, requires_grad=True)
    encodec.fit_codebooks(codec, torch.randn(2000, 6))
    got, _ = encodec.quantized(codec, latent, learn=False)
    assert torch.allclose(got, codec.quantizer.decode(codec.quantizer.encode(latent)), atol=1e-5)
    (gradient,) = torch.autograd.grad(got.sum(), latent)
    assert torch.equal(gradient, torch.ones_like(gradient))


def test_dead_codes_are_moved_to_where_they_are_needed() -> None:
    codec, frames = tiny_codec(), torch.randn(500, 6)
    encodec.fit_codebooks(codec, frames)
    book = encodec.codebooks(codec)[0]
    book.embed[3] = book.embed_avg[3] = 1000.0
    book.cluster_size[3] = 1e-4
    encodec.follow(book, frames, book.quantize(frames))
    assert book.embed[3].abs().max() < 10


def test_codebooks_follow_the_latents() -> None:
    codec, frames = tiny_codec(), torch.randn(500, 6)
    encodec.fit_codebooks(codec, frames)
    book, moved = encodec.codebooks(codec)[0], frames + 1.0
    before = float((moved - book.decode(book.quantize(moved))).square().sum(1).mean())
    for _ in range(60):
        encodec.follow(book, moved, book.quantize(moved))
    assert float((moved - book.decode(book.quantize(moved))).square().sum(1).mean()) < 0.7 * before


def test_the_listener_hears_pieces_of_any_length() -> None:
    torch.manual_seed(0)
    listener = MusicListener(8).eval()
    for samples in (1, 1000, SAMPLES, SAMPLES + 5):
        assert listener.hear(np.zeros(samples, np.float32)) in all_tags()
    tags = [Tags("harp", "funny", "fast"), Tags("piano", "sad", "slow")]
    wanted = targets(tags)
    assert [CLASSES[kind][wanted[kind][0]] for kind in CLASSES] == ["harp", "funny", "fast"]
    pcm = np.zeros(SAMPLES, np.float32)
    heard = listener.hear(pcm)
    assert share_right(listener, [pcm, pcm], [heard, Tags("no", "no", heard.tempo)]) == {
        "instrument": 0.5, "mood": 0.5, "tempo": 1.0, "all": 0.5,
    }  # fmt: skip


BY_NAME = {intent.name: intent for intent in syllabus.MUSIC}


def asked(name: str, tune: Tags | None, given: Tags | None = None, **slots: object) -> Answer:
    """The answer to the first row with these slots, after a tune was played and music was given."""
    rows = [row for row in BY_NAME[name].rows if all(row[slot] == value for slot, value in slots.items())]
    return BY_NAME[name].answer(State(tune=tune, given=given), rows[0])


def test_what_is_said_is_what_is_played() -> None:
    for intent in syllabus.MUSIC:
        for row in intent.rows:
            for state in intent.states[:20]:
                answer = intent.answer(state, row)
                if answer.plays is not None:
                    assert syllabus.tags_said(answer.text) == answer.plays
                words = set(plain_words(answer.text))
                assert words & set(answer.expect_any), (intent.name, answer)


def test_what_is_not_asked_for_is_usual() -> None:
    assert asked("play_music", None, asked=("violin", None, "slow")).plays == Tags("violin", "happy", "slow")
    assert asked("play_music", None, asked=(None, "sad", None)).plays == Tags("piano", "sad", "medium")


def test_the_last_tune_changes_on_request() -> None:
    tune = Tags("piano", "happy", "slow")
    assert asked("faster", tune).plays == replace(tune, tempo="medium")
    assert asked("slower", tune).text == "I cannot play any slower."
    assert asked("change_mood", tune, more="sadder").plays == replace(tune, mood="sad")
    assert asked("change_instrument", tune, instrument="violin").plays == replace(tune, instrument="violin")
    assert asked("play_again", tune).plays == tune
    assert asked("what_did_you_play", tune).text == "I played a slow happy tune on the piano."


@pytest.mark.parametrize("name", ["faster", "slower", "change_mood", "change_instrument", "play_again"])
def test_nothing_can_be_changed_before_something_was_played(name: str) -> None:
    assert asked(name, None).text == syllabus.NOTHING_PLAYED


def test_music_that_is_heard_is_described_truly() -> None:
    for tags in all_tags():
        assert syllabus.tags_said(asked("describe_music", None, tags).text) == tags
    heard = Tags("organ", "scary", "fast")
    assert asked("is_it_instrument", None, heard, instrument="organ").text == "Yes, that is the organ."
    assert asked("is_it_instrument", None, heard, instrument="harp").text == "No, that is the organ."
    assert asked("which_tempo", None).text == syllabus.NOTHING_GIVEN


def test_captions_name_all_tags() -> None:
    for tags in all_tags():
        assert all(syllabus.tags_said(caption) == tags for caption in syllabus.captions(tags))
    assert syllabus.tags_said("a nice day") is None
