"""How a model is set up for one role: number formats, partitions, and who carries the experts' traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from costmodels import silicon_package as package
from costmodels.operating_curve import Role
from costmodels.partition import Partition
from costmodels.partition_space import powers_of_two
from costmodels.precision import LABELS, components, fits

_PHASES: dict[Role, tuple[str, ...]] = {
    "prefill": ("context",),
    "decode": ("generation", "context"),
    "colocated": ("context", "generation"),
}
"""Phases whose traffic must be measured; weights are counted from the context phase, so decode needs it too."""
_MXFP8_EXPERTS = ("openai/gpt-oss-20b", "openai/gpt-oss-120b")
"""Checkpoints with MXFP4 experts that TensorRT-LLM multiplies in MXFP8 where the GPU has FP4 units (Blackwell)."""
_MODE = {"kv": "kvcache"}
LARGEST_DENSE_GPUS, LARGEST_FUSED_GPUS, LARGEST_GPUS = 8, 16, 64
"""GPUs of a replica: dense, MoE, and MoE where all-to-all traffic between nodes was measured."""
_ONE_NODE_ROWS = ("deepep_ht", "deepep_ll", "trtllm_deepep_ht", "trtllm_deepep_ll")
"""Libraries whose traffic between nodes the package derives from rows of a single node."""


class NoData(Exception):
    """Nothing was measured for what is asked; the message is a countable reason."""


@dataclass(frozen=True)
class Ask:
    """
    One role of one model on one GPU type and serving engine.

    Parameters
    ----------
    system, backend, version
        GPU type, serving engine, and version of the measured data.
    model
        Name of a bundled model, or a folder with a ``config.json``.
    role
        ``prefill``, ``decode`` or ``colocated``.
    precision
        A label, an exact string, or None for the formats of the checkpoint.
    isl, osl
        Input and output tokens.
    """

    system: str
    backend: str
    version: str
    model: str
    role: Role
    precision: str | None
    isl: int
    osl: int


@dataclass
class Setup:
    """
    A role, resolved against the measured data.

    Parameters
    ----------
    ask
        What is asked.
    database
        The measured data.
    modes
        Formats: gemm, moe, kvcache, fmha, comm.
    is_moe
        Whether the model has experts.
    coverage
        Phase -> communication library -> EP sizes with measured all-to-all traffic.
    """

    ask: Ask
    database: Any
    modes: dict[str, Any]
    is_moe: bool
    given: frozenset[str]
    coverage: dict[str, dict[str, set[int]]] = field(default_factory=dict)

    @property
    def gpus_per_node(self) -> int:
        """GPUs of a node, as the package has them."""
        return int(self.database.system_spec["node"]["num_gpus_per_node"])

    @property
    def domain_gpus(self) -> int:
        """GPUs of the NVLink domain that the data is priced at: the rack where it is one domain, else the node."""
        return int(self.database.system_spec["node"].get("num_gpus_per_rack") or self.gpus_per_node)

    def carriers(self, partition: Partition) -> dict[str, str] | None:
        """
        The library of each phase that carries the traffic of spread experts; None: none, collectives do.

        Raises
        ------
        NoData
            When experts are spread over nodes and the traffic was not measured.
        """
        ep, between_nodes = partition.moe_ep, partition.moe_ep > self.gpus_per_node
        if not self.is_moe or ep == 1:
            return None
        if partition.moe_tp > 1:
            if between_nodes:
                raise NoData("experts cut and spread over nodes: not measured")
            return None
        found: dict[str, str] = {}
        if self.ask.backend != "trtllm" or partition.attention_dp > 1:
            for phase, libraries in self.coverage.items():
                covering = [name for name, sizes in libraries.items() if ep in sizes]
                found |= {phase: covering[0]} if covering else {}
        if set(_PHASES[self.ask.role]) <= set(found):
            return found
        if between_nodes:
            raise NoData("experts spread over nodes: traffic not measured")
        return None

    def partitions(self) -> Iterator[Partition]:
        """Partitions that the serving engine offers, in degrees that are powers of two; data may be missing."""
        if not self.is_moe:
            most = LARGEST_FUSED_GPUS if self.domain_gpus > LARGEST_DENSE_GPUS else LARGEST_DENSE_GPUS
            for tp in powers_of_two(most):
                for pp in powers_of_two(most // tp if self.ask.role != "colocated" else 1):
                    for cp in self._context_parallel(Partition(tp, pp), most):
                        yield Partition(tp, pp, cp=cp)
            return
        common = [set().union(*self.coverage.get(phase, {}).values()) for phase in _PHASES[self.ask.role]]
        wide = any(size > self.gpus_per_node for size in set.intersection(*common))
        most = LARGEST_GPUS if wide else LARGEST_FUSED_GPUS
        for tp in powers_of_two(LARGEST_FUSED_GPUS):
            for attention_dp in powers_of_two(most // tp):
                if self.ask.backend == "trtllm" and tp > 1 and attention_dp > 1:
                    continue
                for cp in self._context_parallel(Partition(tp, attention_dp=attention_dp), most):
                    group = tp * attention_dp * cp
                    for moe_tp in powers_of_two(min(group, LARGEST_FUSED_GPUS)):
                        if self.ask.backend == "vllm" and moe_tp > 1 and moe_tp != group:
                            continue
                        yield Partition(tp, 1, attention_dp, moe_tp, group // moe_tp, cp)

    def _context_parallel(self, partition: Partition, most: int) -> Iterator[int]:
        """Context parallelism: of prompts, alone, and where the package models it."""
        yield 1
        if partition.stage_group > 1 or partition.pp > 1 or self.ask.role == "decode":
            return
        from aiconfigurator_core.sdk.models import get_model_family
        from aiconfigurator_core.sdk.models.base import _MODEL_REGISTRY

        if _MODEL_REGISTRY[get_model_family(self.ask.model)].supports_cp(self.ask.backend):
            yield from (cp for cp in (2, 4, 8) if cp <= most)

    def model(self, partition: Partition) -> Any:
        """
        The package's model of one partition.

        Raises
        ------
        NoData
            When the traffic of its experts was not measured.
        """
        from aiconfigurator_core.sdk.common import FMHAQuantMode, KVCacheQuantMode
        from aiconfigurator_core.sdk.config import ModelConfig
        from aiconfigurator_core.sdk.models import get_model

        carriers = self.carriers(partition)
        config = ModelConfig(
            tp_size=partition.tp, pp_size=partition.pp, attention_dp_size=partition.attention_dp,
            moe_tp_size=partition.moe_tp, moe_ep_size=partition.moe_ep, cp_size=partition.cp,
            moe_comm_backend=carriers, num_gpus_per_node=self.gpus_per_node, system=self.ask.system,
            **{f"{name}_quant_mode": mode for name, mode in self.modes.items()},
        )  # fmt: skip
        config._gemm_quant_mode_is_explicit = "gemm" in self.given
        if carriers and self.ask.backend == "sglang" and self._architecture == "DeepseekV3ForCausalLM":
            # SGLang's measurements of spread experts are labelled so.
            config.fmha_quant_mode = config.fmha_quant_mode if "fmha" in self.given else FMHAQuantMode.fp8_block
            config.kvcache_quant_mode = config.kvcache_quant_mode if "kvcache" in self.given else KVCacheQuantMode.fp8
        return get_model(self.ask.model, config, self.ask.backend)

    @property
    def _architecture(self) -> str:
        from aiconfigurator_core.sdk.models import _get_model_info

        return str(_get_model_info(self.ask.model)["architecture"])


def setup(ask: Ask) -> Setup:
    """
    Resolves a role: formats first, then where experts may be spread, then attention by what was measured.

    Raises
    ------
    NoData
        When a format is asked for that the package does not have, or there is no data at all.
    """
    from aiconfigurator_core.sdk.models import check_is_moe

    try:
        database = package.database(ask.system, ask.backend, ask.version)
    except (ValueError, RuntimeError, FileNotFoundError) as error:
        raise NoData(f"no data: {error}") from None
    modes, given = _modes(ask, database)
    found = Setup(ask, database, modes, bool(check_is_moe(ask.model)), given)
    found.coverage = _coverage(found) if found.is_moe else {}
    _fall_back_to_bfloat16_attention(found)
    return found


def _modes(ask: Ask, database: Any) -> tuple[dict[str, Any], frozenset[str]]:
    """Formats of a role, and which of them were asked for."""
    from aiconfigurator_core.sdk import common
    from aiconfigurator_core.sdk import models as sdk

    info = sdk._get_model_info(ask.model)
    inferred = sdk._infer_quant_modes_from_raw_config(info["raw_config"])
    blackwell = _is_blackwell(ask.system)
    experts = sdk.resolve_dsv4_moe_arch_mode(ask.model, ask.system, ask.backend)
    experts = experts or sdk.resolve_kimi_k3_moe_arch_mode(ask.model, ask.system, ask.backend)
    experts = experts or inferred.get("moe_quant_mode")
    if ask.backend == "trtllm" and blackwell and ask.model in _MXFP8_EXPERTS:
        experts = common.MoEQuantMode.w4a8_mxfp4_mxfp8
    experts = sdk.resolve_vllm_moe_execution_mode(experts, ask.backend, info["architecture"])
    modes: dict[str, Any] = {
        "gemm": inferred.get("gemm_quant_mode") or common.GEMMQuantMode.bfloat16,
        "moe": experts or common.MoEQuantMode.bfloat16,
        "kvcache": inferred.get("kvcache_quant_mode") or common.KVCacheQuantMode.bfloat16,
        "fmha": inferred.get("fmha_quant_mode") or common.FMHAQuantMode.bfloat16,
        "comm": inferred.get("comm_quant_mode") or common.CommQuantMode.half,
    }
    given = _asked_for(ask, modes, database)
    modes |= given
    if not blackwell:  # no FP4 units: weights are stored so and multiplied in bfloat16
        if modes["gemm"] == common.GEMMQuantMode.nvfp4:
            modes["gemm"] = common.GEMMQuantMode.nvfp4_wo
        if modes["moe"] == common.MoEQuantMode.nvfp4:
            modes["moe"] = common.MoEQuantMode.nvfp4_wo
    return modes, frozenset(given)


def precision_fault(wanted: str | None) -> str | None:
    """What is wrong with a precision that is asked for, or None."""
    if wanted is None or wanted in LABELS:
        return None
    kinds, parts = _formats(), components(wanted)
    if set(parts) != set(kinds):
        whole = " ".join(f"{name}:F" for name in kinds)
        return f"got {wanted!r}, allowed: {', '.join(LABELS)}, or a whole string {whole}"
    wrong = [
        f"got {name}:{mode}, allowed: {', '.join(kinds[name].__members__)}"
        for name, mode in parts.items()
        if mode not in kinds[name].__members__
    ]
    return "; ".join(wrong) or None


def _formats() -> dict[str, Any]:
    """Component of a precision string -> the package's formats."""
    from aiconfigurator_core.sdk import common

    return {
        "gemm": common.GEMMQuantMode,
        "moe": common.MoEQuantMode,
        "kv": common.KVCacheQuantMode,
        "fmha": common.FMHAQuantMode,
    }


