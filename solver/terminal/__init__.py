"""
What commands share when they speak to a terminal or a machine: the only part of the solver that knows click and rich.

``speech.py``: lines, one JSON document, or nothing, and how a command fails; ``progress.py``: progress of long work;
``completion.py``: what a shell completes.
"""
