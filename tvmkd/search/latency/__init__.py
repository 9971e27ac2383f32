"""How long a network takes on the target: kernels timed there, added up, checked on whole networks."""
