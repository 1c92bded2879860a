"""The words of the command line: the runner's own flags, and ``--key=value`` for everything else."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..options import SettingError, shown


@dataclass(frozen=True)
class Flag:
    """A flag of the runner itself.

    Attributes:
        default: its value where it is not given.
        help: what it says.
        want: the values that it takes, in words.
        read: a text to its value, or a ValueError.
        short: its letter.
    """

    default: Any
    help: str
    want: str
    read: Callable[[str], Any]
    short: str = ""


def _word(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text


def _between(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return read


def _world_size(text: str) -> int:
    return -1 if text == "-1" else _between(1, MAX_PROCESSES)(text)


def _address(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:_\[\]-]+", text):
        raise ValueError
    return text


MAX_PROCESSES = 4096
FLAGS = {
    "model": Flag("DeepFM_CEL", "name of the model", "the name of a model", _word, "m"),
    "dataset": Flag("ml-100k", "name of the data set", "the name of a data set", _word, "d"),
    "config_files": Flag(None, "YAML files, separated by spaces", "names of YAML files", _word),
    "nproc": Flag(
        1,
        "processes in this group",
        f"an integer from 1 to {MAX_PROCESSES}",
        _between(1, MAX_PROCESSES),
    ),
    "ip": Flag("localhost", "address of the master node", "a host name or an address", _address),
    "port": Flag(
        "5678",
        "port of the master node",
        "an integer from 1 to 65535",
        lambda text: str(_between(1, 65535)(text)),
    ),
    "world_size": Flag(
        -1, "total number of processes", f"-1 or an integer from 1 to {MAX_PROCESSES}", _world_size
    ),
    "group_offset": Flag(
        0,
        "rank of this group's first process",
        f"an integer from 0 to {MAX_PROCESSES}",
        _between(0, MAX_PROCESSES),
    ),
}
SHORT = {flag.short: name for name, flag in FLAGS.items() if flag.short}
# The values of these are read by RecBole's Config as well.
ALSO_KEYS = ("model", "dataset", "config_files")
# Keys whose empty value means something in RecBole.
MAY_BE_EMPTY = ("gpu_id", "warm_up", "weight_mode", "pre_model_path", "LIST_SUFFIX", "NEG_PREFIX")
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# What is ours is never passed over, however it is written and whatever program runs.
OURS = re.compile(r"-+\W*cel[\W_]", re.IGNORECASE)


@dataclass
class Words:
    """What a command line says.

    Attributes:
        flags: values of all flags of the runner.
        keys: texts of the configuration keys, as they were written.
        given: names of the flags and keys that were given.
        passed_over: words of a program that is not ours.
    """

    flags: dict[str, Any] = field(default_factory=lambda: {name: flag.default for name, flag in FLAGS.items()})
    keys: dict[str, str] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    passed_over: list[str] = field(default_factory=list)

    def add(self, name: str, text: str) -> None:
        """Take ``--name=text``.

        Raises:
            SettingError: if it was given already, or the text is no value of it.
        """
        if name in self.given:
            raise SettingError(f"--{name}", "is given twice; give it once")
        self.given.add(name)
        if name in FLAGS:
            try:
                self.flags[name] = FLAGS[name].read(text)
            except ValueError:
                raise SettingError(f"--{name}", f"must be {FLAGS[name].want}, got {shown(text)}") from None
        elif not (text if name.endswith("_separator") else text.strip()) and name not in MAY_BE_EMPTY:
            raise SettingError(f"--{name}", f"has no value; write --{name}=VALUE (--{name}=None for none)")
        if name in ALSO_KEYS or name not in FLAGS:
            self.keys[name] = text


def read(words: Sequence[str]) -> Words:
    """Read the command line of our own program, every word of which must mean something.

    Raises:
        SettingError: at the first word that does not, saying how it would be right.
    """
    found = Words()
    waiting = list(words)
    while waiting:
        name, text = _split(waiting)
        _check_flag_spelling(name)
        found.add(name, text)
    flags = found.flags
    first, size = flags["group_offset"], flags["world_size"]
    if first and size == -1:
        raise SettingError("--group_offset", "needs --world_size, the number of processes on all machines")
    if size != -1 and size < first + flags["nproc"]:
        raise SettingError(
            "--world_size", f"must be at least group_offset + nproc, {first + flags['nproc']}, got {size}"
        )
    return found


def read_of_any_program(words: Sequence[str]) -> Words:
    """Read the configuration keys in the command line of whatever program runs, as RecBole does.

    Raises:
        SettingError: at a key that is given twice or has no value, and at any word that begins like ours.
    """
    found = Words()
    waiting = list(words)
    while waiting:
        word = waiting[0]
        if OURS.match(word) or re.fullmatch(rf"--{KEY.pattern}=.*", word, re.DOTALL):
            found.add(*_split(waiting))
            continue
        del waiting[0]
        if word in ("-m", "-d", *(f"--{name}" for name in FLAGS)):  # with the value in a word of its own
            del waiting[:1]
        elif not re.match(r"-[md]\w", word):
            found.passed_over.append(word)
    return found


def _split(words: list[str]) -> tuple[str, str]:
    """Take the first word, or the first two, as a name and a text.

    Raises:
        SettingError: if they are neither.
    """
    word = words.pop(0)
    if any("\ud800" <= letter <= "\udfff" for letter in word):
        raise SettingError("the command line", f"must be UTF-8, got {ascii(word)[:80]}")
    short = re.fullmatch(r"-([a-z])(=?)(.*)", word, re.DOTALL)
    if short and short[1] in SHORT and not (short[3] and _is_long_name(word[1:])):
        name = SHORT[short[1]]
        return name, short[3] if short[2] or short[3] else _value(f"-{short[1]}", words)
    name, equals, text = word.lstrip("-").partition("=")
    dashes = word[: len(word) - len(word.lstrip("-"))]
    if dashes == "--" and KEY.fullmatch(name):
        if equals:
            return name, text
        if name in FLAGS:
            return name, _value(word, words)
        if words and not words[0].startswith("-"):
            raise SettingError(word, f"must be written with an equals sign, --{name}={words[0].lstrip('=')}")
        raise SettingError(word, f"has no value; write --{name}=VALUE")
    bare = name.strip().replace(" ", "_")
    if KEY.fullmatch(bare) and (equals or dashes):
        value = text.strip() if equals else "VALUE"
        raise SettingError(
            shown(word), f"must be written as --key=value, with two dashes and no spaces: --{bare}={value}"
        )
    raise SettingError(shown(word), "is neither a flag nor --key=value; see --help")


def _value(word: str, words: list[str]) -> str:
    if words and not re.match(r"-[A-Za-z-]", words[0]):
        return words.pop(0)
    raise SettingError(word, "has no value")


def _is_long_name(text: str) -> bool:
    name = text.partition("=")[0]
    return ("=" in text[1:] and text[1] != "=") or name in FLAGS


def _check_flag_spelling(name: str) -> None:
    """Refuse what is nearly a flag: RecBole would take it for a key that no model has, and run something else."""
    plain = name.replace("-", "_").lower()
    if name in FLAGS:
        return
    near = [plain] if plain in FLAGS else difflib.get_close_matches(plain, FLAGS, n=1, cutoff=0.8)
    if near:
        raise SettingError(f"--{name}", f"is no option; did you mean --{near[0]}?")
