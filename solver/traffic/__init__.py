"""Request traces: arrivals, lengths and prefixes read from files, scaled, and described."""
