"""A run decides the same whether codes are packed or plain integers."""

from pathlib import Path

import pytest
import torch
from reference.unpacked_codes import UnpackedCodes

from recbole_cel.embedding import PackedCodes, assignment
from recbole_cel.quick_start import load_data_and_model, run_recbole_cel


@pytest.mark.parametrize("model", ["FM_CEL", "MF_CEL"])
def test_a_run_is_the_same_with_codes_that_are_not_packed(model, options, monkeypatch):
    options.update(epochs=1, cel_levels=3, cel_max_clusters=13, cel_split_gain=0.5, cel_split_interval=0.25)
    if model == "MF_CEL":
        options.update(threshold=None, load_col={"inter": ["user_id", "item_id", "rating"]})
    found = []
    for kind in (PackedCodes, UnpackedCodes):
        monkeypatch.setattr(assignment, "PackedCodes", kind)
        options["checkpoint_dir"] = kind.__name__
        run_recbole_cel(model, "tiny", config_dict=dict(options))
        (last,) = Path(kind.__name__).glob("*-last.pth")
        made = load_data_and_model(str(last))[1]
        levels = [one for strategy in made.embedding_strategies.values() for one in strategy.assignments]
        assert all(isinstance(one.codes, kind) for one in levels)
        codes = [one.views(torch.arange(one.num_entities)) for one in levels]
        found.append((codes, [value.detach() for value in made.parameters()]))
    assert sum(int(code.max()) for code in found[0][0]) > 4
    for parts in zip(*found):
        assert all(torch.equal(one, other) for one, other in zip(*parts))
