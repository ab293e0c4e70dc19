"""An engine as the roofline prices it: which constants and measured kernels apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from costmodels.constants import ANY, ARCHITECTURES, Basis, Constants, Path_, constants
from costmodels.formats import FORMATS, Formats
from costmodels.gpus import Gpu
from costmodels.kernel_sets import KernelSets, Key, carried
from costmodels.kernels import (
    COARSE,
    DECODES,
    FEW,
    FINE_FROM,
    GATHER,
    GENTLE,
    MOST_EXPERTS,
    PROMPTS,
    REDUCE,
    REDUCE_MANY,
    SENT,
    STATIC,
    CollectiveKernel,
    ExchangeKernel,
    ExpertKernel,
    Kernel,
    LatentKernel,
    ProductKernel,
    PromptKernel,
    QueryKernel,
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
class EngineKernels:
    """
    The kernels that an engine runs; None: the plain roofline.

    Parameters
    ----------
    products, wide
        Of products with weights, and of those whose weights are bfloat16 whatever the engine's format.
    experts, few_experts
        Of experts; in steps of few tokens, where that is another.
    prompts, queries, latent
        Of attention of prompts, and of single queries; of latent attention.
    gather, reduce, reduce_many
        Of all-gathers and reduce-scatters, and of all-reduces of a few GPUs and of many.
    many, few
        Of tokens sent to experts, in steps with prompts and in others.
    """

    products: ProductKernel | None = None
    wide: ProductKernel | None = None
    experts: ExpertKernel | None = None
    few_experts: ExpertKernel | None = None
    prompts: PromptKernel | None = None
    queries: QueryKernel | None = None
    latent: LatentKernel | None = None
    gather: CollectiveKernel | None = None
    reduce: CollectiveKernel | None = None
    reduce_many: CollectiveKernel | None = None
    many: ExchangeKernel | None = None
    few: ExchangeKernel | None = None


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
    popularity
        With which power of its rank the popularity of an expert falls (:data:`costmodels.kernels.GENTLE`).
    dispatches
        Whether tokens go to whole experts and back; None: with attention DP and whole experts.
    exchanged
        GPUs among which dispatched tokens are exchanged; None: all that hold experts. For tables that take the
        exchange of one node for any number of nodes.
    other_kernels
        In place of the carried kernels: for fits that leave something out.
    """

    model: Model
    gpu: Gpu
    formats: Formats
    partition: Partition
    domain_gpus: int
    serving: str | None = None
    basis: Basis = "served"
    imbalance: float | None = None
    popularity: float = GENTLE
    dispatches: bool | None = None
    exchanged: int | None = None
    other_kernels: EngineKernels | None = None

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
    def architecture(self) -> str | None:
        """Of its GPU, where GPUs of it were fitted."""
        return ARCHITECTURES.get(self.gpu.calibrated_as or self.gpu.name)

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
            wide = not (is_trtllm and self.architecture == "blackwell" and moe.kernel in ("fp8", "fp8_block", "nvfp4"))
        return 1.0 if wide else moe.bytes / HIDDEN_BYTES

    @cached_property
    def constants(self) -> Constants:
        """The constants that apply."""
        return constants(self.basis, self.path, self.gpu, self.serving)

    @cached_property
    def kernels(self) -> EngineKernels:
        """The kernels that it runs."""
        if self.basis == "ideal":
            return EngineKernels()
        return self.other_kernels or self.kernels_of(carried())

    def kernels_of(self, sets: KernelSets) -> EngineKernels:
        """The kernels that it runs, of given ones by key."""
        of, formats = sets.at(self.gpu, self.serving), self.formats
        few = self.formats.moe.kernel + FEW
        has_few = not self.is_dispatched and self.model.experts <= MOST_EXPERTS and self._measured(few, sets.experts)
        return EngineKernels(
            of("products", self._product_form(sets)),
            of("products", FORMATS["bfloat16"].product),
            of("experts", self.expert_form),
            of("experts", few) if has_few else None,
            of("prompts", f"{formats.fmha.kernel} {formats.kv.kernel}"),
            of("queries", formats.kv.kernel),
            of("latent", formats.kv.kernel),
            of("collective", GATHER),
            of("collective", REDUCE),
            of("collective", REDUCE_MANY),
            of("exchange", PROMPTS),
            of("exchange", DECODES),
        )

    def _product_form(self, sets: KernelSets) -> str:
        """Name of its products; scales are computed where the engine was measured so alone."""
        form = self.formats.gemm.product
        computed = form.removesuffix(STATIC)
        alone = self._measured(computed, sets.products) and not self._measured(form, sets.products)
        return computed if alone else form

    def _measured(self, form: str, kernels: Mapping[Key, Kernel]) -> bool:
        """Whether a form was measured under its serving engine on its architecture."""
        return (form, self.architecture, self.serving, ANY) in kernels

    @property
    def expert_form(self) -> str:
        """Name under which the kernel of experts was measured."""
        if self.is_dispatched:
            return self.formats.moe.kernel + SENT
        return self.formats.moe.kernel + ("" if self.model.experts_per_token >= FINE_FROM else COARSE)

    def hot(self, kernel: ExpertKernel | None) -> float:
        """Load of the fullest expert-parallel rank over the mean; no rank can carry more than everything."""
        ranks = self.partition.moe_ep
        if self.imbalance is not None:
            return min(float(ranks), self.imbalance)
        if kernel is None:
            return 1.0
        held, copies = self.model.experts / ranks, self.model.experts_per_token
        fullest = float(kernel.hot(float(ranks), held, copies, self.popularity))
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
