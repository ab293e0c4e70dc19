"""What a user types for a schedule: numbers, read exactly, and files, checked."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from costmodels.errors import Fault, InputError
from solver.read import read_instance, read_json
from solver.scheduling.demand import read_demand
from solver.scheduling.rules import read_rules
from solver.scheduling.schedule import Schedule, schedule


def scheduled(
    instance: Path,
    *,
    trace: Path | None,
    rates: Path | None,
    period: str | None,
    rate_scale: str,
    time_scale: str,
    rules: Path | None,
    objective: Any,
    shortfall_price: str | None,
    current: Path | None,
    max_changes: int | None,
    time_limit: float,
    gap: float,
) -> Schedule:
    """
    The schedule that the arguments of the command ask for.

    Raises
    ------
    InputError
        When an argument or a file has faults.
    """
    from solver.traffic.times import seconds_of

    scales = [number_of(rate_scale, "--rate-scale"), number_of(time_scale, "--time-scale")]
    price = None if shortfall_price is None else number_of(shortfall_price, "--shortfall-price")
    period_s = None if period is None else seconds_of(period, "--period")
    given = None if rules is None else read_rules(rules)
    before = None if current is None else read_json(current)
    read = read_instance(instance)
    demand = read_demand(read, trace, rates, period_s, *scales)
    return schedule(
        read,
        demand,
        kind=objective,
        rules=given,
        shortfall_price=price,
        current=before,
        max_changes=max_changes,
        time_limit_s=time_limit,
        gap=gap,
        folder=instance.parent,
    )


def number_of(text: str, option: str) -> Fraction:
    """
    A number, exactly.

    Raises
    ------
    InputError
        When it is none.
    """
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InputError([Fault(option, f"got {text}, must be a number such as 12.5 or 1/3")]) from None
