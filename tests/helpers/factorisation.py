"""A small model and data that the core's tests share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_cel.embedding import ClusterAssignment, ClusteredEmbedding
from recbole_cel.evidence import ModuleObjective
from recbole_cel.evidence.grouping import InteractionsByEntity


class Factorisation(nn.Module):
    """Inner product of clustered user and item rows, a clustered user bias, and an MLP if wanted."""

    def __init__(
        self,
        users: int,
        items: int,
        clusters: int,
        dim: int = 3,
        mlp: bool = False,
        start: int = 1,
        folds: int = 1,
    ):
        super().__init__()
        self.user = ClusteredEmbedding(ClusterAssignment(users, clusters, start, folds), dim, std=0.5)
        self.user_bias = ClusteredEmbedding(self.user.assignment, 1, std=0.5)
        self.item = ClusteredEmbedding(ClusterAssignment(items, clusters, start, folds), dim, std=0.5)
        self.mlp = nn.Sequential(nn.Linear(2 * dim, 8), nn.ReLU(), nn.Linear(8, 1)) if mlp else None

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        user, item = self.user(users), self.item(items)
        outputs = (user * item).sum(-1) + self.user_bias(users).squeeze(-1)
        if self.mlp is not None:
            outputs = outputs + 3 * self.mlp(torch.cat([user, item], dim=-1)).squeeze(-1)
        return outputs

    @property
    def user_tables(self) -> list[ClusteredEmbedding]:
        return [self.user, self.user_bias]


class Problem:
    """Random interactions of users with items; users ``0 .. idle - 1`` have none."""

    def __init__(
        self,
        seed: int,
        users: int = 40,
        items: int = 30,
        n: int = 400,
        clusters: int = 8,
        idle: int = 2,
        **model,
    ):
        generator = torch.Generator().manual_seed(seed)
        self.users = torch.randint(idle, users, (n,), generator=generator)
        self.items = torch.randint(0, items, (n,), generator=generator)
        self.labels = torch.randint(0, 2, (n,), generator=generator).float()
        torch.manual_seed(seed)
        self.model = Factorisation(users, items, clusters, **model)
        self.tables = self.model.user_tables
        self.assignment = self.model.user.assignment
        self.objective = ModuleObjective(self.model, ["user", "item"], [self.users, self.items], self.labels)
        folds = self.assignment.num_folds
        self.index = InteractionsByEntity(self.users, users, self.objective.folds(folds), folds)

    def move_rows(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for table in self.tables:
                table.weight += 0.3 * torch.randn(table.weight.shape, generator=generator)

    def loss_of_users(self) -> Tensor:
        with torch.no_grad():
            every = torch.arange(len(self.users))
            return self.objective.loss(self.objective.outputs(every), self.labels)
