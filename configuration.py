"""The configuration of one setup: a TOML file from configs/, read once into frozen dataclasses.

Unknown keys, wrong types and values out of range are refused with the section, the key and what was expected.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parent


class ConfigurationError(ValueError):
    """A configuration that cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Between:
    """The values a number may have, both ends included."""

    low: float
    high: float

    def problem(self, value: float) -> str | None:
        return None if self.low <= value <= self.high else f"must lie between {self.low:,} and {self.high:,}"


@dataclass(frozen=True, slots=True)
class Matching:
    """What a string must look like."""

    pattern: str
    description: str

    def problem(self, value: str) -> str | None:
        return None if re.fullmatch(self.pattern, value) else f"must be {self.description}"


Count = Annotated[int, Between(1, 1_000_000)]
Text = Annotated[str, Matching(r"(?s).+", "some text")]


@dataclass(frozen=True, slots=True)
class Model:
    """Which weights, and what computes with them."""

    name: Text = "nano"  # what clients see as the session's model
    directory: Text = "models/nano"  # relative to this repository
    template: Literal["MMGPT", "AnyGPT"] = "MMGPT"
    style: Literal["plain", "instruct", "base"] = "plain"  # how one-shot tasks are put: in everyday words, as the
    # published chat model was taught tasks, or in the base model's prompts
    device: Annotated[str, Matching(r"cpu|cuda(:\d+)?", "cpu, cuda or cuda:N")] = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "int8"] = "float32"  # of the language model; int8: its weights
    threads: Annotated[int, Between(1, 256)] = 2
    context_tokens: Annotated[int, Between(256, 131_072)] = 4096
    history_tokens: Annotated[int, Between(0, 131_072)] = 1024  # kept as spoken; older turns are kept as their words

    @property
    def path(self) -> Path:
        return ROOT / self.directory


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one modality's next token is chosen. temperature 0 takes the likeliest; top_k 0 keeps all."""

    temperature: Annotated[float, Between(0, 10)] = 1.0
    top_k: Annotated[int, Between(0, 100_000)] = 50
    top_p: Annotated[float, Between(0.001, 1)] = 1.0
    repetition_penalty: Annotated[float, Between(0.1, 10)] = 1.0
    max_tokens: Annotated[int, Between(1, 32_768)] = 500  # of one reply


@dataclass(frozen=True, slots=True)
class Generation:
    """Sampling of each modality; the defaults are the published ones."""

    transcript_beams: Annotated[int, Between(1, 16)] = 5  # what the user said: the likeliest of so many readings
    text: Sampling = Sampling()
    speech: Sampling = Sampling(repetition_penalty=1.05, max_tokens=1500)
    image: Sampling = Sampling(max_tokens=200)
    music: Sampling = Sampling(top_k=200, repetition_penalty=1.15, max_tokens=2000)


@dataclass(frozen=True, slots=True)
class Speech:
    """How the reply's speech tokens become sound, chunk by chunk (a frame is one token: 20 ms)."""

    voice: str = ""  # which of the model's voices replies unless another is asked for; "": the first
    soundstorm_steps: Annotated[int, Between(1, 64)] = 3
    first_chunk_frames: Annotated[int, Between(1, 500)] = 16
    max_chunk_frames: Annotated[int, Between(1, 500)] = 100


@dataclass(frozen=True, slots=True)
class Pictures:
    """How picture tokens become a drawing (unCLIP); the defaults are the published ones."""

    steps: Annotated[int, Between(1, 1000)] = 20
    guidance: Annotated[float, Between(0, 100)] = 10.0  # 1 or less: none, at half the work


@dataclass(frozen=True, slots=True)
class Music:
    """How music becomes tokens, and music tokens sound, chunk by chunk (a frame is four tokens)."""

    heard_s: Annotated[float, Between(0.1, 600)] = 5.0  # of a piece; the published base model hears 20 s
    first_chunk_frames: Annotated[int, Between(1, 10_000)] = 25
    max_chunk_frames: Annotated[int, Between(1, 10_000)] = 100


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server listens, who may come in, and the bounds on all that a peer sends."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Between(0, 65_535)] = 8080  # 0: any free port
    api_keys: tuple[Text, ...] = ()  # none: open to everyone who can reach the host
    allowed_origins: tuple[Text, ...] = ()  # besides the server's own; "*" is every origin
    max_sessions: Count = 8
    max_message_bytes: Annotated[int, Between(1024, 1 << 30)] = 16 << 20  # the protocol allows 15 MiB in one append
    max_picture_bytes: Annotated[int, Between(1024, 1 << 28)] = 10 << 20
    max_picture_pixels: Annotated[int, Between(10_000, 80_000_000)] = 25_000_000
    max_music_bytes: Annotated[int, Between(1024, 1 << 28)] = 10 << 20
    max_music_s: Annotated[float, Between(1, 600)] = 30.0
    max_sdp_bytes: Annotated[int, Between(1024, 1 << 20)] = 64 << 10
    max_audio_ahead_s: Annotated[float, Between(1, 3600)] = 60.0  # microphone sound that waits to be listened to
    max_utterance_s: Annotated[float, Between(1, 600)] = 30.0
    events_per_second: Annotated[float, Between(1, 100_000)] = 200.0  # a client's events, on average
    idle_timeout_s: Annotated[float, Between(1, 86_400)] = 600.0
    resume_timeout_s: Annotated[float, Between(0, 3600)] = 60.0  # a lost connection may be taken up again; 0: never


