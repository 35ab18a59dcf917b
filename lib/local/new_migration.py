"""The next file of the folder: its number, its name from a description, its header and its SQL."""

import codecs
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePath

from ..errors import ConfigurationError, MigrationFileError
from ..files.folder import discover, next_number, parse
from ..files.prepare_script import prepare

# File systems allow 255 bytes; the number and the extension need some of them.
LONGEST_SLUG = 200

# The letters that Unicode does not decompose into one of a to z with a mark. The umlauts would be,
# into another word.
_WRITTEN = (
    "ä=ae ö=oe ü=ue æ=ae œ=oe ø=o ð=d þ=th đ=d ħ=h ı=i ĸ=k ł=l ŋ=n ŧ=t ə=e "
    # Russian and Bulgarian, then Ukrainian, Belarusian, Serbian, Macedonian.
    "а=a б=b в=v г=g д=d е=e ё=e ж=zh з=z и=i й=y к=k л=l м=m н=n о=o п=p р=r с=s т=t у=u ф=f "
    "х=kh ц=ts ч=ch ш=sh щ=shch ъ= ы=y ь= э=e ю=yu я=ya "
    "і=i ї=yi є=ye ґ=g ў=u ђ=dj ћ=c ј=j љ=lj њ=nj џ=dz ѕ=dz "
    "α=a β=v γ=g δ=d ε=e ζ=z η=i θ=th ι=i κ=k λ=l μ=m ν=n ξ=x ο=o π=p ρ=r σ=s τ=t υ=y φ=f "
    "χ=ch ψ=ps ω=o"
)
_LETTERS = dict(pair.split("=") for pair in _WRITTEN.split())
# A syllable of Japanese or Korean, whose name in Unicode ends in its sound.
_SYLLABLE = re.compile(r"(?:(?:HIRAGANA|KATAKANA) LETTER (?:SMALL )?|HANGUL SYLLABLE )([A-Z]+)")
# The number or the time with which another tool begins the name of a file.
_NUMBER = re.compile(r"[vV]?[0-9]+(?:[-_. ]+|$)|[-_. ]+")
# What Prisma and others call each file, in a folder that has the description.
_GENERIC = ("migration", "up")


@dataclass(frozen=True)
class Source:
    """SQL that another tool has written. `name` is what messages call it."""

    name: str
    content: bytes


def create_file(
    directory: Path, description: str, *, today: date, source: Source | None = None
) -> Path:
    """Write the next file and return its path.

    ConfigurationError if no name can be made from the description; MigrationFileError if the SQL
    of the source would be refused. Nothing is written then.
    """
    slug = slug_of(description)
    with alone_in(directory):
        # A folder with a fault is refused here, so the last number is known.
        number = next_number(discover(directory))
        path = directory / f"{number}-{slug}.sql"
        text = (
            f"-- Version: {number}\n-- Date: {today}\n"
            f"-- Description: {' '.join(description.split())}\n\n"
        )
        if source is not None:
            text += _checked(source, path.name)
            # As a whole too: a key of the header may be there twice.
            prepare(parse(path.name, text.encode(), folder=directory.name))
        # Mode "x" never overwrites a file.
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    return path


def slug_of(description: str) -> str:
    """Return the words in a to z and digits, joined by hyphens: `ueber-uns` for `Über uns`."""
    folded = unicodedata.normalize("NFC", description).casefold()
    latin = "".join(map(_latin, unicodedata.normalize("NFC", folded)))
    slug = "-".join(re.findall(r"[a-z0-9]+", latin))[:LONGEST_SLUG].strip("-")
    if not slug:
        raise ConfigurationError(
            "The description needs a letter or a digit that can be written in a-z and 0-9, "
            "as in: create add invoices table."
        )
    return slug


def description_from(name: str) -> str:
    """Return what the name of a file describes: `add orders` for `0003_add_orders.sql`."""
    path = PurePath(name)
    stem = path.parent.name if path.stem.lower() in _GENERIC else path.stem
    number = _NUMBER.match(stem)
    return " ".join(re.split(r"[-_.\s]+", stem[number.end() if number else 0 :])).strip()


def _latin(sign: str) -> str:
    """Return a sign in a to z as far as it can be; an ideograph stays as it is."""
    if sign in _LETTERS or sign.isascii():
        return _LETTERS.get(sign, sign)
    syllable = _SYLLABLE.match(unicodedata.name(sign, ""))
    if syllable:
        return syllable[1].lower()
    decomposed = unicodedata.normalize("NFKD", sign)
    # A mark alone would otherwise cut a word in two.
    return "".join(_LETTERS.get(c, c) for c in decomposed if not unicodedata.combining(c))


def _checked(source: Source, filename: str) -> str:
    """Return the SQL with LF line ends; MigrationFileError if it would be refused.

    An error names the source and its lines, since there is no other file to look at.
    """
    content = source.content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
    file = parse(filename, content, path=source.name)
    if not file.has_statement:
        raise MigrationFileError("there is no statement in it", file=file.path)
    prepare(file)
    return file.text if file.text.endswith("\n") else f"{file.text}\n"


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Let one command at a time write into the folder, so that two at once take two numbers."""
    with ExitStack() as stack:
        # Windows has no such lock, nor have some file systems of a network. A folder that is
        # missing is reported by what reads it.
        with suppress(ImportError, OSError):
            import fcntl

            folder = os.open(directory, os.O_RDONLY)
            stack.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
