"""What GPUs exchange, as operators: collectives, tokens sent to experts, hidden states between stages."""

from __future__ import annotations

from costmodels.kernels import CollectiveKernel, ExchangeKernel
from costmodels.operators import Number, Operator


def gather(domain: int, group: int, total_bytes: Number, kernel: CollectiveKernel | None) -> Operator:
    """
    All-gather (or reduce-scatter): every GPU ends with ``total_bytes``, each held a ``1/group`` part before.

    Every part passes NVLink once; those of other domains come over the slower link before, which the GPUs of a domain
    may share. So a larger domain is never slower, whatever the constants.

    Parameters
    ----------
    domain
        GPUs of an NVLink domain.
    group
        GPUs that take part.
    total_bytes
        Bytes of the whole.
    kernel
        How it runs inside a domain; None: the plain roofline.
    """
    if group == 1:
        return Operator("collective")
    inside = min(domain, group)
    over_link = total_bytes * (1 - inside / group)
    own, start, ramp, nvlink = (0.0, 0.0, 0.0, 1.0)
    if kernel is not None:
        own, start, ramp, nvlink = kernel.own, kernel.begun_ms(group), kernel.ramp_ms, kernel.nvlink
    over_nvlink = total_bytes * ((group - 1 + own) / group / nvlink)
    return Operator(
        "collective", over_nvlink=over_nvlink, over_link=over_link, sharing=inside, crossings=float(group > domain),
        handled_ms=start, ramp_ms=ramp,
    )  # fmt: skip


def all_reduce(domain: int, group: int, total_bytes: Number, kernel: CollectiveKernel | None) -> Operator:
    """All-reduce of ``total_bytes``: a reduce-scatter and an all-gather under one start."""
    return gather(domain, group, 2 * total_bytes, kernel)


def dispatch(
    domain: int, group: int, copies: Number, tokens: Number, token_bytes: Number, kernel: ExchangeKernel | None
) -> Operator:
    """
    Tokens to the GPUs of their experts, or back: an all-to-all.

    A token crosses once to each domain that it is wanted in and is forwarded there; it goes to each GPU once.

    Parameters
    ----------
    domain, group
        GPUs of an NVLink domain, GPUs that hold experts.
    copies
        Experts of a token, chosen independently.
    tokens, token_bytes
        Tokens that one GPU starts with, and bytes of each.
    kernel
        How it runs inside a domain; None: the plain roofline.
    """
    if group == 1:
        return Operator("dispatch")
    inside = min(domain, group)
    domains = group / inside
    gpus = group * (1 - (1 - 1 / group) ** copies)
    over_link = tokens * (token_bytes * (domains - 1) * (1 - (1 - 1 / domains) ** copies))
    over_nvlink = tokens * (token_bytes * gpus * (group - 1) / group)
    handled: Number = 0.0
    if kernel is not None:
        over_nvlink, handled = over_nvlink / kernel.nvlink, kernel.start_ms + tokens * (kernel.token_us / 1000)
    return Operator(
        "dispatch", over_nvlink=over_nvlink, over_link=over_link, crossings=float(group > domain), handled_ms=handled
    )


def send(crosses: bool, sent_bytes: Number, kernel: CollectiveKernel | None) -> Operator:
    """Point to point, between pipeline stages."""
    over_link = sent_bytes if crosses else sent_bytes * 0.0
    start, ramp, nvlink = (0.0, 0.0, 1.0) if kernel is None else (kernel.begun_ms(2), kernel.ramp_ms, kernel.nvlink)
    return Operator(
        "collective", over_nvlink=sent_bytes / nvlink, over_link=over_link, crossings=float(crosses),
        handled_ms=start, ramp_ms=ramp,
    )  # fmt: skip
