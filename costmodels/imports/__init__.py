"""Files of other tools turned into operating-curve tables: one module per format, :mod:`.convert` runs them."""
