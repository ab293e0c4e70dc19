"""The parts of a page that are text: the answer, why not, what binds, the proof, the instance, how to reproduce."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from solver import __version__
from solver.frontier import Frontier
from solver.frontier_points import proof_text
from solver.instance import Instance, Workload
from solver.page.markup import Markup, joined, section, table, tag, terms
from solver.page.report import Report
from solver.report import UNITS, cost_model_lines, number
from solver.result import Result, instance_hash
from solver.slack import slacks

WORDS = {
    "optimal": ("✓", "Optimal, and that is proved"),
    "feasible": ("~", "Feasible, not proved"),
    "infeasible": ("✗", "Infeasible, and that is proved"),
    "unknown": ("?", "Nothing found within the limits"),
}


def verdict(report: Report) -> Markup:
    """The answer in one line, or what the page is of."""
    result = report.result
    if result is None:
        found = report.frontier
        count = len(found.points) if found else 0
        return tag("p", f"{count} deployments, each proved optimal and verified exactly", class_="verdict")
    sign, words = WORDS[result.status]
    if result.feasibility.startswith("REFUTED"):
        sign, words = "✗", "Refuted by the verifier: our fault"
    mark = tag("span", tag("span", sign, aria_hidden="true"), f" {words}", class_=f"badge {result.status}")
    if result.objective is None:
        return tag("p", mark, class_="verdict")
    value = tag("strong", number(result.objective))
    return tag("p", mark, " ", value, f" {UNITS[result.instance.objective]}", class_="verdict")


def why_not(result: Result) -> Markup:
    """Why an instance is infeasible: what would have to change, each change alone, and what was dropped."""
    changes = [str(reason["text"]) for reason in result.reasons if "nearest" in reason]
    others = [str(reason["text"]) for reason in result.reasons if "nearest" not in reason]
    lead = "Each of these changes alone makes it feasible, at the nearest value that does:"
    parts = [tag("p", lead), tag("ul", *(tag("li", text) for text in changes), class_="reasons")] if changes else []
    parts += [tag("p", f"{text[0].upper()}{text[1:]}.") for text in others]
    if result.run.dropped:
        rows = [(f"{count:,}", reason) for reason, count in result.run.dropped.items()]
        parts += [
            tag("h3", "Operating points that were dropped"),
            table(("how many", "because"), rows, (0,), class_="narrow"),
        ]
    return section("Why there is no plan", "why", *parts)


def binding(result: Result) -> Markup:
    """The slack of each constraint family at the optimum, with a bar for what is used."""
    assert result.deployment is not None
    rows = []
    for slack in slacks(result.deployment):
        share = 1.0 if not slack.limit else float(min(Fraction(1), max(Fraction(0), 1 - slack.left / slack.limit)))
        bar = tag("progress", value=f"{share:.4f}", max="1", aria_label=f"{share:.0%} used")
        room = f"{number(slack.left)} of {number(slack.limit)} {slack.unit}"
        rows.append((slack.family, slack.where, bar, room, tag("strong", "binds") if slack.left == 0 else ""))
    lines = table(("family", "where", "used", "left", ""), rows, class_="slack cards")
    return section("What binds at the optimum", "binds", lines)


def proof(report: Report) -> Markup:
    """Who proved what, what the verifier said, which cost model it rests on, and the error of that."""
    result, rows = report.result, list[tuple[str, str]]()
    if result is not None:
        run = result.run
        limits = ", ".join(f"{name} {value}" for name, value in run.parameters.items() if value is not None)
        rows += [
            ("Status", result.status),
            ("Objective", _exactly(result.objective, UNITS[result.instance.objective])),
            ("Bound", _exactly(result.bound, UNITS[result.instance.objective])),
            ("Gap", "" if result.gap is None else f"{result.gap:.3g}"),
            ("Proof", result.proof),
            ("Verifier", result.feasibility),
            ("Ties", f"settled through {result.proved[-1]}" if len(result.proved) > 1 else ""),
            ("Run", f"{run.points:,} points, {run.columns:,} columns, {run.solves:,} solves, {run.wall_s:.3f} s"),
            ("Run with", f"{run.backend} {run.backend_version}, {limits}"),
        ]
    if report.frontier is not None:
        rows += list(_frontier_proof("Frontier", report.frontier))
    for envelope in report.envelopes:
        name = f"{'Co-located' if envelope.name == 'colocated' else envelope.name.capitalize()} envelope"
        if envelope.frontier is None:
            rows.append((name, envelope.missing))
        else:
            rows += list(_frontier_proof(name, envelope.frontier))
    for line in cost_model_lines(report.engines):
        name, colon, text = line.partition(": ")
        rows.append((name.capitalize(), text) if colon and not name[0].isdigit() else ("Engines", line))
    rows += [("Instance and curves", f"hash {instance_hash(report.instance, report.engines)}")]
    return section("Proof", "proof", terms(rows))


def _exactly(value: Fraction | None, unit: str) -> str:
    if value is None:
        return ""
    exact = f"{value.numerator}/{value.denominator}" if value.denominator > 1 else ""
    return f"{number(value)} {unit}" + (f" (exactly {exact})" if exact and len(exact) < 60 else "")


def _frontier_proof(name: str, found: Frontier) -> Iterator[tuple[str, str]]:
    if not found.points and not found.missing:
        yield name, "no deployment of this kind meets the limits, and that is proved"
        return
    by = sorted({proof_text(p.proof).split(" on model ")[0].removeprefix("bound proved ") for p in found.points})
    told = f"{len(found.points)} points, {'; '.join(by)}" if by else "no point"
    verified = "; every point verified exactly" if not found.faults else f"; REFUTED: {found.faults[0]}"
    yield name, told + verified + (f". NOT COMPLETE: {found.missing}" if found.missing else ", complete")


def problem(instance: Instance) -> Markup:
    """The instance: pools, workloads, rules."""
    pools = [
        (
            pool.name,
            pool.gpu,
            "unlimited" if pool.gpus is None else f"{pool.gpus:,}",
            f"{pool.nvlink_domain_gpus}",
            "-" if pool.usd_per_gpu_hour is None else number(pool.usd_per_gpu_hour),
        )
        for pool in instance.pools
    ]
    serving = instance.serving
    shares = ", ".join(f"{role} {float(value):g}" for role, value in serving.utilization.items())
    rules = [
        ("Objective", UNITS[instance.objective]),
        ("Modes", ", ".join({"colocated": "co-located"}.get(mode, mode) for mode in serving.modes)),
        ("Hybrid", "a workload may be served in both modes at once" if serving.hybrid else ""),
        ("Utilization", shares),
        ("Cost model", " ".join((instance.cost_model.kind, *instance.cost_model.paths))),
    ]
    header = ("pool", "GPU", "GPUs", "NVLink domain", "USD per GPU hour")
    return section(
        "Instance",
        "instance",
        *([tag("p", instance.description)] if instance.description else []),
        table(header, pools, (2, 3, 4), class_="cards"),
        table(
            ("workload", "model", "ISL", "OSL", "limits and demand", "weight"),
            [_workload(w) for w in instance.workloads],
            (2, 3, 5),
            class_="cards",
        ),
        terms(rules),
    )


def _workload(w: Workload) -> tuple[str, ...]:
    limits = (("TTFT", w.ttft_ms), ("TPOT", w.tpot_ms), ("E2E", w.e2el_ms), ("ITL", w.itl_ms))
    told = [f"{name} ≤ {number(value)} ms" for name, value in limits if value is not None]
    told += [f"≥ {number(w.requests_per_s)} requests/s"] if w.requests_per_s is not None else []
    told += [f"credited up to {number(w.max_requests_per_s)} requests/s"] if w.max_requests_per_s is not None else []
    mean = "mean " if w.traffic is not None else ""
    lengths = (f"{mean}{number(w.isl)}", f"{mean}{number(w.osl)}")
    return (w.name, w.model, *lengths, ", ".join(told) or "none", number(w.weight))


def reproduce(command: str) -> Markup:
    """The command that makes this page again, and what made it."""
    return section(
        "How to reproduce",
        "reproduce",
        tag("pre", tag("code", command)),
        tag("p", f"ratematch {__version__}. The same command and version give the same numbers, run times apart."),
    )


def listing(report: Report) -> Markup:
    """Every point of the frontier as a table: what the chart shows, for readers without it."""
    found = report.frontier
    if found is None or not found.points:
        return joined(())
    header = ("tokens/s/user", "tokens/s/GPU", "mode", "GPUs", "deployment")
    rows = []
    for point in found.points:
        d = point.deployment
        uses = [
            f"{number(a.replicas)} × {a.role} {a.engine.curve.partition.label} batch {a.batch}" for a in d.assignments
        ]
        per_gpu = number(d.tokens_per_s_per_gpu)
        rows.append((number(point.tokens_per_s_per_user), per_gpu, point.mode, number(d.gpus_used), "; ".join(uses)))
    summary = tag("summary", f"All {len(rows)} points of the frontier as a table")
    return tag("details", summary, table(header, rows, (0, 1, 3), class_="cards"), id="points")
