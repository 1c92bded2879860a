"""The ``cel_*`` options: every one of them, with its help, its default and its check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

from .clustering.settings import ClusterSettings
from .options import SettingError, is_bool, is_int, is_number, option, read_options

PREFIX = "cel_"
AUTO = "auto"
# Rows with ``auto``: one for so many ids, shared out evenly among the fields, and no more than this in a field, to
# keep the tables small, but a few in any case. How many of the rows are used is up to the test of each split.
AUTO_IDS_PER_ROW = 10
AUTO_MAX_CLUSTERS = 512
AUTO_MIN_CLUSTERS = 8
# Options that mean something for every model, whatever its tables.
RUN_OPTIONS = {"activity_edges", "checkpoint_interval", "resume"}


def _is_field_list(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(v, str) for v in value)


def _is_cluster_number(value: object) -> bool:
    if isinstance(value, dict):
        return len(value) > 0 and all(isinstance(k, str) and is_int(v, 1) for k, v in value.items())
    return value == AUTO or is_int(value, 1)


def _are_edges(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and is_int(value[0], 1)
        and is_int(value[1], 1)
        and value[0] < value[1]
    )


@dataclass(frozen=True)
class CELSettings(ClusterSettings):
    """All options of the package; option ``x`` is the configuration key ``cel_x``.

    Raises:
        SettingError: if an option is out of its range, or options contradict each other.
    """

    fields: Union[list[str], tuple[str, ...], None] = option(
        None,
        "entity fields whose embeddings are shared; by default the user and the item id field",
        "a list of field names, such as ['user_id','item_id']",
        lambda v: v is None or _is_field_list(v),
    )
    max_clusters: Union[int, str, dict[str, int]] = option(
        AUTO,
        "largest number of clusters, one for every field or one per field; auto leaves it to cel_split_gain, with "
        f"at most {AUTO_MAX_CLUSTERS} a field and one for {AUTO_IDS_PER_ROW} ids in all, "
        f"but {AUTO_MIN_CLUSTERS} in any case",
        "an integer >= 1, one per field such as {'user_id':64,'item_id':32}, or auto",
        _is_cluster_number,
    )
    compression_ratio: Union[float, None] = option(
        None,
        "instead of cel_max_clusters: how many times fewer rows than ids every field shall have, at least",
        "a number >= 1",
        lambda v: v is None or is_number(v, 1),
    )
    share_first_order: bool = option(
        True,
        "clusters share the first-order weight too; otherwise each entity keeps its own one",
        "True or False",
        is_bool,
    )
    personalisation_lambda: float = option(
        1.0,
        "pull of an own row to its cluster's row: this times the squared distance, against the summed loss",
        "a number >= 0",
        lambda v: is_number(v, 0),
    )
    activity_edges: Union[list[int], tuple[int, int]] = option(
        (10, 50),
        "training interactions from which a user or item counts as medium and as warm in the final table",
        "two increasing integers >= 1, such as [10,50]",
        _are_edges,
    )
    checkpoint_interval: int = option(
        1,
        "epochs between two checkpoints to resume from, besides the best model; 0 writes none",
        "an integer >= 0",
        lambda v: is_int(v, 0),
    )
    resume: Union[str, None] = option(
        None,
        "checkpoint file to continue from",
        "a path",
        lambda v: v is None or (isinstance(v, str) and v != ""),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_clusters != AUTO and self.compression_ratio is not None:
            raise SettingError("compression_ratio", "and cel_max_clusters exclude each other; set one of them")
        if isinstance(self.max_clusters, dict) and self.fields is not None:
            check_fields("max_clusters", self.max_clusters, self.fields)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> CELSettings:
        """Read and check all ``cel_*`` keys of ``config``; other keys are not ours.

        Raises:
            SettingError: at an unknown key (naming the nearest valid one) or a bad value.
        """
        return read_options(cls, PREFIX, config)

    def rows(self, num_entities: Mapping[str, int]) -> dict[str, int]:
        """Rows (clusters) of each field, given each field's number of entities; never more than that.

        A compression ratio gives every field the same share of rows.

        Raises:
            SettingError: if a field is to start with more clusters than it may have.
        """
        wanted = self.max_clusters
        if self.compression_ratio is not None:
            ratio = self.compression_ratio
            wanted = {name: max(1, int(number / ratio)) for name, number in num_entities.items()}
        elif isinstance(wanted, str):
            share = sum(num_entities.values()) // (AUTO_IDS_PER_ROW * len(num_entities))
            wanted = max(self.initial_clusters, AUTO_MIN_CLUSTERS, min(AUTO_MAX_CLUSTERS, share))
        if isinstance(wanted, int):
            wanted = dict.fromkeys(num_entities, wanted)
        rows = {name: min(wanted[name], number) for name, number in num_entities.items()}
        for name, number in rows.items():
            if number < self.initial_clusters:
                raise SettingError(
                    f"{PREFIX}initial_clusters",
                    f"is {self.initial_clusters}, more than the {number} that field {name} may have",
                )
        return rows


def check_fields(name: str, used: Mapping[str, Any], known: Union[list[str], tuple[str, ...]]) -> None:
    """Check that the keys of option ``name`` are clustered fields.

    Raises:
        SettingError: naming the first that is not.
    """
    for field_name in used:
        if field_name not in known:
            raise SettingError(
                name, f"names field {field_name!r}, but the clustered fields are {', '.join(known)}"
            )
