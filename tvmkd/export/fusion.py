"""Whether an exported graph lets a compiler fuse convolution, batch normalisation and activation.

At inference a batch normalisation is a scale and a shift of each channel, which the exporter puts
into the convolution's weights (Jacob et al., 2018, section 3.2). What is left in the graph is a
pass over memory of its own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from tvmkd.base.text import listing
from tvmkd.export.graph import graphs

CONVOLUTIONS = ("Conv", "ConvTranspose")
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "Sigmoid")


@dataclass(frozen=True)
class Fusion:
    """What a graph's convolutions are followed by.

    Attributes:
        convolutions: how many there are.
        activations: how many of them have an activation as their only reader.
        normalisations: names of batch normalisations that are still nodes.
        shared: names of activations right after a convolution whose output others read too, which
            keeps a compiler from fusing them.
    """

    convolutions: int
    activations: int
    normalisations: tuple[str, ...]
    shared: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    def line(self) -> str:
        """For people, where nothing is left to warn of."""
        plural = "" if self.convolutions == 1 else "s"
        return (
            f"{self.convolutions} convolution{plural}, all with their batch normalisation folded, "
            f"{self.activations} with an activation to fuse"
        )

    def problem(self) -> str | None:
        """One line that names the nodes that do not fuse, or None."""
        parts = []
        if self.normalisations:
            parts.append(f"batch normalisation is not folded: {listing(self.normalisations)}")
        if self.shared:
            parts.append(
                "an activation cannot be fused, since others read the convolution before it: "
                f"{listing(self.shared)}"
            )
        return "; ".join(parts) or None


def fusion(model: onnx.ModelProto) -> Fusion:
    """Looks at every convolution of a model, those in branches and loops too."""
    convolutions = activations = 0
    normalisations: list[str] = []
    shared: list[str] = []
    for graph in graphs(model):
        readers = Counter(name for node in graph.node for name in node.input)
        readers.update(entry.name for entry in graph.output)
        after = {node.output[0]: node for node in graph.node if node.op_type in CONVOLUTIONS}
        convolutions += len(after)
        for node in graph.node:
            if node.op_type == "BatchNormalization":
                normalisations.append(node.name or node.output[0])
            elif node.op_type in ACTIVATIONS and node.input[0] in after:
                if readers[node.input[0]] == 1:
                    activations += 1
                else:
                    shared.append(node.name or node.output[0])
    return Fusion(convolutions, activations, tuple(normalisations), tuple(shared))
