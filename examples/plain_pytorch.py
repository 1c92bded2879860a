"""Clustered embeddings in a plain PyTorch model: ``python examples/plain_pytorch.py``."""

import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.embedding import ClusterAssignment, ClusteredEmbedding
from recbole_cel.evidence import ModuleObjective

USERS, ITEMS, CLUSTERS, DIM, BATCH = 1000, 500, 16, 8, 2000


class Model(nn.Module):
    """Users and items meet in an inner product; each side has 16 shared rows in place of its own ones."""

    def __init__(self) -> None:
        super().__init__()
        users, items = ClusterAssignment(USERS, CLUSTERS), ClusterAssignment(ITEMS, CLUSTERS)
        self.user, self.user_bias = ClusteredEmbedding(users, DIM), ClusteredEmbedding(users, 1)
        self.item, self.item_bias = ClusteredEmbedding(items, DIM), ClusteredEmbedding(items, 1)

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        """Logits ``(B,)`` of ids ``(B,)``."""
        bias = self.user_bias(user) + self.item_bias(item)
        return bias.squeeze(-1) + (self.user(user) * self.item(item)).sum(-1)


def make_data(n: int = 60_000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clicks that depend on the user's and the item's group, of eight each."""
    taste = 2 * torch.randn(8, 8)
    user, item = torch.randint(0, USERS, (n,)), torch.randint(0, ITEMS, (n,))
    return user, item, torch.bernoulli(torch.sigmoid(taste[user % 8, item % 8]))


def main(epochs: int = 12) -> float:
    """Train, and return the AUC on held-out interactions."""
    torch.manual_seed(0)
    user, item, click = make_data()
    test, train = torch.arange(6000), torch.arange(6000, len(user))
    model = Model()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    clusters = ClusterOptimiser(
        {"user": [model.user, model.user_bias], "item": [model.item, model.item_bias]},
        ModuleObjective(model, ["user", "item"], [user[train], item[train]], click[train]),
        ClusterSettings(split_interval=1, reassign_interval=1, reassign_gain=0.1),
        steps_per_epoch=len(train) // BATCH,
        optimiser=optimiser,
        on_event=print,
    )
    for _ in range(epochs):
        for batch in train[torch.randperm(len(train))].split(BATCH):
            optimiser.zero_grad()
            logits = model(user[batch], item[batch])
            nn.functional.binary_cross_entropy_with_logits(logits, click[batch]).backward()
            optimiser.step()
            clusters.step()
    with torch.no_grad():
        auc = float(roc_auc_score(click[test], model(user[test], item[test])))
    print(f"test AUC {auc:.4f} with {CLUSTERS} rows for {USERS} users and {CLUSTERS} for {ITEMS} items")
    return auc


if __name__ == "__main__":
    main()
