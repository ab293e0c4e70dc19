"""What the constant-P50 shortcut does to predicted rates, against the distribution that it stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from statistics import median

from costmodels.operating_curve import ROLES, CurveSet, OperatingCurve
from costmodels.traffic import Traffic


def shortcut_note(where: str, shortcut: CurveSet, full: CurveSet, constant: Traffic, distributed: Traffic) -> str:
    """
    One sentence: by how much the shortcut's rates are off, the median over engines that both have.

    Parameters
    ----------
    where
        Whose rates.
    shortcut, full
        The engines at the constant lengths, and at the distribution.
    constant, distributed
        Those lengths.
    """
    parts = []
    for role in ROLES:
        ratios = _ratios(shortcut.curves, full.curves, role)
        if ratios:
            requests = median(ratios)
            tokens = requests * float(constant.osl / distributed.osl)
            also = "" if role == "prefill" else f" and {tokens - 1:+.1%} output tokens/s"
            parts.append(f"{role} {requests - 1:+.1%} requests/s{also}")
    said = "; ".join(parts) or "no engine has rates for both"
    means = f"means {float(distributed.isl):.6g}/{float(distributed.osl):.6g}"
    lengths = f"constant P50 {constant.isl}/{constant.osl} in place of {distributed.description} ({means})"
    return f"{where}: {lengths}; this changes the predicted rates: {said} (medians over engines)"


def _ratios(shortcut: Iterable[OperatingCurve], full: Iterable[OperatingCurve], role: str) -> list[float]:
    """Rate with the shortcut over rate with the distribution, at up to three batches of each engine."""
    others = _of_role(full, role)
    ratios = []
    for key, curve in _of_role(shortcut, role).items():
        other = others.get(key)
        if other is not None:
            common = [batch for batch in curve.batch if curve.is_admissible(batch) and other.is_admissible(batch)]
            for batch in sorted({common[0], common[len(common) // 2], common[-1]}) if common else ():
                ratio: Fraction = curve.at(batch).requests_per_s / other.at(batch).requests_per_s
                ratios.append(float(ratio))
    return ratios


def _of_role(curves: Iterable[OperatingCurve], role: str) -> dict[tuple[object, ...], OperatingCurve]:
    """Curves by engine; the chunks of co-located engines follow the prompt, so they are numbered instead."""
    found: dict[tuple[object, ...], OperatingCurve] = {}
    number: Counter[tuple[object, ...]] = Counter()
    for curve in sorted(curves, key=lambda curve: curve.chunk_tokens):
        if curve.role == role:
            key = (curve.partition, curve.backend, curve.backend_version, curve.precision, curve.domain_gpus)
            found[*key, number[key]] = curve
            number[key] += 1
    return found
