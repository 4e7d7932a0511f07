"""Locust users on the demo stream: `locust -f loadtest/locustfile.py`, with a page or `--headless`.

Each answer is held against the right one; the table is printed when locust ends. This file is the
only one that imports locust, which patches the whole process; nothing else may import this file.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from locust import HttpUser, between, events, task

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # locust runs files, not packages

from loadtest.callers.answers import UNREACHED, Reply, read
from loadtest.questions.streams import Asked, StreamConfig, demo_stream
from loadtest.report import dump, write
from loadtest.tally import Outcome, tabulate

_SENDERS: Final = itertools.count()
_OUTCOMES: Final[list[Outcome]] = []
_STARTED: Final = {"at_s": 0.0}


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # locust skipped
def _add_arguments(parser: argparse.ArgumentParser) -> None:
    usual = StreamConfig()
    flags = parser.add_argument_group("demo stream")
    flags.add_argument("--seed", type=int, default=0, help="of the questions")
    flags.add_argument("--model", default="auto", help="auto, small, medium or large")
    flags.add_argument("--meanings", type=int, default=usual.meanings, help="popular questions")
    flags.add_argument("--exponent", type=float, default=usual.exponent, help="Zipf's exponent")
    flags.add_argument(
        "--new-share", type=float, default=usual.new_ratio, help="never asked before"
    )
    flags.add_argument(
        "--lookalike-share", type=float, default=usual.lookalike_ratio, help="another number or way"
    )
    flags.add_argument("--stream-share", type=float, default=usual.stream_ratio, help="as streams")
    flags.add_argument("--feedback-share", type=float, default=0.0, help="answers that are judged")
    flags.add_argument("--max-requests", type=int, default=100_000, help="stop after so many")
    flags.add_argument("--report-to", type=Path, default=None, help="write the whole report there")


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # as above
def _start(**_: Any) -> None:
    _OUTCOMES.clear()
    _STARTED["at_s"] = time.perf_counter()


@events.test_stop.add_listener  # type: ignore[untyped-decorator]  # as above
def _tell(environment: Any, **_: Any) -> None:
    report = tabulate(_OUTCOMES, time.perf_counter() - _STARTED["at_s"])
    write(report)
    if environment.parsed_options.report_to is not None:
        environment.parsed_options.report_to.write_text(dump(report))


class DemoUser(HttpUser):  # type: ignore[misc]  # as above
    """Somebody who asks one question after another, and now and then says how good the answer was.

    The host is the sidecar's root, without `/v1`.
    """

    host = "http://127.0.0.1:8080"
    # Chosen: short, so that a few users make a load; a person would take seconds.
    wait_time = between(0.0, 0.05)

    def on_start(self) -> None:
        """Begin this user's own order of the questions."""
        options = self.environment.parsed_options
        config = StreamConfig(
            meanings=options.meanings,
            exponent=options.exponent,
            new_ratio=options.new_share,
            lookalike_ratio=options.lookalike_share,
            stream_ratio=options.stream_share,
        )
        sender = next(_SENDERS)
        self._options = options
        self._rng = random.Random(f"feedback {options.seed}/{sender}")
        self._questions: Iterator[Asked] = demo_stream(options.seed, config, sender=sender)

    @task  # type: ignore[untyped-decorator]  # as above
    def ask(self) -> None:
        """One question, its answer checked."""
        asked = next(self._questions)
        if len(_OUTCOMES) >= self._options.max_requests:
            self.environment.runner.quit()
            return
        outcome = Outcome(asked=asked, reply=self._reply(asked))
        _OUTCOMES.append(outcome)
        if not outcome.is_error and self._rng.random() < self._options.feedback_share:
            told = {
                "request_id": outcome.reply.headers.get("x-sidecar-request-id", ""),
                "score": float(outcome.is_right),
                "correct_answer": asked.answer,
            }
            self.client.post("/v1/feedback", json=told, name="feedback")

    def _reply(self, asked: Asked) -> Reply:
        body: dict[str, Any] = {
            "model": self._options.model,
            "messages": [{"role": "user", "content": asked.text}],
        }
        if asked.is_stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        started = time.perf_counter()
        name = "chat, stream" if asked.is_stream else "chat"
        with self.client.post(
            "/v1/chat/completions", json=body, name=name, stream=True, catch_response=True
        ) as response:
            if not response.status_code:
                return Reply(status=UNREACHED, latency_ms=_since_ms(started))
            received, first_ms = b"", 0.0
            for piece in response.iter_content(None):
                first_ms = first_ms or _since_ms(started)
                received += piece
            reply = read(
                response.status_code,
                response.headers,
                received,
                latency_ms=_since_ms(started),
                first_ms=first_ms,
            )
            if not reply.is_whole:
                response.failure(f"no whole answer: {reply.status}")
            return reply


def _since_ms(started: float) -> float:
    return 1_000 * (time.perf_counter() - started)
