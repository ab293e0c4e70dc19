"""Requests of a trace: when they arrived, how long they were, and which prefixes they share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from costmodels.errors import Fault, InputError
from costmodels.table import text_of
from costmodels.trace_rows import AZURE, BLOCK_TOKENS, BURSTGPT, Row, RowFormat, read_rows
from solver.traffic.repair import repaired
from solver.traffic.scale import check_scale, scaled
from solver.traffic.times import iso_text
from solver.traffic.when import times_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_REQUESTS = 10**7
MOST_FAULTS = 20


@dataclass(frozen=True, eq=False)
class Requests:
    """
    Requests in the order of their arrival.

    Parameters
    ----------
    name
        What to call them in reports.
    arrival_s
        Arrivals in seconds since the first, ascending from 0.
    isl, osl
        Input and output tokens, each at least 1.
    blocks
        Per request the ids of the blocks of its prompt, the first block first; None where the trace has none.
    tokens_per_block
        Prompt tokens of a block; 0 without blocks.
    start
        ISO 8601 time of the first arrival; None where the trace counts from 0.
    notes
        What was repaired, left out, or is to be known; a line each.
    """

    name: str
    arrival_s: NDArray[np.float64]
    isl: NDArray[np.int64]
    osl: NDArray[np.int64]
    blocks: tuple[tuple[int, ...], ...] | None = None
    tokens_per_block: int = 0
    start: str | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many requests."""
        return len(self.arrival_s)

    @property
    def duration_s(self) -> float:
        """Seconds from the first to the last arrival."""
        return float(self.arrival_s[-1])


def read_requests(
    path: Path | str,
    *,
    form: RowFormat | None = None,
    rate_scale: Fraction = Fraction(1),
    time_scale: Fraction = Fraction(1),
    seed: int = 0,
) -> Requests:
    """
    Reads a trace (:mod:`costmodels.trace_rows`), plain or gzip.

    Repaired, and noted, is what is certain: requests out of order are sorted, offsets of time zones are converted to
    UTC, failed requests of ``burstgpt`` are left out. Noted only: equal times, and gaps.

    Parameters
    ----------
    path
        The file.
    form
        Its format; None: told from its first line.
    rate_scale
        So many times the requests in the same time (:func:`solver.traffic.scale.scaled`).
    time_scale
        Times are multiplied by this: 1/2 makes a trace of an hour one of half an hour, of twice the rate.
    seed
        Of the random choices of ``rate_scale``.

    Raises
    ------
    InputError
        When the file cannot be read, has no request, or a line of it is wrong; at most 20 faults are listed.
    """
    path = Path(path)
    faults = [*check_scale("--rate-scale", rate_scale), *check_scale("--time-scale", time_scale)]
    if faults:
        raise InputError(faults)
    text = text_of(path)
    form = form or form_of(path, text)
    rows = list(read_rows(path, form, text, faults))
    failed = [row.line for row in rows if row.osl == 0]
    rows = [row for row in rows if row.osl]
    faults += _wrong_blocks(path, rows)
    times = times_of(path, form, rows, faults)
    if not faults and not rows:
        faults.append(Fault(str(path), f"holds no request; expected one a line, in the format {form}"))
    if not faults and len(rows) > MOST_REQUESTS:
        faults.append(Fault(str(path), f"holds {len(rows)} requests, at most {MOST_REQUESTS}; take a part of it"))
    if faults:
        raise InputError(shortened(str(path), faults))
    order, notes = repaired(times, [row.line for row in rows])
    if failed:
        notes.insert(0, f"{len(failed)} failed requests (no response tokens) left out, the first in line {failed[0]}")
    requests = _requests(path, [rows[i] for i in order], [times.ns[i] for i in order], (*times.notes, *notes))
    if times.is_dated:
        start = iso_text(times.ns[order[0]], times.has_offset)
        requests = replace(requests, start=start)
    return scaled(requests, rate_scale, time_scale, seed)


def _requests(path: Path, rows: list[Row], ns: list[int], notes: tuple[str, ...]) -> Requests:
    import numpy as np

    since = np.array([each - ns[0] for each in ns], dtype=np.int64)
    has_blocks = all(row.blocks is not None for row in rows)
    return Requests(
        name=path.name.removesuffix(".gz").rsplit(".", 1)[0].removesuffix("-requests"),
        arrival_s=since / 1e9,
        isl=np.array([row.isl for row in rows], dtype=np.int64),
        osl=np.array([row.osl for row in rows], dtype=np.int64),
        blocks=tuple(row.blocks or () for row in rows) if has_blocks else None,
        tokens_per_block=BLOCK_TOKENS if has_blocks else 0,
        notes=notes,
    )


def form_of(path: Path, text: str) -> RowFormat:
    """
    The format of a trace, told from its first line.

    Raises
    ------
    InputError
        When it is none of them.
    """
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    columns = tuple(first.split(","))
    if first.startswith("{"):
        return "mooncake"
    if columns == AZURE:
        return "azure"
    if set(BURSTGPT) <= set(columns):
        return "burstgpt"
    known = f"{', '.join(get_args(RowFormat))} (docs/traces.md describes them)"
    other = {"isl": "lengths without times of arrival", "start_s": "rates per period", "time": "rates per period"}
    there = other.get(columns[0], "no known trace")
    what = "the file is empty" if not first else f"{there}: the first line is {first[:80]!r}"
    raise InputError([Fault(f"{path}:1", f"{what}; expected requests with times, in one of the formats {known}")])


def shortened(where: str, faults: list[Fault], most: int = MOST_FAULTS) -> list[Fault]:
    """The first faults, and how many more there are."""
    if len(faults) <= most:
        return faults
    return [*faults[:most], Fault(where, f"and {len(faults) - most} more faults of this kind")]


def _wrong_blocks(path: Path, rows: list[Row]) -> list[Fault]:
    faults = []
    for row in rows:
        if row.blocks is not None and len(row.blocks) > -(-row.isl // BLOCK_TOKENS):
            words = f"{len(row.blocks)} blocks of {BLOCK_TOKENS} tokens are more than {row.isl} tokens fill"
            faults.append(Fault(f"{path}:{row.line} hash_ids", words))
    without = [row.line for row in rows if row.blocks is None]
    if without and len(without) < len(rows):
        words = f"no blocks, as in {len(without) - 1} other lines, while the other requests have them; give all or none"
        faults.append(Fault(f"{path}:{without[0]} hash_ids", words))
    return faults
