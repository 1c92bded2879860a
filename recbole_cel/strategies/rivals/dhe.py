"""Deep hash embedding: a network makes an id's row of many hashes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...embedding import RowTable
from ...options import check_options, is_int, option
from ..base import About, EmbeddingStrategy
from ..budget import BYTES_PER_NUMBER, Cost
from ..registry import register_strategy
from .hashing import hashed

AUTO = "auto"
MAX_HASHES = 1024
HASHES_PER_UNIT = 16
# Values of a hash, as in the paper.
BUCKETS = 10**6
# Ids whose hashes are held at once, when not training, and from which the first moments are taken.
BLOCK = 1 << 13
MOMENTUM = 0.1


@dataclass(frozen=True)
class Options:
    """Of deep hash embeddings.

    Raises:
        SettingError: if an option is out of its range.
    """

    hashes: Union[int, str] = option(
        AUTO,
        f"hashes of an id; auto is as many as the budget allows, up to {MAX_HASHES}, at {HASHES_PER_UNIT} for "
        "each unit of a layer",
        "an integer >= 1, or auto",
        lambda v: v == AUTO or is_int(v, 1),
    )
    layers: int = option(2, "hidden layers of the network", "an integer >= 1", lambda v: is_int(v, 1))

    def __post_init__(self) -> None:
        check_options(self)


class Norm(nn.Module):
    """Batch normalisation, whose first running moments can be set, and which takes a batch of one."""

    mean: Tensor
    var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Of shape ``(n, width)``, as the input."""
        training = self.training and len(hidden) > 1
        return F.batch_norm(hidden, self.mean, self.var, self.weight, self.bias, training, MOMENTUM)


class HashNetwork(nn.Module):
    """Hashes of an id, scaled to -1 .. 1, through layers with batch normalisation and Mish.

    Args:
        num_embeddings: number of entities N.
        hashes: number of hashes.
        width: units of each hidden layer.
        layers: hidden layers.
    """

    def __init__(self, num_embeddings: int, hashes: int, width: int, layers: int) -> None:
        super().__init__()
        self.hashes = hashes
        self.linear = nn.ModuleList(
            [nn.Linear(width if layer else hashes, width, bias=False) for layer in range(layers)]
        )
        self.norms = nn.ModuleList([Norm(width) for _ in range(layers)])
        self._set_moments(torch.arange(min(num_embeddings, BLOCK)))

    def forward(self, ids: Tensor) -> Tensor:
        """Features ``(n, width)`` of ``ids`` ``(n,)``."""
        hidden = self._encoded(ids)
        for linear, norm in zip(self.linear, self.norms):
            hidden = F.mish(norm(linear(hidden)))
        return hidden

    def _encoded(self, ids: Tensor) -> Tensor:
        salts = torch.arange(self.hashes, device=ids.device)
        weight = next(self.parameters())
        return hashed(ids.unsqueeze(1), salts, BUCKETS).to(weight.dtype) * (2 / (BUCKETS - 1)) - 1

    @torch.no_grad()
    def _set_moments(self, ids: Tensor) -> None:
        """Running moments as they are for the initial weights."""
        hidden = self._encoded(ids)
        for linear, norm in zip(self.linear, self.norms):
            hidden = linear(hidden)
            assert isinstance(norm, Norm)
            norm.mean.copy_(hidden.mean(dim=0))
            norm.var.copy_(hidden.var(dim=0, unbiased=False) if len(hidden) > 1 else norm.var)
            hidden = F.mish(norm.eval()(hidden))
            norm.train()


class DeepHashEmbedding(RowTable):
    """Row ``W f(h1(i), ..., hk(i)) + b``, with a network f that the tables of a field share."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, network: HashNetwork, width: int, *, mean: float, std: float
    ) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.network = network
        self.output = nn.Linear(width, embedding_dim)
        self.non_negative = False
        self._scale(torch.arange(min(num_embeddings, BLOCK)), mean, std)

    def rows(self, ids: Tensor) -> Tensor:
        """Rows ``(n, d)`` of ``ids`` ``(n,)``."""
        # In training, the moments of a batch are those of all its ids.
        blocks = [ids] if self.training else ids.split(BLOCK)
        rows = torch.cat([self.output(self.network(block)) for block in blocks])
        return rows.relu() if self.non_negative else rows

    def project_non_negative(self) -> None:
        """From now on, what is negative is cut off when it is looked up; no weights do that."""
        self.non_negative = True

    @torch.no_grad()
    def _scale(self, ids: Tensor, mean: float, std: float) -> None:
        training = self.network.training
        features = self.network.eval()(ids)
        self.network.train(training)
        nn.init.normal_(self.output.weight)
        rows = features @ self.output.weight.T
        spread = float(rows.std(dim=0, unbiased=False).square().mean().sqrt())
        self.output.weight.mul_(std / spread if spread > 0 else std)
        self.output.bias.copy_(mean - (features @ self.output.weight.T).mean(dim=0))


@register_strategy
class DeepHashStrategy(EmbeddingStrategy[DeepHashEmbedding]):
    """Kang et al., Learning to Embed Categorical Features without Embedding Tables for Recommendation, KDD 2021.

    The paper's networks have 1,024 hashes and about as many units in each layer, more than whole tables of small
    data take. So ``size`` is the number of hashes, with a unit for 16 of them; beyond 1,024, it is units that
    grow. At one size, more hashes and fewer units did better on validation data (ml-100k). The paper finds about
    five layers best at its sizes; there, two did as well or better. Hidden layers are shared among the tables of a
    field. Running moments of batch normalisation are stored besides. A lookup costs the hashes and the network.
    """

    name = "dhe"
    suffix = "DHE"
    prefix = "dhe_"
    shares_batches = False
    Options = Options
    about = About("MLP(h1(i), ..., hk(i))", "Kang et al., KDD 2021", "a network, with moments of its layers")

    def cost(self, size: int) -> Cost:
        """Of a network of ``size`` hashes, or of so many units where the hashes are given."""
        layers = self.options.layers
        hashes, units = self._shape(size)
        numbers = hashes * units + (layers - 1) * units**2 + 2 * layers * units
        numbers += sum((units + 1) * width for width in self.budget.widths)
        return Cost(numbers, 2 * layers * units * BYTES_PER_NUMBER)

    @cached_property
    def network(self) -> HashNetwork:
        """The hidden layers, of all tables."""
        return HashNetwork(self.num_entities, *self._shape(self.size), self.options.layers)

    def _shape(self, size: int) -> tuple[int, int]:
        """Numbers of hashes and of units of each hidden layer."""
        hashes = self.options.hashes
        if not isinstance(hashes, str):
            return hashes, size
        more = max(0, size - MAX_HASHES)
        return size - more, -(-(size - more) // HASHES_PER_UNIT) + more

    def _make_table(self, embedding_dim: int, std: float, mean: float) -> DeepHashEmbedding:
        return DeepHashEmbedding(
            self.num_entities, embedding_dim, self.network, self._shape(self.size)[1], mean=mean, std=std
        )
