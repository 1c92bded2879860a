"""Two problems that are the same, one for the fast implementation and one for the reference."""

import torch
from factorisation import Problem
from reference.cross_fitted import reference_reassign_cross_fitted
from written import reassign_cross_fitted

from recbole_cel.clustering import ClusterSettings
from recbole_cel.embedding import AdditiveEmbedding, ClusterAssignment, ClusteredEmbedding


def scatter(problem, seed):
    """Assign everything at random, differently with and without each fold."""
    generator = torch.Generator().manual_seed(seed)
    for assignment in [*(tables[0].assignment for tables in problem.levels), problem.model.item.assignment]:
        shape = (assignment.num_entities, assignment.num_folds + 1)
        views = torch.randint(0, int(assignment.occupied.sum()), shape, generator=generator)
        assignment.move(torch.arange(assignment.num_entities), views)


def twins(seed, levels=1, **options):
    pair = [Problem(seed, folds=3, **options) for _ in range(2)]
    for problem in pair:
        problem.levels = [problem.tables]
        torch.manual_seed(seed)
        for _ in range(levels - 1):
            another = ClusterAssignment(40, 8, options.get("start", 5), folds=3)
            more = [ClusteredEmbedding(another, table.embedding_dim, std=0.5) for table in problem.tables]
            problem.levels.append(more)
        if levels > 1:
            problem.model.user, problem.model.user_bias = map(AdditiveEmbedding, zip(*problem.levels))
        scatter(problem, seed)
    return pair


def reassign_both(pair, growing=(), merging=False, **settings):
    fast, plain = pair
    settings = ClusterSettings(folds=3, **settings)
    generator = torch.Generator().manual_seed(0)
    done = reassign_cross_fitted(
        fast.objective, fast.levels, fast.index, settings, generator, growing=growing, merging=merging
    )
    reference_reassign_cross_fitted(plain.objective, plain.levels, plain.users, settings, growing, merging)
    return done
