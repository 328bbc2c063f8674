"""Nano's language model: the LLaMA that hears, answers and speaks in tokens.

`vocabulary`  text pieces from the syllabus, and the added tokens in the published order
`train`       dialogues of the syllabus with speech tokens: real ones of many voices and rooms, and ones put together
              from real runs (`training.spoken`); `--minutes` is the budget, the learning rate follows it
`export`      models/nano/llama.*, tokenizer.model, added_tokens.json

What the assistant says is learned: the transcript, the reply, its speech. And, because words are learned far sooner
when their place is known, what nothing asks for at inference: where a word of the user's speech ends, its text pieces;
where one of the assistant's ends, in some of its replies, the piece that the next word begins with.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from torch import Tensor
from torch.nn import functional as F

from assistant.conversation import TEMPLATES, Dialogue
from assistant.models.llama import Llama
from assistant.tokenizers.text import TextTokenizer
from assistant.vocabulary import MARKUP, Vocabulary
from training import syllabus
from training.codes import read_codes
from training.kokoro import SILENCE
from training.recipe import quick_dtype
from training.spoken import Frame, Runs, disturbed, with_words

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 320,
    "intermediate_size": 864,
    "num_hidden_layers": 6,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TEXT_PIECES = 1536
CODES = {"image": 1024, "speech": 512, "music": 1024}
ROW = 768
"""Tokens of a row of a batch. Whole dialogues are packed into rows; longer ones lose their oldest turns."""
QUERIES = 192
"""Queries whose attention is computed at once: a part of ROW."""
IGNORE = -100
SENTENCES = 20_000
"""Sentences whose pieces are scrambled."""
KEPT_BACK = 30_000
"""Held-out sentences that are looked for among the recordings."""


def make_vocabulary(folder: Path) -> None:
    """Write tokenizer.model and added_tokens.json."""
    folder.mkdir(parents=True, exist_ok=True)
    sentences = [template.system for template in TEMPLATES.values()]
    sentences += ["Please recognize the voice command and give reply and voice", "[Human]: \n"] * 20
    for number, dialogue in enumerate(syllabus.generate(0, "train")):
        for turn in dialogue.turns:
            sentences += [turn.heard, turn.reply]
        if number == 30_000:
            break
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([s for s in sentences if s]),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=TEXT_PIECES,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    names = ["[Human]", "[MMGPT]", "<eoh>", "<eos>"]
    for modality, count in CODES.items():
        markup = MARKUP[modality]
        names += [*(markup.code(k) for k in range(count)), markup.start, markup.end]
    names += ["<eom>", "[AnyGPT]", "<-Res->", "<-Ins->"]
    table = {name: TEXT_PIECES + k for k, name in enumerate(names)}
    (folder / "added_tokens.json").write_text(json.dumps(table, ensure_ascii=False), encoding="utf-8")


DRILLS = 1.0
"""How often a dialogue is followed by a sentence that is only to be heard right."""
SCRAMBLED, SPLICED = 0.35, 0.4
"""Shares of the drills that are put together from pieces of sentences, or of recordings."""
TYPED = 0.2
"""Share of the dialogues in which the user types: short, and mostly about speaking."""
SILENT_REPLIES = 0.35
"""Share of the replies to speech that are text only: they leave room for more to listen to."""
ANNOUNCED = 0.4
"""Share of the spoken replies in which the next word is asked for where one ends."""
WEIGHTS = {"text": 2.0, "speech": 0.2, "change": 0.8, "words": 0.7}
"""What a token of the assistant's text or speech counts in the loss, one of speech that differs from the one before it,
and a piece of a word. Most tokens of speech go on with the same sound; what to say next is decided where it changes."""


@dataclass(frozen=True)
class Example:
    """Tokens of a dialogue and what is learned at each: the token after it, a piece of a word just heard, or IGNORE."""

    tokens: list[int]
    targets: list[int]


class Dialogues:
    """Endless training examples. Owns the spoken corpus in tokens."""

    def __init__(self, folder: Path, model: Path, seed: int, split: syllabus.Split = "train") -> None:
        tokenizer = TextTokenizer.load(model)
        self.words = Vocabulary.load(model, TEXT_PIECES)
        self.dialogue = Dialogue(tokenizer, self.words)
        self.rng = random.Random(seed)
        self.seed, self.split = seed, split
        self.heard: dict[str, list[list[Frame]]] = {}
        self._pieces: dict[str, list[int]] = {}
        heard, spoken = [], []
        kept_back = set(islice(syllabus.user_sentences("held_out"), KEPT_BACK))
        for part in ("words", "train"):
            for name in (part, f"{part}-augmented"):
                for record, codes in read_codes(folder, name):
                    if record["text"] in kept_back:  # spoken before the syllabus held it out
                        continue
                    accent = "gb" if max(record["voices"], key=record["voices"].get).startswith("b") else "us"
                    frames = with_words(codes[0], record["labels"], record["text"], accent)
                    self.heard.setdefault(record["text"], []).append(frames)
                    heard.append((codes[0], record["labels"]))
        self.said: dict[str, list[Frame]] = {}
        for record, codes in read_codes(folder, "reply"):
            text, labels = record["text"], record["labels"]
            self.said[text] = _without_margins(with_words(codes[0], labels, text, "us"), labels)
            spoken.append((codes[0], labels))
            text = _as_heard(text)
            self.heard.setdefault(text, []).append(with_words(codes[0], labels, text, "us"))
        self.ears, self.mouth = Runs(heard), Runs(spoken)
        self.drills = [*self.heard, *map(_as_heard, syllabus.all_replies())]
        self.aligned = [
            frames
            for text, recordings in self.heard.items()
            for frames in recordings
            if text and sum(bool(word) for _, word in frames) == len(text.split())
        ]
        self.sentences = [text.split() for text in islice(syllabus.user_sentences("train"), SENTENCES) if text]
        print(
            f"{len(self.heard)} sentences to hear in {sum(map(len, self.heard.values()))} recordings, every word of "
            f"{len(self.aligned)} found; {len(self.said)} spoken replies",
            flush=True,
        )

    def __iter__(self) -> Iterator[Example]:
        for dialogue in syllabus.generate(self.seed, self.split):
            yield self.example(dialogue)
            if self.rng.random() < DRILLS:
                yield self.drill()

    def example(self, dialogue: syllabus.Dialogue) -> Example:
        parts: list[Example] = []
        typed = self.rng.random() < TYPED
        for index, turn in enumerate(dialogue.turns):
            last = index == len(dialogue.turns) - 1
            compact = typed or (not last and self.rng.random() < 0.4)
            frames = None if compact and turn.heard else self.user_speech(turn.user)
            silent = self.rng.random() < (0.2 if typed else SILENT_REPLIES) or (compact and not last and not typed)
            parts.append(self.turn(frames, turn.heard, turn.reply, None if silent else self.reply_speech(turn.reply)))
        return self._joined(parts)

    def drill(self) -> Example:
        """To be heard right and not to be guessed: pieces of sentences, words in any order, nano's own replies."""
        kind = self.rng.random()
        if kind < SPLICED:
            frames = self.spliced()
            text = " ".join(word for _, word in frames if word)
        else:
            text = self.scrambled() if kind < SPLICED + SCRAMBLED else self.rng.choice(self.drills)
            frames = self.user_speech(text)
        turn = self.turn(frames, text, "", None)
        end = turn.tokens.index(self.words.reply_mark) + 1
        return self._joined([Example(turn.tokens[:end], [*turn.targets[: end - 1], IGNORE])])

    def spliced(self) -> list[Frame]:
        """A few words of one recording, then of another."""
        frames = self.room(self.rng.randint(2, 22))
        for _ in range(self.rng.randint(2, 4)):
            recording = self.rng.choice(self.aligned)
            ends = [at for at, (_, word) in enumerate(recording) if word]
            first = self.rng.randrange(len(ends))
            last = min(first + self.rng.randint(0, 3), len(ends) - 1)
            frames += recording[ends[first - 1] + 1 if first else 0 : ends[last] + 1]
        return self._disturbed(frames + self.room(self.rng.randint(4, 28)))

    def scrambled(self) -> str:
        """A few words of one sentence, then of another."""
        words: list[str] = []
        for _ in range(self.rng.randint(2, 4)):
            sentence = self.rng.choice(self.sentences)
            start = self.rng.randrange(len(sentence))
            words += sentence[start : start + self.rng.randint(1, 4)]
        return " ".join(words)

    def turn(self, frames: list[Frame] | None, heard: str, text: str, speech: list[Frame] | None) -> Example:
        """The user's turn, spoken or (without frames) typed, and the reply, spoken or not."""
        said = speech and [token for token, _ in speech]
        reply = self.dialogue.assistant_turn_tokens(None if frames is None else heard, text, said)
        learned = reply[1:]
        if speech and self.rng.random() < ANNOUNCED:
            self._announce(learned, reply.index(self.words.speech.start), speech)
        if frames is None:
            user = self.dialogue.user_turn_tokens(None, heard)
        else:
            user = self.dialogue.user_turn_tokens([token for token, _ in frames])
        targets = [IGNORE] * len(user)
        start = user.index(self.words.speech.start) + 1 if frames else 0
        for at, (_, word) in enumerate(frames or ()):
            for k, piece in enumerate(self.pieces(word) if word else ()):
                for frame in (at + 2 * k, at + 2 * k + 1):
                    if start + frame < len(user):
                        targets[start + frame] = piece
        targets[-1] = reply[0]
        return Example(user + reply, targets + learned + [IGNORE])

    def _announce(self, learned: list[int], start: int, speech: list[Frame]) -> None:
        """Where a word begins or the one before it ends, its first piece in place of the next speech token."""
        ends = [(at, word) for at, (_, word) in enumerate(speech) if word]
        for at, (_, word) in zip([0, *(at for at, _ in ends)], ends, strict=False):
            learned[start + 1 + at] = self.pieces(word)[0]

    def pieces(self, word: str) -> list[int]:
        """A word's pieces as they stand in a transcript."""
        if word not in self._pieces:
            alone, after = self.dialogue.tokenizer.encode_plain(" "), self.dialogue.tokenizer.encode_plain(f" {word}")
            self._pieces[word] = [t for t in after if t not in alone]
        return self._pieces[word]

    def user_speech(self, text: str) -> list[Frame]:
        rng = self.rng
        recordings = self.heard.get(text)
        if recordings and rng.random() < 0.6:
            frames = list(rng.choice(recordings))
        elif text:
            spoken = self.ears.speak_words(rng, text, "us" if rng.random() < 0.7 else "gb")
            frames = [*self.room(rng.randint(2, 22)), *spoken, *self.room(rng.randint(4, 28))]
        else:
            frames = self.room(rng.randint(10, 70))
        return self._disturbed(frames)

    def _disturbed(self, frames: list[Frame]) -> list[Frame]:
        return disturbed(self.rng, frames, CODES["speech"], self.rng.choice([0.0, 0.01, 0.03]))

    def room(self, frames: int) -> list[Frame]:
        """Nobody speaks."""
        return [(token, "") for token in self.ears.silence(self.rng, frames)]

    def reply_speech(self, text: str) -> list[Frame]:
        said = self.said.get(text)
        if said is None:
            rng = random.Random(text)
            before, after = ([(token, "") for token in self.mouth.silence(rng, count)] for count in (2, 4))
            said = self.said[text] = [*before, *self.mouth.speak_words(rng, text, "us", pause=0), *after]
        return said

    def _joined(self, parts: list[Example]) -> Example:
        system = self.dialogue.system_tokens()
        while len(parts) > 1 and len(system) + sum(len(p.tokens) for p in parts) > ROW:
            parts = parts[1:]
        tokens = system + [t for p in parts for t in p.tokens]
        targets = [IGNORE] * len(system) + [t for p in parts for t in p.targets]
        return Example(tokens[:ROW], targets[:ROW])