def _asked_for(ask: Ask, modes: dict[str, Any], database: Any) -> dict[str, Any]:
    """The formats that a workload's precision names, where the checkpoint's own are others."""
    from aiconfigurator_core.sdk.models import check_is_moe

    wanted, kinds = ask.precision, _formats()
    if wanted is None or fits(wanted, exact_precision(modes)):
        return {}
    if wanted not in LABELS:
        return {_MODE.get(name, name): kinds[name][mode] for name, mode in components(wanted).items()}
    chosen: dict[str, Any] = {}
    for name in ("gemm", "moe"):
        known = [mode for mode in LABELS[wanted] if mode in kinds[name].__members__]
        measured = [mode for mode in known if mode in (database.supported_quant_mode.get(name) or ())]
        if known:
            chosen[name] = kinds[name][(measured or known)[0]]
    if wanted == "bf16":
        chosen |= {"kvcache": kinds["kv"].bfloat16, "fmha": kinds["fmha"].bfloat16}
    elif wanted in ("fp8", "nvfp4"):  # as checkpoints of these formats are run
        chosen["kvcache"] = kinds["kv"].fp8
        modes["fmha"] = kinds["fmha"].fp8
    dense = not check_is_moe(ask.model)
    if not fits(wanted, exact_precision(modes | chosen)) or (dense and "gemm" not in chosen):
        raise NoData(f"no format for {wanted}")
    return chosen


