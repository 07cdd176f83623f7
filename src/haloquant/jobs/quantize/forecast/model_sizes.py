"""The sizes of a model that a plan needs: its linear layers, and its bytes on disk."""

from dataclasses import dataclass

from haloquant.accel.workload.decoder_shape import ModelShape
from haloquant.lm.checkpoint.reader import Checkpoint


@dataclass(frozen=True)
class LayerSize:
    """The size of a linear layer. Layers of one `group` read the same input."""

    block: int
    group: int
    out_features: int
    in_features: int

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.out_features * self.in_features


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of a model.

    `stored_b` is its bytes on disk; `kept_b` is the part of them that is copied unchanged. `heads` is the number of
    attention heads of a block.
    """

    name: str
    layers: tuple[LayerSize, ...]
    hidden: int
    stored_b: float
    kept_b: float
    heads: int


def sizes_of_checkpoint(checkpoint: Checkpoint) -> ModelSizes:
    """Return the sizes of an opened checkpoint."""
    layers = tuple(LayerSize(x.block or 0, x.group, x.out_features, x.in_features) for x in checkpoint.layers)
    stored = sum(float(t.size_bytes) for t in checkpoint.tensors.values())
    replaced = sum(float(checkpoint.tensors[t].size_bytes) for t in {layer.tensor for layer in checkpoint.layers})
    name = checkpoint.folder.name
    return ModelSizes(
        name, layers, checkpoint.architecture.hidden_size, stored, stored - replaced, checkpoint.architecture.heads
    )


def sizes_of_shape(shape: ModelShape) -> ModelSizes:
    """Return the sizes of a model from its shape alone, as if it were stored in 16 bits."""
    roles = ("input", "output", "up", "down") if shape.latent is None else ("input", "expand", "output", "up", "down")
    layers = tuple(
        LayerSize(block, len(roles) * block + roles.index(weight.role), weight.out_features, weight.in_features)
        for block in range(shape.layers)
        for weight in shape.block_weights(block)
        for _ in range(weight.experts)
    )
    hidden = shape.hidden
    kept = 2.0 * 2 * shape.vocabulary * hidden  # embedding and head
    stored = kept + 2.0 * sum(x.weights for x in layers)
    return ModelSizes(shape.name, layers, hidden, stored, kept, shape.heads)
