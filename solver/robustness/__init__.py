"""
Robust plans: what of a plan survives when the cost model is wrong, and the best plan that does.

The uncertainty set: at most G of the engines in use (an engine is a partition at its batch; its replicas are wrong
together) take up to (1 + error) times as long, the others what the cost model says. An engine that takes f times as
long has f times the latencies and 1/f of the rate.

The walk::

    spread.py   the error of each engine, and the budget G                               -> Spread
    worst.py    the worst case of a plan over the set, exactly                           -> Case
    search.py   the MILP with rows for the cases that plans were caught in               -> WorstSearch
    best.py     the plan with the best worst case, proved                                -> Found
    run.py      nominal plan, what of it breaks, robust plan, its price                  -> Robust
    solver/verify_robust.py  every subset of engines, by enumeration, shares no code
"""