def _as_heard(reply: str) -> str:
    """A reply as it would be written down if a user said it."""
    return " ".join("".join(c if c.isalpha() or c in "'’" else " " for c in reply.lower()).split())


def _without_margins(frames: list[Frame], labels: str) -> list[Frame]:
    """A reply starts at once: two frames of silence before it, four after."""
    voiced = [k for k, phone in enumerate(labels) if phone != SILENCE]
    return frames[max(0, voiced[0] - 2) : voiced[-1] + 5]


@dataclass(frozen=True)
class Batch:
    """Rows of packed dialogues, [B, ROW] each: tokens, what is learned there or IGNORE, which dialogue."""

    inputs: Tensor
    targets: Tensor
    documents: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.inputs.to(device), self.targets.to(device), self.documents.to(device))


def batches(examples: Iterator[Example], rows: int) -> Iterator[Batch]:
    """Batches of one shape: training is compiled once. A dialogue goes to the fullest row with room for it."""
    waiting: list[Example] = []
    while True:
        waiting += [next(examples) for _ in range(8 * rows - len(waiting))]
        packed: list[list[Example]] = [[] for _ in range(rows)]
        room = [ROW] * rows
        left = []
        for example in waiting:
            fitting = [k for k in range(rows) if room[k] >= len(example.tokens)]
            if not fitting:
                left.append(example)
                continue
            row = min(fitting, key=room.__getitem__)
            packed[row].append(example)
            room[row] -= len(example.tokens)
        waiting = left
        yield _packed(packed)


