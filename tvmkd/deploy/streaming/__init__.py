"""Frames at a fixed rate through a model, on time: ``tvmkd stream``."""
