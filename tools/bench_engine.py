"""The language model's prefill and decode, one session, beside transformers' generate and llama.cpp in one run.

    python -m tools.bench engine [--config configs/nano.toml] [--contexts 200 800] [--tokens 120] [--threads 1]

All decode greedily over the whole vocabulary; "speech only" is the engine as it speaks, held to the grammar's rows and
sampled. The model folder's weights if there is one, else random ones of nano's size. Decoders take turns, ROUND tokens
each, so that what else the machine does meets them all; times are processor time, which that changes least. The
ratio to llama.cpp is the median over the rounds.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from assistant.engine.engine import Engine, EngineConfig
from assistant.engine.grammar import GrammarState, Segment
from assistant.engine.sampling import GREEDY, Sampling
from assistant.layers.linear import quantize
from assistant.models.llama import Llama
from configuration import load
from tools import bench_llama_cpp

NANO_SIZE = {
    "vocab_size": 4096,
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
}
SPEECH_CODES = 512
ROUND = 10  # tokens
ENGINE, LLAMA_CPP, TRANSFORMERS = "engine, 8 bits", "llama.cpp, q8_0", "transformers, float32"


class Decoder(Protocol):
    """One way of decoding one sequence."""

    def prefill(self, prompt: list[int]) -> None: ...

    def step(self) -> None:
        """One more token."""
        ...


class EngineDecoder:
    def __init__(self, model: Llama, rows: range, sampling: Sampling) -> None:
        self._engine = Engine(model, EngineConfig(pages=64, max_context=4096))
        self._sequence = self._engine.open("bench")
        self._state = GrammarState(Segment("text", (rows,), ()))
        self._sampling = sampling

    def prefill(self, prompt: list[int]) -> None:
        self._engine.set_prompt(self._sequence, prompt)
        while not self._engine.idle:
            self._engine.step()
        self._engine.generate(self._sequence, self._state, {"text": self._sampling}, 4096, seed=0)
        self.step()

    def step(self) -> None:
        self._engine.step()


class LlamaCppDecoder:
    def __init__(self, llama_cpp: bench_llama_cpp.LlamaCpp) -> None:
        self._llama_cpp = llama_cpp
        self._token = 0

    def prefill(self, prompt: list[int]) -> None:
        self._token = self._llama_cpp.feed(prompt)

    def step(self) -> None:
        self._token = self._llama_cpp.feed([self._token])


@dataclass(slots=True)
class Timing:
    """What one way of decoding took, in processor time."""

    prefill_s: float
    rounds_s: list[float] = field(default_factory=list)  # of a token, for each round

    @property
    def token_ms(self) -> float:
        return 1000 * statistics.median(self.rounds_s)


def time_in_turns(decoders: dict[str, Decoder], prompt: list[int], tokens: int) -> dict[str, Timing]:
    timings = {}
    for name, decoder in decoders.items():
        start = time.process_time()
        decoder.prefill(prompt)
        timings[name] = Timing(time.process_time() - start)
    for number in range(-1, tokens // ROUND):  # the first round warms up
        for name, decoder in decoders.items():
            start = time.process_time()
            for _ in range(ROUND):
                decoder.step()
            if number >= 0:
                timings[name].rounds_s.append((time.process_time() - start) / ROUND)
    return timings


class Clock:
    """Handed to transformers' generate as a streamer: it is told of every token."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def put(self, _: Tensor) -> None:
        self.ticks.append(time.process_time())

    def end(self) -> None:
        pass


def in_transformers(model: Llama) -> Any:
    """The same weights, in the same memory where the layout allows it, as transformers' LlamaForCausalLM."""
    import transformers

    c = model.config
    config = transformers.LlamaConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.hidden_size,
        intermediate_size=c.intermediate_size,
        num_hidden_layers=c.num_hidden_layers,
        num_attention_heads=c.num_attention_heads,
        num_key_value_heads=c.num_key_value_heads,
        head_dim=c.head_dim,
        max_position_embeddings=c.max_position_embeddings,
        rms_norm_eps=c.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
        tie_word_embeddings=c.tie_word_embeddings,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    with torch.device("meta"):
        theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.load_state_dict(model.state_dict(), assign=True)
    theirs.model.rotary_emb = type(theirs.model.rotary_emb)(config).to(model.device)  # not in the weights
    return theirs


