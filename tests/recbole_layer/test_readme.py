import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from recbole_cel.config import Config
from recbole_cel.settings import PREFIX, CELSettings

ROOT = Path(__file__).parents[2]


def test_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_pages_name_files_that_are_there():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("https://") or (page.parent / target).is_file(), (page, target)


def test_every_option_is_on_the_page_of_options():
    text = (ROOT / "docs" / "options.md").read_text()
    for spec in fields(CELSettings):
        assert f"| `{PREFIX}{spec.name}` | `{spec.default}` | {spec.metadata['help']} |" in text


def test_the_readme_gives_the_defaults_of_rating_models():
    text = (ROOT / "docs" / "ratings.md").read_text()
    made = Config("NeuNMF", "ml-100k", command_line=False)
    for key in ("embedding_size", "mlp_hidden_size", "dropout_prob"):
        assert f"| `{key}` | `{made[key]}` |" in text
    assert f"| `task` | `{Config('FM', 'ml-100k', command_line=False)['task']}` |" in text


def test_ci_calls_the_commands_of_the_readme():
    setup = (
        "python -m pip install -c constraints.txt -e '.[test]' && python -m pip install --no-deps recbole==1.2.1"
    )
    for file in (ROOT / "README.md", ROOT / ".ci" / "run"):
        assert {setup, "python -m pytest"} <= set(file.read_text().splitlines())
