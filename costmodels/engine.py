"""An engine as the roofline prices it: which constants and measured kernels apply."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from costmodels.constants import ARCHITECTURES, Basis, Constants, Path_, constants
from costmodels.formats import Formats
from costmodels.gpus import Gpu
from costmodels.kernels import (
    DECODES,
    PROMPTS,
    SENT,
    ExchangeKernel,
    ExpertKernel,
    LatentKernel,
    exchange_kernels,
    expert_kernels,
    latent_kernels,
    nearest,
)
from costmodels.models import Model
from costmodels.operators import HIDDEN_BYTES
from costmodels.partition import Partition

UNEVEN: dict[Basis, float] = {"operators": 1.0, "served": 0.1, "ideal": 0.0}
"""
How much of the unevenness of the measured kernels there is. Operators were measured under steep power laws of
popularity. For servers a tenth is our choice, since measured rows, most of them of eight ranks, do not tell: the
fullest of 32 and of 64 ranks then carries 1.8 and 2.5 times the mean of DeepSeek. ``expert_imbalance`` states another.
"""


@dataclass(frozen=True)
class Engine:
    """
    What is priced.

    Parameters
    ----------
    model, gpu, formats, partition
        The engine.
    domain_gpus
        GPUs of an NVLink domain.
    serving
        Serving engine (``trtllm``, ``sglang``, ``vllm``), None for a mean one: which constants apply.
    basis
        See :mod:`costmodels.constants`.
    imbalance
        Load of the fullest expert-parallel rank over the mean, None: as fitted.
    dispatches
        Whether tokens go to whole experts and back; None: with attention DP and whole experts.
    exchanged
        GPUs among which dispatched tokens are exchanged; None: all that hold experts. For tables that take the
        exchange of one node for any number of nodes.
    other_kernels
        How experts, latent attention, and exchanges of prompts and of decodes run, in place of the carried kernels:
        for fits that leave something out.
    """

    model: Model
    gpu: Gpu
    formats: Formats
    partition: Partition
    domain_gpus: int
    serving: str | None = None
    basis: Basis = "served"
    imbalance: float | None = None
    dispatches: bool | None = None
    exchanged: int | None = None
    other_kernels: tuple[ExpertKernel, LatentKernel, ExchangeKernel, ExchangeKernel] | None = None

    @property
    def is_dispatched(self) -> bool:
        """Whether tokens are sent to whole experts and back, instead of being shared by the whole group."""
        cut = self.partition
        whole = self.model.is_moe and cut.moe_tp == 1 and cut.moe_ep > 1
        return whole and (cut.attention_dp > 1 if self.dispatches is None else self.dispatches)

    @property
    def path(self) -> Path_:
        """How tokens meet experts."""
        if not self.model.is_moe:
            return "dense"
        return "dispatched" if self.is_dispatched else "shared"

    @property
    def sent_width(self) -> float:
        """
        Width of tokens on their way to experts, against bfloat16.

        Dispatched tokens are sent in the width of the arithmetic of experts; by TensorRT-LLM in NVFP4 or bfloat16.
        Tokens for a whole group are gathered in bfloat16, but by TensorRT-LLM on Blackwell as experts of FP8 and NVFP4
        take them (so aiconfigurator-core 0.12, operator by operator).
        """
        moe, is_trtllm = self.formats.moe, self.serving == "trtllm"
        if self.is_dispatched:
            wide = moe.math == "bf16" or (is_trtllm and moe.math == "fp8")
        else:
            architecture = ARCHITECTURES.get(self.gpu.calibrated_as or self.gpu.name)
            wide = not (is_trtllm and architecture == "blackwell" and moe.kernel in ("fp8", "fp8_block", "nvfp4"))
        return 1.0 if wide else moe.bytes / HIDDEN_BYTES

    @cached_property
    def constants(self) -> Constants:
        """The constants that apply."""
        return constants(self.basis, self.path, self.gpu, self.serving)

    @cached_property
    def kernel(self) -> ExpertKernel | None:
        """How products over experts run; None: the plain roofline."""
        if self.basis == "ideal":
            return None
        if self.other_kernels is not None:
            return self.other_kernels[0]
        return nearest(expert_kernels(), self.expert_form, self.gpu, self.serving)

    @property
    def expert_form(self) -> str:
        """Name under which the kernel of experts was measured."""
        return self.formats.moe.kernel + (SENT if self.is_dispatched else "")

    @cached_property
    def latent_kernel(self) -> LatentKernel | None:
        """How latent attention runs; None: the plain roofline."""
        if self.basis == "ideal":
            return None
        if self.other_kernels is not None:
            return self.other_kernels[1]
        return nearest(latent_kernels(), self.formats.kv.kernel, self.gpu, self.serving)

    @cached_property
    def exchange_kernels(self) -> tuple[ExchangeKernel, ExchangeKernel] | None:
        """How tokens are sent to experts, of steps with prompts and of others; None: the plain roofline."""
        if self.basis == "ideal":
            return None
        if self.other_kernels is not None:
            return self.other_kernels[2:]
        sets = exchange_kernels()
        return nearest(sets, PROMPTS, self.gpu, self.serving), nearest(sets, DECODES, self.gpu, self.serving)

    @cached_property
    def hot(self) -> float:
        """Load of the fullest expert-parallel rank over the mean; no rank can carry more than everything."""
        ranks = self.partition.moe_ep
        if self.imbalance is not None:
            return min(float(ranks), self.imbalance)
        if self.kernel is None:
            return 1.0
        fullest = float(self.kernel.hot(float(ranks), self.model.experts / ranks, self.model.experts_per_token))
        return 1 + UNEVEN[self.basis] * (fullest - 1)

    @property
    def overlaps(self) -> bool:
        """
        Whether steps without prompts run the experts that every token takes beside the routed ones.

        The plain roofline runs everything in turn, and so do the operator tables of SGLang and vLLM where tokens are
        dispatched.
        """
        in_turn = self.basis == "operators" and self.is_dispatched and self.serving in ("sglang", "vllm")
        return self.basis != "ideal" and not in_turn
