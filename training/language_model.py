"""Nano's language model: the LLaMA that hears, answers and speaks in tokens.

`vocabulary`  text pieces from the syllabus, and the added tokens in the published order
`train`       dialogues of the syllabus with speech tokens: real ones of many voices and rooms, and ones put together
              from real runs (`training.dialogues`); `--minutes` is the budget, the learning rate follows it
`export`      models/nano/llama.*, tokenizer.model, added_tokens.json
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from torch import Tensor
from torch.nn import functional as F

from assistant.conversation import TEMPLATES
from assistant.models.llama import Llama
from assistant.vocabulary import MARKUP, Modality, Vocabulary
from training import syllabus
from training.dialogues import CODES, IGNORE, ROW, TEXT_PIECES, Dialogues, Example
from training.feed import fed
from training.recipe import quick_dtype

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
QUERIES = 192
"""Queries whose attention is computed at once: a part of ROW."""
SPARE = 1.3
"""How much of what fills a batch waits for a place in it, so that rows are filled to the end."""
CHECKED = 4
"""Batches of held-out dialogues that are looked at now and then."""


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


WEIGHTS = {"text": 2.0, "speech": 0.2, "change": 0.8, "words": 0.7, "image": 1.0, "music": 0.5}
"""What a token of the assistant's text or speech counts in the loss, one of speech that differs from the one before it,
a piece of a word that is heard or for what is seen, a token of a drawing, one of music. Most tokens of speech go on
with the same sound; what to say next is decided where it changes."""


@dataclass(frozen=True)
class Batch:
    """Rows of packed dialogues, int16 [B, ROW] each: tokens, what is learned there or IGNORE, which dialogue."""

    inputs: np.ndarray
    targets: np.ndarray
    documents: np.ndarray

    @property
    def tokens(self) -> int:
        return int((self.documents >= 0).sum())


@dataclass(frozen=True)
class Task:
    """A batch where it is computed: rows [B, ROW] to read, and of the places where something is learned [N] where in
    the flattened rows they are, the token there, and what is learned."""

    inputs: Tensor
    documents: Tensor
    where: Tensor
    given: Tensor
    wanted: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Task:
        where = np.flatnonzero(batch.targets != IGNORE)
        found = (batch.inputs, batch.documents, where, batch.inputs.flat[where], batch.targets.flat[where])
        pinned = device.type == "cuda"
        tensors = (torch.from_numpy(array.astype(np.int64)) for array in found)
        return cls(*((t.pin_memory() if pinned else t).to(device, non_blocking=True) for t in tensors))


def batches(examples: Iterator[Example], rows: int) -> Iterator[Batch]:
    """Batches of one shape: training is compiled once. A dialogue goes to the fullest row with room for it."""
    waiting: list[Example] = []
    while True:
        while sum(len(example.tokens) for example in waiting) < SPARE * rows * ROW:
            waiting += islice(examples, rows)
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
    shape = len(rows), ROW
    batch = Batch(np.zeros(shape, np.int16), np.full(shape, IGNORE, np.int16), np.full(shape, -1, np.int16))
    for r, row in enumerate(rows):
        start = 0
        for number, example in enumerate(row):
            end = start + len(example.tokens)
            batch.inputs[r, start:end], batch.documents[r, start:end] = example.tokens, number
            batch.targets[r, start:end] = example.targets
            start = end
    return batch


def packed_hidden(model: Llama, inputs: Tensor, documents: Tensor) -> Tensor:
    """States of packed rows, every dialogue alone."""
    row = inputs.shape[1]
    same = documents[:, :, None] == documents[:, None, :]
    visible = same & torch.ones(row, row, dtype=torch.bool, device=inputs.device).tril()
    bias = torch.where(visible, 0.0, -1e4).to(model.lm_head.weight.dtype).unsqueeze(1)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(-3, -2) for x in (q, k, v))
        attention = F.scaled_dot_product_attention if inputs.is_cuda else _plain_attention
        return attention(q, k, v, bias).transpose(-3, -2)

    return model.hidden(inputs, attend=attend)


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Plain products: on a CPU their gradients are faster. A block of queries sees no key after it, so the products
    leave most of those out."""
    q, blocks = q * q.shape[-1] ** -0.5, []
    for start in range(0, q.shape[-2], QUERIES):
        end = start + QUERIES
        scores = torch.matmul(q[..., start:end, :], k[..., :end, :].transpose(-1, -2)) + bias[..., start:end, :end]
        blocks.append(torch.matmul(scores.softmax(-1), v[..., :end, :]))
    return torch.cat(blocks, -2)