def exact_precision(modes: dict[str, Any]) -> str:
    """The exact precision string of a role's formats."""
    return f"gemm:{modes['gemm'].name} moe:{modes['moe'].name} kv:{modes['kvcache'].name} fmha:{modes['fmha'].name}"


def _is_blackwell(system: str) -> bool:
    from aiconfigurator_core.sdk.perf_database import is_blackwell_system

    return bool(is_blackwell_system(system))


def _coverage(found: Setup) -> dict[str, dict[str, set[int]]]:
    """Which EP sizes have measured all-to-all traffic and measured expert arithmetic, by phase and library."""
    from aiconfigurator_core.sdk.models import _get_model_info, get_model_family
    from aiconfigurator_core.sdk.models.blocks.moe import LARGE_EP_READY_FAMILIES, MoEBlockShape
    from aiconfigurator_core.sdk.operations.moe_comm import MOE_A2A_BACKENDS

    ask, data, mode = found.ask, found.database, found.modes["moe"]
    if get_model_family(ask.model) not in LARGE_EP_READY_FAMILIES:
        return {}
    shape = MoEBlockShape.from_model_info(_get_model_info(ask.model))
    wide = (shape.hidden_size, shape.topk, shape.num_experts)
    deep = (shape.hidden_size, shape.moe_inter_size, shape.topk, shape.num_experts, mode)
    capability = data.system_spec["gpu"].get("sm_version")
    coverage: dict[str, dict[str, set[int]]] = {}
    for phase in ("context", "generation"):
        traffic = data.moe_a2a_coverage(*wide, mode, phase)
        arithmetic = set(data.moe_expert_compute_coverage(*deep, phase))
        if ask.backend in ("trtllm", "vllm"):
            arithmetic |= set(data.legacy_moe_compute_coverage(*deep))
        for name, library in MOE_A2A_BACKENDS.items():
            if ask.backend not in library.frameworks or phase not in library.inference_phases:
                continue
            sizes = {
                ep
                for ep in arithmetic
                if _carried(traffic.get(name, set()), name, ask.backend, ep, found.gpus_per_node)
                and library.feasible(
                    topk=shape.topk, num_experts=shape.num_experts, moe_tp_size=1, moe_ep_size=ep,
                    sm_version=None if capability is None else int(capability),
                )
            }  # fmt: skip
            if sizes:
                coverage.setdefault(phase, {})[name] = sizes
    return coverage


