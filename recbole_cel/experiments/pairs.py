"""Data whose structure lies in pairs of entities, and in no entity alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Pairs(NamedTuple):
    """Interactions of entities of several fields, with known groups.

    Attributes:
        ids: id of each interaction in every field, each of shape ``(n,)``.
        targets: shape ``(n,)``, labels or ratings.
        groups: group of every id of each field.
    """

    ids: tuple[Tensor, ...]
    targets: Tensor
    groups: tuple[Tensor, ...]


def tastes(groups: int) -> Tensor:
    """Which of so many groups of items each group of users likes, bool of shape ``(groups, groups)``.

    Each group likes half of the others, and is liked by half of them: no group has a main effect.

    Raises:
        ValueError: if the number of groups is odd, or less than two.
    """
    if groups < 2 or groups % 2:
        raise ValueError(f"groups must be an even number of at least 2, got {groups}")
    one = torch.arange(groups)
    return (one - one.unsqueeze(1)) % groups < groups // 2


def plant_groups(
    users: int,
    items: int,
    labels: int,
    groups: int,
    generator: torch.Generator,
    *,
    odds: float = math.log(4.0),
    main_effects: float = 0.0,
) -> Pairs:
    """Labels of random pairs, without repetition, by the tastes of groups of users and items.

    Args:
        users: number of users.
        items: number of items.
        labels: number of pairs.
        groups: of users, and as many of items.
        generator: of everything.
        odds: logit of a label where the user likes the item's group, and minus its logit elsewhere; the
            default is a probability of .8.
        main_effects: standard deviation of what every user and every item adds to the logit.
    """
    picked = _distinct(labels, users * items, generator)
    ids = picked // items, picked % items
    of_users = torch.randperm(users, generator=generator) % groups
    of_items = torch.randperm(items, generator=generator) % groups
    likes = tastes(groups)[of_users[ids[0]], of_items[ids[1]]].float()
    logits = odds * (2 * likes - 1)
    for number, of in zip((users, items), ids):
        logits += main_effects * torch.randn(number, generator=generator)[of]
    return Pairs(ids, torch.bernoulli(logits.sigmoid(), generator=generator), (of_users, of_items))


def plant_three_fields(sizes: tuple[int, int, int], labels: int, generator: torch.Generator) -> Pairs:
    """As :func:`plant_groups` with four groups, of the second and third of three fields; the first has no say."""
    pairs = plant_groups(sizes[1], sizes[2], labels, 4, generator)
    first = torch.randint(0, sizes[0], (labels,), generator=generator)
    return Pairs((first, *pairs.ids), pairs.targets, (torch.zeros(sizes[0], dtype=torch.int64), *pairs.groups))


def plant_parity(users: int, items: int, labels: int, generator: torch.Generator) -> Pairs:
    """Labels 1 where the parities of user and item match, without noise."""
    picked = _distinct(labels, users * items, generator)
    ids = picked // items, picked % items
    groups = torch.arange(users) % 2, torch.arange(items) % 2
    return Pairs(ids, (groups[0][ids[0]] == groups[1][ids[1]]).float(), groups)


def plant_ratings(
    users: int, items: int, ratings: int, groups: int, generator: torch.Generator, *, noise: float = 1.0
) -> Pairs:
    """Ratings of random pairs: 4 where the user likes the item's group, 2 elsewhere, plus normal noise."""
    pairs = plant_groups(users, items, ratings, groups, generator)
    likes = tastes(groups)[pairs.groups[0][pairs.ids[0]], pairs.groups[1][pairs.ids[1]]].float()
    values = 2.0 + 2.0 * likes + noise * torch.randn(ratings, generator=generator)
    return pairs._replace(targets=values.clamp(min=0.0))


def _distinct(number: int, below: int, generator: torch.Generator) -> Tensor:
    """``number`` different integers below ``below``, in random order."""
    if number > below:
        raise ValueError(f"there are {below} pairs, not {number}")
    return torch.randperm(below, generator=generator)[:number]
