"""Measures the student while it trains, and ends the training when it is over its budget."""
