"""`python server.py` and the stock `openai` client: three turns, with tiny untrained models and with nano."""

from __future__ import annotations

import asyncio
import base64
import re
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from streaming.pcm import PCM16, Encoder
from tests.assistant.conftest import tokenizer_folder  # noqa: F401 (a fixture)
from tests.tools.conftest import tiny_config  # noqa: F401 (a fixture)

openai = pytest.importorskip("openai")

ROOT = Path(__file__).resolve().parents[2]
QUESTION = ROOT / "tests" / "browser" / "hello_who_are_you.wav"
NANO = ROOT / "configs" / "nano.toml"
START_S, TALK_S = 120, 120  # generous: the machine may be busy

pytestmark = pytest.mark.slow


@contextmanager
def served(config: Path) -> Iterator[str]:
    """The address of a server of its own, which must end in good order."""
    command = [sys.executable, "server.py", "--config", str(config), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            found = re.search(r"is ready after .* s: open (http://\S+)", line)
            assert found, f"instead of being ready the server said {line!r}"
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    assert process.returncode == 0


@dataclass
class Answer:
    heard: str = ""
    said: str = ""
    sound: bytes = b""
    status: str = ""


async def converse(url: str) -> list[Answer]:
    """Asked aloud, asked aloud and committed by hand, asked in writing."""
    client = openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1")
    async with asyncio.timeout(TALK_S), client, client.realtime.connect(model="any") as connection:
        transcription = {"type": "realtime", "audio": {"input": {"transcription": {"model": "any"}}}}
        await connection.session.update(session=transcription)
        await say(connection, question() + bytes(48_000))
        answers = [await answered(connection)]

        by_hand = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await connection.session.update(session=by_hand)
        await say(connection, question())
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        answers.append(await answered(connection))

        content = [{"type": "input_text", "text": "hello, who are you?"}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await connection.response.create(response={"output_modalities": ["text"]})
        answers.append(await answered(connection))
    return answers


def question() -> bytes:
    with wave.open(str(QUESTION)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)
    encoder = Encoder(PCM16)
    return encoder.encode(pcm) + encoder.finish()


async def say(connection, data: bytes) -> None:
    for at in range(0, len(data), 4800):
        await connection.input_audio_buffer.append(audio=base64.b64encode(data[at : at + 4800]).decode())


async def answered(connection) -> Answer:
    answer = Answer()
    async for event in connection:
        match event.type:
            case "error":
                raise AssertionError(event.error.message)
            case "conversation.item.input_audio_transcription.completed":
                answer.heard = event.transcript
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                answer.said += event.delta
            case "response.output_audio.delta":
                answer.sound += base64.b64decode(event.delta)
            case "response.done":
                answer.status = event.response.status
                return answer
    raise AssertionError("the connection ended")


def seconds(sound: bytes) -> float:
    return len(sound) / 2 / 24_000


def test_three_turns_with_untrained_models(tiny_config):  # noqa: F811
    with served(tiny_config) as url:
        answers = asyncio.run(converse(url))
    assert [answer.status in ("completed", "incomplete") for answer in answers] == [True] * 3
    assert all(answer.sound for answer in answers[:2]) and not answers[2].sound


@pytest.mark.weights
@pytest.mark.skipif(not (ROOT / "models/nano/MANIFEST").exists(), reason="models/nano holds no weights")
def test_three_turns_with_nano():
    with served(NANO) as url:
        spoken, committed, typed = asyncio.run(converse(url))
    assert {answer.status for answer in (spoken, committed, typed)} == {"completed"}
    for answer in (spoken, committed):
        assert "who are you" in answer.heard.lower()
        assert answer.said and seconds(answer.sound) > 0.5
        loudness = np.abs(np.frombuffer(answer.sound, "<i2").astype(np.float32)).max()
        assert loudness > 1000, "not silence"
    assert typed.said and not typed.sound
