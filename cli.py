"""The command line: arguments and exit codes, nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from solver import __version__
from solver.terminal import completion as completing
from solver.terminal.speech import chart as chart_of
from solver.terminal.speech import command_line, end, fail, is_json, is_silent, listen, quiet, spoken, tell, verbose
from solver.terminal.speech import log as log_of

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
        listen(ctx)
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if not is_json():
                raise
            fail(error.format_message())
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
                fail(*error.faults)
            if isinstance(error, BackendError):
                fail(str(error))
            if ctx.obj and ctx.obj.get("debug"):
                raise
            text = f"internal error, our fault: {type(error).__name__}: {error} (--debug shows where)"
            click.echo(text, err=True)
            end(OUR_FAULT, text)


instance_argument = click.argument("instance", shell_complete=completing.instances)


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
    if os.environ.get("NO_COLOR"):
        ctx.color = False


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
        verbose,
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
@instance_argument
@controls
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the result as JSON.")
@click.option("--hint", type=click.Path(path_type=Path), help="Start from an earlier result file.")
@click.option("--no-tiebreak", is_flag=True, help="Do not settle equal optima.")
@click.option("--no-dual", is_flag=True, help="Bound large instances by CP-SAT alone, not by multipliers (slower).")
@click.option("--write-model", type=click.Path(path_type=Path), metavar="F.lp|F.mps", help="Write the model.")
@spoken
def solve(instance: str, output: Path | None, write_model: Path | None, **run: Any) -> None:
    """The best deployment, proved."""
    from solver.arguments import options_of
    from solver.files import check_writable, write_whole
    from solver.planner import solve as plan
    from solver.report import report
    from solver.result import to_json

    path = instance_path(instance)
    options, log = options_of(say=log_of(), **run)
    for target in filter(None, (output, write_model)):
        check_writable(target)
    if write_model and write_model.suffix not in (".lp", ".mps"):
        fail(f"--write-model: got {write_model.name}, must end in .lp or .mps")
    result = watched(lambda chosen: plan(path, chosen), options)
    if output:
        write_whole(output, to_json(result.as_dict()))
    lines = report(result).splitlines()
    if write_model and result.instance.is_unlimited:
        lines.append("no model to write: with unlimited GPUs the answer is a comparison of rational numbers")
    elif write_model:
        from solver.export import write_model as write

        lines.append("wrote " + ", ".join(map(str, write(result, write_model, options.formulation))))
    if run["log"]:
        write_whole(run["log"], "\n".join(log) + "\n")
    tell(lines, result.as_dict)
    sys.exit(CHECK_FAILED if result.feasibility.startswith("REFUTED") else EXIT_OF[result.status])


def watched(work: Callable[[Options], Any], options: Options) -> Any:
    """Works with progress on standard error: the gap so far, and the time against the limit."""
    from dataclasses import replace

    from solver.terminal.progress import shown

    limit = options.controls.time_limit_s
    with shown("solving", quiet=is_silent(), limit_s=limit) as tick:
        controls = replace(options.controls, watch=lambda gap: tick(text=f"solving, gap {gap:.2%}"))
        return work(replace(options, controls=controls))


@main.command(epilog=EPILOG)
@instance_argument
@controls
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="F.json|F.csv", help="Write the frontier.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="F.png|F.svg|F.html", help="Draw the frontier.")
@click.option("--at", "interactivities", metavar="N,N,...", help="Answer these tokens/s/user only.")
@click.option("--workload", "workloads", multiple=True, help="Sweep this workload's TPOT only (repeatable).")
@click.option("--allow-unserved", is_flag=True, help="Workloads may end with nothing.")
@click.option("--min-step", metavar="P%", default="0", help="Skip points closer than this in interactivity.")
@click.option("--plain", is_flag=True, help="Prove every point by a model, none by a bound (slower).")
@click.option("--envelopes", is_flag=True, help="Add the frontiers of forced modes to the plot.")
@click.option("--chart/--no-chart", default=None, help="Print a small chart too; by default on a terminal only.")
@spoken
def frontier(instance: str, output: Path | None, plot: Path | None, **run: Any) -> None:
    """The exact frontier: tokens/s/GPU against tokens/s/user."""
    from solver.arguments import check_target, numbers_of, options_of, share_of
    from solver.files import write_whole
    from solver.report import frontier_lines
    from solver.result import to_json
    from solver.terminal.progress import shown

    at, step = numbers_of(run.pop("interactivities")), share_of(run.pop("min_step"))
    chart, envelopes = run.pop("chart"), run.pop("envelopes")
    swept = {"workloads": run.pop("workloads"), "allow_unserved": run.pop("allow_unserved")}
    path = instance_path(instance)
    options, log = options_of(say=log_of(), **run)
    if envelopes and (plot is None or at):
        fail("--envelopes: draws into --plot, beside a whole frontier; give --plot, and no --at")
    if run["backend"] != "cp-sat" or run["formulation"] != "points" or run["gap"]:
        fail("frontier: every point is proved, by cp-sat on points; --backend, --formulation and --gap are for solve")
    check_target(output, (".json", ".csv"))
    check_target(plot, (".png", ".svg", ".html"))
    found = with_progress(path, options, at, step, swept)
    if output:
        write_whole(output, found.as_csv() if output.suffix == ".csv" else to_json(found.as_dict()))
    if plot:
        from solver.page.plotted import plotted

        with shown("drawing", quiet=is_silent()) as tick:
            asked = options if envelopes else None
            telling = lambda name, share: tick(share, f"tracing the {name} envelope")  # noqa: E731
            plotted(found, plot, path.parent, command_line(), asked, telling, **swept)
    if run["log"]:
        write_whole(run["log"], "\n".join(log) + "\n")
    tell([*frontier_lines(found), *chart_of(found, chart)], found.as_dict)
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
    from solver.planner import trace
    from solver.terminal.progress import shown

    with shown("tracing the frontier", quiet=is_silent()) as tick:
        count = 0

        def progress(point: Any) -> None:
            nonlocal count
            count += 1
            user = 0.0 if point.tokens_per_s_per_user is None else float(point.tokens_per_s_per_user)
            tick(text=f"{count} points proved, at {user:.1f} tokens/s/user")

        try:
            return trace(path, options, at=at, min_step=step, progress=progress, reached=tick, **swept)
        except ValueError as error:
            fail(str(error))


def export_help() -> str:
    """The help of ``export`` with its targets."""
    from solver.manifests.registry import TARGETS

    listed = "\n".join(f"  {target.name:<11}{target.description}" for target in TARGETS.values())
    return (
        "Manifests and commands that deploy RESULT: a result (solve -o R.json), or a point of a frontier (-o F.json)."
        f"\n\n\b\nTARGET:\n{listed}"
    )


@main.command(help=export_help(), short_help="Manifests and commands that deploy a result.", epilog=EPILOG)
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--to", "target", required=True, metavar="TARGET", help="dynamo, llm-d, vllm, sglang, trtllm, kubernetes."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Write into this new folder.")
@click.option("--instance", metavar="INSTANCE", help="What was solved; else the built-in one that RESULT names.")
@click.option("--point", type=int, metavar="N", help="This point of a frontier, from 0.")
@click.option("--at", metavar="N|NAME", help="Tokens/s/user to reach, or max-throughput or max-interactivity.")
@click.option("--engine", type=click.Choice(["vllm", "sglang", "trtllm"]), help="Where priced for none; vllm else.")
@click.option("--image", metavar="IMAGE", help="Container image of the workers.")
@click.option("--model-path", "paths", multiple=True, metavar="[WORKLOAD=]PATH", help="Where the weights are.")
@click.option("--namespace", metavar="NAME", help="Kubernetes namespace.")
@quiet
def export(result: Path, target: str, output: Path | None, paths: tuple[str, ...], **given: Any) -> None:
    """Writes files, or prints them."""
    from solver.manifests.export import as_text, check_folder, export_deployment, write_files

    if output:
        check_folder(output)
    files = export_deployment(result, target, model_paths=paths, **given)
    if not output:
        click.echo(as_text(files), nl=False)
        return
    tell(f"wrote {path}" for path in write_files(output, files))


@main.command(epilog=EPILOG)
@instance_argument
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--rebound", is_flag=True, help="Prove the bound again: all points without dominance, and another back end."
)
@click.option("--backend", default="scip", show_default=True, help="The other back end of --rebound.")
@click.option("--time-limit", type=click.FloatRange(min=0), metavar="S", help="Wall seconds of --rebound.")
@spoken
def verify(instance: str, result: Path, rebound: bool, backend: str, time_limit: float | None) -> None:
    """Checks a result, frontier or schedule file independently, in exact arithmetic."""
    from solver.backends.registry import BACKENDS
    from solver.check import check_file

    if backend not in BACKENDS:
        fail(f"--backend: got {backend}, must be one of {', '.join(BACKENDS)}")
    outcome = check_file(instance_path(instance), result, rebound=rebound, backend=backend, time_limit_s=time_limit)
    tell(outcome.lines, lambda: outcome.as_dict(result))
    sys.exit(OK if outcome.ok else CHECK_FAILED)


@main.command(epilog=EPILOG)
@instance_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="F.json", help="Write it as JSON.")
@click.option("--time-limit", type=click.FloatRange(min=0), metavar="S", help="Wall seconds, for all of it.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@spoken
def explain(instance: str, output: Path | None, time_limit: float | None, threads: int, seed: int) -> None:
    """Why there is no plan and what would change that, or why the best plan is the best."""
    from solver.backends.base import Controls
    from solver.explanation.explain import explain as explained
    from solver.explanation.report import explanation_lines
    from solver.files import check_writable, write_whole
    from solver.result import to_json
    from solver.terminal.progress import shown

    path, controls = instance_path(instance), Controls(threads=threads, seed=seed, time_limit_s=time_limit)
    if output:
        check_writable(output)
    with shown("is there a plan?", quiet=is_silent(), limit_s=time_limit) as tick:
        found = explained(path, controls, progress=lambda text: tick(text=text))
    if output:
        write_whole(output, to_json(found.as_dict()))
    tell(explanation_lines(found), found.as_dict)
    unexplained = NOTHING_FOUND if found.status == "unknown" else NOT_PROVED
    sys.exit(OK if found.is_complete else unexplained)


@main.command(epilog=EPILOG)
@click.argument("names", nargs=-1, shell_complete=completing.instances)
@click.option("--record", is_flag=True, help="Write the recorded optima anew (every one proved twice).")
@click.option("--export", type=click.Path(path_type=Path), metavar="DIR", help="Write the models as .lp and .mps.")
@click.option("--compare", is_flag=True, help="Compare back ends, and cases (NAMES) with aiconfigurator.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Raw results of --compare.")
@click.option("--repeats", type=click.IntRange(1, 99), default=3, show_default=True, help="Runs of --compare.")
@click.option("--peer-python", metavar="PYTHON", help="Interpreter with aiconfigurator 0.12, for --compare.")
@click.option("--peer-only", is_flag=True, help="Leave the back ends out of --compare.")
@click.option("--time-limit", "--limit", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="S",
              help="Seconds a solve.")  # fmt: skip
@spoken
def bench(names: tuple[str, ...], record: bool, export: Path | None, compare: bool, **run: Any) -> None:
    """Solves the built-in instances and compares with the recorded optima."""
    if (compare or export is not None) and is_json():
        fail("--json: not with --compare, which writes its raw results with -o, nor with --export")
    if record + compare + (export is not None) > 1:
        fail("--record, --export and --compare: give one of them")
    if compare:
        compared(names, **run)
    elif export is not None:
        from solver.library import export as write

        sys.exit(OK if write(names, export, time_limit_s=run["time_limit"], say=click.echo) else CHECK_FAILED)
    else:
        benched(names, record, run["time_limit"])


def benched(names: tuple[str, ...], record: bool, time_limit_s: float) -> NoReturn:
    """Runs the regression set, line by line or as one document."""
    from solver.bench import bench as run_bench
    from solver.bench import document
    from solver.terminal.progress import shown

    rows, lines = list[dict[str, Any]](), list[str]()
    say = lines.append if is_json() else lambda line: tell([line])
    with shown("starting", quiet=is_silent()) as tick:
        good = run_bench(names, record=record, time_limit_s=time_limit_s, say=say, progress=tick, rows=rows)
    if is_json():
        tell([], lambda: document(good, rows, lines))
    sys.exit(OK if good else CHECK_FAILED)


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
@spoken
def accuracy(measured: tuple[Path, ...], tables: tuple[Path, ...], output: Path | None) -> None:
    """How far the embedded cost model is from measurements; without files, from those it carries."""
    from solver.accuracy_report import document, evaluate, lines
    from solver.files import check_writable, write_whole
    from solver.result import to_json
    from solver.terminal.progress import shown

    if output:
        check_writable(output)
    with shown("comparing", quiet=is_silent()) as tick:
        found = evaluate(measured, tables, progress=lambda name: tick(text=f"comparing {name}"))
    if output:
        write_whole(output, to_json(document(found)))
    tell(lines(found), lambda: document(found))


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
@quiet
def import_files(format_name: str, files: tuple[Path, ...], output: Path, **given: Any) -> None:
    """Turns other tools' measurements into a table."""
    from costmodels.imports.convert import check_output, convert
    from costmodels.imports.engine import Given
    from solver.files import check_writable, write_whole

    check_output(output)
    check_writable(output)
    imported = convert(format_name, files, Given(**{name: value for name, value in given.items() if value is not None}))
    write_whole(output, imported.content(output))
    tell((f"wrote {output}", *imported.report))


