"""Hides cuda-bindings, which would call a driver that is not there."""
