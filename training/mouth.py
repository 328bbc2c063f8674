"""Replies as the mouth will say them: semantic codes with the acoustic codes that SoundStorm makes of them, in chunks.

`recordings`  the recorded replies again, each in its own voice: the decoder then learns from the codes that it will be
              given, with the recording to compare with
`pieced`      what nobody recorded and nobody would say: pieces of replies in any order
`own`         answers of the language model in `models/nano` to typed questions
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from assistant.decoders.speech import SpeechDecoder
from assistant.responder import AnyGPTResponder
from configuration import Configuration, load
from streaming.types import Failed, Finished, Request, Turn
from training.codes import load_tokenizer, read_codes, write_codes
from training.soundstorm import CHECKPOINT, load_soundstorm
from training.speech_data import REPLY_VOICES
from training.speech_tokenizer import RESULT, SCALE, ContentTraining, classes
from training.syllabus import user_sentences

RECORDED = ("reply", "voices")
PIECED = "pieced"
OWN = "own"
SEED = 3
AT_ONCE = 8
PIECES = 12
LONGEST_PIECE = 16
"""Runs of the same token."""
VOICE_FRAMES = 150
"""The prompt of a voice: 3 s."""
TOGETHER = 256
"""Replies that SoundStorm speaks at once."""


def spoken(mouth: SpeechDecoder, voices: list[str], semantic: list[list[int]]) -> list[np.ndarray]:
    """All code levels [n_q, frames] of replies, as the mouth settles them chunk by chunk."""
    found: list[np.ndarray] = []
    for start in range(0, len(semantic), TOGETHER):
        streams = [mouth.open(voice) for voice in voices[start : start + TOGETHER]]
        for stream, codes in zip(streams, semantic[start : start + TOGETHER], strict=True):
            stream.feed(codes)
            stream.end()
        while waiting := [stream for stream in streams if not stream.finished]:
            mouth.settle_together(waiting)
        found += [stream.spoken.T.cpu().numpy().astype(np.int16) for stream in streams]
    return found


def clearest(model: ContentTraining, codes_folder: Path, voice: str) -> Tensor:
    """The prompt of a voice, [frames, n_q]: the beginning of an utterance, well understood and with little silence."""
    book = model.tokenizer.quantizer.codebooks[0]
    heard = model.classify(SCALE * book.embed[:, : model.content_size]).argmax(-1).cpu().numpy()
    best: tuple[float, str, np.ndarray] | None = None
    part = "reply" if voice == REPLY_VOICES[0] else "voices"
    for record, codes in read_codes(codes_folder, part):
        if record["voices"] != {voice: 1.0} or codes.shape[1] < VOICE_FRAMES:
            continue
        codes, labels = codes[:, :VOICE_FRAMES], record["labels"][:VOICE_FRAMES]
        score = float((heard[codes[0]] == classes(labels)).mean()) - labels.count("_") / len(labels)
        if best is None or score > best[0]:
            best = (score, record["text"], codes)
    if best is None:
        raise SystemExit(f"no utterance of {voice} in {part} lasts {VOICE_FRAMES} frames")
    print(f"{voice}: {best[1]!r}, score {best[0]:.2f}")
    return torch.from_numpy(best[2].T.astype(np.int64)).contiguous()


def load_mouth(options: argparse.Namespace, configuration: Configuration) -> SpeechDecoder:
    """From what the recipes have trained so far."""
    model = load_tokenizer(options.tokenizer, options.device)
    voices = {voice: clearest(model, options.codes, voice) for voice in REPLY_VOICES}
    return SpeechDecoder(
        load_soundstorm(options.soundstorm).to(options.device),
        model.tokenizer,
        voices,
        steps=configuration.speech.soundstorm_steps,
        first_chunk_frames=configuration.speech.first_chunk_frames,
        max_chunk_frames=configuration.speech.max_chunk_frames,
    )


def recordings(mouth: SpeechDecoder, codes: Path) -> None:
    for part in RECORDED:
        utterances = list(read_codes(codes, part))
        voices = [next(iter(record["voices"])) for record, _ in utterances]
        rows = spoken(mouth, voices, [row[0].tolist() for _, row in utterances])
        write_codes(codes / f"{part}-mouth.npz", [(u[0], row) for u, row in zip(utterances, rows, strict=True)], "")
        print(f"{part}: {len(rows)} replies", flush=True)


def pieced(mouth: SpeechDecoder, codes: Path, count: int) -> None:
    rng = np.random.default_rng(SEED)
    source = np.concatenate([row[0] for _, row in read_codes(codes, "reply")])
    changes = (source[1:] != source[:-1]).nonzero()[0] + 1
    semantic = []
    for _ in range(count):
        first = rng.integers(len(changes) - LONGEST_PIECE, size=PIECES)
        last = first + rng.integers(2, LONGEST_PIECE, size=PIECES)
        pieces = [source[changes[i] : changes[j]] for i, j in zip(first, last, strict=True)]
        semantic.append(np.concatenate(pieces).tolist())
    rows = spoken(mouth, [REPLY_VOICES[0]] * count, semantic)
    write_codes(codes / f"{PIECED}.npz", [({"frames": row.shape[1]}, row) for row in rows], "")
    print(f"{len(rows)} replies in pieces", flush=True)


def own_replies(responder: AnyGPTResponder, count: int) -> Iterator[tuple[str, list[int]]]:
    """Texts and semantic codes of answers to typed questions of the syllabus."""
    questions = iter(dict.fromkeys(islice(user_sentences("train", SEED), count)))
    speech = responder.vocabulary.speech
    waiting = 0
    while True:
        for question in islice(questions, AT_ONCE - waiting):
            responder.submit(Request(question, question, (Turn("user", question),)))
            waiting += 1
        if not waiting:
            return
        for output in responder.step():
            if isinstance(output, Finished):
                yield output.text, speech.to_codes([t for t in output.assistant_tokens if t in speech.tokens])
            if isinstance(output, Finished | Failed):
                responder.close_session(output.response_id)
                waiting -= 1


def own(responder: AnyGPTResponder, codes: Path, count: int) -> None:
    texts, semantic = zip(*((text, row) for text, row in own_replies(responder, count) if row), strict=True)
    rows = spoken(responder.mouth, [responder.voices[0]] * len(semantic), list(semantic))
    utterances = [({"text": text, "frames": row.shape[1]}, row) for text, row in zip(texts, rows, strict=True)]
    write_codes(codes / f"{OWN}.npz", utterances, "")
    print(f"{len(rows)} replies of its own", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", choices=["recordings", PIECED, OWN])
    parser.add_argument("--count", type=int, default=500, help="questions to answer, or replies to put together")
    parser.add_argument("--config", type=Path, default=Path("configs/nano.toml"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/speech_tokenizer") / RESULT)
    parser.add_argument("--soundstorm", type=Path, default=Path("runs/soundstorm") / CHECKPOINT)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    configuration = load(options.config)
    with torch.inference_mode():
        if OWN in options.steps:
            own(AnyGPTResponder.from_configuration(configuration, SEED), options.codes, options.count)
            return
        mouth = load_mouth(options, configuration)
        if "recordings" in options.steps:
            recordings(mouth, options.codes)
        if PIECED in options.steps:
            pieced(mouth, options.codes, options.count)


if __name__ == "__main__":
    main()
