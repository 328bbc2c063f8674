"""What a session, and one response of it, is set to: defaults, merging of updates, and the JSON that clients see."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from streaming.events import Json
from streaming.fields import Fields, ProtocolError
from streaming.pcm import FORMATS, PCM16, AudioFormat
from streaming.types import Abilities

Modality = Literal["audio", "text"]

_EAGERNESS = ("low", "medium", "high", "auto")
_KEPT = ("tracing", "truncation", "prompt", "include", "reasoning", "parallel_tool_calls")
_STOCK_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
"""OpenAI's names. Stock clients ask for them, so each stands for one of the model's own voices."""


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """When the user's turn is over. `semantic_vad` is voice activity too: streaming.endpoint chooses the silence."""

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    create_response: bool = True
    interrupt_response: bool = True
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    eagerness: str = "auto"

    def updated(self, fields: Fields) -> TurnDetection:
        result = replace(
            self,
            create_response=fields.flag("create_response", self.create_response),
            interrupt_response=fields.flag("interrupt_response", self.interrupt_response),
        )
        if self.type == "semantic_vad":
            result = replace(result, eagerness=fields.choice("eagerness", _EAGERNESS, self.eagerness))
        else:
            result = replace(
                result,
                threshold=fields.number("threshold", 0, 1, self.threshold),
                prefix_padding_ms=fields.whole("prefix_padding_ms", 0, 5_000, self.prefix_padding_ms),
                silence_duration_ms=fields.whole("silence_duration_ms", 0, 10_000, self.silence_duration_ms),
            )
            if fields.anything("idle_timeout_ms") is not None:
                path = fields.path("idle_timeout_ms")
                raise ProtocolError("unsupported", f"'{path}' is not supported; leave it null.", path)
        fields.no_others()
        return result

    def to_json(self) -> Json:
        common = {"create_response": self.create_response, "interrupt_response": self.interrupt_response}
        if self.type == "semantic_vad":
            return {"type": self.type, "eagerness": self.eagerness, **common}
        return {
            "type": self.type,
            "threshold": self.threshold,
            "prefix_padding_ms": self.prefix_padding_ms,
            "silence_duration_ms": self.silence_duration_ms,
            "idle_timeout_ms": None,
            **common,
        }


