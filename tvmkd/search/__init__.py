"""Searches for networks that are fast on the target: latency tables, spaces, studies, supernets."""
