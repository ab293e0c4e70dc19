"""
Independent answers that the product is tested against.

Nothing in this package imports the product or a solver: only the standard library, and exact rationals from
decimal text.

tables
    From instance and CSV rows to operating points.
enumerate
    Every plan of a tiny instance, written to be obviously right.
sweep
    The exact frontier of one pool and one workload at any size, fast.
packing
    True bin packing of stage groups into NVLink domains.
generate
    Random tiny instances.
"""
