"""Rows in few bits as they would be served: that what is counted suffices for the same rows."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_cel.strategies.rivals.int8 import QuantisedEmbedding, rows_of_scale


class Packed(NamedTuple):
    """What is served.

    Attributes:
        numbers: of all rows one after the other, packed from the lowest bits up, uint8.
        scales: of each row, or each group of rows of one number, float16; none for 16 bits.
    """

    numbers: Tensor
    scales: Tensor


@torch.no_grad()
def pack(table: QuantisedEmbedding) -> Packed:
    """The table as it is served."""
    if table.bits == 16:
        return Packed(table.weight.half().flatten().view(torch.uint8), torch.empty(0, dtype=torch.float16))
    together = rows_of_scale(table.embedding_dim)
    scales = table._scales(torch.arange(-(-table.num_embeddings // together)))
    of_rows = scales.repeat_interleave(together)[: table.num_embeddings].unsqueeze(1)
    whole = table._whole(table.weight, of_rows.to(table.weight.dtype)).flatten().to(torch.uint8)
    each = 8 // table.bits
    whole = F.pad(whole, (0, -len(whole) % each)).view(-1, each)
    shifts = torch.arange(each) * table.bits
    return Packed((whole.int() << shifts).sum(dim=1).to(torch.uint8), scales)


def unpack(packed: Packed, table: QuantisedEmbedding) -> Tensor:
    """All rows ``(N, d)``, by sizes of ``table`` alone."""
    shape = table.num_embeddings, table.embedding_dim
    if table.bits == 16:
        return packed.numbers.view(torch.float16).view(shape).float()
    shifts = torch.arange(8 // table.bits) * table.bits
    whole = (packed.numbers.int().unsqueeze(1) >> shifts) & (2**table.bits - 1)
    whole = whole.flatten()[: shape[0] * shape[1]].view(shape).float()
    scales = packed.scales.float().repeat_interleave(rows_of_scale(shape[1]))[: shape[0]].unsqueeze(1)
    return (whole - (2**table.bits - 1) / 2) * scales
