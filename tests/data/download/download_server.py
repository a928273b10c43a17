"""A small HTTP server in a thread: answers ranges, or not, and breaks off where a test says so."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """``files`` by path; ``log`` of (path, Range); what it does wrong is set by the test.

    ``cuts`` and ``statuses`` are used up, one for each answer: bytes after which the connection is closed, and
    statuses without a file.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.log: list[tuple[str, str | None]] = []
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.redirects: dict[str, str] = {}
        self.etag: str | None = '"one"'
        self.ranges = True
        self.conditions = True
        self.content_range: str | None = None
        self.lengths = True

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, path, wanted = self.server, self.path.lstrip("/"), self.headers.get("Range")
        server.log.append((path, wanted))
        if server.statuses or (path not in server.files and path not in server.redirects):
            self.send_error(server.statuses.pop(0) if server.statuses else 404)
            return
        if path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[path])
            self.end_headers()
            return
        content, start = server.files[path], 0
        same = not server.conditions or self.headers.get("If-Range") in (None, server.etag)
        if wanted and server.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            part = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", server.content_range or part)
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.lengths:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = start + server.cuts.pop(0) if server.cuts else len(content)
        self.wfile.write(content[start:stop])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
