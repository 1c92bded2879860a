"""Packed codes do as plain integers do."""

import copy
import io

import pytest
import torch
from reference.unpacked_codes import UnpackedCodes

from recbole_cel.embedding import (
    AdditiveEmbedding,
    ClusterAssignment,
    ClusteredEmbedding,
    PackedCodes,
    assignment,
    extend_ids,
    packed_codes,
    shared_assignments,
)

N = 37
# Rows of each level, and folds: bits from 1 to 16, levels from 1 to 24.
CASES = [
    ([1], 1),
    ([2] * 8, 4),
    ([16] * 8, 4),
    ([17, 16, 16, 16, 16, 16, 16, 16], 4),
    ([30] * 24, 2),
    ([5, 300, 2, 9], 16),
    ([2**16] * 5, 2),
    *(([2**bits] * (1 + bits * 5 % 24), 1 + bits % 3) for bits in range(3, 16)),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{len(case[0])}x{max(case[0])}-{case[1]}")
def pair(request):
    sizes, folds = request.param
    starts = [min(size, 3) for size in sizes]
    return PackedCodes(N, sizes, starts, folds), UnpackedCodes(N, sizes, starts, folds)


def same(packed, plain):
    everyone = torch.arange(packed.num_entities)
    for level in plain.levels:
        assert torch.equal(packed.views(level, everyone), plain.views(level, everyone))
        assert torch.equal(packed.unpacked(level), plain.unpacked(level))
        assert packed.unpacked(level).dtype == plain.unpacked(level).dtype
    assert torch.equal(packed.members, plain.members) and torch.equal(packed.occupied, plain.occupied)
    assert packed.views_differ() == plain.views_differ()
    some = torch.randint(packed.num_entities, (50,))
    for ids, views in ((None, None), (some, None), (some, torch.randint(packed.words.shape[0], (50,)))):
        found, wanted = packed.look_up(ids, views), plain.look_up(ids, views)
        assert torch.equal(packed.by_id(found), wanted)
        assert torch.equal(packed.by_level(found), wanted.T)
        assert torch.equal(packed.look_up_level(0, ids, views), wanted[:, 0])


def changed(codes):
    """Random moves of some of the levels, the same for both kinds."""
    generator = torch.Generator().manual_seed(1)
    views = codes.words.shape[0]
    for level, size in list(enumerate(codes.sizes))[::-2] + list(enumerate(codes.sizes)):
        ids = torch.randperm(codes.num_entities, generator=generator)[:15]
        codes.put(level, ids, torch.randint(size, (15, views), generator=generator))
        codes.put(level, ids[:4], torch.randint(size, (4,), generator=generator))
        mask = torch.rand(codes.num_entities, generator=generator) < 0.2
        codes.fill(level, mask, torch.randint(size, (views,), generator=generator).tolist())
        codes.put(level, ids[:1], torch.full((1, views), size - 1))  # all bits
        codes.count(level)


def test_all_that_is_done_is_done_as_with_integers(pair, monkeypatch):
    monkeypatch.setattr(packed_codes, "BLOCK", 10)
    packed, plain = pair
    same(packed, plain)
    for codes in pair:
        changed(codes)
    same(packed, plain)
    for codes in pair:
        codes.extend(N + 12, like=5)
        changed(codes)
    same(packed, plain)


def test_saved_loaded_and_copied(pair):
    packed, plain = pair
    twin = copy.deepcopy(packed)
    changed(packed)
    changed(plain)
    assert not torch.equal(twin.words, packed.words) or max(packed.sizes) == 1
    file = io.BytesIO()
    torch.save(packed.state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    same(twin, plain)
    assert packed.to("meta").words.is_meta and not twin.words.is_meta


@pytest.mark.parametrize(
    ("levels", "rows", "wanted"),
    [
        (8, 16, 4),
        (8, 17, 5),
        (8, 64, 6),
        (1, 2, 1),
        (1, 300, 2),
        (24, 30, 16),
        (24, 17, 16),
        (16, 16, 8),
        (17, 16, 9),
    ],
)
def test_bytes_of_an_id(levels, rows, wanted):
    assert packed_codes.bytes_of(levels, rows) == wanted
    assert PackedCodes(N, [rows] * levels, [1] * levels, 4).words.shape == (5, N, wanted)


def test_hostile_codes_are_refused_and_nothing_is_taken_over():
    packed = PackedCodes(N, [17, 16, 9], [1, 1, 1], 4)  # five bits each
    changed(packed)
    before = {name: value.clone() for name, value in packed.named_buffers()}
    words = packed.words

    def with_bits(view, byte, bits):
        found = words.clone()
        found[view, 3] = 0
        found[view, 3, byte] = bits
        return found

    for bad, message in (
        (words.char(), r"the codes are of type torch.int8, not torch.uint8"),
        (words[:4], r"the codes are of shape \(4, 37, 2\), not \(5, 37, 2\)"),
        (words[..., :1], r"the codes are of shape \(5, 37, 1\), not"),
        (words.flatten(), r"the codes are of shape \(370,\), not"),
        (with_bits(0, 0, 17), r"names cluster 17 in level 0, but clusters are 0..16"),
        (with_bits(4, 0, 0xE0), None),
        (with_bits(4, 1, 0x02), r"names cluster 16 in level 1, but clusters are 0..15"),
        (with_bits(2, 1, 0x24), r"names cluster 9 in level 2, but clusters are 0..8"),
        (with_bits(2, 1, 0x80), r"has bits that belong to no level"),
    ):
        if message is None:
            packed.validate(bad)
            continue
        with pytest.raises(ValueError, match=message):
            packed.load_state_dict({"words": bad})
        assert all(torch.equal(value, before[name]) for name, value in packed.named_buffers())


def test_levels_that_share_codes_are_as_levels_alone():
    sizes, starts = [9, 3, 17], [3, 1, 1]
    shared = shared_assignments(N, sizes, starts, 4)
    alone = [ClusterAssignment(N, size, start, 4) for size, start in zip(sizes, starts)]
    assert len({one.codes for one in shared}) == 1 and len({one.codes for one in alone}) == 3
    ids, fold = torch.randint(N, (60, 2)), torch.randint(4, (60,))
    for one, other in zip(shared, alone):
        moves = torch.randint(one.max_clusters, (N, 5))
        for level in (one, other):
            level.move(torch.arange(N), moves)
        with pytest.raises(ValueError, match="cluster ids must lie in"):
            one.move_all([(torch.tensor([1]), moves[:1]), (torch.tensor([0]), torch.tensor([one.max_clusters]))])
    for one, other in zip(shared, alone):
        assert torch.equal(one.clusters(), other.clusters()) and one.dtype == other.dtype
        assert torch.equal(one.clusters_at(ids[:, 0]), other.clusters()[ids[:, 0]].long())
        assert torch.equal(one(ids, fold), other(ids, fold))
        assert torch.equal(one.members, other.members) and torch.equal(one.occupied, other.occupied)
    before = shared[0].codes.words.clone()
    with shared[1].provisionally(ids[:9, 0].unique(), torch.tensor(2).expand(len(ids[:9, 0].unique()))):
        assert (shared[1].clusters_at(ids[:9, 0]) == 2).all()
        assert torch.equal(shared[0].clusters(), alone[0].clusters())
    assert torch.equal(shared[0].codes.words, before)
    extend_ids(shared, N + 3, like=4)
    assert torch.equal(shared[2].clusters()[N:], shared[2].clusters()[4].expand(3))
    assert [int(one.members.sum()) for one in shared] == [N + 3] * 3


@pytest.mark.parametrize("some", [[0, 1, 2], [2, 0], [1]])
def test_some_levels_of_the_shared_ones_are_looked_up(some):
    shared = shared_assignments(N, [9, 3, 17], [9, 3, 17])
    alone = ClusterAssignment(N, 4, 4)
    ids = torch.randint(N, (5, 3))
    levels = [*(shared[level] for level in some), alone]
    found = assignment.look_up_levels(levels, ids)
    wanted = torch.stack([level(ids).flatten() for level in levels])
    assert torch.equal(found.by_level(), wanted) and torch.equal(found.by_id(), wanted.T)
    assert found.levels == len(levels)
    table = AdditiveEmbedding([ClusteredEmbedding(level, 3, std=1.0) for level in levels])
    assert torch.allclose(table(ids), sum(level(ids) for level in table.levels))


def test_levels_need_sizes_and_starts():
    for sizes, starts in (([], []), ([2, 3], [1])):
        with pytest.raises(ValueError, match="levels need a size and a start each"):
            shared_assignments(N, sizes, starts)
    with pytest.raises(ValueError, match=r"initial_clusters must lie in 1..3, got 4"):
        shared_assignments(N, [2, 3], [1, 4])
