"""The models of pictures and music: eyes, a hand that draws, ears and a player for music.

They are rarely used, and take seconds to load: each is loaded when it is first asked for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import soxr
import torch

from assistant.checkpoints import CheckpointError
from assistant.decoders.image import ImageDecoder
from assistant.decoders.music import MusicDecoder
from assistant.engine.grammar import IMAGE_TOKENS
from assistant.tokenizers.image import ImageEyes, load_seed
from assistant.tokenizers.music import MusicEars, load_encodec
from assistant.vocabulary import MUSIC_CODEBOOKS, Modality, Vocabulary
from configuration import Music as MusicSettings
from configuration import Pictures as PictureSettings
from streaming.types import MUSIC_RATE, Abilities, Kind, Turn

if TYPE_CHECKING:
    from transformers import EncodecModel

KNOWN = 64
"""Pictures and pieces of music whose tokens are kept for requests that bring them again."""
FORGET_SHARE = 2
"""When pictures and music outgrow their room, half of it is made free at once: see without_old."""

Model = TypeVar("Model")


class Lazy(Generic[Model]):
    """A model that a thread of its own loads when it is first asked for, so that speech goes on meanwhile.

    One is loaded at a time: the packages that they need cannot be imported by two threads at once (transformers then
    lacks names that it has).
    """

    _loading = threading.Lock()

    def __init__(self, load: Callable[[], Model], needs: Lazy[Any] | None = None) -> None:
        """needs: what `load` gets."""
        self._load, self._needs = load, needs
        self._thread: threading.Thread | None = None
        self._loaded: list[Model] = []
        self._fault: Exception | None = None

    def start(self) -> None:
        """Begin to load, if that has not begun yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="loading", daemon=True)
            self._thread.start()

    def ready(self, within_s: float = 0.0) -> bool:
        """Whether `get` will not wait. Waits so long at most."""
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(within_s)
        return self._thread is not None and not self._thread.is_alive()

    def get(self) -> Model:
        """The model, waited for. Raises what loading it raised, every time."""
        self.start()
        assert self._thread is not None
        self._thread.join()
        if self._fault is not None:
            raise self._fault
        return self._loaded[0]

    def _run(self) -> None:
        try:
            if self._needs is not None:
                self._needs.get()
            with self._loading:
                self._loaded.append(self._load())
        except ImportError as fault:
            self._fault = CheckpointError(f"this needs the package {fault.name}: pip install {fault.name}")
        except Exception as fault:
            self._fault = fault


