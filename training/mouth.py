"""Replies as the mouth will say them: semantic codes with the acoustic codes that SoundStorm makes of them, in chunks.

`python -m training.mouth recordings` speaks the recorded replies again, each in its own voice: the decoder then learns
from the codes that it will be given, with the recording to compare with. `python -m training.mouth own` lets the
language model answer typed questions, and keeps its speech: codes of replies that nobody recorded.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from assistant.decoders.speech import SpeechDecoder
from assistant.responder import AnyGPTResponder
from configuration import load
from streaming.types import Failed, Finished, Request, Turn
from training.codes import Utterance, read_codes, write_codes
from training.syllabus import user_sentences

RECORDED = ("reply", "voices")
OWN = "own"
SEED = 3
AT_ONCE = 8


def settled(mouth: SpeechDecoder, voice: str, semantic: list[int]) -> np.ndarray:
    """All code levels [n_q, frames] of a reply, as the mouth settles them chunk by chunk."""
    stream = mouth.open(voice)
    stream.feed(semantic)
    stream.end()
    while not stream.finished:
        mouth.speak(stream)
    return stream.spoken.T.numpy().astype(np.int16)


def recordings(responder: AnyGPTResponder, codes: Path) -> None:
    for part in RECORDED:
        spoken: list[Utterance] = []
        for record, original in read_codes(codes, part):
            voice = next(iter(record["voices"])).split("_")[1]
            spoken.append((record, settled(responder.mouth, voice, original[0].tolist())))
        write_codes(codes / f"{part}-mouth.npz", spoken, "")
        print(f"{part}: {len(spoken)} replies", flush=True)


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
    spoken: list[Utterance] = []
    voice = responder.voices[0]
    for text, semantic in own_replies(responder, count):
        row = settled(responder.mouth, voice, semantic)
        spoken.append(({"text": text, "frames": row.shape[1]}, row))
        if len(spoken) % 50 == 0:
            print(f"{len(spoken)} of {count} replies", flush=True)
    write_codes(codes / f"{OWN}.npz", spoken, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["recordings", OWN])
    parser.add_argument("--count", type=int, default=500, help="questions to answer")
    parser.add_argument("--config", type=Path, default=Path("configs/nano.toml"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    options = parser.parse_args()
    responder = AnyGPTResponder.from_configuration(load(options.config), SEED)
    with torch.inference_mode():
        if options.step == OWN:
            own(responder, options.codes, options.count)
        else:
            recordings(responder, options.codes)


if __name__ == "__main__":
    main()
