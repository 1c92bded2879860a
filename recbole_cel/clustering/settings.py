"""Options of the cluster optimisation, declared once with their help and their checks."""

from __future__ import annotations

from dataclasses import dataclass

from ..embedding.folds import MAX_FOLDS
from ..options import SettingError, check_options, is_bool, is_int, is_number, option

SPLIT_CRITERIA = ("interactions", "members", "loss", "mean_loss", "gradient_norm")
# Each level costs an assignment of every entity, and each super-cluster a row.
MAX_LEVELS = 256
MAX_SEARCHES = 1000
MAX_SUPER_CLUSTERS = 65_536
SPLIT_BY = ("gradients", "kmeans", "loss", "random")
SPLIT_THRESHOLDS = ("zero", "median", "data_median")
EVIDENCE = ("training", "passes")


@dataclass(frozen=True)
class ClusterSettings:
    """How clusters are split, reassigned and personalised. Intervals are counted in epochs.

    ``levels``, ``initial_clusters``, ``folds``, ``gradient_averaging`` and those of super-clusters say how tables
    and loss are to be made; a :class:`~.optimiser.ClusterOptimiser` goes by the tables that it is given.

    Raises:
        SettingError: if an option is out of its range.
    """

    initial_clusters: int = option(
        1,
        "clusters per field at the start; entity e starts in cluster e mod this number",
        "an integer >= 1",
        lambda v: is_int(v, 1),
    )
    levels: int = option(
        8,
        "an embedding is the sum of this many shared rows, each with an assignment of its own; the rows of a "
        "field are divided among the levels (fewer levels where they do not suffice)",
        f"an integer >= 1 and <= {MAX_LEVELS}",
        lambda v: is_int(v, 1, MAX_LEVELS),
    )
    split_interval: float = option(
        0.5,
        "epochs between two split events; fractions are allowed; with cross-fitting, an event grows whole levels, "
        "a quarter of them first and a quarter more each time, and reassigns all entities",
        "a number > 0",
        lambda v: is_number(v, 0, open=True),
    )
    split_count: int = option(
        0,
        "clusters of a level split in one event, best by the criterion first; 0 splits every cluster that can be "
        "split, with cross-fitting again and again",
        "an integer >= 0",
        lambda v: is_int(v, 0),
    )
    split_criterion: str = option(
        "interactions",
        "which clusters are split first: most training interactions, most members, largest summed loss, "
        "largest mean loss, largest gradient norm",
        f"one of {', '.join(SPLIT_CRITERIA)}",
        lambda v: v in SPLIT_CRITERIA,
    )
    split_by: str = option(
        "gradients",
        "without cross-fitting, what tells the sides of a cluster that is split: its members' gradients (GPCA), "
        "bisecting k-means of these, the members' mean loss, or chance",
        f"one of {', '.join(SPLIT_BY)}",
        lambda v: v in SPLIT_BY,
    )
    split_threshold: str = option(
        "zero",
        "where a cluster is cut along its first principal component: at zero, at the median member, or at "
        "the member that halves the interactions",
        f"one of {', '.join(SPLIT_THRESHOLDS)}",
        lambda v: v in SPLIT_THRESHOLDS,
    )
    split_gain: float = option(
        1.0,
        "with cross-fitting, a cluster is split only if the summed loss of its interactions would fall by more "
        "than this, judged by interactions that did not choose the sides (of as many entities as fit into memory "
        "at once); growth rests after two events in a row in which hardly any paid, and is tried again ever more "
        "rarely; clusters that then gain nothing over their nearest neighbours are merged with them; 0 splits "
        "whatever can be split, as without cross-fitting",
        "a number >= 0",
        lambda v: is_number(v, 0),
    )
    reassign_interval: float = option(
        2.0,
        "epochs between two reassignments; fractions are allowed; 0: none, but for those that cross-fitting makes "
        "with splits",
        "a number >= 0",
        lambda v: is_number(v, 0),
    )
    reassign_slowdown: float = option(
        1.5,
        "reassignments come ever more rarely: each at this many times the epochs of the one before, in whole "
        "intervals, and one interval later at least; 1: at all intervals",
        "a number >= 1",
        lambda v: is_number(v, 1),
    )
    reassign_gain: float = option(
        0.1,
        "an entity moves only if the summed loss of its interactions falls by more than this; with cross-fitting, "
        "by its moves in all levels together, and not where clusters are split, for then all move",
        "a number >= 0",
        lambda v: is_number(v, 0),
    )
    reassign_search: int = option(
        4,
        "with cross-fitting and several levels, how often an entity looks for better clusters: some levels are "
        "changed at random, all are chosen again, and the result is kept if it is better; at most 65,536 times "
        "for all entities of a field together, so less often from 16,385 entities on, and never beyond 65,536; "
        "0: never",
        f"an integer >= 0 and <= {MAX_SEARCHES}",
        lambda v: is_int(v, 0, MAX_SEARCHES),
    )
    reassign_candidates: int = option(
        0,
        "how many clusters are checked exactly for each entity where the model is not linear in the entity's "
        "row; 0 trusts the linearised losses; it must be 0 with cross-fitting, which expands them to second order",
        "an integer >= 0",
        lambda v: is_int(v, 0),
    )
    folds: int = option(
        4,
        "cross-fitting: each interaction is trained on with assignments made without it, by so many folds of the "
        "interactions; 1 switches it off; it costs one more assignment for each fold while training",
        f"an integer >= 1 and <= {MAX_FOLDS}",
        lambda v: is_int(v, 1, MAX_FOLDS),
    )
    evidence: str = option(
        "training",
        "with cross-fitting, what entities choose by at the end of an epoch: what its steps have told, or passes "
        "of their own through the model; levels grow by what steps have told if no cluster could change in the "
        "midst of the epoch, as with `cel_split_interval: 1`",
        f"one of {', '.join(EVIDENCE)}",
        lambda v: v in EVIDENCE,
    )
    reassign_entropy: float = option(
        0.0,
        "what a rare cluster costs: this times the negative logarithm of the cluster's share of all entities is "
        "added to an entity's loss, so that leaving for a rare cluster takes evidence",
        "a number >= 0",
        lambda v: is_number(v, 0),
    )
    reassign_keep: float = option(
        0.0,
        "probability that an entity stays in its cluster at a reassignment, whatever it would gain",
        "a number between 0 and 1",
        lambda v: is_number(v, 0) and v <= 1,
    )
    super_clusters: int = option(
        0,
        "hierarchy: clusters are grouped into so many super-clusters, and their rows pulled to the mean row of "
        "their group; 0 switches it off",
        f"an integer >= 0 and <= {MAX_SUPER_CLUSTERS}",
        lambda v: is_int(v, 0, MAX_SUPER_CLUSTERS),
    )
    super_cluster_weight: float = option(
        1.0,
        "strength of that pull: this times the squared distance, against the summed loss",
        "a number >= 0",
        lambda v: is_number(v, 0),
    )
    gradient_averaging: bool = option(
        False, "divide the gradient of a shared row by its cluster's members", "True or False", is_bool
    )
    personalisation: bool = option(
        False,
        "give every entity an own row, pulled to its cluster's row; costs the memory of a full table",
        "True or False",
        is_bool,
    )
    personalisation_start: float = option(
        10.0,
        "epoch from which own rows are trained; clusters stay as they are from then on",
        "a number >= 0",
        lambda v: is_number(v, 0),
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.folds > 1:
            self.check_with_folds(self.folds)

    def check_with_folds(self, folds: int) -> None:
        """Check that nothing is set that tables with so many folds, more than one, have no use for.

        Raises:
            SettingError: at what is.
        """
        if self.reassign_candidates:
            raise SettingError(
                "reassign_candidates",
                f"must be 0 with {folds} folds, whose assignments are not checked exactly; got "
                f"{self.reassign_candidates}",
            )
        if self.split_by != "gradients":
            raise SettingError(
                "split_by",
                f"must be gradients with {folds} folds, which cut by these alone, got {self.split_by}; "
                "cel_folds: 1 is without cross-fitting",
            )
