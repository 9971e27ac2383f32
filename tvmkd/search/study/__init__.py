"""Optuna studies whose trials are trained, predicted and measured networks."""
