"""What the engines of a workload hand over: found by model and KV format, or a fault that says what is missing."""

from __future__ import annotations

from dataclasses import replace

from costmodels.errors import Fault, InputError
from costmodels.kv import HandedOver, distinct_shards, handed_over
from costmodels.models import Model, model
from costmodels.operating_curve import OperatingCurve
from costmodels.precision import kv_format
from solver.instance import Instance, Workload


def hands_over(instance: Instance, workload: Workload) -> bool:
    """Whether family C6 concerns a workload: something limits the hand-over, and there may be one."""
    is_joined = "disaggregated" in instance.serving.modes and "decode" in workload.roles("disaggregated")
    return is_joined and instance.limits_handover


def kv_model_faults(instance: Instance) -> list[Fault]:
    """A fault for every workload whose hand-over is limited and whose model has no known shape."""
    faults = []
    for index, workload in enumerate(instance.workloads):
        try:
            if hands_over(instance, workload):
                _shape(workload)
        except ValueError as error:
            faults.append(_fault(index, error))
    return faults


class KvShapes:
    """
    What the engines of an instance hand over; the cache of a prompt is summed up once per workload and KV format.

    Parameters
    ----------
    instance
        The instance.
    """

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._known: dict[tuple[str, str], HandedOver] = {}

    def of(self, workload: Workload, curve: OperatingCurve) -> HandedOver | None:
        """
        What one replica hands over or takes in; None where nothing limits that, and where nothing is handed over.

        Raises
        ------
        InputError
            When the model or the KV format is not known.
        """
        if curve.role == "colocated" or not hands_over(self.instance, workload):
            return None
        key = (workload.name, kv_format(curve.precision))
        try:
            shape = _shape(workload)
            if key not in self._known:
                self._known[key] = handed_over(shape, curve.precision, curve.partition, workload.lengths)
        except ValueError as error:
            raise InputError([_fault(self.instance.workloads.index(workload), error)]) from None
        return replace(self._known[key], shards=distinct_shards(shape, curve.partition))


def _fault(index: int, error: ValueError) -> Fault:
    text = f"kv_gbps and kv_links need the shape of the model: {error}; or leave them out"
    return Fault(f"$.workloads[{index}].model", text)


def _shape(workload: Workload) -> Model:
    return workload.shape or model(workload.model)
