"""Bundles: one signed archive with all that a board needs to run, serve and update a model."""
