"""What a policy chose for one field, written at once."""

from recbole_cel.clustering.cross_fitted.reassignment import choose_cross_fitted
from recbole_cel.clustering.paper.reassignment import choose_best
from recbole_cel.clustering.paper.split import choose_split


def _written(choose):
    def choose_and_write(*args, **options):
        done = choose(*args, **options)
        done.write()
        return done

    return choose_and_write


reassign = _written(choose_best)
reassign_cross_fitted = _written(choose_cross_fitted)
apply_split = _written(choose_split)