@dataclass(frozen=True, slots=True)
class Camera:
    """When the model looks at what the camera shows. A picture that has not changed costs nothing."""

    max_fps: Annotated[float, Between(0.1, 10)] = 2.0  # frames looked at in a second, unless a client asks for others
    picture_side: Annotated[int, Between(32, 2048)] = 512  # pictures are shrunk to so many pixels before the model
    change_share: Annotated[float, Between(0, 1)] = 0.06  # of the picture must differ from the last one it saw
    look_again_s: Annotated[float, Between(1, 86_400)] = 60.0  # it may have forgotten an unchanged one by then


@dataclass(frozen=True, slots=True)
class Attachments:
    """The drawings and the music that wait to be fetched, of all sessions together. The oldest give way."""

    picture_format: Literal["png", "webp"] = "png"
    max_bytes: Annotated[int, Between(1 << 20, 1 << 36)] = 64 << 20
    max_files: Count = 500
    max_at_once: Annotated[int, Between(1, 100)] = 4  # being made for one session
    lifetime_s: Annotated[float, Between(1, 604_800)] = 3600.0


@dataclass(frozen=True, slots=True)
class Turns:
    """When the user's turn begins and ends, unless a client asks for something else."""

    vad_threshold: Annotated[float, Between(0, 1)] = 0.5
    prefix_padding_ms: Annotated[int, Between(0, 5000)] = 300
    detection: Literal["server_vad", "semantic_vad"] = "server_vad"
    silence_duration_ms: Annotated[int, Between(32, 10_000)] = 500  # server_vad: such a silence ends the turn
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"  # semantic_vad: how soon what sounds finished is
    min_speech_ms: Annotated[int, Between(0, 5000)] = 64
    interruption_ms: Annotated[int, Between(0, 5000)] = 608  # of speech while a reply is heard; less only pauses it
    echo_guard: bool = False  # for peers without echo cancellation; browsers have it
    unpaused_interruption_ms: Annotated[int, Between(0, 5000)] = 256  # the same, where the client cannot pause it


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the published parts come from, by their names on the model hub; empty for a model made here."""

    language_model: str = ""
    speech_modules: str = ""
    image_tokenizer: str = ""
    vision_tower: str = ""
    image_decoder: str = ""
    music_codec: str = ""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One TOML file; see configs/nano.toml."""

    model: Model = Model()
    generation: Generation = Generation()
    speech: Speech = Speech()
    pictures: Pictures = Pictures()
    music: Music = Music()
    server: Server = Server()
    turns: Turns = Turns()
    camera: Camera = Camera()
    attachments: Attachments = Attachments()
    sources: Sources = Sources()

    def __post_init__(self) -> None:
        if self.speech.first_chunk_frames > self.speech.max_chunk_frames:
            raise ConfigurationError("[speech] first_chunk_frames must not be more than max_chunk_frames")
        if self.music.first_chunk_frames > self.music.max_chunk_frames:
            raise ConfigurationError("[music] first_chunk_frames must not be more than max_chunk_frames")


def load(path: str | Path) -> Configuration:
    """Read a TOML file. ConfigurationError, with the path, when it is missing, malformed or says the impossible."""
    try:
        with open(path, "rb") as file:
            return parse(tomllib.load(file))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ConfigurationError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def parse(settings: dict[str, Any]) -> Configuration:
    """Settings as TOML gives them. Missing keys have their defaults."""
    configuration: Configuration = _section(Configuration(), settings, "")
    return configuration


def _section(default: Any, settings: dict[str, Any], name: str) -> Any:
    """A copy of the dataclass `default` with `settings` in it."""
    hints = get_type_hints(type(default), include_extras=True)
    values = {}
    for key, value in settings.items():
        inner = f"{name}.{key}" if name else key
        if key not in hints:
            where = f"[{name}] has no key" if name else "there is no section"
            raise ConfigurationError(f"{where} '{key}'; there is {', '.join(hints)}")
        present = getattr(default, key)
        if not dataclasses.is_dataclass(present):
            values[key] = _value(hints[key], value, f"[{name}] {key}")
        elif isinstance(value, dict):
            values[key] = _section(present, value, inner)
        else:
            raise ConfigurationError(f"[{inner}] must be a section, not {value!r}")
    return dataclasses.replace(default, **values)


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` checked against a type hint; an int is taken for a float, a list for a tuple."""
    rules: list[Any] = []
    if get_origin(hint) is Annotated:
        hint, *rules = get_args(hint)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigurationError(f"{where} must be one of {', '.join(get_args(hint))}, not {value!r}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ConfigurationError(f"{where} must be a list, not {value!r}")
        return tuple(_value(get_args(hint)[0], entry, f"{where}[{index}]") for index, entry in enumerate(value))
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise ConfigurationError(f"{where} must be {_NAMES[hint]}, not {value!r}")
    for problem in filter(None, (rule.problem(value) for rule in rules)):
        raise ConfigurationError(f"{where} {problem}, not {value!r}")
    return value


_NAMES = types.MappingProxyType({int: "a whole number", float: "a number", str: "a string", bool: "true or false"})
