"""A server that answers as the Hugging Face Hub does, as far as repositories are read and committed to."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Repository:
    """Commits of the main branch, and pull requests, each with the files that it has or adds."""

    private: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{}])
    messages: list[str] = field(default_factory=lambda: [""])
    pulls: list[dict[str, bytes]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        """Of the last commit."""
        return self.commits[-1]

    @property
    def sha(self) -> str:
        """Of the last commit."""
        return f"{len(self.commits):040x}"


class FakeHub:
    """Repositories by (kind, name); ``token`` is what may write."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.token = "hf_fake"
        self.url = ""
        self.before_commit: Any = None  # called when a commit comes

    def add(self, kind: str, name: str, files: dict[str, bytes] | None = None) -> Repository:
        """Makes a repository."""
        made = self.repositories[kind, name] = Repository(commits=[dict(files or {})])
        return made


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def do_GET(self) -> None:
        """Information, trees and files."""
        path = unquote(urlsplit(self.path).path)
        if found := re.fullmatch(r"/api/(\w+)s/([^/]+/[^/]+)(?:/revision/[^/]+)?", path):
            if (known := self._known(found[1], found[2])) is not None:
                siblings = [{"rfilename": name} for name in known.files]
                self._json({"id": found[2], "sha": known.sha, "siblings": siblings, "private": known.private})
        elif found := re.fullmatch(r"/api/(\w+)s/([^/]+/[^/]+)/tree/[^/]+/?(.*)", path):
            if (known := self._known(found[1], found[2])) is not None:
                self._json(self._tree(known, found[3]))
        elif found := re.fullmatch(r"/(?:(\w+)s/)?([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            if (known := self._known(found[1] or "model", found[2])) is not None:
                self._file(known, found[3])
        else:
            self._json({"error": path}, 404)

    do_HEAD = do_GET  # noqa: N815 - http.server calls it so

    def do_POST(self) -> None:
        """New repositories and commits."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        split = urlsplit(self.path)
        if split.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/(\w+)s/([^/]+/[^/]+)/paths-info/[^/]+", split.path):
            if (known := self._known(found[1], found[2])) is not None:
                wanted = parse_qs(body.decode()).get("paths", []) if body[:1] != b"{" else json.loads(body)["paths"]
                self._json([one for one in self._tree(known, "") if one["path"] in wanted])
        elif self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._json({"error": "Invalid credentials"}, 401)
        elif split.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.hub.add(asked.get("type", "model"), name).private = bool(
                asked.get("private") or asked.get("visibility") == "private"
            )
            self._json({"url": f"{self.hub.url}/datasets/{name}"})
        elif found := re.fullmatch(r"/api/(\w+)s/([^/]+/[^/]+)/preupload/[^/]+", split.path):
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(body)["files"]]  # fmt: skip
            self._json({"files": files})
        elif found := re.fullmatch(r"/api/(\w+)s/([^/]+/[^/]+)/commit/[^/]+", split.path):
            if (known := self._known(found[1], found[2])) is not None:
                self._commit(known, found[1], found[2], body, pull="create_pr" in parse_qs(split.query))
        else:
            self._json({"error": split.path}, 404)

    def _commit(self, known: Repository, kind: str, name: str, body: bytes, *, pull: bool) -> None:
        if self.hub.before_commit is not None:
            self.hub.before_commit(known)
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, known.sha):
            self._json({"error": "A commit has happened since. Please refresh and try again."}, 412)
            return
        added = {line["value"]["path"]: base64.b64decode(line["value"]["content"])
                 for line in lines[1:] if line["key"] == "file"}  # fmt: skip
        page = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        answer = {"commitUrl": f"{page}/commit/{'f' * 40}", "commitOid": "f" * 40}
        if pull:
            known.pulls.append(added)
            answer["pullRequestUrl"] = f"{page}/discussions/{len(known.pulls)}"
        else:
            known.commits.append({**known.files, **added})
            known.messages.append(header["summary"])
        self._json(answer)

    def _known(self, kind: str, name: str) -> Repository | None:
        known = self.hub.repositories.get((kind, name))
        if known is None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        return known

    def _tree(self, known: Repository, below: str) -> list[dict[str, Any]]:
        inside = {name: data for name, data in known.files.items() if not below or name.startswith(f"{below}/")}
        folders = {name.rsplit("/", depth)[0] for name in inside for depth in range(1, name.count("/") + 1)}
        found: list[dict[str, Any]] = [
            {"type": "directory", "path": name, "size": 0, "oid": "0" * 40}
            for name in sorted(folders) if name != below and name.startswith(below)
        ]  # fmt: skip
        return found + [{"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                        for name, data in sorted(inside.items())]  # fmt: skip

    def _file(self, known: Repository, name: str) -> None:
        if name not in known.files:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        data = known.files[name]
        self._answer(200, data, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": known.sha})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


def _oid(data: bytes) -> str:
    """As Git names a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """A hub of one's own, without repositories."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
