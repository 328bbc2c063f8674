"""The published sizes on a CUDA GPU: the language model beside transformers', nano, and speech made of its tokens.

    python -m tools.bench_cuda [--json OUT] [--seconds 70]

Weights are random, nano's apart: they change no time. Times are wall-clock, of a GPU that does nothing else. A part
that fails or finds no time left says so, and the next one runs. `--size tiny --device cpu` tries the benchmark itself.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assistant.decoders.speech import FORESIGHT_FRAMES, SpeechDecoder
from assistant.engine.engine import Engine, EngineConfig, Sequence
from assistant.engine.grammar import GrammarState, Segment
from assistant.engine.sampling import GREEDY, PUBLISHED
from assistant.layers.linear import Int8Linear, quantize
from assistant.models.llama import Llama
from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import SpeechTokenizer
from tools.bench_engine import in_transformers, language_model

NANO = Path("models/nano")
BATCHES = (1, 8, 32)
PAGE = 64
BANDWIDTH_GB_S = {"H100": 3350, "H200": 4800}
"""Of the GPU's memory, as its data sheet says."""
MORE = 16  # tokens of transformers' generate that are timed
FRAME_RATE = 50
FIRST, LONG = 16, 100
"""Frames of a reply's first chunk of sound, and of two seconds."""
HEARD, ANSWERED = 14, 22
"""Tokens of a question of ten words and of an answer of fifteen."""


@dataclass(frozen=True)
class Size:
    """What is measured, and how much of it."""

    llama: dict[str, int]
    soundstorm: dict[str, int]
    filters: int  # of the speech tokenizer
    latent: int
    context: int
    tokens: int  # to decode
    voice_frames: int


