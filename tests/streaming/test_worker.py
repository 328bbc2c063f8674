"""The worker against small real responders in a real second process."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from streaming.types import (
    Abilities,
    AttachmentFailed,
    AttachmentProgress,
    AttachmentStarted,
    Failed,
    Finished,
    Output,
    Overheard,
    PictureDone,
    Request,
    SpeechDelta,
    TextDelta,
    Turn,
)
from streaming.worker import Worker, WorkerError


class Echo:
    """Says back what it is told, a word a step, then the sound it was given. Some words are orders."""

    voices = ("anna", "ben")

    def __init__(self) -> None:
        self._running: dict[str, tuple[Request, list[str]]] = {}
        self._ended: list[Output] = []
        self._sessions: set[str] = set()

    def submit(self, request: Request) -> None:
        self._sessions.add(request.session_id)
        self._running[request.response_id] = (request, request.turns[-1].text.split())

    def overhear(self, overheard: Overheard) -> None:
        self._sessions.add(f"{overheard.session_id} says {len(overheard.pcm)}")

    def cancel(self, response_id: str) -> None:
        if self._running.pop(response_id, None):
            self._ended.append(Finished(response_id, "cancelled", "", (), ()))

    def close_session(self, session_id: str) -> None:
        self._sessions.discard(session_id)

    @property
    def idle(self) -> bool:
        return not self._running and not self._ended

    def step(self) -> list[Output]:
        outputs, self._ended = self._ended, []
        for response_id, (request, words) in list(self._running.items()):
            if words:
                outputs += self._obey(response_id, words.pop(0))
                continue
            speech = request.turns[-1].speech
            if speech is not None:
                outputs.append(SpeechDelta(response_id, speech))
            del self._running[response_id]
            outputs.append(Finished(response_id, "completed", request.turns[-1].text, (), ()))
        return outputs

    def _obey(self, response_id: str, word: str) -> list[Output]:
        match word:
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise RuntimeError("the cache is broken")
            case "sleep":
                time.sleep(0.3)
            case "forever":
                self._running[response_id][1].append("forever")
                time.sleep(0.001)
            case "flood":
                return [TextDelta(response_id, "x")] * 50
            case "sessions":
                return [TextDelta(response_id, ",".join(sorted(self._sessions)))]
            case "pid":
                return [TextDelta(response_id, str(os.getpid()))]
        return [TextDelta(response_id, word)]


def corrupt() -> Echo:
    raise ValueError("models/nano/llama.safetensors does not match its SHA-256")


def corrupt_after_the_first_time(marker: Path) -> Echo:
    if marker.exists():
        corrupt()
    marker.touch()
    return Echo()


def request(response_id: str, text: str, speech: np.ndarray | None = None, session_id: str = "s") -> Request:
    return Request(session_id, response_id, (Turn("user", text, speech),))


async def collect(worker: Worker, asked: Request) -> list[Output]:
    async with asyncio.timeout(20):
        return [output async for output in worker.respond(asked)]


def run(body: Callable[[Worker], Awaitable[None]], factory: Callable[[], Echo] = Echo, **options: float) -> None:
    async def main() -> None:
        worker = Worker(factory, **options)  # type: ignore[arg-type]
        await worker.start()
        try:
            await body(worker)
        finally:
            await worker.close()
        assert not worker.alive

    asyncio.run(main())


def text_of(outputs: list[Output]) -> str:
    return " ".join(output.text for output in outputs if isinstance(output, TextDelta))


def test_a_response_streams_and_ends_in_finished() -> None:
    async def body(worker: Worker) -> None:
        assert worker.alive and worker.voices == ("anna", "ben") and worker.restarts == 0
        assert worker.abilities == Abilities()
        speech = np.linspace(-1, 1, 400_000, dtype=np.float32)  # more than the socket's buffer holds
        outputs = await collect(worker, request("r", "hello there", speech))
        assert text_of(outputs) == "hello there"
        sound = outputs[-2]
        assert isinstance(sound, SpeechDelta) and np.array_equal(sound.pcm, speech)
        assert isinstance(outputs[-1], Finished) and outputs[-1].reason == "completed"
        assert [isinstance(output, Finished | Failed) for output in outputs].count(True) == 1

    run(body)


def test_responses_run_side_by_side() -> None:
    async def body(worker: Worker) -> None:
        answers = await asyncio.gather(*(collect(worker, request(f"r{n}", f"a{n} b{n}")) for n in range(8)))
        assert [text_of(outputs) for outputs in answers] == [f"a{n} b{n}" for n in range(8)]
        assert text_of(await collect(worker, request("again", "r0"))) == "r0"

    run(body)


def test_the_event_loop_goes_on_while_the_model_works() -> None:
    async def body(worker: Worker) -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        big = np.zeros(3_000_000, np.float32)
        first = asyncio.create_task(collect(worker, request("slow", "sleep sleep")))
        await asyncio.sleep(0.05)
        await collect(worker, request("big", "", big))  # written while the process is not reading
        await first
        ticking.cancel()
        assert ticks > 10

    run(body)


def test_cancel_ends_the_response() -> None:
    async def body(worker: Worker) -> None:
        outputs = worker.respond(request("r", "forever"))
        assert isinstance(await anext(outputs), TextDelta)
        worker.cancel("r")
        worker.cancel("never heard of")
        rest = [output async for output in outputs]
        assert isinstance(rest[-1], Finished) and rest[-1].reason == "cancelled"

    run(body)


def test_closing_a_session_cancels_its_responses_and_forgets_it() -> None:
    async def body(worker: Worker) -> None:
        running = worker.respond(request("r", "forever", session_id="gone"))
        worker.close_session("gone")
        last = [output async for output in running][-1]
        assert isinstance(last, Finished) and last.reason == "cancelled"
        assert text_of(await collect(worker, request("q", "sessions", session_id="here"))) == "here"

    run(body)


def test_what_is_overheard_reaches_the_responder_before_what_is_asked_next() -> None:
    async def body(worker: Worker) -> None:
        worker.overhear(Overheard("s", "u", 0, np.zeros(320, np.float32)))
        assert text_of(await collect(worker, request("q", "sessions"))) == "s,s says 320"

    run(body)


def test_what_is_overheard_does_not_pile_up_before_a_busy_process() -> None:
    async def body(worker: Worker) -> None:
        running = asyncio.create_task(collect(worker, request("r", "sleep sleep sessions")))
        await asyncio.sleep(0)
        for _ in range(200):
            worker.overhear(Overheard("s", "u", 0, np.zeros(16_000, np.float32)))
        assert worker._unread_bytes < 1_000_000, "12.8 MB came"
        assert "s says 16000" in text_of(await running)

    run(body)


def test_a_factory_that_fails_gives_its_reason() -> None:
    async def main() -> None:
        with pytest.raises(WorkerError, match="llama.safetensors does not match its SHA-256"):
            await Worker(corrupt).start()

    asyncio.run(main())


@pytest.mark.parametrize("order, reason", [("crash", "ended unexpectedly"), ("raise", "the cache is broken")])
def test_a_dead_process_fails_its_responses_and_is_replaced(order: str, reason: str) -> None:
    async def body(worker: Worker) -> None:
        bystander = asyncio.create_task(collect(worker, request("bystander", "forever")))
        await asyncio.sleep(0.05)
        last = (await collect(worker, request("r", f"hello {order}")))[-1]
        assert isinstance(last, Failed) and last.code == "worker_restarted" and reason in last.message
        other = (await bystander)[-1]
        assert isinstance(other, Failed) and other.code == "worker_restarted"
        # Asked while there is no process: waits for the next one.
        assert not worker.alive
        assert text_of(await collect(worker, request("next", "here again"))) == "here again"
        assert worker.alive and worker.restarts == 1

    run(body)


def test_a_process_that_cannot_come_back_says_so(tmp_path: Path) -> None:
    async def body(worker: Worker) -> None:
        await collect(worker, request("r", "crash"))
        last = (await collect(worker, request("waiting", "hello")))[-1]
        assert isinstance(last, Failed) and last.code == "worker_unavailable" and "SHA-256" in last.message
        assert not worker.alive
        (tmp_path / "marker").unlink()  # mended: the next attempt succeeds
        async with asyncio.timeout(20):
            while not worker.alive:
                await asyncio.sleep(0.05)
        assert text_of(await collect(worker, request("r2", "mended"))) == "mended"

    run(body, functools.partial(corrupt_after_the_first_time, tmp_path / "marker"))


def test_cancel_while_there_is_no_process() -> None:
    async def body(worker: Worker) -> None:
        await collect(worker, request("r", "crash"))
        outputs = worker.respond(request("waiting", "hello"))
        worker.cancel("waiting")
        last = [output async for output in outputs][-1]
        assert isinstance(last, Finished) and last.reason == "cancelled"

    run(body)


def test_a_consumer_that_does_not_take_loses_its_response_and_nobody_elses() -> None:
    async def body(worker: Worker) -> None:
        ignored = worker.respond(request("ignored", "flood " * 10 + "forever"))
        assert text_of(await collect(worker, request("other", " ".join("abcdefgh" * 4)))).startswith("a b c")
        async with asyncio.timeout(5):
            outputs = [output async for output in ignored]
        assert len(outputs) <= 101
        assert isinstance(outputs[-1], Failed) and outputs[-1].code == "slow_consumer"

    run(body, max_waiting_outputs=100)


def test_too_many_responses_are_refused() -> None:
    async def body(worker: Worker) -> None:
        running = [worker.respond(request(f"r{n}", "forever")) for n in range(2)]
        last = (await collect(worker, request("r2", "hello")))[-1]
        assert isinstance(last, Failed) and last.code == "overloaded"
        with pytest.raises(ValueError, match="already running"):
            worker.respond(request("r0", "hello"))
        worker.close_session("s")
        for outputs in running:
            assert isinstance([output async for output in outputs][-1], Finished)

    run(body, max_responses=2)


def test_an_idle_process_uses_no_processor_time() -> None:
    async def body(worker: Worker) -> None:
        await collect(worker, request("r", "hello"))

        def used_ticks() -> int:
            fields = Path(f"/proc/{worker.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        before = used_ticks()
        await asyncio.sleep(0.3)
        assert used_ticks() - before <= 2  # of 10 ms each; a loop that spins uses thirty

    run(body)


def test_close_ends_a_busy_process_and_what_it_was_doing() -> None:
    async def main() -> None:
        worker = Worker(Echo)
        await worker.start()
        running = worker.respond(request("r", "forever"))
        await anext(running)
        await worker.close()
        last = [output async for output in running][-1]
        assert isinstance(last, Failed) and last.code == "worker_unavailable"
        refused = [output async for output in worker.respond(request("late", "hello"))]
        assert isinstance(refused[0], Failed) and refused[0].code == "worker_unavailable"
        assert worker.pid is not None and not Path(f"/proc/{worker.pid}").exists()

    asyncio.run(main())


PARENT = """
import asyncio, sys
from tests.streaming.test_worker import Echo
from streaming.worker import Worker

