"""All that a target needs to write its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from solver.manifests.engines import EngineName
from solver.manifests.headers import header
from solver.manifests.nodes import Layout
from solver.manifests.plan import Group, Plan
from solver.manifests.settings import Settings


@dataclass(frozen=True)
class Job:
    """
    An export.

    Parameters
    ----------
    plan
        What is served.
    settings
        What the user chose.
    engines
        Group name to engine.
    found
        Line name to layout.
    """

    plan: Plan
    settings: Settings
    engines: Mapping[str, EngineName]
    found: Mapping[str, Layout]

    def header(self, *groups: Group) -> list[str]:
        """The comment of a file about some groups, of all of them where none is given."""
        return header(self.plan, groups or self.plan.groups, self.engines, self.found)
