"""exp, log, erf, sigmoid, GELU and hyperbolic functions, vectorised by LLVM on any CPU.

TVM compiles them to calls of the C library, one call for each element. These rules replace an
intrinsic after the loops are vectorised, so schedules, records and task keys do not change. The
methods are those of Cody and Waite (*Software Manual for the Elementary Functions*, 1980): reduce
the range, evaluate a polynomial, undo the reduction. The coefficients are minimax fits (Remez);
`tests/stacks/relax/test_vector_math.py` measures the errors over all of float32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import ir, tirx
from tvm.ir import op as operators
from tvm.tirx import register_intrin_lowering
from tvm_ffi import structural_walk

ROUND = 12582912.0
"""1.5 * 2**23: adding it rounds a float32 to an integer, which its low bits then hold."""
ROUND_BITS = 0x4B400000
LN2_HIGH, LN2_LOW = 0.693145751953125, 1.4286068203094173e-06
"""ln 2 in two parts: the first one's products with integers up to 2**11 are exact."""

EXP = [0.49999999, 0.16666519641876221, 0.041668392717838287, 0.008368780836462975,
       0.0013814462581649423]  # fmt: skip
"""(exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2."""
SHORT_EXP = [0.499992317889212, 0.1666711446423522, 0.04189011343158258, 0.00831252504946636]
"""The same with one term less: exp(r) within 1.05e-7 of it."""
TANH = [-0.33333280682563782, 0.13331441581249237, -0.053739711642265320, 0.020639078691601753,
        -0.0057049779221415520]  # fmt: skip
"""(tanh(a) / a - 1) / a**2 in powers of a**2, for a <= 0.625."""
ERF = [0.12837916612625122, -0.37612625956535339, 0.11283585429191589, -0.026853810995817184,
       0.0051883268170058727, -0.00080101867206394672, 7.8538396337535233e-05]  # fmt: skip
"""erf(a) / a - 1 in powers of a**2, for a <= 1."""
ERFC = [-0.00018803389684762806, 1.1295783519744873, 0.63321995735168457, 0.10841852426528931,
        -0.025208225473761559, 0.0042045507580041885, -0.00044133426854386926,
        2.1686681066057645e-05]  # fmt: skip
"""-log(erfc(a)) for 1 <= a <= 3.93, above which erf rounds to 1."""
LOG = [0.33333313465118408, -0.25000008940696716, 0.20002119243144989, -0.16667996346950531,
       0.14219555258750916, -0.12405589967966080, 0.11888145655393600, -0.11675638705492020,
       0.067466609179973602]  # fmt: skip
"""(log(1 + r) - r + r**2 / 2) / r**3 for sqrt(1/2) - 1 <= r <= sqrt(2) - 1."""

GELU = [-0.9999999823900065, -1.1511053877283097, -0.4592092191660658, -0.052484627341163104,
        0.007029075410271551, -8.886921978068052e-05, -0.00022218751208080172,
        5.412928517388561e-05, -5.935142298308533e-06, 2.601894759197996e-07]  # fmt: skip
"""The logarithm to base 2 of the normal distribution's tail beyond a, for a <= 6; at 9.5 it is -63.
The tail is off by at most 6.1e-9 or 0.03 %, whichever is more."""

SINH = [1 / math.factorial(n) for n in (3, 5, 7, 9, 11)]
"""(sinh(a) / a - 1) / a**2 in powers of a**2: Taylor's, exact enough for a <= 1."""

WHOLE_GELU = "tvmkd.gelu"
"""The operator for all of a GELU (`tvmkd.stacks.relax.gelu`)."""

EXP_NEGATIVE = "tvmkd.exp_negative"
"""exp(x) for x <= 0, and 0 where that is no normal number: what a softmax takes."""

Rule = Callable[["_Lanes", Any], Any]


