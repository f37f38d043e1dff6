"""A server that speaks the part of the hub's protocol that is asked for: model info, HEAD and GET of files, ranges of bytes."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


@contextmanager
def serving(folder: Path, *, gated: bool = False, delay: float = 0.0) -> Iterator[tuple[str, list[str]]]:
    """Serves ``folder/org/name`` as models. Gives the address and the requests that were made."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Tests are quiet."""

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('range', '')}".strip())
            time.sleep(delay)
            path = self.path.partition("?")[0]
            if info := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
                model = folder / info[1]
                if not model.is_dir():
                    return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
                if info[2] not in (None, "main", COMMIT):
                    return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
                files = [{"rfilename": file.name, "size": file.stat().st_size, "blobId": "ab"} for file in sorted(model.iterdir())]
                return self._send(200, json.dumps({"id": info[1], "sha": COMMIT, "siblings": files}).encode(), {}, body)
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            if gated:
                return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body)
            file = folder / found[1] / found[3] if found else folder / "none"
            if not file.is_file():
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body)
            content, headers = file.read_bytes(), {"ETag": f'"{file.name}"', "X-Repo-Commit": COMMIT}
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", "")):
                return self._send(206, content[int(wanted[1]) : int(wanted[2]) + 1], headers, body)
            return self._send(200, content, headers, body)

        def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content)), "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                with suppress(BrokenPipeError):  # whoever asked has given up
                    self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
