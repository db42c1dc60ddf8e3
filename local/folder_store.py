"""A store of objects that is folders and files of this machine. It keeps no metadata and no old generations."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared.cloud.objects import ObjectStat, StoredObject, crc32c
from shared.errors import ObjectChanged, ObjectNotFound, StorageUnavailable


class FolderStore:
    """Answers as `shared.cloud.object_store` does, for one bucket, whatever it is called.

    `places` says where objects lie: `{"models/": Path("mine")}` puts `models/tenant-001/detect.onnx` at
    `mine/tenant-001/detect.onnx`, `{"uploads/tenant-001/bed.jpg": Path("photo.jpg")}` that one object at that
    file. A file's generation is the time it was last written.
    """

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = dict(places)

    def stat(self, bucket: str, name: str, *, generation: int | None = None) -> ObjectStat:
        """Raises: as `read`."""
        stored = self.read(bucket, name, generation=generation)
        return ObjectStat(stored.generation, len(stored.data or b""), stored.crc32c)

    def changed(self, bucket: str, name: str, *, generation: int) -> bool:
        """Whether the file was written since it was of this generation. Raises: as `read`."""
        path = self._path(bucket, name)
        with _our_words(path, "read"):
            return _generation(path.stat()) != generation

    def read(
        self, bucket: str, name: str, *, generation: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        """Read a file; one of more than `max_bytes` comes without data.

        Raises:
            ObjectNotFound: there is no such file, or it is of another generation by now.
            StorageUnavailable: it cannot be read.
        """
        path = self._path(bucket, name)
        with _our_words(path, "read"), path.open("rb") as file:
            status = os.fstat(file.fileno())
            if generation not in {None, _generation(status)}:
                raise ObjectNotFound(str(path))
            data = None if max_bytes is not None and status.st_size > max_bytes else file.read()
        uri = f"gs://{bucket}/{name}"
        return StoredObject(data, uri, _generation(status), "" if data is None else crc32c(data))

    def write(
        self,
        bucket: str,
        name: str,
        data: bytes,
        *,
        content_type: str,  # noqa: ARG002 - the file's name says it
        metadata: Mapping[str, str] | None = None,  # noqa: ARG002 - a file has no place for it
        if_generation: int | None = None,
    ) -> int:
        """Write a file, whole or not at all, and give its generation.

        Raises:
            ObjectChanged: the file is not of `if_generation` (0: there is one).
            StorageUnavailable: it cannot be written.
        """
        path = self._path(bucket, name)
        draft = path.with_name(f".{path.name}.part")
        with _our_words(path, "written"):
            if if_generation not in {None, _generation(path.stat()) if path.exists() else 0}:
                raise ObjectChanged(str(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(data)
            draft.replace(path)
            return _generation(path.stat())

    def _path(self, bucket: str, name: str) -> Path:
        if name in self._places:
            return self._places[name]
        for prefix, folder in self._places.items():
            if prefix.endswith("/") and name.startswith(prefix):
                return folder / name.removeprefix(prefix)
        raise ObjectNotFound(f"gs://{bucket}/{name}")


def _generation(status: os.stat_result) -> int:
    """Microseconds since 1970, as Cloud Storage numbers its own."""
    return max(status.st_mtime_ns // 1000, 1)


@contextmanager
def _our_words(path: Path, verb: str) -> Generator[None]:
    """A folder in the file's place is no object, as in a bucket."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        if verb == "written":
            raise StorageUnavailable(f"{path} cannot be written: {error.strerror}") from error
        raise ObjectNotFound(str(path)) from error
    except OSError as error:
        raise StorageUnavailable(f"{path} cannot be {verb}: {error.strerror}") from error