class _Lanes:
    """Builds expressions over the lanes of one vector (or over one scalar).

    Args:
        lanes: number of elements; 1 for a scalar.
    """

    def __init__(self, lanes: int) -> None:
        suffix = f"x{lanes}" if lanes > 1 else ""
        self.floats, self.ints = f"float32{suffix}", f"int32{suffix}"
        self._bound: list[tuple[Any, Any]] = []

    def f(self, value: float) -> Any:
        """A float32 constant in every lane."""
        return tirx.const(value, self.floats)

    def i(self, value: int) -> Any:
        """An int32 constant in every lane."""
        return tirx.const(value, self.ints)

    def let(self, value: Any, integer: bool = False) -> Any:
        """A variable with this value: an expression that is read twice is computed once."""
        variable = tirx.Var(f"v{len(self._bound)}", self.ints if integer else self.floats)
        self._bound.append((variable, value))
        return variable

    def closed(self, result: Any) -> Any:
        """The result with the variables bound."""
        for variable, value in reversed(self._bound):
            result = tirx.Let(variable, value, result)
        return result

    def bits(self, value: Any) -> Any:
        """The bits of floats as integers."""
        return tirx.reinterpret(self.ints, value)

    def floating(self, value: Any) -> Any:
        """Integers as the floats with these bits."""
        return tirx.reinterpret(self.floats, value)

    def polynomial(self, at: Any, coefficients: Sequence[float]) -> Any:
        """Estrin's scheme, lowest power first: pairs side by side, where Horner's waits for each
        product. In a kernel that bounds the time: a core looks ahead over a few elements only.
        """
        terms = [self.f(each) for each in coefficients]
        while len(terms) > 1:
            pairs = [terms[k] + terms[k + 1] * at for k in range(0, len(terms) - 1, 2)]
            terms = [self.let(each) for each in pairs] + terms[2 * len(pairs) :]
            at = self.let(at * at) if len(terms) > 1 else at
        return terms[0]

    def power_of_two(self, exponent: Any) -> Any:
        """2**exponent for -126 <= exponent <= 127."""
        return self.floating(tirx.shift_left(exponent + self.i(127), self.i(23)))

    def reduced_exp(self, x: Any) -> tuple[Any, Any]:
        """exp(x) as ``(p, bits)``: p near 1, and in the low bits the exponent n of p * 2**n."""
        shifted, r = self.reduced(x, 1.0)
        # Horner's scheme takes fewer instructions: exp is mostly computed in a loop of its own.
        p = self.f(EXP[-1])
        for factor in (*reversed(EXP[:-1]), 1.0, 1.0):
            p = p * r + self.f(factor)
        return self.let(p), self.let(self.bits(shifted), integer=True)

    def reduced(self, x: Any, sign: float) -> tuple[Any, Any]:
        """``(n + ROUND, r)``, where ``sign * x`` is ``n * log(2) + sign * r``."""
        shifted = self.let(x * self.f(sign / math.log(2)) + self.f(ROUND))
        whole = self.let(shifted - self.f(ROUND))
        r = x - whole * self.f(sign * LN2_HIGH) - whole * self.f(sign * LN2_LOW)
        return shifted, self.let(r)

    def near_one(self, r: Any, coefficients: Sequence[float]) -> Any:
        """1 + c0 * r + c1 * r**2 and so on: added to 1 at last, so that it is rounded once."""
        first, *others = coefficients
        return self.f(1) + (self.f(first) * r + r * r * self.polynomial(r, others))

    def small_exp(self, x: Any, sign: float = 1.0) -> Any:
        """exp(sign * x) for -87 <= sign * x <= 88; ``sign`` is 1 or -1."""
        shifted, r = self.reduced(x, sign)
        p = self.near_one(r, [c * sign**k for k, c in enumerate([1.0, *SHORT_EXP], 1)])
        return p * self.rounded_power(shifted)

    def small_exp2(self, x: Any) -> Any:
        """2**x for -126 <= x <= 127."""
        shifted = self.let(x + self.f(ROUND))
        r = self.let(x - (shifted - self.f(ROUND)))
        p = self.near_one(r, [c * math.log(2) ** k for k, c in enumerate([1.0, *SHORT_EXP], 1)])
        return p * self.rounded_power(shifted)

    def rounded_power(self, shifted: Any) -> Any:
        """2**n, where ``shifted`` is n + `ROUND`."""
        # Not added to the bits of what it multiplies: that would turn some NaNs into numbers.
        bits = self.bits(shifted) + self.i(127 - ROUND_BITS)
        return self.floating(tirx.shift_left(bits, self.i(23)))