async def main():
    worker = Worker(Echo)
    await worker.start()
    print(worker.pid, flush=True)
    await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_the_process_ignores_ctrl_c_and_leaves_when_the_server_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        assert is_running(pid)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Painter(Echo):
    """An echo that paints beside it, as many steps as the first word says; at 0 it paints for ever."""

    abilities = Abilities(takes=frozenset({"image"}), makes=frozenset({"image"}))

    def __init__(self) -> None:
        super().__init__()
        self._paintings: dict[str, tuple[str, int]] = {}

    def submit(self, request: Request) -> None:
        super().submit(request)
        steps = int(request.turns[-1].text.split()[0])
        attachment_id = f"att_{request.response_id}"
        self._paintings[attachment_id] = (request.response_id, steps)
        self._ended.append(AttachmentStarted(request.response_id, attachment_id, "image", "a house"))

    def cancel_attachment(self, attachment_id: str) -> None:
        one, _ = self._paintings.pop(attachment_id)
        self._ended.append(AttachmentFailed(one, attachment_id, "cancelled", ""))

    @property
    def idle(self) -> bool:
        return super().idle and not self._paintings

    def step(self) -> list[Output]:
        outputs = super().step()
        for attachment_id, (one, steps) in list(self._paintings.items()):
            if steps == 1:
                del self._paintings[attachment_id]
                outputs.append(PictureDone(one, attachment_id, np.zeros((8, 8, 3), np.uint8), (5,)))
            else:
                self._paintings[attachment_id] = (one, max(0, steps - 1))
                outputs.append(AttachmentProgress(one, attachment_id, 0.5))
                time.sleep(0.001)
        return outputs


