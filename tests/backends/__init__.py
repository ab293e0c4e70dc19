"""One conformance suite for every back end, and a test for every trap that was measured."""
