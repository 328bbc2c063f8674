"""The stock `openai` client holds a conversation over a real socket."""

from __future__ import annotations

import asyncio
import base64

import pytest

from tests.streaming.fakes import on_the_wire, silence, tone, utterance
from tests.streaming.serving import serving

openai = pytest.importorskip("openai")


def test_three_turns_by_voice_and_text():
    async def test() -> None:
        async with asyncio.timeout(60), serving(api_keys=("sk-one",)) as served:
            client = openai.AsyncOpenAI(api_key="sk-one", base_url=f"{served.url}/v1")
            async with client, client.realtime.connect(model="gpt-realtime") as connection:
                created = await connection.recv()
                assert created.type == "session.created" and created.session.model == "nano"
                audio = {
                    "input": {
                        "transcription": {"model": "whisper-1"},
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
                    },
                    "output": {"voice": "marin"},
                }
                await connection.session.update(session={"type": "realtime", "audio": audio})
                assert (await connection.recv()).type == "session.updated"

                # By voice, with the server listening for the end of the turn.
                await say(connection, utterance())
                heard, said, sound = await answered(connection)
                assert (heard, said) == ("hello there", "Hi! I am fine.")
                assert len(sound) == 24_000

                # By voice, committed by hand.
                by_hand = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
                await connection.session.update(session=by_hand)
                await say(connection, tone(0.5))
                await connection.input_audio_buffer.commit()
                await connection.response.create()
                heard, said, sound = await answered(connection)
                assert heard == "hello there" and len(sound) == 24_000

                # By text, answered in text.
                content = [{"type": "input_text", "text": "and now in writing"}]
                message = {"type": "message", "role": "user", "content": content}
                await connection.conversation.item.create(item=message)
                await connection.response.create(response={"output_modalities": ["text"]})
                heard, said, sound = await answered(connection)
                assert (heard, said, sound) == ("", "Hi! I am fine.", b"")

            roles = [turn.role for turn in served.worker.requests[-1].turns]
            assert roles == ["user", "assistant", "user", "assistant", "user"]

    asyncio.run(test())


async def say(connection, pcm) -> None:
    data = on_the_wire(pcm)
    for at in range(0, len(data), 4800):
        await connection.input_audio_buffer.append(audio=base64.b64encode(data[at : at + 4800]).decode())


async def answered(connection) -> tuple[str, str, bytes]:
    """What was heard and said in one response, and its sound."""
    heard, said, sound = "", "", b""
    async for event in connection:
        match event.type:
            case "error":
                raise AssertionError(event.error.message)
            case "conversation.item.input_audio_transcription.completed":
                heard = event.transcript
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                said += event.delta
            case "response.output_audio.delta":
                sound += base64.b64decode(event.delta)
            case "response.done":
                assert event.response.status == "completed"
                return heard, said, sound
    raise AssertionError("the connection ended")


def test_a_wrong_key_is_refused():
    async def test() -> None:
        async with asyncio.timeout(60), serving(api_keys=("sk-one",)) as served:
            client = openai.AsyncOpenAI(api_key="sk-two", base_url=f"{served.url}/v1")
            with pytest.raises(Exception, match="401"):
                async with client.realtime.connect(model="gpt-realtime") as connection:
                    await connection.recv()
            await client.close()

    asyncio.run(test())


def test_a_client_secret_opens_a_session_with_its_settings():
    async def test() -> None:
        async with asyncio.timeout(60), serving(api_keys=("sk-one",)) as served:
            client = openai.AsyncOpenAI(api_key="sk-one", base_url=f"{served.url}/v1")
            secret = await client.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session={"type": "realtime", "instructions": "Be kind."},
            )
            assert secret.value.startswith("ek_") and secret.session.instructions == "Be kind."
            guest = openai.AsyncOpenAI(api_key=secret.value, base_url=f"{served.url}/v1")
            async with guest.realtime.connect(model="any") as connection:
                assert (await connection.recv()).session.instructions == "Be kind."
            await guest.close()
            await client.close()

    asyncio.run(test())


def test_a_call_is_made_with_the_stock_client():
    async def test() -> None:
        offer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
        async with asyncio.timeout(60), serving() as served:
            client = openai.AsyncOpenAI(api_key="none", base_url=f"{served.url}/v1")
            answer = await client.realtime.calls.create(sdp=offer)
            assert (await answer.aread()).startswith(b"v=0")
            assert answer.response.headers["location"] == "/v1/realtime/calls/rtc_1"
            answer = await client.realtime.calls.create(sdp=offer, session={"type": "realtime", "instructions": "Hm."})
            assert answer.response.status_code == 201
            await client.realtime.calls.hangup("rtc_1")
            await client.close()
            assert served.calls.offers == [offer, offer]

    asyncio.run(test())


def test_silence_alone_is_no_turn():
    async def test() -> None:
        async with asyncio.timeout(60), serving() as served:
            client = openai.AsyncOpenAI(api_key="none", base_url=f"{served.url}/v1")
            async with client, client.realtime.connect(model="any") as connection:
                await connection.recv()
                await say(connection, silence(1.0))
                await connection.input_audio_buffer.clear()
                assert (await connection.recv()).type == "input_audio_buffer.cleared"

    asyncio.run(test())
