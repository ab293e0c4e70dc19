"""
Fits all constants of the embedded cost model and writes them: ``python -m costmodels.calibration``.

With ``--leave-out`` the constants stay: each model, GPU or third of the measured rows is predicted by a fit that has
not seen it, and the errors are recorded beside those of the whole fit (``nothing``) and of the plain roofline
(``everything``). ``--leave-out all`` takes about an hour.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from costmodels.calibration.files import write_whole
from costmodels.calibration.kernels import kernel_rows, median_errors
from costmodels.calibration.left_out import WAYS, left_out, whole_fit
from costmodels.calibration.write import write, write_kernels
from costmodels.unseen import FILE as UNSEEN
from costmodels.unseen import as_csv, recorded

_LOG = logging.getLogger(__name__)
_CARRIED = Path(__file__).parents[2] / "instances" / "curves"
_MEASURED = Path(__file__).parents[1] / "data" / "measured.csv.gz"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the arguments and fits."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m costmodels.calibration", description=__doc__)
    parser.add_argument("--curves", nargs="*", type=Path, default=sorted(_CARRIED.glob("*__*.csv.gz")))
    parser.add_argument("--measured", type=Path, default=_MEASURED)
    parser.add_argument("--leave-out", choices=[*WAYS, "all"])
    chosen = parser.parse_args(arguments)
    if chosen.leave_out:
        for way in WAYS if chosen.leave_out == "all" else (chosen.leave_out,):
            found = list(left_out(chosen.curves, chosen.measured, way))
            for one in found:
                if not one.model:
                    _LOG.info(one)
            kept = [one for one in recorded() if one.left_out != way]
            write_whole(UNSEEN, as_csv([*kept, *found]))
        return
    kernels, tables, served, closed = whole_fit(chosen.curves, chosen.measured)
    for key, error in median_errors(kernels, kernel_rows()).items():
        _LOG.info("%s: median error %.1f %%", " ".join(key), 100 * error)
    for path in (*write_kernels(kernels), *write(tables, served, closed)):
        _LOG.info("wrote %s", path)


if __name__ == "__main__":
    main()
