"""The back ends that run here, one test each."""

from __future__ import annotations

import pytest

from solver.backends.base import Backend, Capability
from solver.backends.registry import available, backend


@pytest.fixture(params=[name for name, reason in available() if reason is None])
def any_backend(request: pytest.FixtureRequest) -> Backend:
    """Every back end that is available; ``test_registry`` looks at the others."""
    return backend(request.param)


def need(made: Backend, capability: Capability, reason: str) -> None:
    """Skips the test where the back end lacks a capability."""
    if capability not in made.capabilities:
        pytest.skip(f"{made.name} has no {capability!r}: {reason}")