@main.command(epilog=EPILOG)
@instance_argument
@click.option("--role", type=click.Choice(["prefill", "decode", "colocated"]), help="Engines of this role only.")
@click.option("--engine", metavar="LABEL", help="Engines with these words only, such as 'tp4 ep4 h200' or '#12'.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="F.png|F.svg", help="Draw curves, samples, fit error.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="F.csv", help="Write the breakpoints.")
@spoken
def curves(instance: str, role: Any, engine: str | None, plot: Path | None, output: Path | None) -> None:
    """The operating curves that an instance is planned on."""
    from solver.arguments import check_target
    from solver.curves_report import as_csv, curves_of, document, lines
    from solver.files import write_whole

    check_target(output, (".csv",))
    check_target(plot, (".png", ".svg"))
    found = curves_of(instance_path(instance), role, engine)
    if plot:
        from solver.curves_plot import plot_curves

        plot_curves(found, plot)
    if output:
        write_whole(output, as_csv(found))
    tell(lines(found), lambda: document(found))


@main.command(epilog=EPILOG)
@instance_argument
@click.option("--vary", required=True, metavar="KEY[.NAME]=A:B", help="gpus, ttft_ms, tpot_ms, e2el_ms, isl, osl, "
              "price, request_rate, usd_per_hour, watts; A:B whole, A:B:STEP or A,B,C at values.")  # fmt: skip
