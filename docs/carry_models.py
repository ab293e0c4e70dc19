"""
Takes the small models of an export into ``instances/models``: ``python docs/carry_models.py DIR``.

``DIR`` is what ``python -m solver bench --export DIR`` wrote. Instances that the roofline prices stay out: their models
move with every fit of its constants. Models with all dominated points are carried as MPS where they are small.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from pathlib import Path

import instances
from solver.files import write_whole
from solver.library import MANIFEST

MOST_BYTES = 25_000
"""Largest gzip file of a model with all its dominated points."""


def main(source: Path) -> None:
    """Writes the files and their manifest."""
    target = Path(instances.__file__).with_name("models")
    target.mkdir(exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    with (source / MANIFEST).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if not row["provenance"].endswith("roofline")]
        fields = list(reader.fieldnames or [])
    for row in rows:
        for ending in ("lp", "mps") if row["dominance"] == "yes" else ("mps",):
            packed = gzip.compress((source / f"{row['model']}.{ending}").read_bytes(), 9, mtime=0)
            if row["dominance"] == "yes" or len(packed) <= MOST_BYTES:
                (target / f"{row['model']}.{ending}.gz").write_bytes(packed)
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(target / MANIFEST, text.getvalue())
    size = sum(file.stat().st_size for file in target.iterdir())
    print(f"{len(rows)} models, {len(list(target.iterdir())) - 1} files, {size:,} bytes in {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
