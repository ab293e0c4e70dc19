"""Settings of the whole suite."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile("random" if os.environ.get("HYPOTHESIS_RANDOM") else "fixed")
"""The same examples on every machine; ``HYPOTHESIS_RANDOM=1`` draws new ones."""
