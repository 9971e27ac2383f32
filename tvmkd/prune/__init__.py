"""Structured pruning: whole channels go, and only where the compiled network gets faster."""
