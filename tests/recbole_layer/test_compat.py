"""What RecBole needs is supplied, in fresh processes from which libraries are hidden."""

import importlib.util
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from recbole_cel import compat

HIDE = """
import importlib.machinery, sys
find = importlib.machinery.PathFinder.find_spec
hidden = {hidden!r}
def find_others(name, path=None, target=None):
    return None if name.split(".")[0] in hidden else find(name, path, target)
importlib.machinery.PathFinder.find_spec = find_others
"""


def run(code, *hidden, folder=None):
    """Run ``code`` where the modules ``hidden`` are not installed."""
    code = HIDE.format(hidden=hidden) + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, timeout=300)


def output(code, *hidden, folder=None):
    done = run(code, *hidden, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_core_neither_imports_recbole_nor_needs_it():
    code = """
        import recbole_cel.clustering, recbole_cel.compat, recbole_cel.embedding
        print("recbole" in sys.modules, "ray" in sys.modules)
    """
    assert output(code) == output(code, "recbole", "ray") == ["False", "False"]


@pytest.mark.parametrize("module", ["config", "data", "metrics", "model", "quick_start", "trainer"])
def test_missing_recbole_is_one_line_that_says_what_to_install(module):
    done = run(f"import recbole_cel.{module}", "recbole")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {compat.MISSING_RECBOLE}"
    assert "python -m pip install --no-deps recbole==1.2.1" in compat.MISSING_RECBOLE


def test_a_run_without_recbole_is_one_line():
    done = run("from recbole_cel.__main__ import main; sys.argv = ['recbole-cel']; sys.exit(main())", "recbole")
    assert (done.returncode, done.stderr) == (2, compat.MISSING_RECBOLE + "\n")


def test_recbole_is_whole_without_ray_and_no_stand_in_is_left():
    code = """
        import recbole_cel
        import recbole.quick_start, importlib.util
        recbole.quick_start.run_recbole, recbole.quick_start.load_data_and_model
        print("ray" in sys.modules, importlib.util.find_spec("ray"))
        try:
            import ray
        except ModuleNotFoundError as error:
            print(error.name)
    """
    assert output(code, "ray") == ["False", "None", "ray"]


def test_tuning_without_ray_is_one_line_that_says_what_to_install():
    done = run(
        """
        import recbole_cel
        from recbole.quick_start.quick_start import tune
        tune.report(auc=0.5)
        tune.run(None)
        """,
        "ray",
    )
    lines = done.stderr.splitlines()
    assert lines[0] == f"{compat.MISSING_RAY} (No module named 'ray')"
    assert lines[-1] == f"ImportError: {lines[0]}"


def test_a_ray_that_breaks_at_import_counts_as_none(tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("here = True")
    (tmp_path / "ray" / "tune.py").write_text("import pkg_resources")
    code = """
        sys.path.insert(0, "")
        import recbole_cel
        from recbole.quick_start.quick_start import tune
        try:
            tune.run
        except ImportError as error:
            print("pkg_resources" in str(error))
        import ray
        print(ray.here)
    """
    assert output(code, "pkg_resources", folder=tmp_path) == ["True", "True"]


def test_an_installed_ray_is_used(tmp_path):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").write_text("")
    (tmp_path / "ray" / "tune.py").write_text("seen = []\nreport = lambda **metrics: seen.append(metrics)")
    code = """
        sys.path.insert(0, "")
        import recbole_cel
        from recbole.quick_start.quick_start import tune
        import ray.tune
        tune.report(auc=1)
        print(ray.tune.seen == tune.seen == [{"auc": 1}])
    """
    assert output(code, folder=tmp_path) == ["True"]


def test_newer_rays_get_their_metrics_in_one_dictionary():
    seen = []
    compat.RayTune(SimpleNamespace(report=lambda metrics, *, checkpoint=None: seen.append(metrics))).report(auc=1)
    assert seen == [{"auc": 1}]


def test_names_of_numpy_are_there_before_any_config():
    code = """
        import recbole_cel
        import recbole
        import numpy as np
        print(np.float_ is np.float64, np.complex_ is np.complex128, np.unicode_ is np.str_)
        from recbole.data.interaction import Interaction
        print(len(Interaction({"x": [0.5, 1.5]})))
    """
    assert output(code) == ["True", "True", "True", "2"]


def test_names_that_numpy_has_stay_as_they_are(monkeypatch):
    mine = object()
    monkeypatch.setattr(np, "float", mine, raising=False)
    compat.supply()
    assert np.float is mine


def test_entries_of_a_dok_matrix_are_set_as_graph_models_set_them():
    compat.supply()
    matrix = sparse.dok_matrix((3, 3), dtype=np.float32)
    matrix._update({(np.int32(0), np.int32(2)): 1, (np.int32(2), np.int32(0)): 1})
    assert (matrix > 0).sum(axis=1).tolist() == [[1], [0], [1]]
    assert matrix.toarray().tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_a_second_call_installs_nothing():
    before = list(sys.meta_path)
    compat.install()
    assert sys.meta_path == before
    assert importlib.util.find_spec("recbole") is not None
