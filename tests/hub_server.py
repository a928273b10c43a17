"""A stand-in for the Hugging Face Hub on this machine: what it takes to share a run and to read one."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_writer"
LARGE = ".safetensors"  # goes the way of large files


@dataclass
class Hub:
    """Repositories by name, each a list of commits, each of those files by name."""

    address: str = ""
    commits: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)

    def revision(self, repository: str, name: str) -> str | None:
        """The commit that a revision names: ``main`` or a commit."""
        known = [commit_id(repository, number) for number in range(len(self.commits[repository]))]
        return known[-1] if name == "main" and known else name if name in known else None

    def file(self, repository: str, commit: str, name: str) -> bytes | None:
        """A file's content."""
        known = [commit_id(repository, number) for number in range(len(self.commits[repository]))]
        return self.commits[repository][known.index(commit)].get(name)


def commit_id(repository: str, number: int) -> str:
    return hashlib.sha1(f"{repository} {number}".encode()).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve an empty hub."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/api/whoami-v2":
            return self._json({"name": "someone"}) if self._may_write() else self._error(401, "")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._about(match[1], match[2] or "main")
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(*match.groups())
        return self._error(404, "")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = unquote(urlsplit(self.path).path)
        if not self._may_write():
            return self._error(403, "")
        if path == "/api/validate-yaml":  # of the card's header
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            files = [{"path": n, "uploadMode": modes[n.endswith(LARGE)], "shouldIgnore": False} for n in names]
            return self._json({"files": files})
        if path.endswith(".git/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            upload = [
                {**each, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{each['oid']}"}}} for each in wanted
            ]
            return self._json({"transfer": "basic", "objects": upload})
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            return self._commit(match[1], [json.loads(line) for line in body.splitlines()])
        return self._error(404, "")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.objects[hashlib.sha256(content).hexdigest()] = content
        self._json({})

    def _create(self, wanted: dict) -> None:
        repository = f"{wanted.get('organization') or 'someone'}/{wanted['name']}"
        if repository.startswith("others/"):
            return self._error(403, "")
        self.hub.commits.setdefault(repository, [{}])
        if wanted.get("private") or wanted.get("visibility") == "private":
            self.hub.private.add(repository)
        self._json({"url": f"{self.hub.address}/{repository}", "name": repository, "id": repository})

    def _upload(self, wanted: dict) -> dict:
        return wanted | {"actions": {"upload": {"href": f"{self.hub.address}/lfs/{wanted['oid']}"}}}

    def _commit(self, repository: str, lines: list[dict]) -> None:
        files = dict(self.hub.commits[repository][-1])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        self.hub.commits[repository].append(files)
        commit = self.hub.revision(repository, "main")
        self._json(
            {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.address}/{repository}/commit/{commit}"}
        )

    def _about(self, repository: str, revision: str) -> None:
        if not self._may_read(repository):
            return self._error(401, "RepoNotFound")
        commit = self.hub.revision(repository, revision)
        if commit is None:
            return self._error(404, "RevisionNotFound")
        return self._json({"id": repository, "sha": commit, "tags": [], "siblings": []})

    def _resolve(self, repository: str, revision: str, name: str) -> None:
        if not self._may_read(repository):
            return self._error(401, "RepoNotFound")
        commit = self.hub.revision(repository, revision)
        content = None if commit is None else self.hub.file(repository, commit, name)
        if commit is None or content is None:
            return self._error(404, "RevisionNotFound" if commit is None else "EntryNotFound", commit)
        return self._send(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit})

    def _may_write(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def _may_read(self, repository: str) -> bool:
        return repository in self.hub.commits and (repository not in self.hub.private or self._may_write())

    def _json(self, content: dict) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, commit: str | None = None) -> None:
        headers = {"X-Error-Code": code} if code else {}
        self._send(status, b"{}", headers | ({"X-Repo-Commit": commit} if commit else {}))

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