def _exp(on: _Lanes, x: Any) -> Any:
    # Comparisons with NaN are false, so NaN stays. Below the bounds the result is 0 or infinite.
    low, high = on.f(-104.0), on.f(89.0)
    x = on.let(tirx.Select(low > x, low, x))
    x = on.let(tirx.Select(high < x, high, x))
    p, bits = on.reduced_exp(x)
    n = on.let(bits - on.i(ROUND_BITS), integer=True)
    # In two steps: 2**n alone would overflow before the product does, and lose denormals.
    half = on.let(tirx.shift_right(n, on.i(1)), integer=True)
    return p * on.power_of_two(half) * on.power_of_two(n - half)


def _exp_negative(on: _Lanes, x: Any) -> Any:
    low = on.f(-87.0)
    near = on.let(tirx.Select(low > x, low, x))
    p, bits = on.reduced_exp(near)
    n = on.let(bits - on.i(ROUND_BITS), integer=True)
    return tirx.Select(x < low, on.f(0.0), p * on.power_of_two(n))


def _sigmoid(on: _Lanes, x: Any) -> Any:
    # exp(-x) is less than half an ulp of 1 above 87, and 1 / exp(88) is below 2**-126.
    low, high = on.f(-88.0), on.f(87.0)
    y = on.let(tirx.Select(low > x, low, x))
    y = on.let(tirx.Select(high < y, high, y))
    return on.f(1) / (on.f(1) + on.small_exp(y, -1.0))


def _half_exp(on: _Lanes, a: Any) -> tuple[Any, Any]:
    """exp(a) / 2 as a product of two: exp(a) itself overflows before its half does."""
    bound = on.f(180.0)
    half = on.let(tirx.Select(bound < a, bound, a) * on.f(0.5))
    root = on.let(_exp(on, half))
    return root, on.let(root * on.f(0.5))


def _cosh(on: _Lanes, x: Any) -> Any:
    root, part = _half_exp(on, _absolute(on, x))
    return root * part + on.f(0.25) / (root * part)


def _sinh(on: _Lanes, x: Any) -> Any:
    a = _absolute(on, x)
    root, part = _half_exp(on, a)
    large = on.let(root * part - on.f(0.25) / (root * part))
    z = on.let(x * x)
    small = on.let(x + x * z * on.polynomial(z, SINH))
    return tirx.Select(a < on.f(1), small, _with_sign(on, large, x))


def _absolute(on: _Lanes, x: Any) -> Any:
    return on.let(on.floating(tirx.bitwise_and(on.bits(x), on.i(0x7FFFFFFF))))


def _with_sign(on: _Lanes, size: Any, x: Any) -> Any:
    sign = tirx.bitwise_and(on.bits(x), on.i(-0x80000000))
    return on.floating(tirx.bitwise_or(on.bits(size), sign))


def _tanh(on: _Lanes, x: Any) -> Any:
    a = _absolute(on, x)
    z = on.let(x * x)
    small = on.let(x + x * z * on.polynomial(z, TANH))
    bound = on.f(10.0)
    most = on.let(tirx.Select(bound < a, bound, a))
    large = on.f(1) - on.f(2) / (on.small_exp(most + most) + on.f(1))
    return tirx.Select(a < on.f(0.625), small, _with_sign(on, on.let(large), x))


def _erf(on: _Lanes, x: Any) -> Any:
    a = _absolute(on, x)
    bound = on.f(3.93)
    most = on.let(tirx.Select(bound < a, bound, a))
    large = on.f(1) - on.small_exp(on.let(on.f(0) - on.polynomial(most, ERFC)))
    small = on.let(x + x * on.polynomial(on.let(x * x), ERF))
    return tirx.Select(a < on.f(1), small, _with_sign(on, on.let(large), x))


def _gelu(on: _Lanes, x: Any) -> Any:
    """``x`` times the normal distribution up to ``x`` is ``max(x, 0)`` less the tail times ``|x|``:
    the sum of 1 and erf loses what it is small by, and takes half as many instructions again.
    """
    zero, bound = on.f(0.0), on.f(9.5)
    a = _absolute(on, x)
    most = on.let(tirx.Select(bound < a, bound, a))
    tail = on.let(on.small_exp2(on.let(on.polynomial(most, GELU))))
    return tirx.Select(x < zero, zero, x) - most * tail


