"""Stands in for pycuda on a board that is not there, in Python 3.6 without packages."""
