"""Loading a checkpoint runs no code but the program's own: seen by audit events, and read in the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_cel.quick_start import run_recbole_cel

PACKAGE = Path(__file__).parents[2] / "recbole_cel"
# What a file could bring code in by.
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "subprocess"}
# Tables have their jobs done in processes; nothing that loads a file imports them.
STARTS_PROCESSES = PACKAGE / "tables"
# Literals are compiled to syntax trees, which nobody executes.
FORBIDDEN_EVENTS = {
    *("exec", "pickle.find_class", "marshal.loads", "marshal.load", "ctypes.dlopen", "import"),
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect", "urllib.Request"),
}
SCRIPT = """
import sys
from recbole_cel.quick_start import load_data_and_model
load_data_and_model(sys.argv[1])  # what is imported late is imported now
events = []
sys.addaudithook(lambda name, args: events.append((name, repr(args)[:200])))
load_data_and_model(sys.argv[1])
watched = list(events)
for name, args in watched:
    if name in sys.argv[2].split(","):
        print(name, args)
print("EVENTS", len(watched))
"""


def test_loading_reaches_no_code_of_the_file(options, tmp_path):
    run_recbole_cel("DeepFM_CEL", "tiny", config_dict=options)
    (file,) = (path for path in (tmp_path / "saved").glob("*.pth") if "-last" not in path.name)
    command = [sys.executable, "-c", SCRIPT, str(file), ",".join(FORBIDDEN_EVENTS)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    *forbidden, last = found.stdout.strip().splitlines()
    assert last.startswith("EVENTS") and int(last.split()[1]) > 10
    # torch.load parses pickles with a reader of its own, which never looks a class up by the file's word.
    assert forbidden == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_part_of_the_package_evaluates_or_unpickles(path):
    forbidden = FORBIDDEN_MODULES - ({"subprocess"} if STARTS_PROCESSES in path.parents else set())
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, node.lineno
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
            assert any(word.arg == "allow_pickle" and ast.unparse(word.value) == "False" for word in node.keywords)
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & forbidden, node.lineno
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            assert node.module.split(".")[0] not in forbidden, node.lineno