def _packed(rows: list[list[Example]]) -> Batch:
    inputs, documents = torch.zeros(len(rows), ROW, dtype=torch.long), torch.full((len(rows), ROW), -1)
    targets = torch.full((len(rows), ROW), IGNORE)
    for r, row in enumerate(rows):
        start = 0
        for number, example in enumerate(row):
            end = start + len(example.tokens)
            inputs[r, start:end], documents[r, start:end] = torch.tensor(example.tokens), number
            targets[r, start:end] = torch.tensor(example.targets)
            start = end
    return Batch(inputs, targets, documents)


def packed_hidden(model: Llama, inputs: Tensor, documents: Tensor) -> Tensor:
    """States of packed rows, every dialogue alone. Plain products: on a CPU their gradients are faster.

    A block of queries sees no key after it, so the products leave most of those out.
    """
    row = inputs.shape[1]
    same = documents[:, :, None] == documents[:, None, :]
    visible = same & torch.ones(row, row, dtype=torch.bool, device=inputs.device).tril()
    bias = torch.where(visible, 0.0, -1e4).to(model.lm_head.weight.dtype).unsqueeze(1)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(-3, -2) for x in (q, k, v))
        q, blocks = q * q.shape[-1] ** -0.5, []
        for start in range(0, row, QUERIES):
            end = start + QUERIES
            scores = torch.matmul(q[..., start:end, :], k[..., :end, :].transpose(-1, -2)) + bias[..., start:end, :end]
            blocks.append(torch.matmul(scores.softmax(-1), v[..., :end, :]))
        return torch.cat(blocks, -2).transpose(-3, -2)

    return model.hidden(inputs, attend=attend)


