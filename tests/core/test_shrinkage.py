import torch

from recbole_cel.clustering.shrinkage import EVIDENCE, NUM_KINDS, STRENGTHS, kind_of, others_than, shrinkage


def cells(evidence, noise, clusters=4, entities=3000, folds=4, seed=0):
    """One cell for each entity: all have cluster 1 as their best one, seen through noise."""
    generator = torch.Generator().manual_seed(seed)
    fold = torch.randint(0, folds, (entities,), generator=generator)
    truth = torch.tensor([1.0, 0.0, 1.0, 1.0]).expand(entities, clusters)
    kind = kind_of(torch.full((entities,), evidence))
    losses = evidence * truth + evidence**0.5 * noise * torch.randn(entities, clusters, generator=generator)
    left_out = truth + noise * torch.randn(entities, clusters, generator=generator)
    return fold, kind, losses, left_out.double(), torch.ones(entities, dtype=torch.int64), folds


def test_amounts_of_evidence():
    assert kind_of(torch.tensor([0, 1, 2, 3, 4, 5, 8, 9, 32, 33, 1000])).tolist() == [
        0,
        1,
        2,
        3,
        3,
        4,
        4,
        5,
        6,
        7,
        7,
    ]
    assert len(EVIDENCE) + 1 == NUM_KINDS


def test_others_leave_out_one_fold_each_and_the_last_none():
    table = torch.arange(6.0).view(3, 2)
    assert others_than(table).tolist() == [[6.0, 8.0], [4.0, 6.0], [2.0, 4.0], [6.0, 9.0]]


def test_noisy_entities_that_are_alike_lean_on_each_other():
    data = cells(evidence=2, noise=4.0)
    pull, usual = shrinkage(*data)
    fold, kind, losses, left_out = data[:4]
    assert (usual == 1).all()
    alone = left_out.gather(1, losses.argmin(dim=1, keepdim=True)).mean()
    together = left_out.gather(1, (losses + pull[fold, kind]).argmin(dim=1, keepdim=True)).mean()
    assert float(alone) > 0.5 and float(together) < 0.2


def test_entities_that_differ_and_are_sure_do_not_lean():
    fold, kind, losses, left_out, sizes, folds = cells(evidence=40, noise=0.01)
    shift = torch.arange(len(losses)) % 4
    order = (torch.arange(4) + shift.unsqueeze(1)) % 4
    pull, _ = shrinkage(fold, kind, losses.gather(1, order), left_out.gather(1, order), sizes, folds)
    assert float(pull[:, kind[0]].abs().max()) <= STRENGTHS[-1] * 0.05


def test_a_fold_has_no_say_in_its_own_pull():
    fold, kind, losses, left_out, sizes, folds = cells(evidence=2, noise=2.0)
    turned = torch.where((fold == 0).unsqueeze(1), -left_out, left_out)
    before, usual_before = shrinkage(fold, kind, losses, left_out, sizes, folds)
    after, usual_after = shrinkage(fold, kind, losses, turned, sizes, folds)
    assert torch.equal(before[0], after[0]) and usual_before[0] == usual_after[0]
    assert not torch.equal(before[1], after[1])


def test_kinds_without_any_cell_have_the_means_of_the_next():
    fold, kind, losses, left_out, sizes, folds = cells(evidence=2, noise=0.5)
    pull, usual = shrinkage(fold, kind, losses, left_out, sizes, folds)
    assert (usual == 1).all()  # nobody was without evidence
    assert float(pull[:, NUM_KINDS - 1].abs().max()) == 0.0  # nor is there anything about those with much