SIZES = {
    "published": Size(
        {
            "vocab_size": 53520,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        },
        {"codebook_size": 1024, "dim": 1024, "depth": 12, "heads": 8, "dim_head": 128},
        filters=64,
        latent=1024,
        context=1000,
        tokens=48,
        voice_frames=150,
    ),
    "tiny": Size(
        {
            "vocab_size": 600,
            "hidden_size": 128,
            "intermediate_size": 192,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        {"codebook_size": 32, "dim": 32, "depth": 2, "heads": 2, "dim_head": 16},
        filters=4,
        latent=32,
        context=100,
        tokens=12,
        voice_frames=20,
    ),
}


@dataclass
class Bench:
    """Owns what the parts share: the model in the type that was asked for last, and the figures."""

    size: Size
    device: torch.device
    report: dict[str, Any]
    llama: Llama | None = None
    mouth: SpeechDecoder | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def model(self) -> Llama:
        assert self.llama is not None, "there is no model"
        return self.llama

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.on_gpu else torch.float32

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], rounds: int = 1) -> float:
        """The median of so many rounds of work."""
        times = []
        for _ in range(rounds):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    @property
    def allocated_gb(self) -> float:
        return round(torch.cuda.memory_allocated() / 1e9, 2) if self.on_gpu else 0.0

    def add(self, kind: str, row: dict[str, Any]) -> None:
        self.report[kind].append(row)
        print(f"{kind}: {row}", flush=True)

    def add_decode(self, name: str, sessions: int, seconds: float, **more: float) -> None:
        """Steps of so many seconds, and their share of what the memory's bandwidth allows."""
        row = {"with": name, "sessions": sessions, "ms": 1000 * seconds, **more}
        gpu = next((gpu for gpu in BANDWIDTH_GB_S if gpu in self.report["device"]), None)
        if gpu is not None:
            row["of_bandwidth"] = self.read_gb(sessions) / BANDWIDTH_GB_S[gpu] / seconds
        self.add("decode", row)

    def read_gb(self, sessions: int) -> float:
        """What every step has to read: all weights but the embedding, and the cache."""
        config, model = self.model.config, self.model
        weights = [tensor for name, tensor in tensors(model) if "embed_tokens" not in name]
        cached = config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 2 * self.dtype.itemsize
        return (sum(t.numel() * t.element_size() for t in weights) + cached * self.size.context * sessions) / 1e9

    def tokens(self, count: int, seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(self.model.config.vocab_size, (count,), generator=generator).tolist()


@contextmanager
def engine_of(bench: Bench, sessions: int, chunk_tokens: int = 256, graphs: bool = True) -> Iterator[Engine]:
    """An engine with room for so many sessions, whose memory is given back."""
    per_session = -(-(bench.size.context + 128) // PAGE) + 1
    config = EngineConfig(pages=per_session * sessions, page_size=PAGE, chunk_tokens=chunk_tokens)
    engine = Engine(bench.model, config)
    if not graphs:
        engine._forward._graphs = None
    yield engine
    del engine
    give_back_memory(bench)


def tensors(model: Llama) -> Iterator[tuple[str, Tensor]]:
    """All that the model holds in memory, by module."""
    for name, module in model.named_modules():
        if isinstance(module, Int8Linear):
            yield name, module.quantized
            yield name, module.scales
        yield from ((name, parameter) for parameter in module.parameters(recurse=False))


def give_back_memory(bench: Bench) -> None:
    gc.collect()
    if bench.on_gpu:
        torch.cuda.empty_cache()


def run_until_idle(engine: Engine) -> None:
    while not engine.idle:
        engine.step()


# The parts. Each adds its figures to the report.


def gpu(bench: Bench) -> None:
    """What the GPU's memory gives to a plain copy."""
    source = torch.zeros(2**30 if bench.on_gpu else 2**20, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = bench.seconds(lambda: target.copy_(source), 5)
    bench.report["copy_gb_s"] = round(2 * source.numel() / seconds / 1e9)


def speech(bench: Bench) -> None:
    """SoundStorm and the speech tokenizer's decoder: chunks of sound as a reply is spoken."""
    size = bench.size
    with torch.inference_mode(False), bench.device:  # as a server builds them
        tokenizer = SpeechTokenizer.from_config(
            {
                "n_filters": size.filters,
                "strides": [8, 5, 4, 2],
                "dimension": size.latent,
                "semantic_dimension": size.latent,
                "bidirectional": True,
                "dilation_base": 2,
                "residual_kernel_size": 3,
                "n_residual_layers": 1,
                "lstm_layers": 2,
                "activation": "Snake",
                "codebook_size": size.soundstorm["codebook_size"],
                "n_q": 8,
                "sample_rate": 16000,
            }
        )
        storm = SoundStorm.from_config(
            size.soundstorm
            | {
                "num_quantizers": 7,
                "num_semantic_token_ids": size.soundstorm["codebook_size"],
                "ff_mult": 4,
                "conv_expansion_factor": 2,
                "conv_kernel_size": 31,
            }
        )
    voice = torch.randint(tokenizer.codebook_size, (size.voice_frames, 8))
    bench.mouth = SpeechDecoder(
        storm.eval(), tokenizer.eval(), {"voice": voice}, steps=3, first_chunk_frames=FIRST, max_chunk_frames=FIRST
    )
    for products, precision in (("float32", "highest"), ("TF32", "high")):
        torch.set_float32_matmul_precision(precision)
        for frames in (FIRST, LONG):
            codes = torch.zeros(8, 1, frames, dtype=torch.long, device=bench.device)
            chunk_s = bench.seconds(lambda frames=frames: speak(bench.mouth, frames), 6)
            decoder_s = bench.seconds(lambda codes=codes: tokenizer.decode(codes), 6)
            row = {"products": products, "frames": frames, "chunk_ms": 1000 * chunk_s, "decoder_ms": 1000 * decoder_s}
            bench.add("speech", row | {"of_real_time": chunk_s * FRAME_RATE / frames})
    torch.set_float32_matmul_precision("highest")


def speak(mouth: SpeechDecoder | None, frames: int) -> None:
    """A reply's first chunk."""
    assert mouth is not None, "there is no mouth"
    stream = mouth.open("voice")
    stream.chunk_frames = frames
    stream.feed([0] * (frames + FORESIGHT_FRAMES))
    mouth.speak(stream)


def published(bench: Bench) -> None:
    """The language model, with random weights."""
    with torch.inference_mode(False), bench.device:
        model = Llama.from_config(bench.size.llama)
    bench.llama = model.to(bench.dtype).eval().requires_grad_(False)
    give_back_memory(bench)
    bench.report["weights_gb"] = sum(tensor.numel() * tensor.element_size() for _, tensor in tensors(model)) / 1e9


def beside_transformers(bench: Bench) -> None:
    """A prompt in chunks and then single tokens, as the engine computes them, against one pass of transformers."""
    theirs = in_transformers(bench.model)
    tokens = bench.tokens(bench.size.context, seed=1)
    first = len(tokens) - 8
    states = []
    with engine_of(bench, 1) as engine:
        sequence = engine.open("equal")
        for length in range(first, len(tokens) + 1):
            engine.set_prompt(sequence, tokens[:length])
            run_until_idle(engine)
            states.append(sequence.last_hidden)
    ours = bench.model.logits(torch.cat(states)).float()
    inputs = torch.tensor([tokens], device=bench.device)
    expected = theirs(inputs, logits_to_keep=len(states)).logits[0].float()
    exact = copy.deepcopy(theirs).float()(inputs, logits_to_keep=len(states)).logits[0]
    bench.report["equivalence"] = {
        "logits_std": float(exact.std()),
        "ours_to_theirs": largest(ours - expected),
        "ours_to_float32": largest(ours - exact),
        "theirs_to_float32": largest(expected - exact),
        "same_likeliest": int((ours.argmax(-1) == expected.argmax(-1)).sum()),
        "of": len(states),
    }
    print(bench.report["equivalence"], flush=True)


def largest(errors: Tensor) -> float:
    return float(errors.abs().max())


def transformers(bench: Bench) -> None:
    """transformers' generate, with its cache that grows."""
    theirs = in_transformers(bench.model)
    for sessions in BATCHES:
        prompts = [bench.tokens(bench.size.context, seed) for seed in range(sessions)]
        inputs = torch.tensor(prompts, device=bench.device)

        def generate(count: int, inputs: Tensor = inputs) -> None:
            mask = torch.ones_like(inputs)
            theirs.generate(inputs, attention_mask=mask, do_sample=False, max_new_tokens=count, min_new_tokens=count)

        generate(2)
        short, long = bench.seconds(lambda: generate(1)), bench.seconds(lambda: generate(1 + MORE))
        bench.add_decode("transformers generate", sessions, (long - short) / MORE)
        if sessions == 1:
            bench.add("prefill", {"with": "transformers", "tokens": inputs.numel(), "ms": 1000 * short})


def engine_in_bfloat16(bench: Bench) -> None:
    prefill(bench, "engine")
    for graphs in (True, False):
        for sessions in BATCHES:
            decode(bench, "engine" if graphs else "engine, no graphs", sessions, graphs)


def prefill(bench: Bench, name: str) -> None:
    count = 1024 if bench.on_gpu else bench.size.context
    for chunk_tokens in (256, 1024):
        with engine_of(bench, 2, chunk_tokens) as engine:
            sequence = engine.open("prefill")

            def fill(engine: Engine = engine, sequence: Sequence = sequence) -> None:
                engine.set_prompt(sequence, [])
                engine.set_prompt(sequence, bench.tokens(count, seed=1))
                run_until_idle(engine)

            fill()
            seconds = bench.seconds(fill, 5)
        bench.add("prefill", {"with": f"{name}, chunks of {chunk_tokens}", "tokens": count, "ms": 1000 * seconds})


def decode(bench: Bench, name: str, sessions: int, graphs: bool = True) -> None:
    anything = GrammarState(Segment("text", (range(bench.model.config.vocab_size),), ()))
    with engine_of(bench, sessions, graphs=graphs) as engine:
        sequences = [engine.open(str(number)) for number in range(sessions)]
        for seed, sequence in enumerate(sequences):
            engine.set_prompt(sequence, bench.tokens(bench.size.context, seed))
        run_until_idle(engine)
        for sequence in sequences:
            engine.generate(sequence, anything, {"text": GREEDY}, 4096, seed=0)
        first_s = bench.seconds(lambda: [engine.step() for _ in range(3)])
        seconds = bench.seconds(lambda: [engine.step() for _ in range(bench.size.tokens)]) / bench.size.tokens
        assert all(len(sequence.generated) == 3 + bench.size.tokens for sequence in sequences), "a reply has failed"
        bench.add_decode(name, sessions, seconds, first_s=first_s, allocated_gb=bench.allocated_gb)


def first_sound(bench: Bench) -> None:
    """From the end of a turn to the first sound: the template's end, the question in words (searched with the published
    beams), the answer in words, and the first chunk of speech."""
    vocabulary = bench.model.config.vocab_size
    end, everything, codes = vocabulary - 1, range(vocabulary - 1), range(bench.size.soundstorm["codebook_size"])
    spoken = Segment("speech", (codes,), (), FIRST + FORESIGHT_FRAMES)
    answer = Segment("text", (everything,), ((end, spoken),), ANSWERED, ANSWERED)
    heard = Segment("transcript", (everything,), ((end, answer),), HEARD, HEARD)
    with engine_of(bench, 8) as engine:
        sequence = engine.open("turn")

        def turn() -> None:
            prompt = bench.tokens(bench.size.context // 2, seed=1)
            engine.set_prompt(sequence, prompt[:-10])
            run_until_idle(engine)
            bench.wait()
            start = time.perf_counter()
            engine.set_prompt(sequence, prompt)
            engine.generate(sequence, GrammarState(heard), PUBLISHED, 4096, seed=0)
            while len(sequence.generated) < HEARD + ANSWERED + 2 + FIRST + FORESIGHT_FRAMES:
                assert sequence.finished is None, sequence.error
                engine.step()
            tokens_s = time.perf_counter() - start
            speak(bench.mouth, FIRST)
            bench.wait()
            bench.report["first_sound"] = {
                "tokens_ms": 1000 * tokens_s,
                "total_ms": 1000 * (time.perf_counter() - start),
            }

        turn()
        turn()
    print(bench.report["first_sound"], flush=True)


def engine_in_8_bits(bench: Bench) -> None:
    tokens = torch.tensor([bench.tokens(bench.size.context, seed=1)], device=bench.device)
    expected = bench.model(tokens).float()
    quantize(bench.model)
    give_back_memory(bench)
    error = bench.model(tokens).float() - expected
    bench.report["int8_error"] = float(error.norm() / expected.norm())
    prefill(bench, "engine, int8")
    for sessions in BATCHES:
        decode(bench, "engine, int8", sessions)


def nano(bench: Bench) -> None:
    bench.llama = None
    give_back_memory(bench)
    bench.llama = language_model(NANO)[0].to(bench.device, bench.dtype)
    for sessions in BATCHES:
        decode(bench, "nano", sessions)


PARTS = (
    gpu,
    speech,
    published,
    engine_in_bfloat16,
    first_sound,
    beside_transformers,
    transformers,
    engine_in_8_bits,
    nano,
)


def table(report: dict[str, Any]) -> str:
    """For docs/performance.md."""
    lines = [
        f"{report['device']}, torch {report['torch']}, a copy in its memory {report.get('copy_gb_s', 0):.0f} GB/s; "
        f"{report['size']} size, weights {report.get('weights_gb', 0):.2f} GB, contexts of {report['context']}",
        "",
        "| decoding | sessions | ms a step | tokens/s | x transformers | of the bandwidth | GB |",
        "|---|---|---|---|---|---|---|",
    ]
    theirs = {row["sessions"]: row["ms"] for row in report["decode"] if row["with"].startswith("transformers")}
    for row in report["decode"]:
        ms, sessions = row["ms"], row["sessions"]
        ratio = f"{theirs[sessions] / ms:.2f}" if sessions in theirs and row["with"] != "nano" else "-"
        bound = f"{row['of_bandwidth']:.0%}" if "of_bandwidth" in row else "-"
        lines.append(
            f"| {row['with']} | {sessions} | {ms:.2f} | {1000 * sessions / ms:.0f} | {ratio} | {bound} "
            f"| {row.get('allocated_gb', 0):.1f} |"
        )
    lines += ["", "| prefill | tokens | ms | tokens/s |", "|---|---|---|---|"]
    for row in report["prefill"]:
        lines.append(f"| {row['with']} | {row['tokens']} | {row['ms']:.1f} | {1000 * row['tokens'] / row['ms']:.0f} |")
    lines += ["", "| speech | sound, s | a chunk, ms | its decoder, ms | of real time |", "|---|---|---|---|---|"]
    for row in report["speech"]:
        lines.append(
            f"| {row['products']} | {row['frames'] / FRAME_RATE:.2f} | {row['chunk_ms']:.1f} "
            f"| {row['decoder_ms']:.1f} | {row['of_real_time']:.4f} |"
        )
    lines.append("")
    if "equivalence" in report:
        figures = {name: round(value, 4) for name, value in report["equivalence"].items()}
        lines.append(f"Logits, the largest error: {figures}")
    if "first_sound" in report:
        figures = {name: round(value) for name, value in report["first_sound"].items()}
        lines.append(f"End of a turn of ten words to the first sound: {figures}")
    if "int8_error" in report:
        lines.append(f"8 bits change the logits by {report['int8_error']:.2%}")
    lines += [f"{name}: {seconds:.1f} s" for name, seconds in report["parts_s"].items()]
    lines += [f"FAILED {name}: {reason}" for name, reason in report["failed"].items()]
    return "\n".join(lines)


@torch.inference_mode()
def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench_cuda", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="published")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=70.0, help="after which no part begins")
    parser.add_argument("--json", type=Path, metavar="OUT")
    options = parser.parse_args(None if arguments is None else list(arguments))
    start, device = time.perf_counter(), torch.device(options.device)
    torch.manual_seed(0)
    size = SIZES[options.size]
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "size": options.size,
        "context": size.context,
        "decode": [],
        "prefill": [],
        "speech": [],
        "parts_s": {},
        "failed": {},
    }
    bench = Bench(size, device, report)
    for part in PARTS:
        begun = time.perf_counter()
        if begun - start > options.seconds:
            report["failed"][part.__name__] = "no time left"
            continue
        try:
            part(bench)
        except Exception as fault:
            traceback.print_exc(limit=-4)
            report["failed"][part.__name__] = f"{type(fault).__name__}: {fault}".splitlines()[0][:300]
        report["parts_s"][part.__name__] = time.perf_counter() - begun
        print(f"{part.__name__}: {report['parts_s'][part.__name__]:.1f} s", flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print("\n" + table(report), flush=True)
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
