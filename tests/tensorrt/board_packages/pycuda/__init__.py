"""A fake of a board's pycuda, in Python 3.6 without packages."""
