"""Neighbouring pixels in one word: what depthwise convolutions of bytes multiply.

An instruction that sums products of neighbours in memory needs the taps of a channel side by side;
in an image with channels last the channels are. So four bytes of neighbouring pixels, or two values
of 16 bits, are put into one int32 for each channel, the first one lowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx

BLOCK = "interleaved"
"""The name of the block that interleaves; a schedule template recognises it."""


def word(values: Sequence[Any]) -> Any:
    """Four values of uint8, or two of int16, as an int32."""
    bits = 32 // len(values)
    mask = tirx.const((1 << bits) - 1, "int32")
    total: Any = None
    for number, value in enumerate(values):
        part = value.astype("int32")
        if number < len(values) - 1 and bits == 16:
            part = tirx.bitwise_and(part, mask)
        if number:
            part = tirx.shift_left(part, tirx.const(number * bits, "int32"))
        total = part if total is None else tirx.bitwise_or(total, part)
    return total


def product(one: Any, weights: Sequence[Any]) -> Any:
    """The sum of the values in a word, each times its weight, as int32."""
    bits, total = 32 // len(weights), None
    for number, weight in enumerate(weights):
        value = one
        if bits == 8:
            if number:
                value = tirx.shift_right(value, tirx.const(8 * number, "int32"))
            value = tirx.bitwise_and(value, tirx.const(255, "int32"))
        else:
            if not number:
                value = tirx.shift_left(value, tirx.const(16, "int32"))
            value = tirx.shift_right(value, tirx.const(16, "int32"))
        part = value * weight.astype("int32")
        total = part if total is None else total + part
    return total
