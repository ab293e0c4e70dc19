"""
Sweeps: a grid of instances, one exact frontier a cell, on this machine or on a cluster.

The walk of one cell:

| step | file | from | to |
|---|---|---|---|
| read | ``grid.py``, ``axes.py`` | grid file | ``Grid``: base instance and ``Axis``es, or all faults at once |
| prepare | ``cells.py`` | cell number | ``Task``: instance, contents of its tables by hash, and the key of all that |
| skip | ``journal.py`` | key | nothing is done where the journal has a record of that key |
| send | ``local.py`` or ``cluster.py`` | ``Task`` | a process of this machine, or a worker of a Dask cluster |
| trace | ``worker.py`` | ``Task`` | record: status, points, messages, as JSON |
| keep | ``journal.py`` | record | a line, written before the next one |
| show | ``tables.py`` | records | ``frontiers.parquet`` and ``cells.parquet``, written whole |

``run.py`` is the walk; ``program.py`` says what a key is bound to.
"""