def _log(on: _Lanes, x: Any) -> Any:
    tiny = on.let(tirx.Select(x < on.f(1.17549435e-38), x * on.f(8388608.0), x))
    bits = on.let(on.bits(tiny), integer=True)
    # The exponent that leaves a mantissa from sqrt(1/2) up to sqrt(2).
    e = on.let(tirx.shift_right(bits - on.i(0x3F3504F3), on.i(23)), integer=True)
    r = on.let(on.floating(bits - tirx.shift_left(e, on.i(23))) - on.f(1))
    scaled = tirx.Select(x < on.f(1.17549435e-38), on.f(23.0), on.f(0.0))
    n = on.let(tirx.Cast(on.floats, e) - scaled)
    z = on.let(r * r)
    tail = on.polynomial(r, LOG) * r * z - z * on.f(0.5) + n * on.f(LN2_LOW)
    found = on.let(n * on.f(LN2_HIGH) + (r + tail))
    found = tirx.Select(x < on.f(math.inf), found, x)  # infinity and NaN
    found = tirx.Select(on.let(x) > on.f(0), found, on.f(math.nan))
    return tirx.Select(tirx.EQ(x, on.f(0)), on.f(-math.inf), found)


RULES: dict[str, Rule] = {
    "tirx.cosh": _cosh,
    "tirx.sinh": _sinh,
    "tirx.erf": _erf,
    "tirx.exp": _exp,
    "tirx.log": _log,
    "tirx.sigmoid": _sigmoid,
    "tirx.tanh": _tanh,
    WHOLE_GELU: _gelu,
    EXP_NEGATIVE: _exp_negative,
}


def _has_function(expr: Any) -> bool:
    """Whether one of `RULES` is in an expression."""
    found = False

    def look(call: Any) -> None:
        nonlocal found
        found = found or getattr(call.op, "name", "") in RULES

    structural_walk(expr, (ir.Call, look))
    return found


def _of_llvm(call: Any) -> Any:
    """The function as LLVM's intrinsic, which becomes a call for each element."""
    name, x = call.op.name.removeprefix("tirx."), call.args[0]
    one = tirx.const(1.0, str(call.ty))
    if name == "sigmoid":
        power = tirx.call_llvm_pure_intrin(call.ty, "llvm.exp", x * tirx.const(-1.0, str(call.ty)))
        return one / (one + power)
    if name == "erf":  # LLVM has none
        name = "erff" if str(call.ty).startswith("float32") else name
        return tirx.call_pure_extern(call.ty, name, x)
    return tirx.call_llvm_pure_intrin(call.ty, f"llvm.{name}", x)


def _lower(call: Any) -> Any:
    kind, _, lanes = str(call.ty).partition("x")
    if kind not in ("float16", "float32") or not (lanes or "1").isdigit():
        return _of_llvm(call)
    if kind == "float16":
        wide = str(call.ty).replace("float16", "float32")
        inside = tirx.Cast(wide, call.args[0])
        return tirx.Cast(str(call.ty), _lower(ir.Call(call.op, [inside], ret_ty=wide)))
    # TVM analyses nested Lets: of two functions for seconds, and of three it finds the bounds of
    # variables in conflict. Round another one, the C library is called.
    if call.op.name not in (WHOLE_GELU, EXP_NEGATIVE) and _has_function(call.args[0]):
        return _of_llvm(call)
    on = _Lanes(int(lanes or 1))
    return on.closed(RULES[call.op.name](on, on.let(call.args[0])))


def new_operator(name: str, description: str) -> None:
    """Makes an operator of TIR that has no effects and can be vectorised."""
    operators._ffi_api.RegisterOp(name, description)
    operators.register_op_attr(name, "TVectorizable", True)
    operators.register_op_attr(name, "TCallEffectKind", int(tirx.CallEffectKind.Pure.value))
    operators.register_op_attr(name, "TScriptPrinterName", name)


new_operator(WHOLE_GELU, "GELU of a float32.")
new_operator(EXP_NEGATIVE, "exp of a float32 that is not positive.")


@functools.cache
def install() -> None:
    """Registers the rules for the LLVM target of this process, once."""
    for name in RULES:
        register_intrin_lowering(name, target="llvm", f=_lower, level=99)
