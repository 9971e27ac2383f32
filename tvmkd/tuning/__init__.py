"""Tuning: sessions and their records, the warm builder, the board runner, the search."""
