"""Operators with weights: products of activations with a matrix, and with those of experts."""

from __future__ import annotations

import numpy as np

from costmodels.formats import Format
from costmodels.kernels import TILE_ROWS, ExpertKernel, ProductKernel
from costmodels.operators import HIDDEN_BYTES, Measured, Number, Operator


def matmul(weights: Format, rows: Number, inputs: Number, outputs: Number, kernel: ProductKernel | None) -> Operator:
    """
    One product of activations with a weight matrix.

    Parameters
    ----------
    weights
        Format of the weights.
    rows
        Tokens.
    inputs, outputs
        Shape of the weights.
    kernel
        How it runs; None: the plain roofline.
    """
    flops, read = 2 * rows * inputs * outputs, inputs * outputs * weights.bytes
    if kernel is None:
        return Operator("matmul", weights.math, flops, read + rows * (inputs + outputs) * HIDDEN_BYTES)
    badly = (1 + kernel.depth / inputs) * (1 + kernel.filling / (np.maximum(rows, TILE_ROWS) * outputs))
    read = read * np.sqrt(1 + (kernel.column / outputs) ** 2)
    passed = rows * (inputs / kernel.inputs + outputs / kernel.outputs) * HIDDEN_BYTES
    how = Measured(kernel.start_ms, kernel.memory, kernel.compute)
    return Operator("matmul", weights.math, flops * badly, read, passed, measured=how)


def experts(
    weights: Format,
    rows: Number,
    held: Number,
    hot: Number,
    d_model: Number,
    width: Number,
    kernel: ExpertKernel | None,
) -> Operator:
    """
    The gated FFNs of the experts of the fullest GPU: two products into their width, the activation, one product back.

    Only experts that a token chose are read. Plain roofline: chosen independently and evenly. As measured: popularity
    varies (:attr:`costmodels.kernels.ExpertKernel.choice`).

    Parameters
    ----------
    weights
        Format of the weights.
    rows
        Token copies that reach a mean GPU.
    held, hot
        Experts of one GPU, load of the fullest rank over the mean.
    d_model, width
        Hidden size, width of one expert's FFN on one GPU.
    kernel
        How the products run; None: the plain roofline.
    """  # fmt: skip
    rows = rows * hot
    one, values = 3 * d_model * width, rows * (2 * d_model + 3 * width)
    if kernel is None:
        chosen = held * -np.expm1(-rows / held)
        moved = chosen * (one * weights.bytes) + values * HIDDEN_BYTES
        return Operator("experts", weights.math, 2 * rows * one, moved, launches=1)
    narrow = 1 + kernel.width / width
    chosen = np.minimum(held, rows * held / (rows + kernel.choice * held))
    read = chosen * (one * weights.bytes * narrow) + values * (HIDDEN_BYTES * kernel.memory / kernel.rows)
    flops = 2 * (rows + kernel.filling * chosen) * one * narrow + values * kernel.handling
    how = Measured(kernel.start_ms, kernel.memory, kernel.compute)
    return Operator("experts", weights.math, flops, read, launches=1, measured=how)
