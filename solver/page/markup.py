"""HTML that is escaped by construction."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is HTML already; every other text is escaped where it is put into a tag."""

    __slots__ = ()


VOID = ("meta", "br", "hr")


def tag(name: str, *content: str, **attributes: str) -> Markup:
    """
    An element.

    Parameters
    ----------
    name
        Its name.
    *content
        Markup as it is, other text escaped.
    **attributes
        Their values, escaped; a trailing underscore of a name falls away (``class_``), others become hyphens.
    """
    told = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items())
    inside = "".join(one if isinstance(one, Markup) else html.escape(one) for one in content)
    return Markup(f"<{name}{told}>" if name in VOID else f"<{name}{told}>{inside}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """Parts one after the other, escaped where they are no markup."""
    return Markup("\n".join(one if isinstance(one, Markup) else html.escape(one) for one in parts))


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = (), **attributes: str
) -> Markup:
    """A table; columns of the given places hold numbers. Cells know the names of their columns."""

    def cell(kind: str, place: int, text: str) -> Markup:
        look = {"class_": "number"} if place in numbers else {}
        if kind == "th":
            return tag("th", text, scope="col", **look)
        return tag("td", text, data_label=header[place], **look)

    head = tag("thead", tag("tr", *(cell("th", i, text) for i, text in enumerate(header))))
    body = (tag("tr", *(cell("td", i, text) for i, text in enumerate(row))) for row in rows)
    return tag("table", head, tag("tbody", *body), **attributes)


def terms(pairs: Iterable[tuple[str, str]]) -> Markup:
    """A list of names with what they stand for; without those that stand for nothing."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", text)) for name, text in pairs if text))


def section(title: str, anchor: str, *content: str, **attributes: str) -> Markup:
    """A section of the page, under a heading."""
    return tag("section", tag("h2", title, id=f"{anchor}-title"), *content, id=anchor, **attributes)