def time_transformers(model: Llama, prompt: list[int], tokens: int) -> Timing:
    theirs = in_transformers(model)
    clock, inputs, start, count = Clock(), torch.tensor([prompt]), time.process_time(), tokens + ROUND
    theirs.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        max_new_tokens=count,
        min_new_tokens=count,
        streamer=clock,
    )
    ticks = clock.ticks[1:]  # the first tells of the prompt
    rounds = zip(ticks[ROUND - 1 :: ROUND], ticks[2 * ROUND - 1 :: ROUND], strict=False)
    return Timing(ticks[0] - start, [(after - before) / ROUND for before, after in rounds])


def language_model(directory: Path) -> tuple[Llama, str]:
    """The folder's weights, or random ones where it holds none, and what to call them."""
    torch.manual_seed(0)
    if not (directory / "llama.safetensors").exists():
        return Llama.from_config(NANO_SIZE).eval().requires_grad_(False), "random weights of nano's size"
    from safetensors.torch import load_file

    model = Llama.from_config(json.loads((directory / "llama.json").read_text()))
    model.load_state_dict(load_file(directory / "llama.safetensors"))
    return model.eval().requires_grad_(False), directory.name


def decoders(model: Llama, stack: ExitStack, threads: int) -> Iterator[tuple[str, Decoder]]:
    """All that take turns. llama.cpp is left out, with a word about it, where it is not installed."""
    eight = copy.deepcopy(model)
    quantize(eight)
    everything = range(model.config.vocab_size)
    yield ENGINE, EngineDecoder(eight, everything, GREEDY)
    yield f"{ENGINE}, speech only", EngineDecoder(eight, everything[:SPEECH_CODES], Sampling(temperature=0.3))
    yield "engine, float32", EngineDecoder(model, everything, GREEDY)
    try:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.gguf"
        bench_llama_cpp.write_gguf(model, path)
        opened = bench_llama_cpp.opened(path, model.config.vocab_size, 4096, threads)
        yield LLAMA_CPP, LlamaCppDecoder(stack.enter_context(opened))
    except bench_llama_cpp.LlamaCppMissing as reason:
        print(reason)


def measure(model: Llama, contexts: Sequence[int], tokens: int, threads: int) -> list[dict[str, Any]]:
    """One row for each context and decoder."""
    rows = []
    for context in contexts:
        prompt = torch.randint(model.config.vocab_size, (context,), generator=torch.Generator().manual_seed(1)).tolist()
        with ExitStack() as stack:
            timings = time_in_turns(dict(decoders(model, stack, threads)), prompt, tokens)
        timings[TRANSFORMERS] = time_transformers(model, prompt, tokens)
        for name, timing in timings.items():
            rows.append(
                {
                    "decoder": name,
                    "context": context,
                    "prefill_ms_per_token": round(1000 * timing.prefill_s / context, 3),
                    "token_ms": round(timing.token_ms, 3),
                    "tokens_per_s": round(1000 / timing.token_ms, 1),
                    "of_llama_cpp": ratio(timings.get(LLAMA_CPP), timing),
                    "of_transformers": ratio(timings[TRANSFORMERS], timing),
                }
            )
    return rows


def ratio(reference: Timing | None, timing: Timing) -> float | None:
    """How many times as fast as the reference, by the median of the rounds."""
    if reference is None:
        return None
    pairs = zip(reference.rounds_s, timing.rounds_s, strict=False)
    return round(statistics.median(before / after for before, after in pairs), 2)


def table(report: dict[str, Any]) -> str:
    head = f"{report['weights']}: {report['parameters_m']} M parameters, {report['threads']} thread(s), processor time"
    lines = [head, f"{'':28}{'context':>8}{'prefill':>10}{'a token':>10}{'tokens':>9}{'x llama':>9}{'x trans-':>9}"]
    lines.append(f"{'':28}{'':8}{'ms/token':>10}{'ms':>10}{'/s':>9}{'.cpp':>9}{'formers':>9}")
    for row in report["rows"]:
        beside = "-" if row["of_llama_cpp"] is None else f"{row['of_llama_cpp']:.2f}"
        lines.append(
            f"{row['decoder']:28}{row['context']:>8}{row['prefill_ms_per_token']:>10.3f}{row['token_ms']:>10.2f}"
            f"{row['tokens_per_s']:>9.0f}{beside:>9}{row['of_transformers']:>9.2f}"
        )
    return "\n".join(lines)


def add_arguments(parser: Any) -> None:
    parser.add_argument("--contexts", type=int, nargs="+", default=[200, 800])
    parser.add_argument("--tokens", type=int, default=120)
    parser.add_argument("--threads", type=int, default=1)


def run(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    model, name = language_model(load(options.config).model.path)
    return {
        "weights": name,
        "parameters_m": round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1),
        "threads": options.threads,
        "rows": measure(model, options.contexts, options.tokens, options.threads),
    }
