"""The folder of a run: its manifests, each written once, and its event logs."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from tinkex.actors._runs._durable import make_folder, sync_folder, write_once
from tinkex.actors._runs._lineage import ancestors
from tinkex.actors._runs._manifest_file import manifest_bytes, manifest_problem, read_manifest_bytes
from tinkex.actors._runs._names import check_run_name, parse_position, position_of
from tinkex.protocol import Err, Manifest, Ok, Result, TinkexError, validation

_SUFFIX: Final = ".json"
_DRAFT: Final = ".draft-"


class RunFolder:
    """``<root>/<name>``, with ``manifests/<manifest>.json`` and ``events/e<epoch>.jsonl``. Blocking; from any thread.

    Any process may read while one writes. Nothing here asks who may write: that is the run store's to say. A trainer
    that was taken over can only add files of its own epoch, which no lineage holds.

    Args:
        root: of all runs, on a local disk.
        name: of the run.

    Raises:
        TinkexError: kind ``validation``: no run can be named so.
    """

    def __init__(self, root: str | Path, name: str) -> None:
        error = check_run_name(name)
        if error is not None:
            raise error
        self.name: Final = name
        self.path: Final = Path(root) / name
        self.manifests: Final = self.path / "manifests"
        self.events: Final = self.path / "events"

    def write_manifest(self, manifest: Manifest) -> None:
        """Put ``manifest`` on the disk: when this returns it survives a loss of power. Never over another one.

        To write the same once more is no error, so that a write whose end is unknown can be repeated.

        Raises:
            TinkexError: kind ``validation``: it is of another run, or holds what JSON cannot; ``conflict``: another one
                is there under its name; ``run_failed``: the disk refuses.
        """
        if manifest.run != self.name:
            raise validation(f"the manifest is of run {manifest.run!r}, the folder of {self.name!r}", field="run")
        raw = manifest_bytes(manifest)
        file = self._file(manifest.name)
        try:
            make_folder(self.manifests)
            if write_once(file, raw, f"{_DRAFT}{manifest.name}"):
                return
            same = file.read_bytes() == raw
            sync_folder(self.manifests)
        except OSError as error:
            raise refused_by_disk(file, error) from error
        if not same:
            raise TinkexError(
                f"another manifest is at {file} already, and is left as it was",
                kind="conflict",
                category="unknown",
                data={"run": self.name, "manifest": manifest.name, "file": str(file)},
            )

    def read_manifest(self, name: str) -> Manifest:
        """Return the manifest ``name``.

        Raises:
            TinkexError: kind ``resume_refused``: it cannot be trusted; ``data["problem"]`` says why, see ``Problem``.
                Kind ``validation``: no manifest can be named so.
        """
        position_of(name)
        file = self._file(name)
        try:
            raw = file.read_bytes()
        except FileNotFoundError as error:
            raise manifest_problem("missing", self.name, name, file, "is missing") from error
        except OSError as error:
            why = f"cannot be read: {error.strerror}"
            raise manifest_problem("missing", self.name, name, file, why) from error
        return read_manifest_bytes(raw, self.name, name, file)

    def manifest_names(self) -> list[str]:
        """Return the names of all manifests that are there, whole or not, oldest first.

        Raises:
            TinkexError: kind ``run_failed``: the folder cannot be read.
        """
        try:
            found = [path.name.removesuffix(_SUFFIX) for path in self.manifests.iterdir() if path.suffix == _SUFFIX]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refused_by_disk(self.manifests, error) from error
        return sorted((name for name in found if parse_position(name) is not None), key=position_of)

    def remove_manifest(self, name: str) -> None:
        """Delete the manifest ``name``, which may be gone already; it is gone from the disk when this returns.

        Raises:
            TinkexError: kind ``run_failed``: the disk refuses.
        """
        position_of(name)
        file = self._file(name)
        try:
            file.unlink(missing_ok=True)
            if self.manifests.exists():
                sync_folder(self.manifests)
        except OSError as error:
            raise refused_by_disk(file, error) from error

    def sweep(self, epoch: int) -> None:
        """Delete the drafts that trainers of epochs before ``epoch`` left when they were killed.

        One of them that is only frozen fails to write its manifest then, which no lineage would hold.
        """
        try:
            for path in sorted(self.manifests.glob(f"{_DRAFT}*")):
                position = parse_position(path.name.removeprefix(_DRAFT).split(".")[0])
                if position is not None and position.epoch < epoch:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise refused_by_disk(self.manifests, error) from error

    def lineage(
        self, latest: str | None, began: Mapping[int, str | None], gone: Collection[str] = ()
    ) -> Iterator[tuple[str, Result[Manifest]]]:
        """Yield what the run can go on from, newest first: each name, and the manifest or what is wrong with it.

        A broken manifest does not end the line: those before it are told by the record of the epochs, never by what
        the files say of each other, so that nothing is yielded that a trainer wrote after it had been taken over. The
        file of ``latest`` is yielded even where it is missing; of others, missing ones are passed over.

        Args:
            latest: the manifest that the run store names.
            began: from each epoch to the manifest that it began from; ``RunStore.began``.
            gone: names that are never yielded: those that are being deleted, ``RunStore.retired``.
        """
        names = {*self.manifest_names(), *([] if latest is None else [latest])}
        for name in ancestors(latest, began, names - set(gone)):
            try:
                yield name, Ok(self.read_manifest(name))
            except TinkexError as error:
                yield name, Err(error)

    def _file(self, name: str) -> Path:
        return self.manifests / f"{name}{_SUFFIX}"


def refused_by_disk(path: Path, error: OSError) -> TinkexError:
    """Build the error of a file that the disk does not take or give."""
    return TinkexError(
        f"{path} cannot be used: {error.strerror or type(error).__name__}; make room or mend its permissions, and "
        "start the run again",
        kind="run_failed",
        category="user",
        data={"file": str(path)},
    )
