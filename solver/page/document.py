"""The page: one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
from pathlib import Path
from string import Template

from solver.page import sections
from solver.page.markup import Markup, joined, section, tag
from solver.page.payload import as_json, payload_of
from solver.page.report import Report

FOLDER = Path(__file__).parent
SCRIPTS = ("draw.js", "state.js", "frontier.js", "ratio.js", "deployment.js", "packing.js", "curves.js", "main.js")

NOTHING_ELSE = "base-uri 'none'; form-action 'none'"


def document(report: Report, command: str) -> str:
    """
    The page as HTML.

    Parameters
    ----------
    report
        What it shows.
    command
        The command that makes it, for the reader.
    """
    style = (FOLDER / "page.css").read_text("utf-8")
    script = "".join((FOLDER / name).read_text("utf-8") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    policy = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; {NOTHING_ELSE}"
    return Template((FOLDER / "page.html").read_text("utf-8")).substitute(
        policy=html.escape(policy, quote=True),
        title=html.escape(report.instance.name),
        style=style,
        body=joined(_body(report, command)),
        payload=as_json(payload_of(report)),
        script=script,
    )


def _hash(text: str) -> str:
    """What a content security policy knows an inline script or style by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _body(report: Report, command: str) -> list[Markup]:
    result, instance = report.result, report.instance
    title = tag("h1", instance.name)
    parts = [tag("header", title, sections.verdict(report), *map(_note, report.missing))]
    if result is not None and result.status == "infeasible":
        parts.append(sections.why_not(result))
    if report.frontier is not None and report.frontier.points:
        lead = "Hover, tap or use the arrow keys to look at a deployment; click or press Enter to pin it."
        parts.append(
            section(
                "Frontier",
                "frontier",
                tag("p", lead, class_="lead"),
                _figure("frontier-figure"),
                sections.listing(report),
            )
        )
    elif result is None or result.status != "infeasible":
        told = report.no_frontier or (report.frontier.missing if report.frontier else "") or "nothing meets the limits"
        parts.append(section("Frontier", "frontier", tag("p", f"There is no frontier to show: {told}.")))
    if _has_points(report):
        parts += [
            section("Deployment", "deployment", _figure("deployment-figure")),
            section("Where it stands: GPUs per NVLink domain", "packing", _figure("packing-figure")),
            section("Context to generation GPUs", "ratio", _figure("ratio-figure")),
        ]
    parts.append(section("Operating curves", "curves", _figure("curves-figure")))
    if result is not None and result.deployment is not None:
        parts.append(sections.binding(result))
    return [*parts, sections.proof(report), sections.problem(instance), sections.reproduce(command)]


def _has_points(report: Report) -> bool:
    own = report.frontier is not None and bool(report.frontier.points)
    return own or (report.result is not None and report.result.deployment is not None)


def _note(text: str) -> Markup:
    return tag("p", f"Not complete: {text}.", class_="note")


def _figure(name: str) -> Markup:
    """A place for a script to draw in."""
    waiting = tag("noscript", tag("p", "The pictures are drawn by the script of this page; the tables say the same."))
    return tag("div", waiting, id=name, class_="figure")
