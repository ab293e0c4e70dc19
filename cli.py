"""The command line: arguments and exit codes, nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from solver import __version__

if TYPE_CHECKING:
    from solver.planner import Options

OK, OUR_FAULT, BAD_INPUT, INFEASIBLE, NOT_PROVED, NOTHING_FOUND, CHECK_FAILED = 0, 1, 2, 3, 4, 5, 6
EXIT_OF = {"optimal": OK, "infeasible": INFEASIBLE, "feasible": NOT_PROVED, "unknown": NOTHING_FOUND}
EPILOG = (
    "Exit codes: 0 proved optimal or done, 2 bad input, 3 proved infeasible, 4 feasible but not proved, "
    "5 nothing found within the limits, 6 verification failed or bench deviates, 1 our fault."
)


class Guarded(click.Group):
    """A group whose commands turn faults into lines and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort, SystemExit):
            raise
        except KeyboardInterrupt:
            click.echo("interrupted before anything was found", err=True)
            sys.exit(NOTHING_FOUND)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; end quietly
            sys.exit(OK)
        except Exception as error:
            from costmodels.errors import InputError
            from solver.backends.base import BackendError

            if isinstance(error, InputError):
                fail(*map(str, error.faults))
            if isinstance(error, BackendError):
                fail(str(error))
            if ctx.obj and ctx.obj.get("debug"):
                raise
            click.echo(f"internal error, our fault: {type(error).__name__}: {error} (--debug shows where)", err=True)
            sys.exit(OUR_FAULT)


def fail(*lines: str) -> NoReturn:
    """Bad input: each fault on a line, exit code 2."""
    for line in lines:
        click.echo(f"error: {line}", err=True)
    sys.exit(BAD_INPUT)


@click.group(cls=Guarded, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="ratematch")
@click.option("--debug", is_flag=True, help="Show a traceback for internal errors.")
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """
    Provably optimal deployment plans for LLM inference.

    INSTANCE is the path of an instance file, or the name of a built-in one (see `instances`).
    """
    ctx.obj = {"debug": debug}


