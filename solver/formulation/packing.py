"""C4: stage groups packed whole into NVLink domains."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

import pulp

from solver.formulation.unit import Draft, Unit, total
from solver.instance import Pool

if TYPE_CHECKING:
    import networkx as nx


def c4_nvlink_packing(draft: Draft) -> None:
    """
    Stage groups fit whole into the domains of their pool.

    A group larger than the domain D takes ceil(s/D) whole domains. For sizes that divide each other, with M full
    domains and a last one of R GPUs, packing is exactly the nested family: for each size s <= D,
    sum over s' >= s of (s'/s) x groups of s' + floor(D/s) x domains taken <= M floor(D/s) + floor(R/s).
    Other sizes: a flow through positions 0..D of a domain, whose paths are the packing patterns
    (Valerio de Carvalho, Annals of Operations Research 86, 1999).
    """
    for index, pool in enumerate(draft.instance.pools):
        here = [unit for unit in draft.units if unit.engine.pool is pool]
        sizes = sorted({unit.engine.curve.partition.stage_group for unit in here})
        if here:
            large = _domains_taken(pool, here)
            if any(size > pool.nvlink_domain_gpus for size in sizes):
                draft.add(f"C4_domains_p{index}", large <= pool.full_domains)
            small = [size for size in sizes if size <= pool.nvlink_domain_gpus]
            if is_chain(small):
                _nested(draft, index, pool, here, small)
            else:
                _patterns(draft, index, pool, here, small)


def is_chain(sizes: Iterable[int]) -> bool:
    """Whether each size divides the next larger one."""
    ordered = sorted(sizes)
    return all(b % a == 0 for a, b in pairwise(ordered))


def _groups(units: Iterable[Unit], size: int) -> pulp.LpAffineExpression:
    return total(
        unit.engine.curve.partition.pp * unit.replicas
        for unit in units
        if unit.engine.curve.partition.stage_group == size
    )


def _domains_taken(pool: Pool, units: list[Unit]) -> pulp.LpAffineExpression:
    domain = pool.nvlink_domain_gpus
    return total(
        -(-unit.engine.curve.partition.stage_group // domain) * unit.engine.curve.partition.pp * unit.replicas
        for unit in units
        if unit.engine.curve.partition.stage_group > domain
    )


def _nested(draft: Draft, index: int, pool: Pool, units: list[Unit], sizes: list[int]) -> None:
    domain = pool.nvlink_domain_gpus
    large = _domains_taken(pool, units)
    for size in sizes:
        slots = pool.full_domains * (domain // size) + pool.partial_domain_gpus // size
        if size == 1 and not large and slots == pool.gpus:
            continue  # the same row as C3
        taken = total((other // size) * _groups(units, other) for other in sizes if other >= size)
        draft.add(f"C4_s{size}_p{index}", taken + (domain // size) * large <= slots)


def _patterns(draft: Draft, index: int, pool: Pool, units: list[Unit], sizes: list[int]) -> None:
    """One flow of M units over positions 0..D, and one of a single unit over 0..R for the partial domain."""
    domains = [(pool.nvlink_domain_gpus, pool.full_domains - _domains_taken(pool, units), pool.full_domains, "f")]
    if pool.partial_domain_gpus:
        domains.append((pool.partial_domain_gpus, 1, 1, "r"))
    packed: dict[int, list[pulp.LpVariable]] = {size: [] for size in sizes}
    for length, count, most, tag in domains:
        graph = _positions(length, sizes)
        for start, end in graph.edges:
            name = f"flow{tag}_s{end - start}_at{start}_p{index}"
            graph.edges[start, end]["flow"] = pulp.LpVariable(name, 0, most, pulp.LpInteger)
            packed[end - start].append(graph.edges[start, end]["flow"])
        for position in sorted(graph):
            leaving = [flow for _, _, flow in graph.out_edges(position, data="flow")]
            arriving = [flow for _, _, flow in graph.in_edges(position, data="flow")]
            if leaving and position == 0:
                draft.add(f"C4_start{tag}_p{index}", total(leaving) <= count)
            elif leaving:
                draft.add(f"C4_at{position}{tag}_p{index}", total(leaving) <= total(arriving))
    for size in sizes:
        draft.add(f"C4_s{size}_p{index}", _groups(units, size) <= total(packed[size]))


def _positions(length: int, sizes: list[int]) -> nx.DiGraph[int]:
    """
    The positions of a domain, with an edge for each group that may stand between two of them.

    Groups stand in descending size, the rest of the domain stays empty at the end. Only positions that a descending
    sequence reaches are kept; that is enough, since every packing can be sorted.
    """
    import networkx as nx  # 0.1 s, and most instances have sizes that divide each other

    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_node(0)
    for size in sorted(sizes, reverse=True):
        for start in range(length - size + 1):
            if start in graph:
                graph.add_edge(start, start + size)
    return graph