@dataclass(frozen=True, slots=True)
class VideoInput:
    """How the camera is looked at."""

    max_fps: float = 2.0
    change_share: float = 0.06  # so much of the picture must have changed for the model to look again
    look_again_s: float = 60.0  # an unchanged picture is shown again after so long: it may have been forgotten

    def updated(self, fields: Fields) -> VideoInput:
        result = replace(self, max_fps=fields.number("max_fps", 0.1, 10, self.max_fps))
        fields.no_others()
        return result


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """The settings of one session. `voices` are the model's own, the first one being the default."""

    voices: tuple[str, ...]
    voice: str
    instructions: str = ""
    modality: Modality = "audio"
    input_format: AudioFormat = PCM16
    output_format: AudioFormat = PCM16
    transcription: Json | None = None
    noise_reduction: Json | None = None
    turn_detection: TurnDetection | None = TurnDetection()
    default_turn_detection: TurnDetection = TurnDetection()
    speed: float = 1.0
    video: VideoInput | None = VideoInput()
    default_video: VideoInput = VideoInput()
    stream_music: bool = False
    pauses_playback: bool = False  # the client obeys output_audio_buffer.paused; over WebRTC it need not
    tools: tuple[Json, ...] = ()
    tool_choice: str | Json = "auto"
    max_output_tokens: int | None = None
    kept: Json = field(default_factory=dict)  # accepted and shown again, without effect

    def updated(self, fields: Fields, text_characters: int) -> SessionSettings:
        """The settings with the fields present changed. Raises ProtocolError; then nothing has changed."""
        fields.choice("type", ("realtime",), "realtime")
        for name in ("id", "object", "model", "expires_at", "extensions", "resume"):
            fields.anything(name)  # clients send back what they were sent; none of it can change
        result = replace(
            self,
            instructions=fields.text("instructions", self.instructions, most=text_characters),
            modality=read_modality(fields, self.modality),
            tools=_read_tools(fields, self.tools),
            tool_choice=_read_tool_choice(fields, self.tool_choice),
            max_output_tokens=read_max_output_tokens(fields, self.max_output_tokens),
            kept={**self.kept, **{name: value for name in _KEPT if (value := fields.anything(name, ...)) is not ...}},
        )
        audio = fields.object("audio")
        result = result._with_input(audio.object("input"))._with_output(audio.object("output"))
        audio.no_others()
        result = result._with_extensions(fields)
        fields.no_others()
        return result

    def _with_extensions(self, fields: Fields) -> SessionSettings:
        video, attachments, playback = (fields.object(name) for name in ("video", "attachments", "playback"))
        result = replace(
            self,
            video=self._read_video(video),
            stream_music=attachments.flag("stream_music", self.stream_music),
            pauses_playback=playback.flag("pauses", self.pauses_playback),
        )
        for part in (video, attachments, playback):
            part.no_others()
        return result

    def _read_video(self, fields: Fields) -> VideoInput | None:
        if fields.is_null("input"):
            return None
        wanted = fields.object("input")
        return self.video if fields.anything("input") is None else (self.video or self.default_video).updated(wanted)

    def _with_input(self, fields: Fields) -> SessionSettings:
        result = replace(
            self,
            input_format=read_format(fields, self.input_format),
            transcription=_read_transcription(fields, self.transcription),
            noise_reduction=_read_noise_reduction(fields, self.noise_reduction),
            turn_detection=self._read_turn_detection(fields),
        )
        fields.no_others()
        return result

    def _with_output(self, fields: Fields) -> SessionSettings:
        result = replace(
            self,
            output_format=read_format(fields, self.output_format),
            voice=read_voice(fields, self.voice, self.voices),
            speed=fields.number("speed", 0.25, 1.5, self.speed),
        )
        fields.no_others()
        return result

    def _read_turn_detection(self, fields: Fields) -> TurnDetection | None:
        if fields.is_null("turn_detection"):
            return None
        if fields.anything("turn_detection") is None:
            return self.turn_detection
        wanted = fields.object("turn_detection")
        base = self.turn_detection or self.default_turn_detection
        kind = wanted.choice("type", ("server_vad", "semantic_vad"), base.type)
        if kind != base.type:
            base = replace(self.default_turn_detection, type=kind)
        return base.updated(wanted)

    def speaker(self, voice: str) -> str:
        """The model's voice for a name that a client may use."""
        return voice if voice in self.voices else self.voices[_STOCK_VOICES.index(voice) % len(self.voices)]

    def extensions_to_json(self, abilities: Abilities) -> Json:
        """The settings of those extensions that work."""
        shown: Json = {"playback": {"pauses": self.pauses_playback}}
        if "image" in abilities.takes:
            shown["video"] = {"input": None if self.video is None else {"max_fps": self.video.max_fps}}
        if "music" in abilities.makes:
            shown["attachments"] = {"stream_music": self.stream_music}
        return shown

    def to_json(self) -> Json:
        """All settings of the protocol, as `session.created` and `session.updated` show them."""
        detection = self.turn_detection
        return {
            "output_modalities": [self.modality],
            "instructions": self.instructions,
            "audio": {
                "input": {
                    "format": self.input_format.to_json(),
                    "transcription": self.transcription,
                    "noise_reduction": self.noise_reduction,
                    "turn_detection": None if detection is None else detection.to_json(),
                },
                "output": {"format": self.output_format.to_json(), "voice": self.voice, "speed": self.speed},
            },
            "tools": list(self.tools),
            "tool_choice": self.tool_choice,
            "max_output_tokens": _shown(self.max_output_tokens),
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "include": None,
            **self.kept,
        }


@dataclass(frozen=True, slots=True)
class ResponseSettings:
    """What one response is set to: the session's settings unless `response.create` said otherwise."""

    modality: Modality
    output_format: AudioFormat
    voice: str
    instructions: str
    max_output_tokens: int | None
    metadata: Json | None = None
    in_conversation: bool = True
    instructions_given: bool = False  # with this very response.create
    input: tuple[Any, ...] | None = None  # instead of the conversation's items

    @classmethod
    def of(cls, session: SessionSettings) -> ResponseSettings:
        """The settings of a response that nobody configured."""
        return cls(
            session.modality, session.output_format, session.voice, session.instructions, session.max_output_tokens
        )

    @classmethod
    def read(cls, fields: Fields, session: SessionSettings, text_characters: int) -> ResponseSettings:
        """The settings that a `response.create` asks for. Raises ProtocolError."""
        instructions = fields.text("instructions", None, most=text_characters)
        given = fields.items("input", None)
        audio = fields.object("audio")
        output = audio.object("output")
        result = cls(
            modality=read_modality(fields, session.modality),
            output_format=read_format(output, session.output_format),
            voice=read_voice(output, session.voice, session.voices),
            instructions=session.instructions if instructions is None else instructions,
            max_output_tokens=read_max_output_tokens(fields, session.max_output_tokens),
            metadata=_read_metadata(fields),
            in_conversation=fields.choice("conversation", ("auto", "none"), "auto") == "auto",
            instructions_given=bool(instructions),
            input=None if given is None else tuple(given),
        )
        _read_tools(fields, ())
        _read_tool_choice(fields, "auto")
        for name in _KEPT:
            fields.anything(name)
        for part in (output, audio, fields):
            part.no_others()
        return result

    def to_json(self) -> Json:
        return {
            "output_modalities": [self.modality],
            "audio": {"output": {"format": self.output_format.to_json(), "voice": self.voice}},
            "max_output_tokens": _shown(self.max_output_tokens),
            "metadata": self.metadata,
        }


