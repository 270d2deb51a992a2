"""A corpus is a handful of named files; where they lie (folder, nested folder, zip, package) is settled here."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path

from harness.doors.files import ARCHIVE_FAULTS, archive_fault, open_archive
from harness.errors import CorpusError

_MAX_DEPTH = 3  # a zip often wraps its files in one folder, sometimes two


class FileSet:
    """Files by the name under which a format knows them; nothing is read before `read`."""

    def __init__(self, files: Mapping[str, Traversable], *, label: str) -> None:
        self.label = label
        self._files = dict(files)

    @classmethod
    def below(cls, root: Traversable, *, label: str = "") -> FileSet:
        """Files of a folder and of the folders in it, by base name; of two with one name the outer counts."""
        files: dict[str, Traversable] = {}
        for file in _walk(root, depth=0):
            files.setdefault(file.name, file)
        return cls(files, label=label or str(root))

    def __contains__(self, name: str) -> bool:
        return name in self._files

    @property
    def names(self) -> tuple[str, ...]:
        """Base names in alphabetical order."""
        return tuple(sorted(self._files))

    def path(self, name: str) -> str:
        """How an error names the file."""
        return f"{self.label}/{self._files[name].name if name in self._files else name}"

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises CorpusError: when the container has no such file, or it cannot be read."""
        if name not in self._files:
            raise CorpusError(self.path(name), f"the file must be there, got only {_listed(self.names)}")
        try:
            return self._files[name].read_bytes()
        except ARCHIVE_FAULTS as err:
            raise CorpusError(self.path(name), f"the file must be readable, got: {archive_fault(err)}") from err


def open_zip(path: Path) -> FileSet:
    """The files of a zip; nothing is unpacked to disk.

    Raises CorpusError: the file is not a zip, or would unpack to more than a corpus has.
    """
    return FileSet.below(zipfile.Path(open_archive(path)), label=str(path))


def _walk(folder: Traversable, *, depth: int) -> Iterator[Traversable]:
    """Files nearest the root first; hidden ones and the resource forks that macOS puts into zips are none of ours."""
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    visible = [entry for entry in entries if not entry.name.startswith((".", "__"))]
    yield from (entry for entry in visible if entry.is_file())
    if depth < _MAX_DEPTH:
        for entry in visible:
            if entry.is_dir():
                yield from _walk(entry, depth=depth + 1)


def _listed(names: tuple[str, ...], most: int = 6) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return (shown + (f" and {len(names) - most} more" if len(names) > most else "")) if names else "an empty folder"
