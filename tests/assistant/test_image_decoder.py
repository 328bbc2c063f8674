"""A drawing in steps equals diffusers' own loop, and waits for nobody. A tiny untrained pipeline, saved and read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from assistant.decoders.image import Drawing, ImageDecoder
from assistant.models.seed import PUBLISHED, SeedTokenizer
from tests.assistant.tiny import FEATURES, pipeline

SEED = {
    **PUBLISHED,
    "vit": PUBLISHED["vit"] | {"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2},
    "qformer": PUBLISHED["qformer"] | {"hidden": 8, "layers": 1, "heads": 2, "intermediate": 8, "num_query_token": 4},
    "codebook_embed_dim": 4,
    "n_embed": 16,
    "decode_depth": 1,
    "decode_heads": 2,
    "image_down": [8, 4],
    "image_features_dim": FEATURES,
}
CODES = (1, 15, 0, 7)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of diffusers' imports


@pytest.fixture(scope="module")
def tokenizer() -> SeedTokenizer:
    torch.manual_seed(1)
    return SeedTokenizer.from_config(SEED).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("unclip")
    pipeline(True, "PNDMScheduler").save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def wordless(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("wordless")
    pipeline(False, "DPMSolverMultistepScheduler").save_pretrained(path)
    return path


def drawn(drawing: Drawing) -> np.ndarray:
    while not drawing.finished:
        drawing.step()
    return drawing.picture


@pytest.mark.parametrize("guidance", [10.0, 1.0])
def test_steps_are_the_pipelines_own(folder: Path, tokenizer: SeedTokenizer, guidance: float) -> None:
    import diffusers

    decoder = ImageDecoder(tokenizer, folder, steps=4, guidance=guidance, seed=5)
    picture = drawn(decoder.open(CODES))
    noise = torch.Generator().manual_seed(5)
    whole = diffusers.StableUnCLIPImg2ImgPipeline.from_pretrained(folder, feature_extractor=None)
    reference = whole(
        prompt="",
        image_embeds=tokenizer.decode(torch.tensor([CODES])).detach(),
        latents=torch.randn(1, 2, 8, 8, generator=noise),
        generator=noise,
        num_inference_steps=4,
        guidance_scale=guidance,
        noise_level=0,
        output_type="np",
    ).images[0]
    assert picture.shape == (16, 16, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture - 255 * reference).max() < 0.51
    assert not np.array_equal(picture, drawn(decoder.open((1, 2, 3, 4))))


def test_progress_runs_to_one(folder: Path, tokenizer: SeedTokenizer) -> None:
    drawing = ImageDecoder(tokenizer, folder, steps=4).open(CODES)
    seen = [drawing.progress]
    while not drawing.finished:
        drawing.step()
        seen.append(drawing.progress)
    assert (seen[0], seen[-1]) == (0, 1)
    assert np.allclose(np.diff(seen), 1 / (len(seen) - 1))
    with pytest.raises(AssertionError, match="finished"):
        drawing.step()


def test_drawings_do_not_disturb_each_other(wordless: Path, tokenizer: SeedTokenizer) -> None:
    """Interleaved, left halfway or alone: the same codes give the same picture."""
    decoder = ImageDecoder(tokenizer, wordless, steps=3)
    alone = drawn(decoder.open(CODES))
    first, second, dropped = decoder.open(CODES), decoder.open((3, 3, 3, 3)), decoder.open(CODES)
    dropped.step()
    del dropped
    while not (first.finished and second.finished):
        for drawing in (first, second):
            if not drawing.finished:
                drawing.step()
    assert np.array_equal(first.picture, alone)
    assert not np.array_equal(second.picture, alone)


@pytest.mark.parametrize("codes", [(1, 2, 3), (1, 2, 3, 4, 5), (1, 2, 3, 16), (1, 2, 3, -1)])
def test_wrong_codes_are_refused(wordless: Path, tokenizer: SeedTokenizer, codes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="4 codes below 16"):
        ImageDecoder(tokenizer, wordless, steps=3).open(codes)


def test_diffusers_is_imported_only_when_asked_for() -> None:
    code = "import sys, assistant.decoders.image; assert not {'diffusers', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
