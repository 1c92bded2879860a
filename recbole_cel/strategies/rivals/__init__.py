"""Rivals: other ways to make tables small, each after its paper."""

from . import (
    binary_code_hash,
    compositional,
    dhe,
    double_hash,
    int8,
    low_dimension,
    memcom,
    quotient_remainder,
    robe,
    tensor_train,
    unified,
)

__all__ = [
    "binary_code_hash",
    "compositional",
    "dhe",
    "double_hash",
    "int8",
    "low_dimension",
    "memcom",
    "quotient_remainder",
    "robe",
    "tensor_train",
    "unified",
]
