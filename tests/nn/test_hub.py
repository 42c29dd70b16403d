"""Every way in which the hub can say no, asked of a server that answers as the hub does."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sam_audio_bench.errors import Precondition
from sam_audio_bench.nn import hub as hub_module
from sam_audio_bench.nn.hub import Checkpoint, find_checkpoint

_ANSWERS = {
    "gated": (403, "GatedRepo"),
    "absent": (401, "RepoNotFound"),
    "unrevised": (404, "RevisionNotFound"),
    "empty": (404, "EntryNotFound"),
}


class _Hub(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        status, code = next(_ANSWERS[part] for part in self.path.split("/") if part in _ANSWERS)
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815 - http.server calls it so

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


_PROGRAM = """
import sys
from sam_audio_bench.errors import Precondition
from sam_audio_bench.nn.hub import find_checkpoint, find_dataset
try:
    if sys.argv[1].startswith("datasets/"):
        find_dataset("owner/" + sys.argv[1].removeprefix("datasets/"))
    else:
        print(find_checkpoint("sam-audio", repository=f"owner/{sys.argv[1]}").weights)
except Precondition as error:
    print(error)
print("torch" in sys.modules)
"""


def ask(repository: str, cache: Path, **environment: str) -> str:
    """In a process of its own, since huggingface_hub reads its environment when it is imported."""
    kept = {"PATH": "/usr/bin:/bin", "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
    command = [sys.executable, "-c", _PROGRAM, repository]
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=True, timeout=60)
    message, _, torch = done.stdout.strip().rpartition("\n")
    assert torch == "False"  # a message must not wait for torch
    return message


@pytest.mark.parametrize(
    ("repository", "says"),
    [
        ("gated", ["gated repository owner/gated", "accept its licence", "hf auth login"]),
        ("absent", ["no such repository", "hf auth login"]),
        ("unrevised", ["at revision main", "no such revision"]),
        ("empty", ["config.json of owner/empty", "no such file"]),
        ("datasets/gated", ["gated repository owner/gated", "/datasets/owner/gated, then log in"]),
        ("datasets/absent", ["data set owner/absent at revision main", "no such repository"]),
    ],
)
def test_refusals_say_what_to_do(hub: str, tmp_path: Path, repository: str, says: list[str]) -> None:
    message = ask(repository, tmp_path, HF_ENDPOINT=hub)
    assert all(words in message for words in says), message


def test_offline_is_told(tmp_path: Path) -> None:
    message = ask("gated", tmp_path, HF_HUB_OFFLINE="1")
    assert "neither in the cache nor a connection allowed" in message
    assert "folder of a copy" in message


def test_what_the_cache_holds_needs_no_hub(tmp_path: Path) -> None:
    """Official repositories have ``checkpoint.pt`` alone; nobody need be asked whether they have the other name."""
    folder = tmp_path / "hub" / "models--owner--cached"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc" / "config.json").write_text("{}")
    assert "checkpoint.pt of owner/cached" in ask("cached", tmp_path, HF_HUB_OFFLINE="1")
    weights = folder / "snapshots" / "abc" / "checkpoint.pt"
    weights.write_bytes(b"weights")
    assert ask("cached", tmp_path, HF_HUB_OFFLINE="1") == str(weights)


def test_a_proxy_that_does_not_answer_is_told(tmp_path: Path) -> None:
    message = ask("gated", tmp_path, HF_ENDPOINT="http://hub.invalid", http_proxy="http://127.0.0.1:9")
    assert "hub at http://hub.invalid in reach" in message


def test_a_name_that_is_looked_up_for_ever_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: held.wait() and [])
    monkeypatch.setattr(hub_module, "_PATIENCE_SECONDS", 0.05)
    assert not hub_module._accepts_connections("hub.invalid", 443)
    held.set()


def test_an_unreachable_hub_is_told(tmp_path: Path) -> None:
    message = ask("gated", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "hub at http://127.0.0.1:9 in reach" in message


def test_a_folder_without_a_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(Precondition, match=r"config\.json at .*, found none"):
        find_checkpoint(tmp_path)


def test_the_cache_names_files_by_their_digest(tmp_path: Path) -> None:
    """The hub's blobs are called by their SHA-256; a local file's is computed."""
    digest = "ab" * 32
    blob = tmp_path / digest
    blob.write_bytes(b"weights")
    link = tmp_path / "checkpoint.pt"
    link.symlink_to(blob)
    assert Checkpoint(folder=tmp_path, weights=link, repository="a/b", revision="c").sha256() == digest
    local = Checkpoint(folder=tmp_path, weights=link).sha256()
    assert local == hashlib.sha256(b"weights").hexdigest()
