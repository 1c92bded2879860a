"""With ``reproducibility``, the same seed gives the same run on the same GPU."""

from __future__ import annotations

import os
from typing import Any

import torch

# What cuBLAS needs to give the same bits twice; it is read when a GPU is first used.
WORKSPACE, TWO_BUFFERS = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"


def be_repeatable(config: Any) -> None:
    """Have PyTorch add numbers up in one order on a GPU, if the configuration asks for reproducibility.

    RecBole's ``init_seed`` does so for convolutions only. Where an operation of a model has no such form, PyTorch
    says so in a warning and goes on. CPUs need nothing of it.
    """
    if torch.device(config["device"]).type != "cuda":
        return
    wanted = bool(config["reproducibility"])
    if wanted:
        os.environ.setdefault(WORKSPACE, TWO_BUFFERS)
    torch.use_deterministic_algorithms(wanted, warn_only=True)
