"""The activations that a recurrent operator names by text, as operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvmkd.export.rewrites.plain import constant_like
from tvmkd.export.site import Refused, Site

Apply = Callable[[Site, str], str]

# Name in lower case: the operator, the names and defaults of its attributes.
_OPERATORS: dict[str, tuple[str, dict[str, float]]] = {
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softsign": ("Softsign", {}),
    "softplus": ("Softplus", {}),
    "leakyrelu": ("LeakyRelu", {"alpha": 0.01}),
    "thresholdedrelu": ("ThresholdedRelu", {"alpha": 1.0}),
    "elu": ("Elu", {"alpha": 1.0}),
    "hardsigmoid": ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}),
    "scaledtanh": ("Tanh", {"alpha": 1.0, "beta": 1.0}),
    "affine": ("", {"alpha": 1.0, "beta": 0.0}),
}


@dataclass(frozen=True)
class Activation:
    """One activation with its numbers."""

    name: str
    numbers: dict[str, float]

    def __call__(self, site: Site, data: str) -> str:
        """Puts it before the node; returns the output's name."""
        operator, _ = _OPERATORS[self.name]
        if self.name == "affine":
            scaled = site.add("Mul", [data, constant_like(site, self.numbers["alpha"], data)])
            return site.add("Add", [scaled, constant_like(site, self.numbers["beta"], data)])
        if self.name == "scaledtanh":
            inner = site.add("Mul", [data, constant_like(site, self.numbers["beta"], data)])
            bent = site.add(operator, [inner])
            return site.add("Mul", [bent, constant_like(site, self.numbers["alpha"], data)])
        return site.add(operator, [data], **self.numbers)


def activations(site: Site, defaults: Sequence[str], directions: int) -> list[list[Activation]]:
    """The activations of each direction, from the node's attributes.

    The lists ``activation_alpha`` and ``activation_beta`` hold numbers for those that have one.

    Raises:
        Refused: there is no such activation.
    """
    given = site.attribute("activations")
    names = [name.decode() for name in given] if given else list(defaults) * directions
    lists = {key: list(site.attribute(f"activation_{key}", ())) for key in ("alpha", "beta")}
    found = []
    for name in names:
        if name.lower() not in _OPERATORS:
            raise Refused(f'has the activation "{name}"')
        numbers = {
            key: float(lists[key].pop(0)) if lists[key] else default
            for key, default in _OPERATORS[name.lower()][1].items()
        }
        found.append(Activation(name.lower(), numbers))
    count = len(defaults)
    return [found[at : at + count] for at in range(0, count * directions, count)]
