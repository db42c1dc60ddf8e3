"""An object store in local folders and files, without metadata and without old generations."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from shared.cloud.objects import ObjectStat, StoredObject, crc32c
from shared.errors import ObjectChanged, ObjectNotFound, StorageUnavailable


class FolderStore:
    """Has the methods of `shared.cloud.object_store` for a single bucket, whose name is ignored.

    A file's generation is its modification time.

    Args:
        paths: path by object name or by prefix. With `{"models/": Path("mine")}` the object
            `models/tenant-001/detect.onnx` is the file `mine/tenant-001/detect.onnx`. With
            `{"uploads/tenant-001/bed.jpg": Path("photo.jpg")}` that one object is that file.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)

    def stat(self, bucket: str, name: str, *, generation: int | None = None) -> ObjectStat:
        """Return a file's metadata; it raises the errors of `read`."""
        stored = self.read(bucket, name, generation=generation)
        return ObjectStat(stored.generation, len(stored.data or b""), stored.crc32c)

    def changed(self, bucket: str, name: str, *, generation: int) -> bool:
        """Return whether the file's generation is another one by now.

        Raises:
            ObjectNotFound: there is no such file.
            StorageUnavailable: it cannot be read.
        """
        path = self._path(bucket, name)
        with _translate_errors(path, "read"):
            return _generation(path.stat()) != generation

    def read(
        self, bucket: str, name: str, *, generation: int | None = None, max_bytes: int | None = None
    ) -> StoredObject:
        """Read a file; the result has no data if the file is larger than `max_bytes`.

        Raises:
            ObjectNotFound: there is no such file, or it is of another generation by now.
            StorageUnavailable: it cannot be read.
        """
        path = self._path(bucket, name)
        with _translate_errors(path, "read"), path.open("rb") as file:
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
        content_type: str,  # noqa: ARG002 - the file's suffix implies it
        metadata: Mapping[str, str] | None = None,  # noqa: ARG002 - files have no metadata
        if_generation: int | None = None,
    ) -> int:
        """Write a file atomically, and return its generation.

        Raises:
            ObjectChanged: the file is not of `if_generation`; 0 requires that there is no file.
            StorageUnavailable: it cannot be written.
        """
        path = self._path(bucket, name)
        draft = path.with_name(f".{path.name}.part")
        with _translate_errors(path, "written"):
            if if_generation not in {None, _generation(path.stat()) if path.exists() else 0}:
                raise ObjectChanged(str(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(data)
            draft.replace(path)
            return _generation(path.stat())

    def _path(self, bucket: str, name: str) -> Path:
        if name in self._paths:
            return self._paths[name]
        for prefix, folder in self._paths.items():
            if prefix.endswith("/") and name.startswith(prefix):
                return folder / name.removeprefix(prefix)
        raise ObjectNotFound(f"gs://{bucket}/{name}")


def _generation(status: os.stat_result) -> int:
    """Return the modification time in microseconds since 1970, as in Cloud Storage."""
    return max(status.st_mtime_ns // 1000, 1)


@contextmanager
def _translate_errors(path: Path, verb: str) -> Generator[None]:
    """Translate OSError to the errors of `shared.errors`; a folder is not an object, so it is not found."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        if verb == "written":
            raise StorageUnavailable(f"{path} cannot be written: {error.strerror}") from error
        raise ObjectNotFound(str(path)) from error
    except OSError as error:
        raise StorageUnavailable(f"{path} cannot be {verb}: {error.strerror}") from error
