"""RecBole's known data sets: fetched at the first run, whole or not at all, and one line where that fails."""

import http.server
import io
import threading
import zipfile

import pytest
from atomic_data import ITEMS, LOAD, USERS, interactions, prepared, write_files
from recbole.data.dataset import Dataset

from recbole_cel.config import Config
from recbole_cel.inputs.prepare import prepare_data
from recbole_cel.options import SettingError

INTER = interactions()
WHOLE = {"Small_Data.inter": INTER, "Small_Data.user": USERS, "Small_Data.item": ITEMS}


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest"])


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Where the archive lies that RecBole knows under the name ``small``."""
    archive = tmp_path / "served" / "Small_Data.zip"
    archive.parent.mkdir()
    serve(monkeypatch, archive.as_uri())
    return archive


def serve(monkeypatch, url):
    def known(dataset, url_file, allow_none=False):
        if dataset.dataset_name != "small":
            raise ValueError("not a known dataset name")
        return url

    monkeypatch.setattr(Dataset, "_get_download_url", known)


def pack(archive, files=WHOLE):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return archive.read_bytes()


def there(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


FILES = ["small/small.inter", "small/small.item", "small/small.user"]
LAYOUTS = {
    "flat": WHOLE,
    "own names": {name.replace("Small_Data", "small"): text for name, text in WHOLE.items()},
    "in a folder": {f"Small_Data/{name}": text for name, text in WHOLE.items()},
    "elsewhere": {f"../../{name}": text for name, text in WHOLE.items()},
    "absolute": {f"/etc/{name}": text for name, text in WHOLE.items()},
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_the_first_run_fetches(case, served, tmp_path):
    pack(served, LAYOUTS[case])
    data = tmp_path / "data"
    assert prepared(data)[0].inter_num == 120
    assert there(data) == FILES
    served.unlink()
    assert prepared(data)[0].inter_num == 120, "it is there now"


LEFTOVERS = {
    "empty folder": {},
    "half an archive": {"Small_Data.zip": 0.5},
    "empty archive": {"Small_Data.zip": 0.0},
    "half unpacked": {"Small_Data.zip": 0.5, "Small_Data.item": ITEMS[:50]},
    "not renamed": {"Small_Data.inter": INTER, "Small_Data.zip": 0.9},
    "only users": {"small.user": USERS},
    "cut users": {"small.user": USERS[:20]},
    "whole archive": {"Small_Data.zip": 1.0},
    "whole archive, cut interactions": {"Small_Data.zip": 1.0, "small.inter": INTER[:100]},
    "whole archive, cut items": {"Small_Data.zip": 1.0, "small.inter": INTER, "small.item": ITEMS[:30]},
    "something else": {"readme.txt": "hello"},
}


@pytest.mark.parametrize("case", LEFTOVERS)
def test_an_interrupted_fetch_is_fetched_again(case, served, tmp_path):
    content = pack(served)
    folder = tmp_path / "data" / "small"
    folder.mkdir(parents=True)
    for name, left in LEFTOVERS[case].items():
        if isinstance(left, float):
            (folder / name).write_bytes(content[: int(left * len(content))])
        else:
            (folder / name).write_text(left)
    assert prepared(tmp_path / "data")[0].inter_num == 120
    for kind, text in (("inter", INTER), ("user", USERS), ("item", ITEMS)):
        assert (folder / f"small.{kind}").read_text() == text
    assert not (folder / "Small_Data.zip").exists()


def test_files_of_ones_own_stay_whatever_lies_beside_them(served, tmp_path):
    content = pack(served)
    changed = interactions()[:-14].replace("u3\t", "x\t")
    for archive in (content, content[:100], b""):
        write_files(tmp_path / "data", inter=changed[: changed.rindex("\n") + 1], user=None, item=None)
        (tmp_path / "data/small/Small_Data.zip").write_bytes(archive)
        prepared(tmp_path / "data", load_col={"inter": LOAD["inter"]})
        assert (tmp_path / "data/small/small.inter").read_text() in changed
        assert (tmp_path / "data/small/Small_Data.zip").read_bytes() == archive


def broken_archives(content):
    yield "half", content[: len(content) // 2]
    yield "empty", b""
    yield "a page", b"<html>please log in</html>"
    yield "one byte flipped", content[:60] + bytes([content[60] ^ 255]) + content[61:]
    yield "cut by one", content[:-1]


def test_a_broken_archive_is_one_line_and_leaves_nothing(served, tmp_path):
    content = pack(served)
    for case, broken in broken_archives(content):
        served.write_bytes(broken)
        with pytest.raises(SettingError, match="no whole archive") as caught:
            prepared(tmp_path / "data")
        assert "\n" not in str(caught.value), case
        assert there(tmp_path / "data") == [], case
    served.write_bytes(content)
    assert prepared(tmp_path / "data")[0].inter_num == 120


def test_an_archive_of_another_data_set_is_one_line(served, tmp_path):
    pack(served, {"other.inter": INTER})
    with pytest.raises(SettingError, match="holds no small.inter, but other.inter"):
        prepared(tmp_path / "data")
    pack(served, {})
    with pytest.raises(SettingError, match="but nothing"):
        prepared(tmp_path / "data")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/small.zip", "http://no-such-host.invalid/small.zip", "file:///no/such.zip", "nonsense"],
)
def test_without_a_network_it_is_one_line(url, tmp_path, monkeypatch):
    serve(monkeypatch, url)
    with pytest.raises(SettingError, match="cannot be fetched from") as caught:
        prepared(tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert there(tmp_path / "data") == []


class Ending(http.server.BaseHTTPRequestHandler):
    """Ends in the middle, or says that there is none."""

    def do_GET(self):
        if self.path == "/none/small.zip":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "3000000000" if self.path == "/large/small.zip" else "1000")
        self.end_headers()
        self.wfile.write(b"PK")

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("case", ["none", "cut", "large"])
def test_a_server_that_fails_is_one_line(case, tmp_path, monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ending) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        serve(monkeypatch, f"http://127.0.0.1:{server.server_address[1]}/{case}/small.zip")
        monkeypatch.setattr("sys.stdin", io.StringIO())
        words = {"none": "404", "cut": "2 of 1000", "large": "2.8 GB"}[case]
        with pytest.raises(SettingError, match=words) as caught:
            prepared(tmp_path / "data")
        server.shutdown()
    assert "\n" not in str(caught.value)
    assert there(tmp_path / "data") == []


def test_nothing_is_fetched_for_a_checkpoint(served, tmp_path):
    config = Config("FM_CEL", "small", config_dict={"data_path": str(tmp_path / "data")})
    pack(served)
    with pytest.raises(SettingError, match="nor is it fetched here"):
        prepare_data(config, fetched=False)
    assert there(tmp_path / "data") == []


def test_what_recbole_does_not_know_is_not_fetched(served, tmp_path):
    with pytest.raises(SettingError, match="nor does RecBole fetch it"):
        prepared(tmp_path / "data", name="unheard-of")