class MediaModels:
    """Owns the models of pictures and music that a model folder holds, each loaded when first asked for.

    `takes` and `makes` say what there is. `segment` (or `see` and `hear`) makes tokens with their start and end marks;
    `hand` and `player` decode them.
    """

    def __init__(
        self,
        folder: Path,
        parts: frozenset[str],
        vocabulary: Vocabulary,
        pictures: PictureSettings = PictureSettings(),  # noqa: B008 (frozen)
        music: MusicSettings = MusicSettings(),  # noqa: B008
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        """parts: which of assistant.checkpoints.PARTS the folder holds. seed: of the noise that drawings begin with."""
        self._folder, self._vocabulary, self._pictures, self._music = folder, vocabulary, pictures, music
        self._seed = seed
        self._device, self._dtype = device, torch.float32 if device == "cpu" else torch.float16
        sees = "seed" in parts and vocabulary.image is not None
        plays = "encodec" in parts and vocabulary.music is not None
        self.takes: frozenset[Kind] = _kinds(image=sees, music=plays)
        self.makes: frozenset[Kind] = _kinds(image=sees and "unclip" in parts, music=plays)
        self.eyes = Lazy(self._load_eyes)
        self.hand = Lazy(self._load_hand, needs=self.eyes)
        self.codec = Lazy(self._load_codec)
        self._known: OrderedDict[tuple[str, str], list[int]] = OrderedDict()  # by session and media_id

    @property
    def abilities(self) -> Abilities:
        return Abilities(takes=self.takes, makes=self.makes)

    def segment(self, session_id: str, turn: Turn, max_tokens: int) -> list[int]:
        """Tokens of what a turn shows or plays; none where there are no eyes or ears for it."""
        key = (session_id, turn.media_id)
        if turn.media_id and key in self._known:
            return self._known[key]
        segment: list[int] = []
        if turn.image is not None and "image" in self.takes:
            segment = self.see(turn.image)
        elif turn.music is not None and "music" in self.takes:
            segment = self.hear(turn.music, max_tokens)
        if turn.media_id and segment:
            self._known[key] = segment
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)
        return segment

    def forget(self, session_id: str) -> None:
        """The session has ended."""
        for key in [key for key in self._known if key[0] == session_id]:
            del self._known[key]

    def is_segment(self, tokens: Sequence[int]) -> bool:
        """Whether a turn's tokens are a picture or music, without words."""
        return bool(tokens) and self._vocabulary.kind_begun(tokens[0]) in ("image", "music")

    def without_old(self, turns: Sequence[Turn], max_tokens: int) -> list[Turn]:
        """The turns without the oldest pictures and music, where all together have more than max_tokens.

        What is shown now stays. Several go at once, so that the start of the prompt does not change every turn.
        """
        sizes = [len(turn.tokens) if self.is_segment(turn.tokens) else 0 for turn in turns]
        block = max(1, max_tokens // FORGET_SHARE)
        excess = -(-(sum(sizes) - max_tokens) // block) * block
        answered = max((index for index, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
        kept = []
        for index, (turn, size) in enumerate(zip(turns, sizes, strict=True)):
            if size and excess > 0 and index <= answered:
                excess -= size
            else:
                kept.append(turn)
        return kept

    def see(self, picture: np.ndarray) -> list[int]:
        """RGB [H, W, 3] uint8 -> <soim>, its tokens, <eoim>."""
        return _of(self._vocabulary.image).segment(self.eyes.get().look(picture))

    def hear(self, pcm: np.ndarray, max_tokens: int) -> list[int]:
        """[samples] float32 at MUSIC_RATE -> <somu>, the tokens of its beginning, <eomu>; max_tokens in all at most."""
        ears = MusicEars(self.codec.get(), self._music.heard_s)
        if ears.sample_rate != MUSIC_RATE:
            pcm = soxr.resample(pcm, MUSIC_RATE, ears.sample_rate)
        frames = max(1, (max_tokens - 2) // MUSIC_CODEBOOKS)
        return _of(self._vocabulary.music).segment(ears.listen(pcm[: frames * ears.frame_samples]))

    def player(self) -> MusicDecoder:
        """Waits until the codec is loaded."""
        settings = self._music
        return MusicDecoder(
            self.codec.get(),
            first_chunk_frames=settings.first_chunk_frames,
            max_chunk_frames=settings.max_chunk_frames,
        )

    def _load_eyes(self) -> ImageEyes:
        names = ("seed.json", "seed_quantizer.safetensors", "vision_tower.safetensors")
        seed = load_seed(*(self._folder / name for name in names))
        known = len(_of(self._vocabulary.image).tokens)
        if seed.codebook_size != known or seed.n_codes != IMAGE_TOKENS:
            raise CheckpointError(
                f"{self._folder / 'seed.json'}: {seed.n_codes} codes of {seed.codebook_size} a picture, but the "
                f"vocabulary has {known} and a picture {IMAGE_TOKENS}: use the files of one release"
            )
        return ImageEyes(seed.to(self._device, self._dtype))

    def _load_hand(self) -> ImageDecoder:
        hand = ImageDecoder(
            self.eyes.get().tokenizer,
            self._folder / "unclip",
            steps=self._pictures.steps,
            guidance=self._pictures.guidance,
            seed=self._seed,
            device=self._device,
            dtype=self._dtype,
        )
        hand.load()
        return hand

    def _load_codec(self) -> EncodecModel:
        codec: EncodecModel = load_encodec(self._folder / "encodec")
        codec.to(torch.device(self._device))  # type: ignore[arg-type]  # a decorator of transformers hides the type
        known = len(_of(self._vocabulary.music).tokens)
        if MUSIC_CODEBOOKS * codec.config.codebook_size != known:
            raise CheckpointError(
                f"{self._folder / 'encodec'}: {MUSIC_CODEBOOKS} codebooks of {codec.config.codebook_size}, but the "
                f"vocabulary has {known} music tokens: use the files of one release"
            )
        return codec


def _kinds(*, image: bool, music: bool) -> frozenset[Kind]:
    present: list[tuple[Kind, bool]] = [("image", image), ("music", music)]
    return frozenset(kind for kind, there in present if there)


def _of(modality: Modality | None) -> Modality:
    assert modality is not None, "what a vocabulary lacks is neither taken nor made"
    return modality
