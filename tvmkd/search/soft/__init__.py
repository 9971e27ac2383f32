"""Shapes a network while it trains: soft channel masks and blocks, and their expected latency."""