@click.option("--time-limit", type=click.FloatRange(min=0), metavar="S", help="Wall seconds; what is proved is kept.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="F.json|F.csv", help="Write every piece.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="F.png|F.svg", help="Draw the value function.")
@spoken
def whatif(instance: str, vary: str, output: Path | None, plot: Path | None, **run: Any) -> None:
    """Exact values along one axis, and where the optimal deployment changes."""
    from solver.arguments import check_target
    from solver.backends.base import Controls
    from solver.files import write_whole
    from solver.result import to_json
    from solver.terminal.progress import shown
    from solver.whatif.run import what_if
    from solver.whatif.text import lines

    check_target(output, (".json", ".csv"))
    check_target(plot, (".png", ".svg"))
    chosen = Controls(threads=run["threads"], seed=run["seed"], time_limit_s=run["time_limit"])
    with shown("pricing", quiet=is_silent(), limit_s=run["time_limit"]) as tick:
        said = lambda count: tick(text=f"{count} positions settled")  # noqa: E731
        found = what_if(instance_path(instance), vary, chosen, progress=said)
    if output:
        write_whole(output, found.as_csv() if output.suffix == ".csv" else to_json(found.as_dict()))
    if plot:
        from solver.whatif.plot import plot_what_if

        plot_what_if(found, plot)
    tell(lines(found), found.as_dict)
    for fault in found.faults:
        click.echo(f"error: {fault}", err=True)
    statuses = {piece.status for piece in found.pieces}
    left = (NOT_PROVED if statuses - {"unsettled"} else NOTHING_FOUND) if found.missing else OK
    sys.exit(CHECK_FAILED if found.faults else INFEASIBLE if statuses == {"infeasible"} else left)


