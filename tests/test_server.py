"""Starting, and why it may fail: one sentence, and an exit status that says so."""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import server
from configuration import parse

ROOT = Path(server.__file__).parent


def failure(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert server.main([*flags]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("Tertulia cannot start: ") and said.err.count("\n") == 1
    return said.err


def test_a_configuration_that_is_not_there(capsys):
    assert "nowhere.toml: No such file" in failure(capsys, "--config", "nowhere.toml")


def test_a_key_that_does_not_exist(capsys, tmp_path):
    (tmp_path / "c.toml").write_text("[server]\nprot = 80\n")
    assert "'prot'" in failure(capsys, "--config", str(tmp_path / "c.toml"))


def test_a_port_that_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        said = failure(capsys, "--port", port)
    assert port in said and "in use" in said and "--port" in said


@pytest.mark.parametrize("flags", [("--port", "70000"), ("--host", "no.such.host.invalid")])
def test_an_address_that_is_none(capsys, flags):
    assert flags[0] in failure(capsys, *flags)


@pytest.mark.slow  # another process imports torch
def test_weights_with_a_flipped_bit(capsys, tmp_path):
    from assistant.checkpoints import MODEL_SET

    for name in MODEL_SET:
        (tmp_path / name).write_bytes(b"\x00" * 64)
    digest = hashlib.sha256(b"\x00" * 64).hexdigest()
    (tmp_path / "MANIFEST").write_text("".join(f"{digest}  {name}\n" for name in MODEL_SET))
    (tmp_path / "llama.safetensors").write_bytes(b"\x00" * 63 + b"\x01")
    (tmp_path / "c.toml").write_text(f'[model]\ndirectory = "{tmp_path}"\n[server]\nport = 0\n')
    said = failure(capsys, "--config", str(tmp_path / "c.toml"))
    assert "llama.safetensors is damaged" in said


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_server_that_is_ended_while_it_starts_leaves_no_process_behind(number, status):
    command = [sys.executable, "-m", "tests.never_ready", "--port", "0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs do not hear it
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        said = process.stdout.readline()
        assert said.startswith("loading in ")
        worker = int(said.split()[-1])
        assert lives(worker)
        process.send_signal(number)
        assert process.wait(60) == status
        deadline = time.monotonic() + 60
        while lives(worker):
            assert time.monotonic() < deadline, "the inference process stays behind"
            time.sleep(0.05)
        assert process.stderr.read() == ""


def lives(pid: int) -> bool:
    """Whether there is such a process, and more of it than its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_web_process_has_no_torch():
    code = "import sys, server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_bounds_on_pictures_and_music_come_from_the_configuration():
    bounds = {"max_picture_bytes": 2000, "max_picture_pixels": 20_000, "max_music_bytes": 3000, "max_music_s": 7}
    files = {"max_bytes": 1 << 21, "max_files": 9, "max_at_once": 2, "lifetime_s": 5}
    camera = {"max_fps": 3, "picture_side": 99, "change_share": 0.5, "look_again_s": 8}
    configuration = parse({"server": bounds, "attachments": files, "camera": camera})
    limits, video = server._limits(configuration), server._session_settings(configuration, ("ada",)).video
    assert (limits.picture_bytes, limits.picture_pixels, limits.picture_side) == (2000, 20_000, 99)
    assert (limits.music_bytes, limits.music_s, limits.works) == (3000, 7, 2)
    assert (limits.attachment_bytes, limits.attachments, limits.attachment_s) == (1 << 21, 9, 5)
    assert video is not None and (video.max_fps, video.change_share, video.look_again_s) == (3, 0.5, 8)
