"""Random numbers that are the same in Python and in C: SplitMix64 (Steele et al., 2014)."""

MASK64 = 2**64 - 1


class Draws:
    """A generator.

    Args:
        state: 64 bits; equal ones give equal numbers.
    """

    def __init__(self, state: int) -> None:
        self.state = state & MASK64

    def below(self, count: int) -> int:
        """A number from 0 to ``count`` - 1; ``count`` is less than 2**32."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK64
        mixed = self.state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK64
        mixed ^= mixed >> 31
        return ((mixed >> 32) * count) >> 32