def losses(model: Llama, hidden: Tensor, batch: Batch, words: Vocabulary) -> tuple[Tensor, dict[str, float]]:
    """Weighted mean loss of what is learned, and accuracy by kind."""
    where = batch.targets != IGNORE
    wanted, given = batch.targets[where], batch.inputs[where]
    scores = model.logits(hidden[where]).float()
    codes = words.speech.tokens
    speech = (wanted >= codes.start) & (wanted < codes.stop)
    heard = (given >= codes.start) & (given < codes.stop) & (wanted < words.text.stop)
    changed = speech & (wanted != given)
    kinds = {"text": ~speech & ~heard, "speech": speech & ~changed, "change": changed, "words": heard}
    weight = sum(WEIGHTS[kind] * mask for kind, mask in kinds.items())
    loss = (F.cross_entropy(scores, wanted, reduction="none") * weight).sum() / weight.sum()
    right = (scores.argmax(-1) == wanted).float()
    return loss, {kind: float(right[mask].mean()) for kind, mask in kinds.items()}


def train(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    run: Path = options.run
    checkpoint = run / "model.pt"
    state = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else {}
    spent, step = state.get("seconds", 0.0), state.get("step", 0)
    dialogues = Dialogues(options.codes, run, seed=options.seed * 1000 + step)
    held_out = copy.copy(dialogues)  # the corpus is shared
    held_out.split, held_out.rng, held_out.seed = "held_out", random.Random(7), 7
    config = {**CONFIG, "vocab_size": dialogues.words.size, "torch_dtype": "float16"}
    (run / "config.json").write_text(json.dumps(config, indent=1))
    masters = Llama.from_config(config).to(device)
    if state:
        masters.load_state_dict(state["model"])
    model = copy.deepcopy(masters).to(quick_dtype(device))  # computes; the masters keep what bfloat16 would round away
    pairs = list(zip(masters.parameters(), model.parameters(), strict=True))
    inside = {id(p) for n, p in masters.named_parameters() if p.ndim == 2 and "layers" in n}
    optimizers = [
        torch.optim.Muon(
            [p for p in masters.parameters() if id(p) in inside],
            lr=options.rate,
            weight_decay=0.05,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [p for p in masters.parameters() if id(p) not in inside],
            lr=options.rate,
            betas=(0.9, 0.98),
            weight_decay=0.0,
        ),
    ]
    for optimizer, saved in zip(optimizers, state.get("optimizers", []), strict=False):
        optimizer.load_state_dict(saved)
    hidden_of = torch.compile(packed_hidden, dynamic=False)
    check = [b.to(device) for _, b in zip(range(4), batches(iter(held_out), options.rows), strict=False)]
    ahead = ThreadPoolExecutor(1)
    stream = batches(iter(dialogues), options.rows)
    following = ahead.submit(next, stream)
    total, began, recent, seen = options.minutes * 60, time.monotonic(), [], state.get("tokens", 0)
    first = step
    while (elapsed := spent + time.monotonic() - began) < total:
        rate = options.rate * min(1.0, (step - first + 1) / 100, max(0.02, (1 - elapsed / total) / options.decay))
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate
        batch, following = following.result().to(device), ahead.submit(next, stream)
        loss, right = losses(model, hidden_of(model, batch.inputs, batch.documents), batch, dialogues.words)
        loss.backward()
        for master, used in pairs:
            master.grad, used.grad = used.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            for master, used in pairs:
                used.copy_(master)
        step, seen = step + 1, seen + int((batch.documents >= 0).sum())
        recent.append((float(loss.detach()), *right.values()))
        if step % 50 == 0:
            mean = np.nanmean(recent[-50:], 0)
            shares = " ".join(f"{kind} {share:.3f}" for kind, share in zip(WEIGHTS, mean[1:], strict=True))
            print(
                f"step {step} loss {mean[0]:.3f} {shares} {seen / 1e6:.2f} M tokens {elapsed:.0f} s rate {rate:.5f}",
                flush=True,
            )
        if step % 250 == 0:
            save(checkpoint, masters, optimizers, step, seen, spent + time.monotonic() - began)
            with torch.no_grad():
                found = [losses(model, packed_hidden(model, b.inputs, b.documents), b, dialogues.words) for b in check]
            shares = ", ".join(f"{kind} {np.mean([f[1][kind] for f in found]):.3f}" for kind in WEIGHTS)
            print(f"  held out: {shares}", flush=True)
    save(checkpoint, masters, optimizers, step, seen, total)


def save(path: Path, model: Llama, optimizers: list, step: int, tokens: int, seconds: float) -> None:
    state = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
        "tokens": tokens,
        "seconds": seconds,
    }
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def export(options: argparse.Namespace) -> None:
    from safetensors.torch import save_file

    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    weights = torch.load(options.run / "model.pt", weights_only=True)["model"]
    save_file({k: v.half().contiguous() for k, v in weights.items()}, out / "llama.safetensors")
    for source, target in (("config.json", "llama.json"), ("tokenizer.model",) * 2, ("added_tokens.json",) * 2):
        (out / target).write_bytes((options.run / source).read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["vocabulary", "train", "export"])
    parser.add_argument("--run", type=Path, default=Path("runs/language_model"))
    parser.add_argument("--codes", type=Path, default=Path("data/codes"))
    parser.add_argument("--out", type=Path, default=Path("models/nano"))
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--rows", type=int, default=8, help="rows of a batch")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.4, help="share of the budget over which the rate falls to 0")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    {"vocabulary": lambda o: make_vocabulary(o.run), "train": train, "export": export}[options.step](options)


if __name__ == "__main__":
    main()
