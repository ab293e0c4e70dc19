"""How one replica is cut over GPUs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Partition:
    """
    The partition of one replica.

    Parameters
    ----------
    tp
        Tensor parallelism of the attention (and of a dense FFN).
    pp
        Pipeline stages; with chunked prompts this is CPP.
    attention_dp
        Attention data parallelism: independent attention ranks that share the experts.
    moe_tp
        Tensor parallelism inside an expert.
    moe_ep
        Expert parallelism.
    cp
        Context parallelism.
    """

    tp: int = 1
    pp: int = 1
    attention_dp: int = 1
    moe_tp: int = 1
    moe_ep: int = 1
    cp: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one replica: tp x pp x attention_dp x cp."""
        return self.tp * self.pp * self.attention_dp * self.cp

    @property
    def stage_group(self) -> int:
        """GPUs of one pipeline stage; they talk at every layer, so they want one NVLink domain."""
        return self.gpus // self.pp

    @property
    def label(self) -> str:
        """A short name: ``tp4``, ``tp2 pp4``, ``dp8 ep8``; degrees of one are left out."""
        degrees = (
            ("tp", self.tp),
            ("dp", self.attention_dp),
            ("pp", self.pp),
            ("moe_tp", self.moe_tp),
            ("ep", self.moe_ep),
            ("cp", self.cp),
        )
        return " ".join(f"{name}{degree}" for name, degree in degrees if degree > 1) or "tp1"
