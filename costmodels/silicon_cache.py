"""Priced rows on disk: written whole, checked on reading, ignored when anything about them is odd."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import tempfile
import zlib
from dataclasses import asdict
from pathlib import Path

from costmodels.silicon_config import Ask
from costmodels.silicon_rows import Rows
from costmodels.table import HEADER

VARIABLE = "RATEMATCH_CACHE"
"""Environment variable that names another folder; set but empty: nothing is kept."""


def default_folder() -> Path | None:
    """Where rows are kept: :data:`VARIABLE`, else the cache folder of the platform; None: nowhere."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return Path(given).expanduser() / "silicon" if given else None
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "ratematch" / "silicon"


class RowCache:
    """
    Rows of asks, by the versions that priced them.

    Parameters
    ----------
    folder
        Where the files are; None: nothing is kept.
    package, rules
        Versions of the package and of the rules in this product; rows of others are not taken.
    """

    def __init__(self, folder: Path | None, package: str, rules: str) -> None:
        self.folder = folder
        self._versions = {"package": package, "rules": rules}

    def path(self, ask: Ask) -> Path | None:
        """The file of an ask."""
        if self.folder is None:
            return None
        return self.folder / f"{hashlib.sha256(self._key(ask).encode()).hexdigest()[:32]}.json.gz"

    def load(self, ask: Ask) -> Rows | None:
        """What was kept for an ask; None when there is nothing, or the file is damaged."""
        path = self.path(ask)
        try:
            kept = json.loads(gzip.decompress(path.read_bytes())) if path else None
            if kept is None or kept["key"] != self._key(ask) or kept["sha256"] != _checksum(kept):
                return None
            return Rows(tuple(tuple(row) for row in kept["rows"]), dict(kept["dropped"]))
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
            return None

    def save(self, ask: Ask, rows: Rows) -> None:
        """Keeps rows, by renaming a finished file into place; a folder that cannot be written to keeps nothing."""
        path = self.path(ask)
        if path is None:
            return
        kept: dict[str, object] = {"key": self._key(ask), "rows": rows.rows, "dropped": rows.dropped}
        content = json.dumps(kept | {"sha256": _checksum(kept)})
        name = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "wb") as file:
                file.write(gzip.compress(content.encode(), mtime=0))
            os.replace(name, path)
        except OSError:
            if name is not None:
                Path(name).unlink(missing_ok=True)

    def _key(self, ask: Ask) -> str:
        return json.dumps(self._versions | asdict(ask) | {"columns": HEADER}, sort_keys=True)


def _checksum(kept: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps([kept["rows"], kept["dropped"]]).encode()).hexdigest()
