"""Answer chat completions on a loopback port by the model's name; each case has an address of its own."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from compat.case import ByText, Case, InTurn
from served import served

REFUSED = 400  # what the model `bad` answers: never tried again


class Answering(ThreadingHTTPServer):
    """A server for many cases at once.

    Attributes:
        requests: bodies by case, in the order of their coming.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.requests: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._answers: dict[str, Mapping[str, Any]] = {}
        self._asked: dict[tuple[str, str], int] = defaultdict(int)
        self._lock = threading.Lock()

    def serve(self, case: Case, place: str) -> str:
        """Give the base URL under which the models of a case answer; `place` tells this run of it from others."""
        self._answers[place] = case.answers
        return f"http://127.0.0.1:{self.server_port}/{place}/v1"

    def answer(self, place: str, body: dict[str, Any]) -> Any:
        """Keep a request, and give what is answered."""
        model = str(body.get("model"))
        with self._lock:
            self.requests[place].append(body)
            count = self._asked[place, model]
            self._asked[place, model] += 1
        answer = self._answers[place].get(model, REFUSED if model == "bad" else f"answer of {model}")
        if isinstance(answer, InTurn):
            answer = answer.answers[min(count, len(answer.answers) - 1)]
        if isinstance(answer, ByText):
            text = str(body["messages"][-1]["content"])
            answer = next((said for needle, said in answer.answers.items() if needle in text), "nothing fits")
        return answer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client may leave a connection as it likes."""


class _Conversation(BaseHTTPRequestHandler):
    server: Answering
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one piece: two would wait for each other's acknowledgement

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = self.server.answer(self.path.split("/")[1], body)
        if isinstance(answer, int) and not isinstance(answer, bool) and answer >= REFUSED:
            self._send(answer, {"error": {"message": "refused", "type": "scripted", "code": str(answer)}})
            return
        text = answer if isinstance(answer, str) else json.dumps(answer)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": body.get("model")}
        self._send(200, {**head, "choices": [choice], "usage": usage})

    def _send(self, status: int, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def answering() -> Iterator[Answering]:
    """Serve in a thread, until the block is left."""
    with served(Answering()) as server:
        yield server
