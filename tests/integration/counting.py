"""A vendor in threads of this process whose every answer says which one it is."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAITS = "wait"
"""In a question: its stream says its first words and waits until the other side hangs up."""

HELD = "held"
"""In a question: its answer waits until the test says `go`."""


class Counting(ThreadingHTTPServer):
    """Attributes: `last` is the number of the answer given last, `left` who hung up on it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.last = 0
        self.left = 0
        self.lock = threading.Lock()
        self.go = threading.Event()

    @property
    def tiers(self) -> str:
        """The config's lines for one tier at this vendor."""
        return (
            f'\n[[upstreams]]\nname = "v"\nkind = "openai"\napi_key = "k"\n'
            f'base_url = "http://127.0.0.1:{self.server_address[1]}/v1"\n\n'
            '[[tiers]]\nname = "small"\nmodel = "m"\nupstreams = ["v"]\n'
            "price_in_usd_per_mtok = 0.2\nprice_out_usd_per_mtok = 0.2\n"
        )


class _Handler(BaseHTTPRequestHandler):
    server: Counting

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's own name
        """Say nothing."""

    def do_POST(self) -> None:
        """One answer."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.last += 1
            text = f"Answer {self.server.last}."
        if asked.get("stream") and WAITS in asked["messages"][-1]["content"]:
            self._begin_and_wait(text)
            return
        if HELD in asked["messages"][-1]["content"]:
            self.server.go.wait()
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        told = {"id": "v", "object": "chat.completion", "created": 1, "model": "m"}
        body = json.dumps({**told, "choices": [choice], "usage": usage}).encode()
        self._head("application/json", f"content-length: {len(body)}")
        self.wfile.write(body)

    def _begin_and_wait(self, text: str) -> None:
        self._head("text/event-stream", "connection: close")
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}}
        told = {"id": "v", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        self.wfile.write(b"data: " + json.dumps({**told, "choices": [choice]}).encode() + b"\n\n")
        with contextlib.suppress(ConnectionError):
            self.rfile.read(1)  # returns when the other side hangs up
        with self.server.lock:
            self.server.left += 1

    def _head(self, kind: str, line: str) -> None:
        self.wfile.write(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{line}\r\n\r\n".encode())


@contextlib.contextmanager
def counting() -> Iterator[Counting]:
    """One that answers."""
    with Counting() as vendor:
        thread = threading.Thread(target=vendor.serve_forever)
        thread.start()
        try:
            yield vendor
        finally:
            vendor.go.set()
            vendor.shutdown()
            thread.join()
