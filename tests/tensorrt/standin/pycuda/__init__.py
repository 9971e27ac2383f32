"""pycuda in a process of its own, see ``driver``."""
