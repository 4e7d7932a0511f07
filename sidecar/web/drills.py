"""Who may have a fault on purpose: a request's headers in, its drill out, or the refusal."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping

from sidecar.errors import DrillRefused
from sidecar.replicas.drill import Drill


class Drills:
    """Holds the operator's token. Without one nobody may."""

    def __init__(self, token: str, logger: logging.Logger) -> None:
        self._token = token
        self._logger = logger

    def find(self, headers: Mapping[str, str], request_id: str) -> Drill | None:
        """The drill that `x-sidecar-drill` asks for; None if it asks for none.

        Raises:
            DrillRefused: `x-sidecar-drill-token` is not the operator's.
            MalformedRequest: There is no such drill.
        """
        told = headers.get("x-sidecar-drill", "")
        if not told:
            return None
        # Bytes that are no UTF-8 reach us as surrogates, which plain `encode` refuses.
        token = headers.get("x-sidecar-drill-token", "").encode(errors="surrogateescape")
        if not self._token or not hmac.compare_digest(token, self._token.encode()):
            raise DrillRefused("a drill needs the operator's token in x-sidecar-drill-token")
        drill = Drill.parse(told)
        facts = {"request_id": request_id, "drill": drill.kind, "upstream": drill.upstream}
        self._logger.warning("drill", extra={"facts": facts})
        return drill
