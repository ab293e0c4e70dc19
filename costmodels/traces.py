"""
Readers of request traces: what lengths requests had. Times and prefixes in a trace are not used.

* ``azure``, ``mooncake``, ``burstgpt``: a row a request (:mod:`costmodels.trace_rows`);
* ``histogram``: CSV ``isl,osl,requests``, the way a trace is carried in a small file.

Each may be compressed with gzip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from costmodels.errors import Fault, InputError
from costmodels.lengths import MOST_CLASSES, of_requests, within
from costmodels.table import text_of
from costmodels.trace_rows import RowFormat, counts_of, csv_rows, read_rows
from costmodels.traffic import Traffic

Format = Literal["azure", "mooncake", "burstgpt", "histogram"]
FORMATS: tuple[Format, ...] = ("azure", "mooncake", "burstgpt", "histogram")
HISTOGRAM = ("isl", "osl", "requests")
MOST_REQUESTS = 10**7
MOST_FAULTS = 20

Request = tuple[int, int, int]
"""Input tokens, output tokens, how many requests."""
Limits = tuple[int | None, int | None]
"""Least and most tokens; None: no limit."""


def read_trace(
    path: Path, form: Format, isl: Limits = (None, None), osl: Limits = (None, None), whole: bool = False
) -> Traffic:
    """
    The lengths of the requests of a trace.

    Parameters
    ----------
    path
        The file, plain or gzip.
    form
        One of :data:`FORMATS`.
    isl, osl
        Lengths outside these limits count as the nearest of the two.
    whole
        Whether every different pair of lengths is a class, however many there are.

    Raises
    ------
    InputError
        When the file cannot be read, has no request, or a line of it is wrong; at most 20 faults are listed.
    """
    faults: list[Fault] = []
    requests: Counter[tuple[int, int]] = Counter()
    for prompt, answer, count in _READERS[form](path, text_of(path), faults):
        requests[within(prompt, *isl), within(answer, *osl)] += count
    if not faults and not requests:
        faults.append(Fault(str(path), f"holds no request; expected one a line, in the format {form}"))
    if not faults and requests.total() > MOST_REQUESTS:
        faults.append(Fault(str(path), f"holds {requests.total()} requests, at most {MOST_REQUESTS}; take a sample"))
    if len(faults) > MOST_FAULTS:
        faults = [*faults[:MOST_FAULTS], Fault(str(path), f"and {len(faults) - MOST_FAULTS} more faults of this kind")]
    if faults:
        raise InputError(faults)
    words = f"{form} trace {path.name}{_limits('ISL', isl)}{_limits('OSL', osl)}"
    return of_requests(requests, words, MOST_REQUESTS if whole else MOST_CLASSES)


def _limits(name: str, limits: Limits) -> str:
    least, most = limits
    low = "" if least is None else f", {name} at least {least}"
    return low + ("" if most is None else f", {name} at most {most}")


def _histogram(path: Path, text: str, faults: list[Fault]) -> Iterator[Request]:
    first: dict[tuple[int, int], int] = {}
    for line, cells in csv_rows(path, text, HISTOGRAM, faults):
        numbers = counts_of(f"{path}:{line}", tuple(zip(HISTOGRAM, cells, strict=True)), faults)
        if numbers:
            prompt, answer, count = numbers
            if first.setdefault((prompt, answer), line) != line:
                twice = f"same lengths as line {first[prompt, answer]}; keep one row"
                faults.append(Fault(f"{path}:{line} isl", twice))
            yield prompt, answer, count


def _lengths_of(form: RowFormat) -> Callable[[Path, str, list[Fault]], Iterator[Request]]:
    """The reader of a format with a row a request; failed requests are left out."""
    return lambda path, text, faults: ((row.isl, row.osl, 1) for row in read_rows(path, form, text, faults) if row.osl)


_READERS: dict[Format, Callable[[Path, str, list[Fault]], Iterator[Request]]] = {
    "azure": _lengths_of("azure"),
    "mooncake": _lengths_of("mooncake"),
    "burstgpt": _lengths_of("burstgpt"),
    "histogram": _histogram,
}
