"""The statistics of a trace as lines, and as rates for other commands."""

from __future__ import annotations

from solver.report import number
from solver.traffic.statistics import Lengths, Statistics
from solver.traffic.times import seconds_text


def lines(found: Statistics) -> list[str]:
    """What a planner reads, one fact a line."""
    requests, rate = found.requests, found.requests_per_s
    start = f", from {requests.start}" if requests.start else ""
    per_s = "" if rate is None else f", {number(rate)} requests/s"
    told = [f"{requests.name}: {len(requests):,} requests in {number(requests.duration_s)} s{start}{per_s}"]
    told += [f"  note: {note}" for note in requests.notes]
    told += [
        "",
        f"  tokens {'mean':>10} {'sd':>9} {'least':>7} {'P50':>7} {'P90':>7} {'P95':>7} {'P99':>7} {'most':>8}",
    ]
    told += [_side("ISL", found.isl), _side("OSL", found.osl)]
    if found.correlation is not None:
        told.append(f"  correlation of ISL and OSL: {found.correlation:.2f}")
    told += ["", *_bursts(found), "", *_rates(found)]
    if found.prefixes is not None:
        prefixes = found.prefixes
        told.append(
            f"prefixes: {prefixes.share:.1%} of the prompt tokens are in leading blocks that came before "
            f"({prefixes.different:,} different of {prefixes.blocks:,} blocks of {requests.tokens_per_block} tokens): "
            f"what a cache that never forgets would find"
        )
    return told


def _side(name: str, side: Lengths) -> str:
    cuts = f"{side.least:>7,} {side.p50:>7,} {side.p90:>7,} {side.p95:>7,} {side.p99:>7,} {side.most:>8,}"
    return f"  {name:<6} {side.mean:>10,.1f} {side.sd:>9,.1f} {cuts}"


def _bursts(found: Statistics) -> list[str]:
    told = []
    if found.gaps_scv is not None:
        told.append(f"gaps between arrivals: squared coefficient of variation {found.gaps_scv:.3g} (Poisson: 1)")
    if found.dispersion:
        each = ", ".join(f"{seconds_text(window)}: {value:.3g}" for window, value in found.dispersion.items())
        told.append(f"index of dispersion of counts (Poisson: 1 at every window): {each}")
    return told or ["burstiness: too few requests to tell"]


def _rates(found: Statistics) -> list[str]:
    rates, period = [float(rate) for rate in found.rates], seconds_text(found.period_s)
    least, most = min(rates), max(rates)
    head = f"rate by periods of {period}: {len(rates)} periods, least {least:.4g}, most {most:.4g} requests/s"
    return [f"{head}, peak/mean {found.peak_to_mean:.3g}", f"  {found.last}", f"  {_sparkline(rates)}"]


def _sparkline(values: list[float], most: int = 96) -> str:
    """Rates as bars of eighths, at most so many; of more, the mean of neighbours."""
    width = -(-len(values) // most)
    means = [sum(part) / len(part) for part in (values[i : i + width] for i in range(0, len(values), width))]
    top = max(means) or 1.0
    return "".join(" ▁▂▃▄▅▆▇█"[round(8 * value / top)] for value in means)
