"""A whole model set of tiny untrained models, for tests of what is built on them."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from assistant.models.llama import Llama
from assistant.models.seed import PUBLISHED, SeedTokenizer
from assistant.models.soundstorm import SoundStorm
from assistant.models.speech_tokenizer import SpeechTokenizer
from assistant.tokenizers.image import TOWER
from assistant.vocabulary import MUSIC_CODEBOOKS, Vocabulary

CODEC = {
    "n_filters": 2,
    "strides": [8, 5, 4, 2],
    "dimension": 8,
    "semantic_dimension": 8,
    "bidirectional": True,
    "dilation_base": 2,
    "residual_kernel_size": 3,
    "n_residual_layers": 1,
    "lstm_layers": 1,
    "activation": "ELU",
    "codebook_size": 16,
    "n_q": 3,
    "sample_rate": 16_000,
}
SOUNDSTORM = {
    "codebook_size": 16,
    "num_quantizers": 2,
    "dim": 16,
    "depth": 1,
    "heads": 2,
    "dim_head": 8,
    "num_semantic_token_ids": 16,
    "ff_mult": 2,
    "conv_expansion_factor": 2,
    "conv_kernel_size": 5,
}
FEATURES = 16
SEED = {
    **PUBLISHED,
    "vit": PUBLISHED["vit"] | {"image_size": 12, "patch_size": 4, "width": 8, "depth": 1, "heads": 2},
    "qformer": PUBLISHED["qformer"] | {"hidden": 12, "layers": 2, "heads": 2, "intermediate": 8},
    "codebook_embed_dim": 4,
    "decode_depth": 1,
    "image_features_dim": FEATURES,
}
ENCODEC = {
    "sampling_rate": 1600,
    "num_filters": 4,
    "hidden_size": 8,
    "upsampling_ratios": [4, 4, 2],
    "num_lstm_layers": 1,
    "use_causal_conv": False,
    "use_conv_shortcut": False,
}
"""50 frames a second."""
WIDTH = 64
LLAMA = {"hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def babbling(vocabulary: Vocabulary) -> dict[str, Tensor]:
    """A LLaMA of random weights, so large that greedy choices are far apart."""
    torch.manual_seed(9)
    return Llama.from_config(LLAMA | {"vocab_size": vocabulary.size, "initializer_range": 0.3}).state_dict()


def write_model_set(folder: Path, tokenizer_folder: Path, llama: dict[str, Tensor]) -> None:
    """The files of a model folder: a LLaMA of sizes LLAMA with these weights, a text tokenizer copied."""
    torch.manual_seed(6)
    for name, value in {
        "speech_tokenizer": CODEC,
        "soundstorm": SOUNDSTORM,
        "llama": LLAMA | {"vocab_size": len(llama["lm_head.weight"])},
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    save_file(SpeechTokenizer.from_config(CODEC).state_dict(), folder / "speech_tokenizer.safetensors")
    save_file(SoundStorm.from_config(SOUNDSTORM).state_dict(), folder / "soundstorm.safetensors")
    save_file({name: weight.contiguous() for name, weight in llama.items()}, folder / "llama.safetensors")
    voices = {name: torch.randint(16, (9, 3)) for name in ("ann", "bob")}
    save_file(voices, folder / "voices.safetensors")
    for name in ("tokenizer.model", "added_tokens.json"):
        (folder / name).write_bytes((tokenizer_folder / name).read_bytes())
    write_manifest(folder)


def write_manifest(folder: Path) -> None:
    """The sums of all files that are there."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name != "MANIFEST"]
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (folder / "MANIFEST").write_text("\n".join(sums))


def add_eyes_and_hands(folder: Path, vocabulary: Vocabulary) -> None:
    """Complete a model folder by tiny models for pictures and music."""
    from transformers import EncodecConfig, EncodecModel

    assert vocabulary.image is not None and vocabulary.music is not None
    torch.manual_seed(7)
    sizes = SEED | {"n_embed": len(vocabulary.image.tokens)}
    state = SeedTokenizer.from_config(sizes).state_dict()
    (folder / "seed.json").write_text(json.dumps(sizes))
    tower = {key.removeprefix(TOWER): tensor for key, tensor in state.items() if key.startswith(TOWER)}
    save_file(tower, folder / "vision_tower.safetensors")
    save_file({key: t for key, t in state.items() if not key.startswith(TOWER)}, folder / "seed_quantizer.safetensors")
    pipeline(False, "DPMSolverMultistepScheduler").save_pretrained(folder / "unclip")
    size = len(vocabulary.music.tokens) // MUSIC_CODEBOOKS
    bandwidth = MUSIC_CODEBOOKS * 50 * math.log2(size) / 1000
    codec = EncodecModel(EncodecConfig(**ENCODEC, codebook_size=size, target_bandwidths=[bandwidth]))
    for layer in codec.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)
    codec.save_pretrained(folder / "encodec")
    write_manifest(folder)


def pipeline(with_words: bool, scheduler: str):  # type: ignore[no-untyped-def]  # of diffusers
    """A tiny unCLIP of image embeddings of FEATURES; with_words: with a text encoder, as published."""
    import diffusers
    import transformers
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    torch.manual_seed(3)
    clip = {"tokenizer": None, "text_encoder": None, "image_encoder": None}
    if with_words:  # as published
        vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "a</w>": 3}
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.CLIPTextConfig(vocab_size=4, max_position_embeddings=6, **sizes)
        tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=6)
        vision = transformers.CLIPVisionConfig(image_size=8, patch_size=4, projection_dim=FEATURES, **sizes)
        clip = {
            "tokenizer": tokenizer,
            "text_encoder": transformers.CLIPTextModel(config),
            "image_encoder": transformers.CLIPVisionModelWithProjection(vision),
        }
    kind = "CrossAttn" if with_words else ""
    normalizer = StableUnCLIPImageNormalizer(FEATURES)
    torch.nn.init.uniform_(normalizer.std, 0.5, 2)
    return diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=None,
        image_normalizer=normalizer,
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        **clip,
        unet=diffusers.UNet2DConditionModel(
            sample_size=8,
            in_channels=2,
            out_channels=2,
            block_out_channels=(8, 8),
            layers_per_block=1,
            norm_num_groups=2,
            attention_head_dim=4,
            cross_attention_dim=8,
            down_block_types=(f"{kind}DownBlock2D", "DownBlock2D"),
            mid_block_type=f"UNetMidBlock2D{kind}",
            up_block_types=("UpBlock2D", f"{kind}UpBlock2D"),
            class_embed_type="projection",
            projection_class_embeddings_input_dim=2 * FEATURES,
        ),
        scheduler=getattr(diffusers, scheduler)(beta_schedule="scaled_linear", prediction_type="v_prediction"),
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=2,
            norm_num_groups=2,
            sample_size=16,
        ),
    )
