"""Bytes in, sealed bytes out, and the other way round for whoever has the key: AES-256-GCM.

What is sealed is bound to its place (`bound_to`): a sealed answer that is moved to another row, or
a record to another file, does not open. Nonces are drawn at random, which is safe for 2**32 of them
under one key: at a hundred a second, more than a year; then give a new key.
Source: NIST SP 800-38D, section 8.3.
"""

from __future__ import annotations

import binascii
import hashlib
import os
from base64 import b64decode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
"""Source: NIST SP 800-38D: AES-256, and the length of nonce that GCM takes as it is."""


class AesGcm:
    """One key, ready for use.

    Attributes:
        mark: 31 bits that tell this key from another and nothing else of it; never 0.
    """

    def __init__(self, key: str) -> None:
        """`key` is 32 bytes, as 64 hex digits or as base64.

        Raises:
            ValueError: It is something else; what it is is not said.
        """
        raw = _parsed(key)
        self._aead = AESGCM(raw)
        told = hashlib.blake2b(raw, digest_size=4, person=b"sidecar-key-mark").digest()
        self.mark: Final = int.from_bytes(told, "big") >> 1 or 1

    def seal(self, data: bytes, bound_to: bytes) -> bytes:
        """`data`, sealed for that place."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data, bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes | None:
        """What was sealed; None if it was not, or with another key, or for another place."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
        except (InvalidTag, ValueError):
            return None


def cipher_of(key: str) -> AesGcm | None:
    """The cipher for a config's key; None for an empty one.

    Raises:
        ValueError: It is no key.
    """
    return AesGcm(key) if key else None


def _parsed(key: str) -> bytes:
    for decoded in (bytes.fromhex, lambda told: b64decode(told, validate=True)):
        try:
            raw: bytes = decoded(key)
        except (ValueError, binascii.Error):
            continue
        if len(raw) == KEY_BYTES:
            return raw
    raise ValueError(f"key must be {KEY_BYTES} bytes, as hex or base64")
