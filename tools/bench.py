"""Benchmarks of the parts, each against a reference in the same run, since figures of a busy machine mean little alone.

    python -m tools.bench pipeline [--config configs/nano.toml] [--question QUESTION.wav] [--answers 20] [--json OUT]
    python -m tools.bench engine [--config configs/nano.toml] [--contexts 500 1500] [--tokens 40] [--threads 1]

`engine`: prefill and decode of one session, greedy over the whole vocabulary, by transformers' `generate` and by the
engine with float32, bfloat16 and 8-bit weights (the model folder's if there is one, else random ones of nano's size).
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from assistant.engine.engine import Engine, EngineConfig
from assistant.engine.grammar import GrammarState, Segment
from assistant.engine.sampling import GREEDY
from assistant.layers.linear import quantize
from assistant.models.llama import Llama
from configuration import load
from tools import bench_pipeline

NANO_SIZE = {
    "vocab_size": 4096,
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
}
WARM_UP = 3  # tokens


@dataclass(slots=True)
class Timing:
    """What one way of decoding took."""

    name: str
    context: int
    prefill_s: float = 0.0
    wall_s: list[float] = field(default_factory=list)  # of each token
    cpu_s: list[float] = field(default_factory=list)  # the same without the time that others had the processor

    def row(self, reference: Timing) -> str:
        wall, cpu = (statistics.median(times) * 1000 for times in (self.wall_s, self.cpu_s))
        ratio = statistics.median(reference.cpu_s) * 1000 / cpu
        prefill = self.prefill_s / self.context * 1000
        return f"{self.name:22} {self.context:>7} {prefill:>10.3f} {wall:>9.2f} {cpu:>9.2f} {ratio:>8.1f}x"


def variants(model: Llama) -> dict[str, Llama]:
    eight = copy.deepcopy(model)
    quantize(eight)
    return {"engine, float32": model, "engine, bfloat16": copy.deepcopy(model).bfloat16(), "engine, 8 bits": eight}


def time_engine(name: str, model: Llama, prompt: list[int], tokens: int) -> Timing:
    engine = Engine(model, EngineConfig(pages=64, max_context=4096))
    sequence = engine.open("bench")
    timing = Timing(name, len(prompt))
    engine.set_prompt(sequence, prompt)
    start = time.process_time()
    while not engine.idle:
        engine.step()
    timing.prefill_s = time.process_time() - start
    everything = Segment("text", (range(model.config.vocab_size),), ())
    engine.generate(sequence, GrammarState(everything), {"text": GREEDY}, tokens + WARM_UP)
    for _ in range(WARM_UP):
        engine.step()
    while not engine.idle:
        wall, cpu = time.perf_counter(), time.process_time()
        engine.step()
        timing.wall_s.append(time.perf_counter() - wall)
        timing.cpu_s.append(time.process_time() - cpu)
    return timing


class Clock:
    """Handed to transformers' generate as a streamer: it is told of every token."""

    def __init__(self) -> None:
        self.ticks: list[tuple[float, float]] = []

    def put(self, _: Tensor) -> None:
        self.ticks.append((time.perf_counter(), time.process_time()))

    def end(self) -> None:
        pass


def time_transformers(model: Llama, prompt: list[int], tokens: int) -> Timing:
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
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.load_state_dict(model.state_dict())
    clock = Clock()
    inputs = torch.tensor([prompt])
    start = time.process_time()
    count = tokens + WARM_UP
    theirs.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        max_new_tokens=count,
        min_new_tokens=count,
        streamer=clock,
    )
    ticks = clock.ticks[1:]  # the first tells of the prompt
    timing = Timing("transformers, float32", len(prompt), prefill_s=ticks[0][1] - start)
    for before, after in zip(ticks[WARM_UP - 1 :], ticks[WARM_UP:], strict=False):
        timing.wall_s.append(after[0] - before[0])
        timing.cpu_s.append(after[1] - before[1])
    return timing


def language_model(directory: Path) -> tuple[Llama, str]:
    """The folder's weights, or random ones where it holds none, and what to call them."""
    if not (directory / "llama.safetensors").exists():
        torch.manual_seed(0)
        return Llama.from_config(NANO_SIZE).eval(), "random weights of nano's size"
    from safetensors.torch import load_file

    model = Llama.from_config(json.loads((directory / "llama.json").read_text()))
    model.load_state_dict(load_file(directory / "llama.safetensors"))
    return model.eval(), str(directory)


def bench_engine(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    model, name = language_model(load(arguments.config).model.path)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{name}: {millions:.1f} M parameters, {arguments.threads} thread(s)")
    print(f"{'':22} {'context':>7} {'prefill':>10} {'decode':>9} {'decode':>9}")
    print(f"{'':22} {'tokens':>7} {'ms/token':>10} {'wall ms':>9} {'CPU ms':>9} {'speed':>9}")
    for context in arguments.contexts:
        prompt = torch.randint(model.config.vocab_size, (context,), generator=torch.Generator().manual_seed(1)).tolist()
        reference = time_transformers(model, prompt, arguments.tokens)
        print(reference.row(reference))
        for variant, weights in variants(model).items():
            print(time_engine(variant, weights, prompt, arguments.tokens).row(reference), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description="Benchmarks of the parts.")
    parts = parser.add_subparsers(required=True)
    engine = parts.add_parser("engine", help="prefill and decode against transformers' generate")
    engine.add_argument("--config", default="configs/nano.toml")
    engine.add_argument("--contexts", type=int, nargs="+", default=[500, 1500])
    engine.add_argument("--tokens", type=int, default=40)
    engine.add_argument("--threads", type=int, default=1)
    engine.set_defaults(run=bench_engine)
    pipeline = parts.add_parser("pipeline", help="where the time goes from a question to its sound")
    bench_pipeline.add_arguments(pipeline)
    pipeline.set_defaults(run=bench_pipeline.run)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
