"""Whether a file is text in the encoding that it is said to have; and how faults in files are told."""

from __future__ import annotations

import codecs
from pathlib import Path

from ..options import SettingError, shown

BLOCK = 1 << 22
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def fault(path: Path, reason: str, line: int | None = None, column: str | None = None) -> SettingError:
    """The error that says where in a data set's files something is wrong, in one line."""
    place = str(path)
    if line is not None:
        place += f", line {line}"
    if column is not None:
        place += f", column {column}"
    return SettingError("dataset", f"{' '.join(place.split())}: {reason}")


def check_text(path: Path, encoding: str) -> None:
    """Read a file to its end, a block at a time.

    Raises:
        SettingError: if there is no such encoding, the file cannot be read, is no text in it, begins with a byte
            order mark or holds a NUL.
    """
    try:
        "".encode(encoding)
        decoder = codecs.getincrementaldecoder(encoding)()
    except (LookupError, TypeError, ValueError):
        raise SettingError(
            "encoding", f"must be the name of a text encoding such as utf-8 or latin-1, got {shown(encoding)}"
        ) from None
    lines, first = 1, True
    try:
        with path.open("rb") as file:
            while True:
                block = file.read(BLOCK)
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    before = error.object[: error.start].decode(encoding, "replace")
                    raise _undecodable(path, encoding, error, lines + before.count("\n")) from None
                except UnicodeError as error:
                    reason = f"is no {encoding} ({error}); set encoding to the one it is in"
                    raise fault(path, reason, lines) from None
                if first and text.startswith("\ufeff"):
                    raise fault(
                        path,
                        "begins with a byte order mark; save it without one, or set encoding: utf-8-sig",
                        1,
                    )
                if "\0" in text:
                    line = lines + text[: text.index("\0")].count("\n")
                    raise fault(path, "holds a NUL; the file is damaged, or not in this encoding", line)
                first = first and not text
                lines += text.count("\n")
                if not block:
                    return
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror or error}") from None


def _undecodable(path: Path, encoding: str, error: UnicodeDecodeError, line: int) -> SettingError:
    found = error.object[error.start : error.start + 1]
    likely = "utf-16" if error.object.startswith(UTF_16_MARKS) and line == 1 else "latin-1"
    return fault(
        path,
        f"byte 0x{found.hex()} is no {encoding}; save the file as {encoding}, or set encoding to the one it "
        f"is in, such as {likely}",
        line,
    )
