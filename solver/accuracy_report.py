"""How far the embedded cost model is from measurements: the evaluation, as text, as a document, and as carried data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import instances
from costmodels import known_errors, unseen
from costmodels.errors import Fault, InputError
from costmodels.errors_of import FLAGGED_ABOVE, Accuracy, RowPredictor, Source, Statistics, TablePredictor
from solver.files import write_whole

MEASURED = Path(known_errors.__file__).parent / "data" / "measured.csv.gz"
"""The carried measured rows."""
TITLES = {
    "tpot": "TPOT",
    "ttft": "TTFT",
    "prefill": "prefill latency",
    "decode": "decode latency",
    "colocated": "co-located TPOT",
}
UNSEEN = {
    "rows": "a third of rows",
    "models": "the model",
    "gpus": "the GPU",
    "nothing": "- (all seen)",
    "everything": "no fit at all",
}
_SOURCES: tuple[Source, ...] = ("measured", "curves")


def carried_tables() -> list[Path]:
    """The carried tables of operating curves."""
    return sorted((Path(instances.__file__).parent / "curves").glob("*.csv.gz"))


def evaluate(
    measured: Sequence[Path] = (),
    curves: Sequence[Path] = (),
    *,
    rows: RowPredictor | None = None,
    tables: TablePredictor | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> Accuracy:
    """
    Compares predictions with files; with the carried data where none is given.

    Parameters
    ----------
    measured
        Files of measured rows.
    curves
        Tables of operating curves.
    rows, tables
        The models; None: the embedded closed-loop model, and the embedded roofline.
    progress
        Called with the name of each file before it is read.

    Raises
    ------
    InputError
        With the faults of all files that are not in their format.
    """
    if not measured and not curves:
        measured, curves = [MEASURED], carried_tables()
    found, faults = Accuracy(), list[Fault]()
    for path in (*measured, *curves):
        progress(path.name)
        try:
            if path in measured:
                found.add_measured(path, rows or _closed_loop())
            else:
                found.add_table(path, tables or _roofline())
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return found


def _closed_loop() -> RowPredictor:
    from costmodels.closed_loop import predict

    return predict


def _roofline() -> TablePredictor:
    from costmodels.accuracy import table_predictions

    return table_predictions


def record(found: Accuracy | None = None) -> Path:
    """
    Writes the errors that results quote (``costmodels/data/known_errors.csv``) from an evaluation of the carried data.

    Parameters
    ----------
    found
        The evaluation; None: it is made.
    """
    write_whole(known_errors.FILE, known_errors.as_csv(found or evaluate()))
    return known_errors.FILE


def document(found: Accuracy) -> dict[str, Any]:
    """
    The evaluation as a JSON document; errors are shares (0.1 is 10 %).

    Returns
    -------
    dict
        ``pooled``: by quantity; ``groups``: by mode, model and GPU; ``groups_by_backend``: by model, GPU and serving
        engine; ``skipped``: rows that were not compared, with reasons; ``notes``: rows that were read otherwise than
        labelled; ``rows``: how many there are; ``unseen``: the record of fits that had not seen what they predict.
    """
    return {
        "format": "ratematch-accuracy",
        "version": 1,
        "unit": "share: 0.1 is 10 %",
        "rows": {source: _counts(found, source) for source in _SOURCES if found.total(source)},
        "pooled": _pooled(found),
        "groups": _groups(found, "mode", "model", "gpu"),
        "groups_by_backend": _groups(found, "model", "gpu", "backend"),
        "skipped": [asdict(one) for one in found.skipped],
        "notes": [{"text": text, "rows": rows} for text, rows in found.notes.most_common()],
        "unseen": [asdict(one) for one in unseen.recorded()],
    }


def _counts(found: Accuracy, source: Source) -> dict[str, Any]:
    usable, compared = found.usable(source), found.compared[source]
    share = compared / usable if usable else None
    return {"total": found.total(source), "usable": usable, "modelled": compared, "share_of_usable": share}


def _pooled(found: Accuracy) -> dict[str, Any]:
    by_group = found.grouped("model", "gpu", "backend")
    pooled = {}
    for quantity, statistics in found.pooled().items():
        groups = {key: group[quantity] for key, group in by_group.items() if quantity in group}
        worst = max(groups, key=lambda key: groups[key].median_ape)
        pooled[quantity] = {
            **_numbers(statistics),
            "groups": len(groups),
            "mean_of_group_medians": sum(one.median_ape for one in groups.values()) / len(groups),
            "mean_of_group_mapes": sum(one.mape for one in groups.values()) / len(groups),
            "mean_of_group_biases": sum(one.bias for one in groups.values()) / len(groups),
            "worst_group": {**dict(zip(("model", "gpu", "backend"), worst, strict=True)), **_numbers(groups[worst])},
        }
    return pooled


def _groups(found: Accuracy, *names: str) -> list[dict[str, Any]]:
    return [
        {
            **dict(zip(names, key, strict=True)),
            "flagged": any(statistics.is_flagged for statistics in group.values()),
            **{quantity: _numbers(statistics) for quantity, statistics in group.items()},
        }
        for key, group in found.grouped(*names).items()
    ]


def _numbers(statistics: Statistics) -> dict[str, Any]:
    return {**asdict(statistics), "flagged": statistics.is_flagged}


def lines(found: Accuracy) -> Iterator[str]:
    """The evaluation as text."""
    for source in _SOURCES:
        if found.total(source):
            yield _coverage(found, source)
    yield from _pooled_lines(found)
    for quantities in (("tpot", "ttft"), ("prefill", "decode", "colocated")):
        yield from _group_lines(found, quantities)
    if found.skipped:
        yield ""
        yield "not compared:"
        for text, rows in _merged(found):
            yield f"  {rows:>8,}  {text}"
    if found.notes:
        yield ""
        yield "read otherwise than labelled:"
        for text, rows in found.notes.most_common():
            yield f"  {rows:>8,}  measured: {text}"
    yield from _unseen_lines()


def _unseen_lines() -> Iterator[str]:
    """The record of fits that had not seen what they predict, groups together."""
    together = [one for one in unseen.recorded() if not one.model]
    if not together:
        return
    yield ""
    yield "the carried data predicted by fits that had not seen it, in %, as the calibration recorded it:"
    head = f"{'n':>9}{'median':>9}{'mean':>9}{'bias':>9}{'mean of group medians':>24}{'worst group':>13}"
    yield f"{'not seen':<18}{'':<24}{head}"
    for one in sorted(together, key=lambda one: (list(UNSEEN).index(one.left_out), one.quantity, one.kind)):
        figures = "".join(f"{100 * value:>9.1f}" for value in (one.median_ape, one.mape)) + f"{100 * one.bias:>+9.1f}"
        what = f"{TITLES[one.quantity]} {one.kind}"
        groups = f"{100 * one.group_mean:>24.1f}{100 * one.worst:>13.1f}"
        yield f"{UNSEEN[one.left_out]:<18}{what:<24}{one.n:>9,}{figures}{groups}"


def _coverage(found: Accuracy, source: Source) -> str:
    usable, compared, total = found.usable(source), found.compared[source], found.total(source)
    name = {"measured": "measured rows", "curves": "rows of operating curves"}[source]
    share = f" ({100 * compared / usable:.1f} %)" if usable else ""
    short = f"; {total - usable:,} more do not say all that is needed" if total > usable else ""
    return f"{name}: {compared:,} of {usable:,} usable ones modelled{share}{short}"


def _pooled_lines(found: Accuracy) -> Iterator[str]:
    pooled = _pooled(found)
    if not pooled:
        return
    yield ""
    yield (
        f"{'pooled, in %':<18}{'n':>9}{'median':>9}{'mean':>9}{'bias':>9}{'median bias':>13}"
        f"{'mean of group medians':>24}  worst group (model, GPU, serving engine)"
    )
    for quantity, one in pooled.items():
        worst = one["worst_group"]
        where = f"{100 * worst['median_ape']:.1f}  {worst['model']} {worst['gpu']} {worst['backend']} (n {worst['n']})"
        groups = f"{100 * one['mean_of_group_medians']:.1f} of {one['groups']:>2}"
        yield (
            f"{TITLES[quantity]:<18}{one['n']:>9,}{100 * one['median_ape']:>9.1f}{100 * one['mape']:>9.1f}"
            f"{100 * one['bias']:>+9.1f}{100 * one['median_bias']:>+13.1f}{groups:>24}  {where}"
        )


def _group_lines(found: Accuracy, quantities: tuple[str, ...]) -> Iterator[str]:
    """One line a (mode, model, GPU) that has any of the quantities."""
    groups = found.grouped("mode", "model", "gpu")
    chosen = {key: group for key, group in groups.items() if any(name in group for name in quantities)}
    shown = [name for name in quantities if any(name in group for group in chosen.values())]
    if not chosen:
        return
    width = 2 + max(len(model) for _, model, _ in chosen)
    yield ""
    yield f"{'':<{8 + width + 10}}" + "".join(f"{TITLES[name] + ', in %':>33}" for name in shown)
    head = "".join(f"{'n':>11}{'median':>7} {'mean':>7}{'bias':>7}" for _ in shown)
    yield f"{'mode':<8}{'model':<{width}}{'GPU':<10}{head}"
    for (mode, model, gpu), group in chosen.items():
        cells = "".join(_cell(group.get(name)) for name in shown)
        yield f"{mode:<8}{model:<{width}}{gpu:<10}{cells}"
    if any(group[name].is_flagged for group in chosen.values() for name in shown if name in group):
        yield f"! median above {100 * FLAGGED_ABOVE:.0f} %: do not rely on it"


def _cell(one: Statistics | None) -> str:
    if one is None:
        return f"{'-':>11}{'-':>7} {'-':>7}{'-':>7}"
    flag = "!" if one.is_flagged else " "
    return f"{one.n:>11,}{100 * one.median_ape:>7.1f}{flag}{100 * one.mape:>7.1f}{100 * one.bias:>+7.1f}"


def _merged(found: Accuracy) -> list[tuple[str, int]]:
    """Reasons over all files, most rows first."""
    rows: dict[str, int] = {}
    for one in found.skipped:
        text = f"{one.source}: {one.reason}"
        rows[text] = rows.get(text, 0) + one.rows
    return sorted(rows.items(), key=lambda item: (-item[1], item[0]))
