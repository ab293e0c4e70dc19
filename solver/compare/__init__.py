"""
Comparisons that others can run: ``python -m solver bench --compare``.

``backends.py`` times formulations and back ends; ``against.py`` compares with aiconfigurator on its own numbers:
``peer.py`` runs it in a process of its own and records what it priced and picked, ``table.py`` writes that as operating
curves, ``own_space.py`` searches the peer's space exactly, and the solver searches its own. ``run.py`` is the command.
"""
