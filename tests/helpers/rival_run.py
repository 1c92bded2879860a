"""A strategy that is trained in a small model, without RecBole."""

import torch
from torch import nn

from recbole_cel.clustering.event import no_progress
from recbole_cel.settings import CELSettings
from recbole_cel.strategies import FieldBudget, Training, get_strategy

N, WIDTHS = 60, (8, 1)


class Run:
    """A strategy of one field in a small model, its data, its optimiser and its hook."""

    def __init__(self, name, rows=12, ids=None, others=None, steps=10, automatic=False, **options):
        torch.manual_seed(0)
        kind = get_strategy(name)
        budget = FieldBudget("user_id", N, WIDTHS, rows=rows, automatic=automatic)
        self.strategy = kind(budget, CELSettings(), kind.Options(**options))
        self.model = nn.ModuleList([self.strategy.table(width, std=0.1) for width in WIDTHS]).train()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.events = []
        pairs = (torch.arange(N) if ids is None else ids, torch.arange(N) % 7 if others is None else others)
        training = Training(
            lambda: None, self.optimiser, lambda field: pairs, steps, 5, self.events.append, no_progress
        )
        self.hook = kind.while_training({"user_id": self.strategy}, training)

    def step(self, number=1, ids=None, targets=None):
        for _ in range(number):
            rows = self.rows(torch.arange(N) if ids is None else ids)
            target = torch.randn(N, 9, generator=torch.Generator().manual_seed(0)) if targets is None else targets
            loss = (rows - target[: len(rows)]).square().sum(1).mean()
            penalty = self.strategy.penalty(N)
            self.optimiser.zero_grad()
            (loss if penalty is None else loss + penalty).backward()
            self.optimiser.step()
            if self.hook is not None:
                self.hook.step()

    def rows(self, ids=None):
        return torch.cat([table(ids) for table in self.model], dim=-1)

    def evaluated(self):
        self.model.eval()
        with torch.no_grad():
            found = self.rows()
        self.model.train()
        return found
