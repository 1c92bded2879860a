"""Lines of a raw file with their numbers, in blocks: whatever the size of the file, a few megabytes are held."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from .faults import fault
from .streams import BROKEN

# Bytes.
BLOCK = 1 << 20
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
LATIN_1 = "latin-1"


class Lines(NamedTuple):
    """Successive lines without their ends, and the number of the first."""

    first: int
    texts: list[str]


def numbered_lines(stream: BinaryIO, place: str, encoding: str, longest: int) -> Iterator[Lines]:
    """The lines of a file; they may end in LF or CRLF, a mark of UTF-8 at the beginning is no part of them.

    Args:
        stream: its bytes.
        place: how errors name it.
        encoding: ``utf-8``; or ``latin-1``, where lines that are UTF-8 are read as such all the same: there are
            copies of old files in UTF-8, and no text in latin-1 looks like it by accident.
        longest: how many bytes a line may have.

    Raises:
        SettingError: at a line that is too long, blank (unless no other follows), not in the encoding, or holds a
            NUL; or where compressed data are cut off or damaged.
    """
    blank = 0
    for first, block in _blocks(stream, place, longest):
        if b"\0" in block:
            number = first + block[: block.index(b"\0")].count(b"\n")
            raise fault(place, "holds a NUL; the file is damaged, or not of this format", number)
        texts = _decoded(block, first, place, encoding).split("\n")
        if b"\r" in block:
            texts = [text.removesuffix("\r") for text in texts]
        full = len(texts)
        while full and not texts[full - 1]:
            full -= 1
        if full and blank:
            raise _blank(place, blank)
        if full < len(texts) and not blank:
            blank = first + full
        del texts[full:]
        if "" in texts:
            whole = texts.index("")
            if whole:
                yield Lines(first, texts[:whole])
            raise _blank(place, first + whole)
        if texts:
            yield Lines(first, texts)


def _blocks(stream: BinaryIO, place: str, longest: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines, and the number of the first."""
    first, rest, begun = 1, b"", False
    while True:
        try:
            # Unlike read, it hands out what came before damage.
            chunk = _read1(stream)
        except BROKEN as error:
            reason = "the compressed data are cut off" if isinstance(error, EOFError) else f"is damaged ({error})"
            raise fault(place, f"{reason} here; fetch the file again", first) from None
        if not begun and chunk:
            begun = True
            if chunk.startswith(UTF_16_MARKS):
                raise fault(place, "is UTF-16; save the file as UTF-8", 1)
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        rest += chunk
        cut = rest.rfind(b"\n") if chunk else len(rest)
        block, rest = (rest[:cut], rest[cut + 1 :]) if cut >= 0 else (b"", rest)
        if cut >= 0 and (block or chunk):
            lengths = [*map(len, block.split(b"\n"))]
            if max(lengths) > longest:
                number = next(number for number, length in enumerate(lengths) if length > longest)
                raise _too_long(place, first + number, longest)
            yield first, block
            first += len(lengths)
        if len(rest) > longest:
            raise _too_long(place, first, longest)
        if not chunk:
            return


def _read1(stream: BinaryIO) -> bytes:
    """About a block of bytes, fewer before damage, none at the end."""
    any_stream: Any = stream
    return any_stream.read1(BLOCK)


def _decoded(block: bytes, first: int, place: str, encoding: str) -> str:
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError as error:
        if encoding == LATIN_1:
            return "\n".join(map(_either, block.split(b"\n")))
        found = block[error.start : error.start + 1].hex()
        number = first + block[: error.start].count(b"\n")
    raise fault(place, f"byte 0x{found} is no UTF-8; the file is damaged, or in another encoding", number)


def _either(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode(LATIN_1)


def _blank(place: str, line: int) -> Exception:
    return fault(place, "is blank, but lines follow; take it out", line)


def _too_long(place: str, line: int, longest: int) -> Exception:
    return fault(place, f"has more than {longest:,} bytes; is this a file of another format?", line)