def test_a_painting_outlives_its_answer_and_the_answers_cancel() -> None:
    async def body(worker: Worker) -> None:
        assert worker.abilities == Painter.abilities
        kinds = [type(output) for output in await collect(worker, request("1", "20 words"))]
        assert kinds.index(Finished) < kinds.index(PictureDone) == len(kinds) - 1
        kinds = []
        async for output in worker.respond(request("2", "20 forever")):
            kinds.append(type(output))
            if isinstance(output, TextDelta):
                worker.cancel("2")
        assert kinds.count(Finished) == 1 and kinds[-1] is PictureDone

    run(body, Painter)


def test_a_painting_is_cancelled_by_itself_or_ends_with_its_process() -> None:
    async def paint(worker: Worker, name: str, disturb: Callable[[], None]) -> list[Output]:
        outputs: list[Output] = []
        async with asyncio.timeout(60):
            async for output in worker.respond(request(name, "0 words")):
                outputs.append(output)
                if isinstance(output, Finished):
                    disturb()
        assert not any(isinstance(output, Failed) for output in outputs)
        return outputs

    async def body(worker: Worker) -> None:
        worker.cancel_attachment("att_unknown")
        last = (await paint(worker, "1", lambda: worker.cancel_attachment("att_1")))[-1]
        assert isinstance(last, AttachmentFailed) and last.code == "cancelled"
        last = (await paint(worker, "2", lambda: os.kill(worker.pid or 0, signal.SIGKILL)))[-1]
        assert isinstance(last, AttachmentFailed) and last.code == "worker_restarted"

    run(body, Painter)
