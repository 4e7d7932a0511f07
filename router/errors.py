"""What can go wrong while deciding; the sidecar turns each into the default tier.

RouterError
├── ArtifactError            the artifact is missing, torn, of another make or another encoder
└── LadderError              the tiers do not make a ladder, or the artifact does not know them
"""

from __future__ import annotations


class RouterError(Exception):
    """Base of all faults of the router."""


class ArtifactError(RouterError):
    """The artifact is missing, torn, of another make or of another encoder."""


class LadderError(RouterError):
    """The tiers do not make a ladder, or the artifact does not know them."""