def _carried(measured: set[tuple[int, int]], library: str, backend: str, ep: int, gpus_per_node: int) -> bool:
    """Whether (EP, nodes) was measured, or the single-node row that the package derives it from."""
    nodes = -(-ep // gpus_per_node)
    if (ep, nodes) in measured:
        return True
    one_node = (8 if backend == "sglang" else gpus_per_node, 1)
    return nodes > 1 and library in _ONE_NODE_ROWS and one_node in measured


def _fall_back_to_bfloat16_attention(found: Setup) -> None:
    """FP8 attention over prompts that was inferred, and not measured, is priced as bfloat16; decode has no such key."""
    from aiconfigurator_core.sdk.common import FMHAQuantMode, GEMMQuantMode
    from aiconfigurator_core.sdk.models import _get_model_info, attention_op_keys, get_model_family
    from aiconfigurator_core.sdk.models.helpers import attention_projection_exclusions
    from aiconfigurator_core.sdk.perf_database import context_fmha_supported_modes

    ask, modes = found.ask, found.modes
    if ask.role == "decode" or "fmha" in found.given or modes["fmha"] != FMHAQuantMode.fp8:
        return
    projections = {"q", "kv", "o"}
    plain = attention_projection_exclusions(_get_model_info(ask.model)["raw_config"]) & projections
    mixed = modes["gemm"] != GEMMQuantMode.bfloat16 and bool(plain) and plain != projections
    hits = {FMHAQuantMode.fp8.name: 0, FMHAQuantMode.bfloat16.name: 0}
    for spread in sorted(_regimes(found)):
        table = attention_op_keys(get_model_family(ask.model), ask.backend, spread)[0]
        table = "context_mla_granular" if table == "context_mla" and mixed else table
        measured = context_fmha_supported_modes(found.database, table, modes["kvcache"])
        for name in hits:
            hits[name] += name in measured
    if hits[FMHAQuantMode.bfloat16.name] > hits[FMHAQuantMode.fp8.name]:
        modes["fmha"] = FMHAQuantMode.bfloat16


def _regimes(found: Setup) -> set[bool]:
    """Whether partitions leave the experts' traffic to collectives (False), to a library (True), or both."""
    regimes: set[bool] = set()
    for partition in found.partitions():
        try:
            regimes.add(found.carriers(partition) is not None)
        except NoData:
            regimes.add(False)
    return regimes or {False}
