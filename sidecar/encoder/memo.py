"""The vectors of the last texts, so that a text that is asked about again is not encoded again.

It comes again where its answer is not to be read (`no-cache`), has expired or was evicted, is being
refreshed, or where one field of the request differs. Texts are told apart within a scope, which is
the partition: a text that somebody else asked about is encoded all the same, so that nobody can
tell from a millisecond what was asked by others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Final, Protocol, TypeVar

from sidecar.encoder.encoding import Encoding

T = TypeVar("T")

MAX_REMEMBERED: Final = 1_024
"""Chosen: 2 kB each, so 2 MB."""


class Owner(Protocol):
    """See Batcher."""

    async def encode(self, text: str, then: Callable[[Encoding], T]) -> T:
        """Raises EncoderError."""
        ...

    async def run(self, work: Callable[[], T]) -> T:
        """Raises EncoderError."""
        ...


class Memo:
    """Stands before a Batcher. Lives on the event loop's thread."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._held: OrderedDict[bytes, Encoding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    async def encode(self, text: str, then: Callable[[Encoding], T], scope: bytes = b"") -> T:
        """As Batcher's; without a scope nothing is remembered.

        Raises:
            EncoderError: See Batcher.
        """
        if not scope:
            return await self._owner.encode(text, then)
        key = blake2b(text.encode(errors="surrogatepass"), key=scope, digest_size=20).digest()
        if (held := self._held.get(key)) is not None:
            self._held.move_to_end(key)
            return await self._owner.run(partial(then, held))
        encoded: list[Encoding] = []

        def noted(encoding: Encoding) -> T:
            encoded.append(encoding)
            return then(encoding)

        result = await self._owner.encode(text, noted)
        self._held[key] = replace(encoded[0], queue_ms=0.0, encode_ms=0.0)
        if len(self._held) > MAX_REMEMBERED:
            self._held.popitem(last=False)
        return result