@main.command(epilog=EPILOG)
@instance_argument
@click.option("--error", metavar="P%", help="What an engine may take longer; by default the cost model's known error.")
@click.option("--error-prefill", metavar="P%", help="The same for prefill engines.")
@click.option("--error-decode", metavar="P%", help="The same for decode engines.")
@click.option("--error-colocated", metavar="P%", help="The same for co-located engines.")
@click.option(
    "--budget", type=click.IntRange(0, 1000), default=1, show_default=True, metavar="G", help="Wrong at once."
)
@click.option("--time-limit", type=click.FloatRange(min=0), metavar="S", help="Wall seconds.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="R.json", help="Write it as JSON.")
@spoken
def robust(instance: str, error: str | None, budget: int, time_limit: float | None, output: Path | None,
           **by_role: str | None) -> None:  # fmt: skip
    """What of the plan survives an error of the cost model, and the best plan that does."""
    from solver.arguments import check_target, errors_of
    from solver.backends.base import Controls
    from solver.files import write_whole
    from solver.result import to_json
    from solver.robustness.run import robust as make_robust
    from solver.robustness.text import lines
    from solver.terminal.progress import shown

    check_target(output, (".json",))
    every, single = errors_of(error, by_role)
    chosen = {"error": every, "by_role": single, "budget": budget, "controls": Controls(time_limit_s=time_limit)}
    with shown("looking for the best worst case", quiet=is_silent(), limit_s=time_limit):
        found = make_robust(instance_path(instance), **chosen)  # type: ignore[arg-type]
    if output:
        write_whole(output, to_json(found.as_dict()))
    tell(lines(found), found.as_dict)
    sys.exit(CHECK_FAILED if found.faults else EXIT_OF[found.found.verdict])


@main.command(epilog=EPILOG)
@click.argument("name", type=click.Choice(["paper"]))
@click.option("--figure", "numbers", type=int, multiple=True, metavar="N", help="This figure only (repeatable).")
@click.option("--basis", type=click.Choice(["served", "operators", "ideal"]), default="served", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Write data and trends there.")
@click.option("--plot", is_flag=True, help="Draw the figures too.")
@click.option("--record", is_flag=True, help="Write the recorded frontiers anew (basis served).")
@click.option("--record-silicon", is_flag=True, help="Price the frontiers of measured operators anew before.")
@quiet
def study(name: str, output: Path | None, record: bool, record_silicon: bool, **given: Any) -> None:
    """Runs a study again: figures and trends; exit code 6 where a trend does not hold."""
    from solver.study.run import lines, recording, run, standing
    from solver.study.silicon import record as price_silicon
    from solver.terminal.progress import shown

    with shown(name, quiet=is_silent()) as tick:

        def progress(figure: int, points: int, share: float) -> None:
            tick(share, f"figure {figure}, {points} points proved")

        try:
            if record_silicon:
                tell([f"silicon: {price_silicon()} points recorded"])
            found = run(folder=output, progress=progress, **given)
        except KeyboardInterrupt:
            there = standing(output, given["basis"])
            said = f"{len(there)} figures stand in {output}: the same command goes on from there"
            click.echo(f"interrupted; {said if output else 'nothing is kept without -o DIR'}", err=True)
            sys.exit(NOT_PROVED if there else NOTHING_FOUND)
    if record:
        recording(found)
    tell(lines(found))
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
@spoken
def trace(file: str, period: str, plot: Path | None, output: Path | None, **read: Any) -> None:
    """What a trace of requests is like: lengths, burstiness, rate, prefixes. FILE may be a built-in trace."""
    from solver.arguments import check_target
    from solver.files import write_whole
    from solver.result import to_json
    from solver.traffic.ask import described
    from solver.traffic.report import lines

    check_target(output, (".json",))
    check_target(plot, (".png", ".svg"))
    found = described(trace_path(file), period, **read)
    if plot:
        from solver.traffic.plot import plot_trace

        plot_trace(found, plot)
    if output:
        write_whole(output, to_json(found.as_dict()))
    tell(lines(found), found.as_dict)


def traffic_options(command: Any) -> Any:
    """The options that say what arrives."""
    options = [
        click.option("--trace", metavar="FILE", help="Replay a trace, or rates per period; a file or a built-in name."),
        click.option("--poisson", metavar="RATE", help="A Poisson stream: requests/s, or 90% of the planned rate."),
        click.option("--deterministic", metavar="RATE", help="The same at equal distances."),
        click.option("--workload", metavar="NAME", help="Whose requests the trace holds."),
        click.option(
            "--rate-scale", default="1", metavar="R|plan", help="Scale the trace's rate; plan: to the plan's."
        ),
        click.option("--time-scale", default="1", metavar="R", help="Times of the trace are multiplied by this."),
        click.option("--requests", type=click.IntRange(1), metavar="N", help="Requests of a stream."),
        click.option("--duration", metavar="T", help="Length of a stream instead, such as 30m."),
        click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command(epilog=EPILOG)
@instance_argument
@click.argument("plan", required=False, type=click.Path(path_type=Path), metavar="[RESULT|SCHEDULE]")
@traffic_options
@click.option("--routing", type=click.Choice(["least-loaded", "round-robin", "central"]), default="least-loaded",
              show_default=True)  # fmt: skip
@click.option("--period", metavar="T", help="Periods of the course in file and plot, such as 5m.  [default: 1m]")
@click.option("--plot", type=click.Path(path_type=Path), metavar="F.png|F.svg", help="Draw the course of the run.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="REPORT.json", help="Write it as JSON.")
@spoken
def simulate(instance: str, plan: Path | None, output: Path | None, trace: str | None, **given: Any) -> None:
    """Requests pass through a plan one by one; without RESULT the instance is solved first."""
    from solver.arguments import check_target
    from solver.files import write_whole
    from solver.result import to_json
    from solver.simulation.command import simulated

    check_target(output, (".json",))
    check_target(given["plot"], (".png", ".svg"))
    file = None if trace is None else trace_path(trace)
    found = simulated(instance_path(instance), plan, file, **given)
    if output and found.document:
        write_whole(output, to_json(found.document))
    tell(found.lines, lambda: found.document or {})
    sys.exit(CHECK_FAILED if not found.ok else EXIT_OF[found.status])


@main.command(epilog=EPILOG)
@instance_argument
@traffic_options
@click.option("--percentile", type=click.FloatRange(1, 100), default=95.0, show_default=True, metavar="P",
              help="Percentage of the requests that must meet each limit; `sla` may name its own.")  # fmt: skip
@click.option("--replications", type=click.IntRange(2, 30), default=5, show_default=True, metavar="N")
@click.option("--routing", type=click.Choice(["least-loaded", "round-robin", "central"]), default="least-loaded",
              show_default=True)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="F.json", help="Write every step as JSON.")
@spoken
def headroom(instance: str, output: Path | None, trace: str | None, **given: Any) -> None:
    """The largest utilization whose plan meets its limits at a percentile in simulation, and what that costs."""
    from solver.arguments import check_target
    from solver.files import write_whole
    from solver.result import to_json
    from solver.simulation.command import with_headroom
    from solver.terminal.progress import shown

    check_target(output, (".json",))
    file = None if trace is None else trace_path(trace)
    with shown("headroom", quiet=is_silent()) as tick:
        found = with_headroom(instance_path(instance), file, say=lambda text: tick(text=text), **given)
    if output and found.document:
        write_whole(output, to_json(found.document))
    tell(found.lines, lambda: found.document or {})
    sys.exit(EXIT_OF[found.status])


@main.command(epilog=EPILOG)
@click.argument("grid", type=click.Path(path_type=Path), metavar="GRID.json")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Tables, journal.")
@click.option("--workers", type=click.IntRange(1, 4096), metavar="N", help="Processes; all usable cores by default.")
@click.option("--scheduler", metavar="ADDRESS", help="Run on the Dask cluster of this scheduler instead.")
@quiet
def sweep(grid: Path, output: Path, workers: int | None, scheduler: str | None) -> None:
    """The exact frontier of every cell of a grid, as Parquet; what is done is not done again."""
    from solver.sweep.run import Progress, lines
    from solver.sweep.run import sweep as run_sweep
    from solver.terminal.progress import shown

    with shown("starting workers", quiet=is_silent()) as tick:

        def progress(now: Progress) -> None:
            tick(now.done / now.cells if now.cells else None, f"{now.done} of {now.cells} cells")

        say = lambda line: tick(line=line)  # noqa: E731
        found = run_sweep(grid, output, workers=workers, scheduler=scheduler, progress=progress, say=say)
    tell(lines(found))
    sys.exit(sweep_exit(found.statuses))


def sweep_exit(statuses: Any) -> int:
    """The exit code of a sweep: the worst of its cells; infeasible ones and bad input are answers."""
    if statuses["refuted"]:
        return CHECK_FAILED
    if statuses["failed"]:
        return OUR_FAULT
    return NOT_PROVED if statuses["stopped"] or statuses["not_run"] else OK


@main.command(epilog=EPILOG)
@instance_argument
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
@spoken
def schedule(instance: str, compare: bool, plot: Path | None, output: Path | None, **given: Any) -> None:
    """The best plan for every period of a day: replicas, starts, stops and switches, with a bound."""
    from solver.arguments import check_target
    from solver.files import write_whole
    from solver.result import to_json
    from solver.scheduling.arguments import scheduled
    from solver.scheduling.comparison import compared_with
    from solver.scheduling.document import as_dict
    from solver.scheduling.plot import plot_schedule
    from solver.scheduling.report import lines
    from solver.terminal.progress import shown

    check_target(output, (".json",))
    check_target(plot, (".png", ".svg"))
    given["trace"] = trace_path(given["trace"]) if given["trace"] else None
    with shown("planning the day", quiet=is_silent(), limit_s=given["time_limit"]):
        found = scheduled(instance_path(instance), **given)
    if output:
        write_whole(output, to_json(as_dict(found)))
    with shown("what others would have done", quiet=is_silent()):
        beside = compared_with(found) if compare and found.best else None
    if plot and found.best:
        plot_schedule(found, beside.policies if beside else (), plot)
    tell([*lines(found), *(beside.lines() if beside else ())], lambda: as_dict(found))
    refuted = found.feasibility.startswith("REFUTED")
    sys.exit(CHECK_FAILED if refuted else OK if found.is_done else EXIT_OF[found.status])


@main.command()
@spoken
def instances() -> None:
    """Lists the built-in instances."""
    from instances import describe, names

    rows = [{**describe(name), "name": name} for name in names()]
    lines = (f"{row['name']:<38}{row['description']}" for row in rows)
    tell(lines, lambda: {"format": "disagg-instances", "version": 1, "instances": rows})


@main.command()
@spoken
def backends() -> None:
    """Lists the back ends, and why one cannot run here."""
    from solver.backends.registry import available

    rows = [{"name": name, "available": reason is None, "reason": reason} for name, reason in available()]
    lines = (f"{r['name']:<10}{'available' if r['available'] else 'unavailable: ' + str(r['reason'])}" for r in rows)
    tell(lines, lambda: {"format": "disagg-backends", "version": 1, "backends": rows})


@main.command(epilog=EPILOG)
@instance_argument
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="F.html", help="Write the page."
)
@click.option("--at", "interactivity", metavar="N", help="Show the best deployment at these tokens/s/user first.")
@controls
@spoken
def report(instance: str, output: Path, interactivity: str | None, **run: Any) -> None:
    """One page for a browser: the frontier, the deployment, where it stands, what it rests on, the proof."""
    from solver.arguments import numbers_of, options_of
    from solver.files import check_writable, write_whole
    from solver.page.document import document
    from solver.page.report import report_of, summary
    from solver.terminal.progress import shown

    path, at = instance_path(instance), numbers_of(interactivity)
    options, log = options_of(say=log_of(), **run)
    check_writable(output)
    if output.suffix not in (".html", ".htm") or len(at) > 1:
        fail(f"report: got -o {output.name} and {len(at)} interactivities; -o must end in .html, --at takes one number")
    with shown("solving", quiet=is_silent()) as tick:
        telling = lambda name, share: tick(share, f"tracing the {name} frontier")  # noqa: E731
        found = report_of(path, options, at[0] if at else None, telling)
    write_whole(output, document(found, command_line()))
    if run["log"]:
        write_whole(run["log"], "\n".join(log) + "\n")
    tell([*summary(found), f"wrote {output}"], found.as_dict)
    code = CHECK_FAILED if found.is_refuted else EXIT_OF[found.status]
    sys.exit(NOT_PROVED if code == OK and found.missing else code)


@main.command()
@click.argument("shell", type=click.Choice(completing.SHELLS))
def completion(shell: str) -> None:
    """Prints the script that lets a shell complete commands, options and built-in instances of `ratematch`."""
    click.echo(completing.script(main, shell))
