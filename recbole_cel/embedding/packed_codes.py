"""The codes of all levels of a field, packed by bits into whole bytes for each id and view.

A code of one of K rows takes ``b = ceil(log2 K)`` bits, where K is the largest number of rows of a level. The
codes of an id follow each other in words of 64 bits, ``64 // b`` levels a word, so that none straddles two words;
of the last word only the bytes that hold codes are stored. Bytes go from the lowest to the highest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WORD = 64
# Ids that are unpacked at once where all of them are: what is unpacked stays in the processor's cache.
BLOCK = 1 << 16
EVERY = slice(None)


def bits_of(num_values: int) -> int:
    """Bits that hold ``0 .. num_values - 1``; one at least."""
    return max(1, (num_values - 1).bit_length())


def bytes_of(levels: int, num_values: int) -> int:
    """Bytes of an id in one view, with so many levels of at most ``num_values`` rows."""
    bits = bits_of(num_values)
    words, rest = divmod(levels, WORD // bits)
    return words * (WORD // 8) + -(-rest * bits // 8)


def reach(first_bit: int, bits: int) -> tuple[range, int]:
    """The bytes that bits from ``first_bit`` on reach into, and the bit of the first of them where they begin."""
    first, shift = divmod(first_bit, 8)
    return range(first, first - (-(shift + bits) // 8)), shift


def join(reached: tuple[range, int], byte: Callable[[int], Tensor]) -> Tensor:
    """Numbers, int64, from the bytes that they reach into; what is behind their bits is left on top of them."""
    touched, shift = reached
    numbers = byte(touched[0]).long()
    for place, more in enumerate(touched[1:], 1):
        numbers |= byte(more).long() << 8 * place
    if shift:
        numbers >>= shift
    return numbers


def smallest_integer_type(num_values: int) -> torch.dtype:
    """The smallest of uint8, int16 and int32 that holds ``0 .. num_values - 1``."""
    if num_values <= 2**8:
        return torch.uint8
    if num_values <= 2**15:
        return torch.int16
    return torch.int32


class PackedCodes(nn.Module):
    """The code of every entity of one field in each of L levels, with all interactions and without each fold.

    There are V views: one with one fold, otherwise those without each of F folds, and last that with all.

    Args:
        num_entities: number of entities N.
        sizes: number of rows of each level; codes of a level of K rows are ``0 .. K - 1``.
        starts: for each level, the number of codes M0 at the start; entity ``e`` starts with ``e % M0``.
        folds: number of folds F.

    Attributes:
        words: buffer of shape ``(V, N, bytes)``, uint8.
        members: buffer of shape ``(sum of sizes,)``, int64, how many entities have each code of each level in the
            last view. Derived from ``words`` and therefore not saved.
        occupied: buffer of the same shape, bool, whether anybody has the code in any view. Derived as well.
        version: rises whenever codes change, so that whoever keeps some of them can tell.
    """

    words: Tensor
    members: Tensor
    occupied: Tensor

    def __init__(self, num_entities: int, sizes: Sequence[int], starts: Sequence[int], folds: int = 1) -> None:
        super().__init__()
        self.sizes, self.num_folds = tuple(sizes), folds
        self.levels = list(range(len(sizes)))
        self.version = 0
        self.bits = bits_of(max(sizes))
        self.bytes = bytes_of(len(sizes), max(sizes))
        views = folds + 1 if folds > 1 else 1
        self.register_buffer("words", torch.zeros(views, num_entities, self.bytes, dtype=torch.uint8))
        self.register_buffer("members", torch.zeros(sum(sizes), dtype=torch.int64), persistent=False)
        self.register_buffer("occupied", torch.zeros(sum(sizes), dtype=torch.bool), persistent=False)
        for level, start in enumerate(starts):
            if start > 1:
                for ids in torch.arange(num_entities).split(BLOCK):
                    self.put(level, ids, ids % start)
            self.count(level)

    @property
    def num_entities(self) -> int:
        """Number of entities N."""
        return self.words.shape[1]

    def look_up(self, entities: Tensor | None, views: Tensor | None = None) -> Tensor:
        """Packed codes of ``entities`` ``(n,)``, int64 of shape ``(n, words)``; :meth:`by_id` unpacks them.

        Args:
            entities: ids, or None for all.
            views: shape ``(n,)``, the view of each; None is the last.
        """
        if entities is None:
            return self._words(self.words[-1])
        table, positions = self._table(entities, views)
        # What is behind the bytes is masked away.
        found = table.new_empty(len(positions), self.bytes + self._padding)
        torch.index_select(table, 0, positions, out=found[:, : self.bytes])
        return found.view(torch.int64)

    def by_id(self, words: Tensor, levels: slice = EVERY) -> Tensor:
        """Codes ``(n, L)`` in some of the levels, from packed ones ``(n, words)``."""
        shifts, word = _layout(len(self.sizes), self.bits, words.device)
        of_levels = words if words.shape[1] == 1 else words.index_select(1, word[levels])
        return (of_levels >> shifts[levels]).bitwise_and_(self._mask)

    def by_level(self, words: Tensor, levels: slice = EVERY) -> Tensor:
        """As :meth:`by_id`, of shape ``(L, n)``: unpacking twice costs less than moving numbers about."""
        shifts, word = _layout(len(self.sizes), self.bits, words.device)
        of_levels = words.T if words.shape[1] == 1 else words.T.index_select(0, word[levels])
        return (of_levels >> shifts[levels].unsqueeze(1)).bitwise_and_(self._mask)

    def look_up_level(self, level: int, entities: Tensor | None, views: Tensor | None = None) -> Tensor:
        """Codes of ``entities`` ``(n,)`` in one level, int64 of shape ``(n,)``; arguments as for all levels."""
        if entities is None:
            return self._join(level, partial(self.words[-1].select, 1))
        return self._gather(level, *self._table(entities, views))

    def views(self, level: int, entities: Tensor) -> Tensor:
        """Codes of ``entities`` ``(E,)`` in each view, int64 of shape ``(E, V)``."""
        table, positions = self._all_views(entities)
        return self._gather(level, table, positions).view(len(self.words), -1).T

    def unpacked(self, level: int) -> Tensor:
        """Codes of all entities in the last view, shape ``(N,)``, in the smallest type that holds them."""
        found = self.words.new_empty(self.num_entities, dtype=smallest_integer_type(self.sizes[level]))
        for place, codes in zip(found.split(BLOCK), self._blocks(level, -1)):
            place.copy_(codes)
        return found

    def views_differ(self) -> bool:
        """Whether any entity has another code in some view than in the last."""
        return any(not torch.equal(view, self.words[-1]) for view in self.words[:-1])

    def put(self, level: int, entities: Tensor, codes: Tensor) -> None:
        """Give ``entities`` ``(E,)`` codes ``(E, V)``, or ``(E,)`` for all views; :meth:`count` is to follow."""
        wanted = codes.expand(len(self.words), -1) if codes.dim() == 1 else codes.T
        touched, shift = self._place(level)
        bits = (wanted.flatten().long() & self._mask) << shift
        self.version += 1
        flat, place = self.words.view(-1), self._all_views(entities)[1] * self.bytes + touched[0]
        for number in range(len(touched)):
            others = ~(self._mask << shift >> 8 * number) & 255
            own = (bits >> 8 * number).to(torch.uint8)  # the lowest eight bits
            flat.scatter_(0, place, flat.index_select(0, place) & others | own)
            place += 1

    def fill(self, level: int, mask: Tensor, codes: Sequence[int]) -> None:
        """Give the entities of a mask ``(N,)`` one code for each of the views; :meth:`count` is to follow."""
        of_views = torch.tensor(codes, device=mask.device)
        for number, part in enumerate(mask.split(BLOCK)):
            some = part.nonzero().squeeze(1)
            if len(some):
                self.put(level, some + number * BLOCK, of_views.expand(len(some), -1))

    def extend(self, num_entities: int, like: int) -> None:
        """Make room for ids up to ``num_entities - 1``; new ones have the codes of entity ``like``."""
        new = self.words[:, like : like + 1].expand(-1, num_entities - self.num_entities, -1)
        self.version += 1
        self.words = torch.cat([self.words, new], dim=1)
        for level in self.levels:
            self.count(level)

    def part(self, level: int) -> slice:
        """Where ``members`` and ``occupied`` of a level are."""
        start = sum(self.sizes[:level])
        return slice(start, start + self.sizes[level])

    def count(self, level: int) -> None:
        """Count the members of a level anew."""
        size, total = self.sizes[level], torch.zeros_like(self.members[self.part(level)])
        for view in range(len(self.words)):
            of_view = torch.zeros_like(total)
            for codes in self._blocks(level, view):
                of_view += torch.bincount(codes, minlength=size)
            total += of_view
        self.members[self.part(level)] = of_view
        self.occupied[self.part(level)] = total > 0

    def validate(self, words: Tensor) -> None:
        """Check codes before they are taken over.

        Raises:
            ValueError: if their type or shape differs, any code of a level of K rows is not in ``0 .. K - 1``, or
                there are bits that belong to no level.
        """
        if words.dtype != torch.uint8:
            raise ValueError(f"the codes are of type {words.dtype}, not torch.uint8")
        if words.shape != self.words.shape:
            raise ValueError(f"the codes are of shape {tuple(words.shape)}, not {tuple(self.words.shape)}")
        sizes = torch.tensor(self.sizes, device=words.device)
        for block in words.flatten(0, 1).split(BLOCK):
            held = self._words(block)
            codes = self.by_id(held)
            highest = codes.amax(dim=0)
            if bool((highest >= sizes).any()):
                level = int((highest >= sizes).nonzero()[0])
                raise ValueError(
                    f"the assignment names cluster {int(highest[level])} in level {level}, "
                    f"but clusters are 0..{self.sizes[level] - 1}"
                )
            shifts, word = _layout(len(self.sizes), self.bits, words.device)
            if not torch.equal(torch.zeros_like(held).index_add_(1, word, codes << shifts), held):
                raise ValueError("the assignment has bits that belong to no level")

    def extra_repr(self) -> str:
        """Sizes, for ``print(model)``."""
        return f"{self.num_entities}, levels={len(self.sizes)}, bits={self.bits}, bytes={self.bytes}"

    @property
    def _padding(self) -> int:
        """Bytes that the last word of an id lacks."""
        return -self.bytes % (WORD // 8)

    @property
    def _mask(self) -> int:
        return (1 << self.bits) - 1

    def _words(self, rows: Tensor) -> Tensor:
        """Bytes ``(n, bytes)`` as words, int64 of shape ``(n, words)``."""
        return F.pad(rows, (0, self._padding)).view(torch.int64)

    def _place(self, level: int) -> tuple[range, int]:
        """The bytes that a level reaches into, and the bit of the first of them where it begins."""
        word, within = divmod(level, WORD // self.bits)
        return reach(word * WORD + within * self.bits, self.bits)

    def _join(self, level: int, byte: Callable[[int], Tensor]) -> Tensor:
        """Codes of a level, int64, from the bytes that it reaches into."""
        codes = join(self._place(level), byte)
        return codes if len(self.sizes) == 1 else codes.bitwise_and_(self._mask)

    def _gather(self, level: int, table: Tensor, positions: Tensor) -> Tensor:
        """Codes of a level at ``positions`` ``(n,)`` of bytes ``(m, bytes)``, int64 of shape ``(n,)``."""
        return self._join(level, lambda byte: table.select(1, byte).index_select(0, positions))

    def _blocks(self, level: int, view: int) -> Iterator[Tensor]:
        """Codes of all entities in a view, by blocks."""
        for rows in self.words[view].split(BLOCK):
            yield self._join(level, partial(rows.select, 1))

    def _table(self, entities: Tensor, views: Tensor | None) -> tuple[Tensor, Tensor]:
        """Bytes ``(m, bytes)``, and where ``entities`` ``(n,)`` are in them, each in its view ``(n,)``."""
        if views is None:
            return self.words[-1], entities
        return self.words.view(-1, self.bytes), torch.add(entities, views, alpha=self.num_entities)

    def _all_views(self, entities: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`_table`, of ``entities`` ``(E,)`` in each view, one view after the other: ``(V * E,)``."""
        views = torch.arange(len(self.words), device=entities.device) * self.num_entities
        return self.words.view(-1, self.bytes), (views.unsqueeze(1) + entities).flatten()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # Each level of each table of the field names the same codes; once is enough.
        given = state_dict.get(f"{prefix}words")
        new = isinstance(given, Tensor) and not (
            given.dtype == torch.uint8 and torch.equal(given.to(self.words.device), self.words)
        )
        if new:
            self.validate(given)  # type: ignore[arg-type]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if new:
            self.version += 1
            for level in self.levels:
                self.count(level)


@cache
def _layout(levels: int, bits: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each level, where it begins in its word, and which word that is; int64 of shape ``(L,)``."""
    number = torch.arange(levels)
    in_a_word = WORD // bits
    return (number % in_a_word * bits).to(device), (number // in_a_word).to(device)