def controls(command: Any) -> Any:
    """The options that say how to run; recorded in every result."""
    options = [
        click.option("--backend", default="cp-sat", show_default=True, help="cp-sat, scip, highs, cbc, gurobi, ..."),
        click.option("--formulation", type=click.Choice(["points", "piecewise"]), default="points", show_default=True),
        click.option("--time-limit", type=click.FloatRange(min=0), metavar="S", help="Wall seconds."),
        click.option("--gap", type=click.FloatRange(0, 1), default=0.0, help="Stop at this relative gap; 0 proves."),
        click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True),
        click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True),
        click.option("--memory-limit", type=click.IntRange(min=16), metavar="MB", help="Memory limit in MB."),
        click.option("--log", type=click.Path(path_type=Path), help="Write the back end's log to this file."),
        click.option("--no-dominance", is_flag=True, help="Keep dominated points (to measure their effect)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def instance_path(text: str) -> Path:
    """The file of an instance, given as a path or a built-in name."""
    from instances import resolve

    try:
        return resolve(text)
    except ValueError as error:
        fail(str(error))


@main.command(epilog=EPILOG)
@click.argument("instance")
@controls
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the result as JSON.")
@click.option("--hint", type=click.Path(path_type=Path), help="Start from an earlier result file.")
@click.option("--no-tiebreak", is_flag=True, help="Do not settle equal optima.")
@click.option("--write-model", type=click.Path(path_type=Path), metavar="F.lp|F.mps", help="Write the model.")
def solve(instance: str, output: Path | None, write_model: Path | None, **run: Any) -> None:
    """The best deployment, proved."""
    from solver.arguments import options_of
    from solver.files import check_writable, write_whole
    from solver.planner import solve as plan
    from solver.report import report
    from solver.result import to_json

    path = instance_path(instance)
    options, log = options_of(**run)
    for target in filter(None, (output, write_model)):
        check_writable(target)
    if write_model and write_model.suffix not in (".lp", ".mps"):
        fail(f"--write-model: got {write_model.name}, must end in .lp or .mps")
    result = plan(path, options)
    if output:
        write_whole(output, to_json(result.as_dict()))
    click.echo(report(result))
    if write_model and result.instance.is_unlimited:
        click.echo("no model to write: with unlimited GPUs the answer is a comparison of rational numbers")
    elif write_model:
        from solver.export import write_model as write

        click.echo("wrote " + ", ".join(map(str, write(result, write_model, options.formulation))))
    if run["log"]:
        write_whole(run["log"], "\n".join(log) + "\n")
    sys.exit(CHECK_FAILED if result.feasibility.startswith("REFUTED") else EXIT_OF[result.status])


@main.command(epilog=EPILOG)
@click.argument("instance")
@controls
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="F.json|F.csv", help="Write the frontier.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="F.png|F.svg|F.html", help="Draw the frontier.")
@click.option("--at", "interactivities", metavar="N,N,...", help="Answer these tokens/s/user only.")
@click.option("--workload", "workloads", multiple=True, help="Sweep this workload's TPOT only (repeatable).")
@click.option("--allow-unserved", is_flag=True, help="Workloads may end with nothing.")
@click.option("--min-step", metavar="P%", default="0", help="Skip points closer than this in interactivity.")
@click.option("--plain", is_flag=True, help="Prove every point by a model, none by a bound (slower).")
def frontier(instance: str, output: Path | None, plot: Path | None, **run: Any) -> None:
    """The exact frontier: tokens/s/GPU against tokens/s/user."""
    from solver.arguments import numbers_of, options_of, share_of
    from solver.files import check_writable, write_whole
    from solver.report import frontier_lines
    from solver.result import to_json

    at, step = numbers_of(run.pop("interactivities")), share_of(run.pop("min_step"))
    swept = {"workloads": run.pop("workloads"), "allow_unserved": run.pop("allow_unserved")}
    path = instance_path(instance)
    options, log = options_of(**run)
    if run["backend"] != "cp-sat" or run["formulation"] != "points" or run["gap"]:
        fail("frontier: every point is proved, by cp-sat on points; --backend, --formulation and --gap are for solve")
    for target, endings in ((output, (".json", ".csv")), (plot, (".png", ".svg", ".html"))):
        if target is not None:
            check_writable(target)
            if target.suffix not in endings:
                fail(f"{target.name}: must end in {' or '.join(endings)}")
    found = with_progress(path, options, at, step, swept)
    if output:
        write_whole(output, found.as_csv() if output.suffix == ".csv" else to_json(found.as_dict()))
    if plot:
        from solver.plot import plot_frontier

        plot_frontier(found, plot)
    for line in frontier_lines(found):
        click.echo(line)
    if run["log"]:
        write_whole(run["log"], "\n".join(log) + "\n")
    sys.exit(frontier_exit(found))


def frontier_exit(found: Any) -> int:
    """The exit code of a frontier."""
    for fault in found.faults:
        click.echo(f"error: {fault}", err=True)
    if found.faults:
        return CHECK_FAILED
    stopped = bool(found.missing)
    if not found.points:
        return NOTHING_FOUND if stopped else INFEASIBLE
    return NOT_PROVED if stopped else OK


def with_progress(path: Path, options: Options, at: list[Any], step: Any, swept: dict[str, Any]) -> Any:
    """Traces a frontier, with progress on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from solver.planner import trace

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, count = bar.add_task("tracing the frontier"), 0

        def progress(point: Any) -> None:
            nonlocal count
            count += 1
            user = 0.0 if point.tokens_per_s_per_user is None else float(point.tokens_per_s_per_user)
            bar.update(task, description=f"{count} points proved, at {user:.1f} tokens/s/user")

        try:
            return trace(path, options, at=at, min_step=step, progress=progress, **swept)
        except ValueError as error:
            fail(str(error))


@main.command(epilog=EPILOG)
@click.argument("instance")
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--rebound", is_flag=True, help="Prove the bound again: all points without dominance, and another back end."
)
@click.option("--backend", default="scip", show_default=True, help="The other back end of --rebound.")
@click.option("--time-limit", type=click.FloatRange(min=0), metavar="S", help="Wall seconds of --rebound.")
def verify(instance: str, result: Path, rebound: bool, backend: str, time_limit: float | None) -> None:
    """Checks a result, frontier or schedule file independently, in exact arithmetic."""
    from solver.backends.registry import BACKENDS
    from solver.check import check_file

    if backend not in BACKENDS:
        fail(f"--backend: got {backend}, must be one of {', '.join(BACKENDS)}")
    outcome = check_file(instance_path(instance), result, rebound=rebound, backend=backend, time_limit_s=time_limit)
    for line in outcome.lines:
        click.echo(line)
    sys.exit(OK if outcome.ok else CHECK_FAILED)


@main.command(epilog=EPILOG)
@click.argument("names", nargs=-1)
@click.option("--record", is_flag=True, help="Write the recorded optima anew (every one proved twice).")
@click.option("--export", type=click.Path(path_type=Path), metavar="DIR", help="Write the models as .lp and .mps.")
@click.option("--compare", is_flag=True, help="Compare back ends, and cases (NAMES) with aiconfigurator.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Raw results of --compare.")
@click.option("--repeats", type=click.IntRange(1, 99), default=3, show_default=True, help="Runs of --compare.")
@click.option("--peer-python", metavar="PYTHON", help="Interpreter with aiconfigurator 0.12, for --compare.")
@click.option("--peer-only", is_flag=True, help="Leave the back ends out of --compare.")
@click.option("--time-limit", "--limit", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="S",
              help="Seconds a solve.")  # fmt: skip
def bench(names: tuple[str, ...], record: bool, export: Path | None, compare: bool, **run: Any) -> None:
    """Solves the built-in instances and compares with the recorded optima."""
    from solver.bench import bench as run_bench

    if record + compare + (export is not None) > 1:
        fail("--record, --export and --compare: give one of them")
    if compare:
        compared(names, **run)
    elif export is not None:
        from solver.library import export as write

        sys.exit(OK if write(names, export, time_limit_s=run["time_limit"], say=click.echo) else CHECK_FAILED)
    else:
        outcome = run_bench(names, record=record, time_limit_s=run["time_limit"], say=click.echo)
        sys.exit(OK if outcome else CHECK_FAILED)


def compared(names: tuple[str, ...], **run: Any) -> None:
    """Runs the comparison and says its lines."""
    from solver.compare.cases import cases_of
    from solver.compare.run import compare

    try:
        cases = cases_of(names)
    except ValueError as error:
        fail(str(error))
    python, folder = run["peer_python"] or sys.executable, run["output"]
    chosen = {"limit_s": run["time_limit"], "repeats": run["repeats"], "peer_only": run["peer_only"]}
    compare(cases, python=python, folder=folder, say=click.echo, **chosen)


class Lists(click.Command):
    """A command whose file options take several values: ``--curves A B`` is ``--curves A --curves B``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeats such an option before each further value."""
        option, spread = "", list[str]()
        for word in args:
            if word.startswith("-"):
                option = word if word in ("--measured", "--curves") else ""
            elif option and spread[-1] != option:
                spread.append(option)
            spread.append(word)
        return super().parse_args(ctx, spread)


@main.command(cls=Lists, epilog=EPILOG)
@click.option("--measured", multiple=True, type=click.Path(path_type=Path), metavar="FILE...", help="Measured rows.")
@click.option("--curves", "tables", multiple=True, type=click.Path(path_type=Path), metavar="FILE...", help="Tables.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT.json", help="Write it as JSON.")
def accuracy(measured: tuple[Path, ...], tables: tuple[Path, ...], output: Path | None) -> None:
    """How far the embedded cost model is from measurements; without files, from those it carries."""
    from rich.console import Console

    from solver.accuracy_report import document, evaluate, lines
    from solver.files import check_writable, write_whole
    from solver.result import to_json

    if output:
        check_writable(output)
    with Console(stderr=True).status("") as status:
        found = evaluate(measured, tables, progress=lambda name: status.update(f"comparing {name}"))
    if output:
        write_whole(output, to_json(document(found)))
    for line in lines(found):
        click.echo(line)


def engine_options(command: Any) -> Any:
    """What the files of other tools may lack."""
    from costmodels.imports.registry import OPTIONS

    kinds = {"N": click.IntRange(1, 10**6), "NAME": click.STRING}
    for flag, metavar, text in reversed(OPTIONS):
        kind = kinds.get(metavar) or click.Choice(metavar.split("|"))
        command = click.option(flag, type=kind, metavar=metavar, help=text)(command)
    return command


def import_help() -> str:
    """The help of `import`: the formats, and what of them was never seen."""
    from costmodels.imports.registry import listing

    return f"Turns other tools' measurements into a table of operating curves.\n\nFORMAT is one of\n\n\b\n{listing()}"


@main.command("import", help=import_help(), short_help="Turns other tools' measurements into a table.", epilog=EPILOG)
@click.argument("format_name", metavar="FORMAT")
@click.argument("files", nargs=-1, required=True, metavar="FILES...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="F.csv|F.csv.gz")
@engine_options
def import_files(format_name: str, files: tuple[Path, ...], output: Path, **given: Any) -> None:
    """Turns other tools' measurements into a table."""
    from costmodels.imports.convert import check_output, convert
    from costmodels.imports.engine import Given
    from solver.files import check_writable, write_whole

    check_output(output)
    check_writable(output)
    imported = convert(format_name, files, Given(**{name: value for name, value in given.items() if value is not None}))
    write_whole(output, imported.content(output))
    click.echo("\n".join((f"wrote {output}", *imported.report)))


@main.command(epilog=EPILOG)
@click.argument("instance")
@click.option("--role", type=click.Choice(["prefill", "decode", "colocated"]), help="Engines of this role only.")
@click.option("--engine", metavar="LABEL", help="Engines with these words only, such as 'tp4 ep4 h200' or '#12'.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="F.png|F.svg", help="Draw curves, samples, fit error.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="F.csv", help="Write the breakpoints.")
def curves(instance: str, role: Any, engine: str | None, plot: Path | None, output: Path | None) -> None:
    """The operating curves that an instance is planned on."""
    from solver.curves_report import as_csv, curves_of, lines
    from solver.files import check_writable, write_whole

    for target, endings in ((output, (".csv",)), (plot, (".png", ".svg"))):
        if target is not None:
            check_writable(target)
            if target.suffix not in endings:
                fail(f"{target.name}: must end in {' or '.join(endings)}")
    found = curves_of(instance_path(instance), role, engine)
    if plot:
        from solver.curves_plot import plot_curves

        plot_curves(found, plot)
    if output:
        write_whole(output, as_csv(found))
    for line in lines(found):
        click.echo(line)


@main.command(epilog=EPILOG)
@click.argument("name", type=click.Choice(["paper"]))
@click.option("--figure", "numbers", type=int, multiple=True, metavar="N", help="This figure only (repeatable).")
@click.option("--basis", type=click.Choice(["served", "operators", "ideal"]), default="served", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Write data and trends there.")
@click.option("--plot", is_flag=True, help="Draw the figures too.")
@click.option("--record", is_flag=True, help="Write the recorded frontiers anew (basis served).")
@click.option("--record-silicon", is_flag=True, help="Price the frontiers of measured operators anew before.")
def study(name: str, output: Path | None, record: bool, record_silicon: bool, **given: Any) -> None:
    """Runs a study again: figures and trends; exit code 6 where a trend does not hold."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from solver.study.run import lines, recording, run, standing
    from solver.study.silicon import record as price_silicon

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=1.0)

        def progress(figure: int, points: int, share: float) -> None:
            bar.update(task, completed=share, description=f"figure {figure}, {points} points proved")

        try:
            if record_silicon:
                click.echo(f"silicon: {price_silicon()} points recorded")
            found = run(folder=output, progress=progress, **given)
        except KeyboardInterrupt:
            there = standing(output, given["basis"])
            said = f"{len(there)} figures stand in {output}: the same command goes on from there"
            click.echo(f"interrupted; {said if output else 'nothing is kept without -o DIR'}", err=True)
            sys.exit(NOT_PROVED if there else NOTHING_FOUND)
    if record:
        recording(found)
    for line in lines(found):
        click.echo(line)
    sys.exit(OK if found.holds else CHECK_FAILED)


def trace_path(text: str) -> Path:
    """The file of a trace, given as a path or a built-in name."""
    from instances import resolve_trace

    try:
        return resolve_trace(text)
    except ValueError as error:
        fail(str(error))


@main.command(epilog=EPILOG)
@click.argument("file", metavar="FILE")
@click.option("--period", default="1m", show_default=True, metavar="T", help="Length of periods: 30s, 5m, 1h.")
@click.option("--form", type=click.Choice(["azure", "mooncake", "burstgpt"]), help="Format; told from the first line.")
@click.option("--rate-scale", default="1", metavar="R", help="So many times the requests in the same time.")
@click.option("--time-scale", default="1", metavar="R", help="Times are multiplied by this.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of --rate-scale.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="F.png|F.svg", help="Draw rate, lengths and gaps.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="F.json", help="Write it as JSON.")
def trace(file: str, period: str, plot: Path | None, output: Path | None, **read: Any) -> None:
    """What a trace of requests is like: lengths, burstiness, rate, prefixes. FILE may be a built-in trace."""
    from solver.files import write_whole
    from solver.result import to_json
    from solver.traffic.ask import described
    from solver.traffic.report import lines

    check_endings((output, (".json",)), (plot, (".png", ".svg")))
    found = described(trace_path(file), period, **read)
    if plot:
        from solver.traffic.plot import plot_trace

        plot_trace(found, plot)
    if output:
        write_whole(output, to_json(found.as_dict()))
    click.echo("\n".join(lines(found)))


def check_endings(*targets: tuple[Path | None, tuple[str, ...]]) -> None:
    """Says early that a file cannot be written, or that its name has an ending that does not tell a format."""
    from solver.files import check_writable

    for target, endings in targets:
        if target is not None:
            check_writable(target)
            if target.suffix not in endings:
                fail(f"{target.name}: must end in {' or '.join(endings)}")


@main.command(epilog=EPILOG)
@click.argument("grid", type=click.Path(path_type=Path), metavar="GRID.json")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Tables, journal.")
@click.option("--workers", type=click.IntRange(1, 4096), metavar="N", help="Processes; all usable cores by default.")
@click.option("--scheduler", metavar="ADDRESS", help="Run on the Dask cluster of this scheduler instead.")
def sweep(grid: Path, output: Path, workers: int | None, scheduler: str | None) -> None:
    """The exact frontier of every cell of a grid, as Parquet; what is done is not done again."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    from solver.sweep.run import Progress, lines
    from solver.sweep.run import sweep as run_sweep

    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting workers")

        def progress(now: Progress) -> None:
            left = "" if now.left_s is None else f", {now.left_s / 60:.1f} min left"
            bar.update(task, total=now.cells, completed=now.done, description=f"{now.done} of {now.cells} cells{left}")

        say = bar.console.print if console.is_terminal else lambda line: click.echo(line, err=True)
        found = run_sweep(grid, output, workers=workers, scheduler=scheduler, progress=progress, say=say)
    for line in lines(found):
        click.echo(line)
    sys.exit(sweep_exit(found.statuses))


def sweep_exit(statuses: Any) -> int:
    """The exit code of a sweep: the worst of its cells; infeasible ones and bad input are answers."""
    if statuses["refuted"]:
        return CHECK_FAILED
    if statuses["failed"]:
        return OUR_FAULT
    return NOT_PROVED if statuses["stopped"] or statuses["not_run"] else OK


@main.command(epilog=EPILOG)
@click.argument("instance")
@click.option("--trace", metavar="FILE", help="Requests with their times; also a built-in trace.")
@click.option("--rates", type=click.Path(path_type=Path), metavar="FILE", help="Rates per period, as CSV.")
@click.option("--period", metavar="T", help="Length of periods of a trace: 30s, 5m, 1h; 5m by default.")
@click.option("--rate-scale", default="1", metavar="R", help="Multiplies the rates.")
@click.option("--time-scale", default="1", metavar="R", help="Stretches the time; rates fall by as much.")
@click.option("--objective", type=click.Choice(["gpu-hours", "usd", "energy", "goodput"]), default="gpu-hours",
              show_default=True)  # fmt: skip
@click.option("--rules", type=click.Path(path_type=Path), metavar="F.json", help="Cold start, time up, switches.")
@click.option("--shortfall-price", metavar="P", help="Let demand be missed, at this price a request.")
@click.option("--current", type=click.Path(path_type=Path), metavar="RESULT", help="What runs before.")
@click.option("--max-changes", type=int, metavar="N", help="Starts, stops and switches at once.")
@click.option("--time-limit", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="S")
@click.option("--gap", type=click.FloatRange(0, 1), default=0.0, help="Stop at this relative gap; 0 proves.")
@click.option("--compare", is_flag=True, help="Beside what other policies would have done.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="F.png|F.svg", help="Draw the day.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="S.json", help="Write the schedule.")
def schedule(instance: str, compare: bool, plot: Path | None, output: Path | None, **given: Any) -> None:
    """The best plan for every period of a day: replicas, starts, stops and switches, with a bound."""
    from solver.files import write_whole
    from solver.result import to_json
    from solver.scheduling.arguments import scheduled
    from solver.scheduling.comparison import compared_with
    from solver.scheduling.document import as_dict
    from solver.scheduling.plot import plot_schedule
    from solver.scheduling.report import lines

    check_endings((output, (".json",)), (plot, (".png", ".svg")))
    given["trace"] = trace_path(given["trace"]) if given["trace"] else None
    found = scheduled(instance_path(instance), **given)
    if output:
        write_whole(output, to_json(as_dict(found)))
    click.echo("\n".join(lines(found)))
    beside = compared_with(found) if compare and found.best else None
    if beside:
        click.echo("\n".join(beside.lines()))
    if plot and found.best:
        plot_schedule(found, beside.policies if beside else (), plot)
    refuted = found.feasibility.startswith("REFUTED")
    sys.exit(CHECK_FAILED if refuted else OK if found.is_done else EXIT_OF[found.status])


@main.command()
def instances() -> None:
    """Lists the built-in instances."""
    from instances import describe, names

    for name in names():
        click.echo(f"{name:<38}{describe(name)['description']}")


@main.command()
def backends() -> None:
    """Lists the back ends, and why one cannot run here."""
    from solver.backends.registry import available

    for name, reason in available():
        click.echo(f"{name:<10}{'available' if reason is None else f'unavailable: {reason}'}")
