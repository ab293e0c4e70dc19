"""
What if: the exact value of an instance along one axis, and where its optimal deployment changes.

The walk of one question::

    "--vary gpus=8:576"
        |  ask.py        key, names, values asked for                               -> Ask
        |  axes.py       which instance stands at a position, and how far along
        |                the axis a deployment stands                               -> Axis
        |  settle.py     the optimum at one position, proved                        -> Settled
        |  ladder.py     positions in order: each plan settles all up to where it
        |                stands, equal optima settle what lies between them         -> Piece
        |  prices.py     a price under objective cost: lines and their crossings    -> Piece
        |  lengths.py    ISL and OSL: every value priced anew, nothing in between   -> Piece
        v
    run.py -> WhatIf (pieces.py) -> worth.py, text.py, plot.py
"""
