"""
Sets the oracle column of the recorded optima: ``python -m tests.oracles.record``.

The event sweep answers instances with one pool, one workload and objective throughput; plain enumeration answers the
tiny ones. An optimum is marked only where the oracle's value is exactly the recorded one.
"""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import instances
from tests.oracles import enumerate as enumeration
from tests.oracles import sweep
from tests.oracles.tables import read_case

OPTIMA = Path(instances.__file__).with_name("optima.csv")


def oracle_of(name: str) -> tuple[str, Fraction | None]:
    """The oracle that applies to a built-in instance, and its optimum; an empty name where none does."""
    facts = json.loads(instances.path(name).read_text())
    unlimited = any(pool["gpus"] == "unlimited" for pool in facts["pools"])
    source = facts.get("cost_model", {"kind": "roofline"})
    if source["kind"] != "curves" or isinstance(source["path"], list) or unlimited:
        return "", None
    if not all(isinstance(workload.get(side), int) for workload in facts["workloads"] for side in ("isl", "osl")):
        return "", None  # the oracles know constant lengths only
    instance, rows = read_case(instances.path(name))
    if source["path"].startswith("curves/tiny-") and sum(int(pool["gpus"]) for pool in instance["pools"]) <= 16:
        return "enumeration", enumeration.optimum(instance, rows)
    hybrid = instance.get("serving", {}).get("hybrid", False)
    if instance.get("objective", "throughput") != "throughput" or hybrid:
        return "", None
    try:
        points = sweep.frontier(instance, rows)
    except ValueError:
        return "", None
    gpus = sum(int(pool["gpus"]) for pool in instance["pools"])
    return "event sweep", max((value * gpus for _, value in points), default=None)


def main() -> None:
    """Marks every recorded optimum that an oracle confirms."""
    with OPTIMA.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        fields, rows = list(reader.fieldnames or []), list(reader)
    for row in rows:
        oracle, value = oracle_of(row["name"])
        recorded = Fraction(row["exact_objective"]) if row["exact_objective"] else None
        if oracle and value != recorded:
            raise SystemExit(f"{row['name']}: recorded {recorded}, the {oracle} says {value}")
        row["oracle"] = oracle
        print(f"{row['name']:<40}{oracle}")
    with OPTIMA.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
