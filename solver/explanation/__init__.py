"""
Why an instance has no plan, what would change that, and why a plan is the best.

The walk stands in :func:`solver.explanation.explain.explain`: an instance becomes requirements that can be switched
off (``requirement.py`` and its kinds in ``latency.py``, ``traffic.py``, ``fleet.py``, ``spending.py``, ``rules.py``);
changed instances are judged exactly (``probe.py``). Infeasible: minimal clashing sets (``clashes.py``), then the
nearest changes (``changes.py``). Feasible: what binds, and what other modes and partitions give
(``counterfactuals.py``).
"""
