"""
One self-contained page: an instance's optimum, its frontier and what forced modes would give, drawn and explained.

``report.py`` solves and traces; ``payload.py`` turns that into numbers (``picked.py`` the points, ``packing.py`` the
domains, ``curves.py`` the operating curves); ``sections.py`` writes what needs no script; ``document.py`` joins them
with ``page.html``, ``page.css`` and the ``.js`` files, which draw. Nothing is loaded from anywhere.
"""
