"""A newcomer's first minute: run `make run` in one shell and this in another.

Needs the `openai` package and nothing of this project; the sidecar is reached by its base URL.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping

import openai

QUESTIONS = (
    ("an answer", "What is 12 plus 7?"),
    ("the same again: an exact hit", "What is 12 plus 7?"),
    ("in other words: a semantic hit", "How much is twelve plus seven?"),
    ("a look-alike: never that hit", "How much is twelve plus eight?"),
    ("a harder one: an escalation", "Take 17, multiply by 6, subtract 9 and divide by 3."),
)
SHOWN = ("cache", "similarity", "tier", "escalations", "confidence", "cost-usd", "saved-usd")


def headers_told(headers: Mapping[str, str]) -> str:
    """The `x-sidecar-*` headers that are worth a newcomer's look."""
    told = {name: headers.get(f"x-sidecar-{name}") for name in SHOWN}
    return "  ".join(f"{name}={value}" for name, value in told.items() if value is not None)


def main() -> None:
    """Ask, and print what came back and what the headers say of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    args = parser.parse_args()
    client = openai.OpenAI(base_url=args.base_url, api_key="not-needed", max_retries=0)
    for title, question in QUESTIONS:
        begun_s = time.perf_counter()
        raw = client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": question}]
        )
        spent_ms = (time.perf_counter() - begun_s) * 1e3
        print(f"\n{title}\n  {question}\n  {raw.parse().choices[0].message.content}")
        print(f"  {spent_ms:.0f} ms  {headers_told(raw.headers)}")
    print("\na stream, relayed as it comes\n  ", end="")
    summary = None
    for chunk in client.chat.completions.create(
        model="large",
        messages=[{"role": "user", "content": "What is 15 percent of 240?"}],
        stream=True,
    ):
        print(chunk.choices[0].delta.content or "", end="", flush=True)
        summary = (chunk.model_extra or {}).get("sidecar", summary)
    print(f"\n  its last chunk's account: {summary}")


if __name__ == "__main__":
    main()
