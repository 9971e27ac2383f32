"""Boards: the tracker, the server that runs on a board, and what one can say about it."""
