"""The KV hand-over: what a prefill replica sends to a decode replica for one request, and over how many GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from costmodels.formats import FORMATS
from costmodels.models import Model
from costmodels.partition import Partition
from costmodels.precision import kv_format
from costmodels.traffic import Traffic

STATE_BYTES = 4
"""A value of a linear layer's recurrent state is a 32-bit float (``mamba_ssm_dtype`` of the published checkpoints)."""
CONVOLUTION_BYTES = 2
"""A value of a linear layer's convolution window is bfloat16, like the activations it is made of."""


@dataclass(frozen=True)
class HandedOver:
    """
    What one replica hands over (prefill) or takes in (decode).

    Parameters
    ----------
    bytes_per_request
        KV cache of one prompt over all layers, without duplicates; the mean where prompts differ in length.
    layers
        Layers of the model: the KV cache of one layer can leave while the next is computed.
    shards
        GPUs of one replica that hold a distinct part of the KV cache; only these send and receive.
    """

    bytes_per_request: Fraction
    layers: int
    shards: int


def handed_over(model: Model, precision: str, partition: Partition, traffic: Traffic) -> HandedOver:
    """
    The KV hand-over of one engine.

    Parameters
    ----------
    model
        The model.
    precision
        The exact precision string of the engine; its ``kv:`` part decides, bfloat16 where it names none.
    partition
        The partition of a replica.
    traffic
        Lengths of the requests.

    Raises
    ------
    ValueError
        When the KV format is not known.
    """
    name = kv_format(precision) or "bfloat16"
    if name not in FORMATS:
        raise ValueError(f"got KV format {name!r}, allowed: {', '.join(FORMATS)}")
    return HandedOver(
        kv_bytes_per_request(model, FORMATS[name].bits, traffic), model.layers, distinct_shards(model, partition)
    )


def kv_bytes_per_request(model: Model, bits: Fraction, traffic: Traffic) -> Fraction:
    """
    KV cache of one prompt in bytes, every value once; the mean over the prompts of the traffic.

    Full layers keep every token, windowed layers the last ``window`` tokens, linear layers a state of fixed size.

    Parameters
    ----------
    model, traffic
        The model, and the lengths of its prompts.
    bits
        Bits per value of the KV cache, scales included.
    """
    kept = sum(
        (share * (model.full_layers * isl + model.windowed_layers * min(isl, model.window)))
        for isl, _, share in traffic.classes
    )
    return values_per_token_layer(model) * kept * bits / 8 + model.linear_layers * linear_state_bytes(model)


def values_per_token_layer(model: Model) -> int:
    """
    Values that one token leaves in one layer.

    GQA: keys and values of all KV heads. MLA: the latent and the rotary key. With sparse attention also the indexer's
    key.
    """
    if model.attention == "mla":
        return model.kv_lora_rank + model.qk_rope + model.index_dim
    return 2 * model.kv_heads * model.d_head + model.index_dim


def linear_state_bytes(model: Model) -> int:
    """
    State of one linear layer in bytes, whatever the length of the prompt.

    The recurrent matrix of each value head, and the last inputs of the convolution.
    """
    d_key, d_value = model.linear_key_heads * model.linear_key_dim, model.linear_value_heads * model.linear_value_dim
    matrix = STATE_BYTES * model.linear_value_heads * model.linear_key_dim * model.linear_value_dim
    return matrix + CONVOLUTION_BYTES * max(0, model.conv_kernel - 1) * (2 * d_key + d_value)


def distinct_shards(model: Model, partition: Partition) -> int:
    """
    GPUs of one replica that hold a part of the KV cache that no other GPU holds.

    Pipeline stages hold different layers, attention-DP ranks different sequences, CP ranks different tokens. TP ranks
    hold different KV heads as far as there are any, and then repeat them; MLA's latent is repeated on every TP rank.
    """
    heads = 1 if model.attention == "mla" else min(partition.tp, model.kv_heads)
    return partition.pp * partition.attention_dp * partition.cp * heads