def _shown(max_output_tokens: int | None) -> int | str:
    return "inf" if max_output_tokens is None else max_output_tokens


def read_modality(fields: Fields, default: Modality) -> Modality:
    value = fields.items("output_modalities", None)
    if value is None:
        return default
    if value == ["audio"]:
        return "audio"
    if value == ["text"]:
        return "text"
    path = fields.path("output_modalities")
    words = f'\'{path}\' must be ["audio"], which brings its transcript, or ["text"].'
    raise ProtocolError("invalid_value", words, path)


def read_format(fields: Fields, default: AudioFormat) -> AudioFormat:
    if fields.anything("format") is None:
        return default
    wanted = fields.object("format")
    result = FORMATS[wanted.choice("type", tuple(FORMATS))]
    if result is PCM16:
        wanted.whole("rate", PCM16.sample_rate, PCM16.sample_rate, PCM16.sample_rate)
    wanted.no_others()
    return result


def read_voice(fields: Fields, default: str, voices: tuple[str, ...]) -> str:
    value = fields.anything("voice")
    if isinstance(value, dict):  # a custom voice is named by its id
        return fields.object("voice").choice("id", (*voices, *_STOCK_VOICES))
    return fields.choice("voice", (*voices, *_STOCK_VOICES), default)


def read_max_output_tokens(fields: Fields, default: int | None) -> int | None:
    if fields.anything("max_output_tokens") == "inf":
        return None
    return fields.whole("max_output_tokens", 1, 4096, default)


def _read_transcription(fields: Fields, default: Json | None) -> Json | None:
    if fields.is_null("transcription"):
        return None
    if fields.anything("transcription") is None:
        return default
    wanted = fields.object("transcription")
    names = ("model", "language", "prompt")
    values = {name: wanted.text(name, None, most=2000) for name in names}
    wanted.no_others()
    return {**(default or {}), **{name: value for name, value in values.items() if value is not None}}


def _read_noise_reduction(fields: Fields, default: Json | None) -> Json | None:
    if fields.is_null("noise_reduction"):
        return None
    if fields.anything("noise_reduction") is None:
        return default
    wanted = fields.object("noise_reduction")
    value = {"type": wanted.choice("type", ("near_field", "far_field"))}
    wanted.no_others()
    return value


def _read_tools(fields: Fields, default: tuple[Json, ...]) -> tuple[Json, ...]:
    tools = fields.items("tools", None)
    if tools is None:
        return default
    for index, tool in enumerate(tools):
        one = Fields(tool, f"{fields.path('tools')}[{index}]")
        one.choice("type", ("function",))
        one.text("name", most=128)
        one.text("description", None)
        one.object("parameters")
    return tuple(tools)


def _read_tool_choice(fields: Fields, default: str | Json) -> str | Json:
    if isinstance(fields.anything("tool_choice"), dict):
        one = fields.object("tool_choice")
        one.choice("type", ("function",))
        one.text("name", most=128)
        return fields.anything("tool_choice")
    return fields.choice("tool_choice", ("auto", "none", "required"), default)


def _read_metadata(fields: Fields) -> Json | None:
    metadata = fields.anything("metadata")
    if metadata is None:
        return None
    given = fields.object("metadata")
    if len(metadata) > 16:
        raise ProtocolError("invalid_value", f"'{given.path('')}' holds more than 16 pairs.", fields.path("metadata"))
    for name in metadata:
        given.text(name, most=512)
    return metadata