def losses(model: Llama, hidden: Tensor, task: Task, words: Vocabulary) -> tuple[Tensor, Tensor]:
    """Weighted mean loss of what is learned, and for each kind of WEIGHTS how many were right and how many there are
    [kinds, 2]. Nothing waits for the device."""
    wanted = task.wanted
    scores = model.logits(hidden.flatten(0, 1)[task.where]).float()

    def among(tokens: Tensor, modality: Modality | None) -> Tensor:
        codes = modality.tokens if modality is not None else range(0)
        return (tokens >= codes.start) & (tokens < codes.stop)

    speech, image, music = (among(wanted, modality) for modality in (words.speech, words.image, words.music))
    shown = (among(task.given, modality) for modality in (words.speech, words.image, words.music))
    heard = torch.stack(list(shown)).any(0) & (wanted < words.text.stop)
    changed = speech & (wanted != task.given)
    masks = {"speech": speech & ~changed, "change": changed, "words": heard, "image": image, "music": music}
    masks["text"] = ~(speech | heard | image | music)
    kinds = torch.stack([masks[kind] for kind in WEIGHTS]).float()
    weight = torch.tensor(list(WEIGHTS.values()), device=wanted.device) @ kinds
    loss = (F.cross_entropy(scores, wanted, reduction="none") * weight).sum() / weight.sum()
    right = (scores.argmax(-1) == wanted).float()
    return loss, torch.stack((kinds @ right, kinds.sum(1)), 1).detach()


def shares(counts: Tensor) -> str:
    """What part was right, by kind; kinds that did not occur are left out."""
    found = zip(WEIGHTS, counts.tolist(), strict=True)
    return " ".join(f"{kind} {right / total:.3f}" for kind, (right, total) in found if total)


def again(dialogues: Dialogues, seed: int, split: syllabus.Split) -> Dialogues:
    """Other dialogues with the same corpus, which is shared."""
    others = copy.copy(dialogues)
    others.rng, others.seed, others.split = random.Random(seed), seed, split
    return others


def train(options: argparse.Namespace) -> None:
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    run: Path = options.run
    checkpoint = run / "model.pt"
    state = torch.load(checkpoint, map_location="cpu", weights_only=True) if checkpoint.exists() else {}
    spent, step = state.get("seconds", 0.0), state.get("step", 0)
    dialogues = Dialogues(options.codes, run, seed=0)
    config = {**CONFIG, "vocab_size": dialogues.words.size, "torch_dtype": "float16"}
    (run / "config.json").write_text(json.dumps(config, indent=1))

    def stream(number: int) -> Iterator[Batch]:
        return batches(iter(again(dialogues, options.seed * 1_000_000 + step * 100 + number, "train")), options.rows)

    examples = fed(stream, options.workers)
    held_out = islice(batches(iter(again(dialogues, 7, "held_out")), options.rows), CHECKED)
    check = [Task.of(batch, device) for batch in held_out]
    masters = Llama.from_config(config).to(device)
    if state:
        masters.load_state_dict(state["model"])
    model = copy.deepcopy(masters).to(quick_dtype(device))  # computes; the masters keep what bfloat16 would round away
    master: list[Tensor] = list(masters.parameters())
    used: list[Tensor] = list(model.parameters())
    inside = {id(p) for n, p in masters.named_parameters() if p.ndim == 2 and "layers" in n}
    optimizers = [
        torch.optim.Muon(
            [p for p in master if id(p) in inside],
            lr=options.rate,
            weight_decay=0.05,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [p for p in master if id(p) not in inside],
            lr=options.rate,
            betas=(0.9, 0.98),
            weight_decay=0.0,
        ),
    ]
    for optimizer, saved in zip(optimizers, state.get("optimizers", []), strict=False):
        optimizer.load_state_dict(saved)
    # On a GPU compiling takes longer than it saves in some minutes.
    hidden_of = torch.compile(packed_hidden, dynamic=False) if device.type == "cpu" else packed_hidden
    total, began, seen = options.minutes * 60, time.monotonic(), state.get("tokens", 0)
    first, lost, right = step, torch.zeros((), device=device), torch.zeros(len(WEIGHTS), 2, device=device)
    while (elapsed := spent + time.monotonic() - began) < total:
        rate = options.rate * min(1.0, (step - first + 1) / 100, max(0.02, (1 - elapsed / total) / options.decay))
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate
        batch = next(examples)
        task = Task.of(batch, device)
        loss, counts = losses(model, hidden_of(model, task.inputs, task.documents), task, dialogues.words)
        loss.backward()
        for mine, copied in zip(master, used, strict=True):
            mine.grad, copied.grad = copied.grad.float(), None
        torch.nn.utils.clip_grad_norm_(master, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(used, master)
            lost, right = lost + loss.detach(), right + counts
        step, seen = step + 1, seen + batch.tokens
        if step % 50 == 0:
            told = f"step {step} loss {float(lost) / 50:.3f} {shares(right)} {seen / 1e6:.2f} M tokens"
            print(f"{told} {elapsed:.0f} s rate {rate:.5f}", flush=True)
            lost, right = torch.zeros_like(lost), torch.zeros_like(right)
        if step % 250 == 0:
            save(checkpoint, masters, optimizers, step, seen, spent + time.monotonic() - began)
            with torch.no_grad():
                found = [losses(model, packed_hidden(model, t.inputs, t.documents), t, dialogues.words) for t in check]
            print(f"  held out: {shares(torch.stack([counts for _, counts in found]).sum(0))}", flush=True)
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
    parser.add_argument("--workers", type=int, default=1, help="processes that make examples")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.4, help="share of the budget over which the rate falls to 0")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    {"vocabulary": lambda o: make_vocabulary(o.run), "train": train, "export": export}[options.step](options)


if __name__ == "__main__":
    main()
