"""
Plans through the day: how many replicas of which engine serve in every period, and what the changes cost.

``schedule.py`` is the walk; ``model.py`` the mathematics, ``bound.py`` and ``branch.py`` the proof, ``lives.py`` and
``domains.py`` the placement, ``policies.py`` what others would do.
"""
