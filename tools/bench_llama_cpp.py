"""llama.cpp on the same weights, for tools.bench engine. Optional: `pip install llama-cpp-python gguf` builds it.

The weights are written as GGUF in q8_0, llama.cpp's form with 8 bits in blocks of 32, which is also how the engine
rounds them for decoding; both round activations to 8 bits, too. llama.cpp's cache stays in its default, float16.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from assistant.models.llama import Llama

HOW_TO_INSTALL = "llama.cpp is not installed: `pip install llama-cpp-python gguf` builds it (needs a C++ compiler)"


class LlamaCppMissing(Exception):
    """llama.cpp or gguf cannot be imported; the message says what to do."""


def write_gguf(model: Llama, path: Path) -> None:
    """A Llama's weights in q8_0, norms in float32, without a text vocabulary. Raises LlamaCppMissing."""
    try:
        import gguf
    except ImportError:
        raise LlamaCppMissing(HOW_TO_INSTALL) from None
    c = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_vocab_size(c.vocab_size)
    writer.add_tokenizer_model("none")
    eight_bits = gguf.GGMLQuantizationType.Q8_0
    for name, weight in model.state_dict().items():
        array = weight.detach().float().numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            array = _pairs_side_by_side(array, c.head_dim)
        if array.ndim == 1:
            writer.add_tensor(_gguf_name(name), array)
        else:
            writer.add_tensor(_gguf_name(name), gguf.quants.quantize(array, eight_bits), raw_dtype=eight_bits)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _pairs_side_by_side(weight: np.ndarray, head_dim: int) -> np.ndarray:
    """The rows of each head as GGUF's llama has them: what rotates together is neighbours, not half a head apart."""
    heads = weight.reshape(-1, 2, head_dim // 2, weight.shape[1])
    return np.ascontiguousarray(heads.swapaxes(1, 2)).reshape(weight.shape)


def _gguf_name(name: str) -> str:
    parts = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "model.layers": "blk",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for ours, theirs in parts.items():
        name = name.replace(ours, theirs)
    return name


class LlamaCpp:
    """One sequence in llama.cpp. `feed` prompts and tokens; it answers with the likeliest next token."""

    def __init__(self, library: Any, context: Any, vocab_size: int) -> None:
        self._library, self._context, self._vocab_size = library, context, vocab_size

    def feed(self, tokens: list[int]) -> int:
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        status = self._library.llama_decode(self._context, self._library.llama_batch_get_one(array, len(tokens)))
        if status:
            raise RuntimeError(f"llama.cpp cannot decode: status {status}")
        logits = self._library.llama_get_logits_ith(self._context, -1)
        return int(np.ctypeslib.as_array(logits, (self._vocab_size,)).argmax())


@contextmanager
def opened(path: Path, vocab_size: int, context_tokens: int, threads: int) -> Iterator[LlamaCpp]:
    """The model of a GGUF file, ready for one sequence. Raises LlamaCppMissing."""
    try:
        import llama_cpp as library
    except ImportError:
        raise LlamaCppMissing(HOW_TO_INSTALL) from None
    library.llama_backend_init()
    with _quiet():
        model = library.llama_model_load_from_file(os.fsencode(path), library.llama_model_default_params())
        parameters = library.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = context_tokens
        parameters.n_threads = parameters.n_threads_batch = threads
        context = library.llama_init_from_model(model, parameters)
    try:
        yield LlamaCpp(library, context, vocab_size)
    finally:
        with _quiet():
            library.llama_free(context)
            library.llama_model_free(model)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what llama.cpp prints to the standard error output."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
