"""Places that cannot be written to, and disks that are full, are said in one line."""

import errno
import os
import resource
import signal
import stat

import child
import pytest
import torch

from recbole_cel.options import SettingError
from recbole_cel.runs import checkpoint as checkpoints
from recbole_cel.runs import files
from recbole_cel.runs.files import check_folders, check_space, disk_errors, written_whole


def make_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")


# What lies in the folder before the run, its options, and the option that the line names.
PLACES = {
    "log is a file": ("log", {}, "log"),
    "log of the model is a file": ("log/FM_CEL", {}, "log"),
    "log_tensorboard is a file": ("log_tensorboard", {}, "log_tensorboard"),
    "saved is a file": ("saved", {}, "checkpoint_dir"),
    "checkpoint_dir is a file": ("x", {"checkpoint_dir": "x"}, "checkpoint_dir"),
    "checkpoint_dir is below a file": ("x", {"checkpoint_dir": "x/y/z"}, "checkpoint_dir"),
    "checkpoint_dir is a device": (None, {"checkpoint_dir": "/dev/full"}, "checkpoint_dir"),
    "checkpoint_dir is below a device": (None, {"checkpoint_dir": "/dev/null/x"}, "checkpoint_dir"),
    "checkpoint_dir is where nothing can be made": (None, {"checkpoint_dir": "/proc/x"}, "checkpoint_dir"),
    "checkpoint_dir is a number": (None, {"checkpoint_dir": 7}, "checkpoint_dir"),
    "checkpoint_dir is a list": (None, {"checkpoint_dir": "['a']"}, "checkpoint_dir"),
    "checkpoint_dir is empty": (None, {"checkpoint_dir": "''"}, "checkpoint_dir"),
    "checkpoint_dir is too long": (None, {"checkpoint_dir": "x" * 300}, "checkpoint_dir"),
    "the cache's folder is a file": ("c", {"dataset_save_path": "c/d", "save_dataset": True}, "dataset_save_path"),
}


@pytest.mark.parametrize("place", PLACES)
def test_places_that_are_no_folders(place, options, tmp_path):
    made, changes, named = PLACES[place]
    if made:
        make_file(tmp_path / made)
    before = sorted(tmp_path.rglob("*"))
    outcome = child.run({**options, **changes}, tmp_path)
    assert outcome.code == 2, outcome.text
    assert outcome.one_line().startswith(f"recbole_cel: {named} must be ")
    assert sorted(tmp_path.rglob("*")) == before
    assert not made or (tmp_path / made).read_text() == "mine"


def test_links(tmp_path):
    (tmp_path / "nothing").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for name in ("nothing", "circle"):
        with pytest.raises(SettingError, match=f"checkpoint_dir must be a folder .*{name}"):
            check_folders({"checkpoint_dir": str(tmp_path / name / "x")})
    check_folders({"checkpoint_dir": str(tmp_path / "link" / "x")})
    assert (tmp_path / "there" / "x").is_dir()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_folders_that_cannot_be_written(code, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(SettingError, match=f"log must be a folder that can be written, got .*{os.strerror(code)}"):
        check_folders({"log": tmp_path})


@pytest.mark.skipif(not os.geteuid(), reason="everything may be written to by root")
def test_no_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(SettingError, match="no permission to write"):
            check_folders({"checkpoint_dir": tmp_path / "a"})
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_too_little_space(tmp_path, options):
    with pytest.raises(SettingError, match=r"checkpoint_dir is .*free bytes, but .* need 1,125,899,906,842,624"):
        check_space("checkpoint_dir", tmp_path, 1 << 50)
    check_space("checkpoint_dir", tmp_path, 1)

    def little():
        files.shutil.disk_usage = lambda folder: files.shutil._ntuple_diskusage(10**6, 10**6, 1000)

    outcome = child.run(options, tmp_path, little)
    assert outcome.code == 2 and "with 1,000 free bytes" in outcome.one_line()
    assert not list((tmp_path / "saved").iterdir())


class Limit:
    """No file may grow beyond a size, as on a disk that is full."""

    def __init__(self, size):
        self.size = size

    def __call__(self):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


@pytest.mark.parametrize("size", [0, 100, 1000, 5000, 10_000, 20_000, 30_000, 39_000])
def test_files_that_cannot_grow(size, options, tmp_path):
    outcome = child.run({**options, "state": "INFO"}, tmp_path, Limit(size))
    assert "Traceback" not in outcome.text and outcome.code == 2
    assert not list(tmp_path.glob("saved/.*")) and not list(tmp_path.glob("saved/*"))


def failing(name, count, code=errno.ENOSPC):
    """Fail at a call of ``os.<name>`` and at all later ones; gives what installs that."""

    def install():
        original, calls = getattr(files.os, name), iter(range(10**6))

        def wrapper(*args):
            if next(calls) >= count:
                raise OSError(code, os.strerror(code))
            return original(*args)

        setattr(files.os, name, wrapper)

    return install


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(("name", "count"), [("fsync", 7), ("fsync", 10), ("replace", 2), ("replace", 4)])
@pytest.mark.quick(2)
def test_a_disk_that_fills_up_in_training(name, count, code, options, tmp_path):
    options.update(epochs=5, stopping_step=9)
    outcome = child.run(options, tmp_path, failing(name, count, code))
    assert outcome.code == 2, outcome.text
    line = outcome.one_line()
    assert os.strerror(code) in line
    assert not list(tmp_path.glob("saved/.*"))
    (last,) = tmp_path.glob("saved/*-last.pth")
    assert f"--cel_resume={last.relative_to(tmp_path)}" in line
    assert child.run({**options, "cel_resume": last}, tmp_path).code == 0


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), MemoryError(), ValueError("x")]
)
@pytest.mark.parametrize("halfway", [0, 1, 20])
def test_a_write_that_fails_leaves_what_was_there(error, halfway, tmp_path, monkeypatch):
    checkpoints.write(tmp_path / "a.pth", {"x": 1})
    write, calls = files.Sink.write, iter(range(10**6))

    def fail(sink, data):
        if next(calls) < halfway:
            return write(sink, data)
        sink.error = error
        return len(data)

    monkeypatch.setattr(files.Sink, "write", fail)
    with pytest.raises(type(error)):
        checkpoints.write(tmp_path / "a.pth", {f"{n}": torch.randn(2000) for n in range(30)})
    monkeypatch.undo()
    assert checkpoints.read(tmp_path / "a.pth") == {"x": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


def test_files_and_folders_are_put_on_the_disk(tmp_path, monkeypatch):
    done, fsync = [], os.fsync
    monkeypatch.setattr(
        files.os, "fsync", lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    checkpoints.write(tmp_path / "deep" / "a.pth", {"x": 1})
    assert [os.path.dirname(done[0]), done[1]] == [str(tmp_path / "deep")] * 2
    assert done[0].endswith(".tmp")


def test_other_errors_are_not_hidden():
    with pytest.raises(FileNotFoundError), disk_errors():
        os.stat("/nothing/here")
    with pytest.raises(SettingError, match="cannot be written at /a/b: No space"), disk_errors():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/a/b")


def test_names_of_other_runs_are_left_alone(tmp_path):
    (tmp_path / ".a.pth.abc.tmp").write_text("of another")
    with written_whole(tmp_path / "a.pth") as file:
        file.write(b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.pth.abc.tmp", "a.pth"]
