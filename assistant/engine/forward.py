"""From the tokens of a batch to their hidden states, by the quickest way there is on the model's device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from assistant.engine.cuda_graphs import DecodeGraphs
from assistant.engine.kv_cache import KVCache
from assistant.layers.attention import CudaPagedAttention, Span, paged_attention
from assistant.layers.linear import Int8Linear
from assistant.models.llama import Llama
from assistant.models.llama_int8 import MOST_TOKENS, Int8Blocks


class Forward:
    """Runs a model over the spans of a batch, whose keys and values lie in `cache`.

    Prompts go through the model as it is. A few tokens go through its 8-bit blocks, if it is a model in 8 bits on the
    CPU, or through CUDA graphs of its fused blocks.
    """

    def __init__(self, model: Llama, cache: KVCache, max_context: int) -> None:
        self.model = model
        cos, sin = model.rotary(torch.arange(max_context, device=model.device))
        self._cos, self._sin = cos.to(model.attention_dtype), sin.to(model.attention_dtype)
        self._attention = paged_attention(cache.keys, cache.values, cache.page_size)
        in_8_bits = any(isinstance(module, Int8Linear) for module in model.modules())
        self._few = Int8Blocks(model) if in_8_bits and model.device.type == "cpu" else None
        self._graphs = None
        if isinstance(self._attention, CudaPagedAttention):
            from assistant.models.llama_cuda import FusedBlocks  # Triton comes with torch for CUDA alone

            blocks = FusedBlocks(model)
            self._graphs = DecodeGraphs(blocks.hidden, self._attention, (self._cos, self._sin), cache.page_size)

    def hidden(self, tokens: Sequence[int], spans: Sequence[Span]) -> Tensor:
        """States [T, hidden_size] of the new tokens [T] of all spans, one behind the other."""
        if self._graphs is not None and self._graphs.take(spans):
            return self._graphs.hidden(tokens, spans)
        places = [place for span in spans for place in range(span.past, span.past + span.new)]
        indices = torch.tensor([tokens, places]).to(self.model.device, non_blocking=True)
        rotary = (self._cos.index_select(0, indices[1]), self._sin.index_select(0, indices[1]))
        attend = self._attention.bind(spans)
        if self._few is not None and len(tokens) <= MOST_TOKENS:
            return self._few.hidden(indices[0], rotary, attend)
        return self.model.hidden(indices[0], rotary, attend)
