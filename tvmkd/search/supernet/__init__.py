"""A supernet: one network trained once, whose parts are evaluated without training."""
