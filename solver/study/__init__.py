"""The study of the paper: its figures and trends, with exact frontiers and the embedded cost model."""
