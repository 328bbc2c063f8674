from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from configuration import ROOT, Configuration, ConfigurationError, load, parse
from tests.assistant.parity import parity_dir


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_file_loads(path: Path) -> None:
    assert load(path).model.name == path.stem


def test_nothing_said_means_nano_on_this_machine() -> None:
    configuration = parse({})
    assert configuration == Configuration()
    assert (configuration.server.host, configuration.server.port) == ("127.0.0.1", 8080)
    assert configuration.model.path == ROOT / "models/nano"


def test_what_is_said_replaces_the_default_and_nothing_else() -> None:
    configuration = parse({"generation": {"speech": {"temperature": 1}}, "server": {"api_keys": ["a", "b"]}})
    assert configuration.generation.speech.temperature == 1.0
    assert configuration.generation.speech.repetition_penalty == Configuration().generation.speech.repetition_penalty
    assert configuration.server.api_keys == ("a", "b")
    assert configuration.turns == Configuration().turns


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sever": {}}, "there is no section 'sever'"),
        ({"server": {"prot": 1}}, r"\[server\] has no key 'prot'; there is host, port"),
        ({"generation": {"speech": {"temprature": 1}}}, r"\[generation.speech\] has no key 'temprature'"),
        ({"server": 8080}, r"\[server\] must be a section, not 8080"),
        ({"server": {"port": "8080"}}, r"\[server\] port must be a whole number, not '8080'"),
        ({"server": {"port": 80.5}}, r"\[server\] port must be a whole number"),
        ({"server": {"port": True}}, r"\[server\] port must be a whole number, not True"),
        ({"server": {"port": 65536}}, r"\[server\] port must lie between 0 and 65,535, not 65536"),
        ({"server": {"host": ""}}, r"\[server\] host must be some text"),
        ({"server": {"api_keys": "secret"}}, r"\[server\] api_keys must be a list"),
        ({"server": {"api_keys": ["good", ""]}}, r"\[server\] api_keys\[1\] must be some text"),
        ({"server": {"idle_timeout_s": float("nan")}}, r"\[server\] idle_timeout_s must lie between"),
        ({"turns": {"vad_threshold": 1.1}}, r"\[turns\] vad_threshold must lie between 0 and 1"),
        ({"model": {"dtype": "int4"}}, r"\[model\] dtype must be one of float32, bfloat16, float16, int8, not 'int4'"),
        ({"model": {"device": "gpu"}}, r"\[model\] device must be cpu, cuda or cuda:N, not 'gpu'"),
        ({"speech": {"first_chunk_frames": 50, "max_chunk_frames": 20}}, "first_chunk_frames must not be more"),
    ],
)
def test_a_mistake_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(settings)


@pytest.mark.parametrize(
    ("content", "message"), [(b"[server]\nport = \n", "line 2"), (b"\xff", "utf-8"), (b"[web]", "no section 'web'")]
)
def test_a_bad_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"mine.toml: .*{message}"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent.toml: No such file"):
        load(tmp_path / "absent.toml")


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Configuration().server.port = 1  # type: ignore[misc]


def test_the_defaults_are_the_published_sampling() -> None:
    assert load(ROOT / "configs/anygpt-7b.toml").generation == Configuration().generation


def test_the_published_sampling_is_in_the_file() -> None:
    path = parity_dir() / "decoding_configs.json"
    if not path.exists():
        pytest.skip(f"no golden data at {path} (set PARITY_DIR)")
    published = json.loads(path.read_text(encoding="utf-8"))
    generation = load(ROOT / "configs/anygpt-7b.toml").generation
    for name, source in {"text": "chat_text", "speech": "speech", "image": "image", "music": "music"}.items():
        wanted, sampling = published["effective"][source], getattr(generation, name)
        for key in ("temperature", "top_k", "top_p", "repetition_penalty"):
            assert getattr(sampling, key) == wanted[key], (name, key)
        assert sampling.max_tokens == wanted["max_new_tokens"]
    assert load(ROOT / "configs/anygpt-7b.toml").speech.soundstorm_steps == published["soundstorm"]["steps_from_config"]
