"""Structure and schedule together: the search's front says which kernels to tune next."""
