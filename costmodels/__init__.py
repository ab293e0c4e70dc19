"""
Cost models of LLM inference: GPUs, models, and the operating curves that a plan rests on. No solver is needed.

A cost model answers a query with curves::

    from costmodels import CurveQuery, Roofline
    query = CurveQuery(gpu="h100_sxm", domain_gpus=8, model="meta-llama/Meta-Llama-3.1-8B", isl=1000, osl=200)
    for curve in Roofline().curves(query).curves:
        print(curve.role, curve.partition.label, curve.batch[-1], float(curve.latency_ms[-1]))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from costmodels.curves import CurveTables
    from costmodels.errors import Fault, InputError
    from costmodels.gpus import GPUS, Gpu, gpu
    from costmodels.models import MODELS, Model, model
    from costmodels.operating_curve import CurveQuery, CurveSet, OperatingCurve, OperatingPoint
    from costmodels.partition import Partition
    from costmodels.roofline import Roofline
    from costmodels.silicon import Silicon
    from costmodels.traffic import Traffic

_HOME = {
    "CurveQuery": "operating_curve",
    "CurveSet": "operating_curve",
    "CurveTables": "curves",
    "Fault": "errors",
    "GPUS": "gpus",
    "Gpu": "gpus",
    "InputError": "errors",
    "MODELS": "models",
    "Model": "models",
    "OperatingCurve": "operating_curve",
    "OperatingPoint": "operating_curve",
    "Partition": "partition",
    "Roofline": "roofline",
    "Silicon": "silicon",
    "Traffic": "traffic",
    "gpu": "gpus",
    "model": "models",
}
__all__ = [
    "GPUS",
    "MODELS",
    "CurveQuery",
    "CurveSet",
    "CurveTables",
    "Fault",
    "Gpu",
    "InputError",
    "Model",
    "OperatingCurve",
    "OperatingPoint",
    "Partition",
    "Roofline",
    "Silicon",
    "Traffic",
    "gpu",
    "model",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that ``import costmodels`` is instant."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"costmodels.{_HOME[name]}"), name)
