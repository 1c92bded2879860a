"""Clustered embeddings in a plain PyTorch model: ``python examples/plain_pytorch.py``."""

import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from recbole_cel.clustering import ClusterOptimiser, ClusterSettings
from recbole_cel.embedding import clustered_tables
from recbole_cel.evidence import ModuleObjective

USERS, ITEMS, ROWS, DIM, BATCH = 1000, 500, 32, 8, 2000


class Model(nn.Module):
    """Users and items meet in an inner product; each side has 32 shared rows in place of its own ones.

    A user's row is the sum of one row of each level. Rows and biases of users share assignments.
    """

    def __init__(self) -> None:
        super().__init__()
        self.user, self.user_bias = clustered_tables(USERS, [DIM, 1], rows=ROWS, levels=2)
        self.item, self.item_bias = clustered_tables(ITEMS, [DIM, 1], rows=ROWS, levels=2)

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
    known = user[train], item[train]
    objective = ModuleObjective(model, ["user", "item"], known, click[train])
    clusters = ClusterOptimiser(
        {"user": [model.user, model.user_bias], "item": [model.item, model.item_bias]},
        objective,
        ClusterSettings(split_interval=1, reassign_interval=1),
        steps_per_epoch=len(train) // BATCH,
        optimiser=optimiser,
        on_event=print,
    )
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(BATCH):
            optimiser.zero_grad()
            # As model(...), but each interaction looks up what was assigned without it.
            logits = objective.training_outputs(known[0][batch], known[1][batch], interactions=batch)
            nn.functional.binary_cross_entropy_with_logits(logits, click[train][batch]).backward()
            optimiser.step()
            clusters.step()
    model.eval()
    with torch.no_grad():
        auc = float(roc_auc_score(click[test], model(user[test], item[test])))
    print(f"test AUC {auc:.4f} with {ROWS} rows for {USERS} users and {ROWS} for {ITEMS} items")
    return auc


if __name__ == "__main__":
    main()
