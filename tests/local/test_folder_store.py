"""The object store in local folders: names, generations, preconditions and errors."""

import os
from pathlib import Path

import pytest

from local.folder_store import FolderStore
from shared.cloud.objects import crc32c
from shared.errors import ObjectChanged, ObjectNotFound, StorageUnavailable

MODEL = "models/tenant-001/detect.onnx"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore({"models/": tmp_path / "mine", "uploads/tenant-001/bed.jpg": tmp_path / "photo.jpg"})


def put(path: Path, data: bytes, mtime_ns: int | None = None) -> Path:
    """Write a file with this modification time, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    if mtime_ns is not None:
        os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


@pytest.mark.parametrize(
    "name", [MODEL, "models/", "models", "models/tenant-001", "uploads/tenant-002/bed.jpg", ""]
)
@pytest.mark.parametrize("method", ["read", "stat"])
def test_missing_file_or_folder_is_not_found(store: FolderStore, tmp_path: Path, name: str, method: str) -> None:
    (tmp_path / "mine" / "tenant-001").mkdir(parents=True)

    with pytest.raises(ObjectNotFound):
        getattr(store, method)("local", name)
    with pytest.raises(ObjectNotFound):
        FolderStore({}).changed("local", name, generation=1)


def test_prefix_maps_objects_to_files_of_a_folder(store: FolderStore, tmp_path: Path) -> None:
    put(tmp_path / "mine" / "tenant-001" / "detect.onnx", b"model", mtime_ns=1_700_000_000_123_456_789)

    stored = store.read("local", MODEL)

    assert stored.data == b"model"
    assert stored.uri == f"gs://local/{MODEL}"
    assert stored.generation == 1_700_000_000_123_456
    assert stored.crc32c == crc32c(b"model")
    stat = store.stat("local", MODEL)
    assert (stat.size, stat.crc32c, stat.generation) == (5, stored.crc32c, stored.generation)
    assert not stat.metadata


def test_object_name_can_map_to_one_file(store: FolderStore, tmp_path: Path) -> None:
    put(tmp_path / "photo.jpg", b"pixels")

    assert store.read("local", "uploads/tenant-001/bed.jpg").data == b"pixels"


@pytest.mark.parametrize(("max_bytes", "data"), [(0, None), (4, None), (5, b"bytes"), (6, b"bytes")])
def test_file_larger_than_max_bytes_is_read_without_data(
    store: FolderStore, tmp_path: Path, max_bytes: int, data: bytes | None
) -> None:
    put(tmp_path / "photo.jpg", b"bytes")

    assert store.read("local", "uploads/tenant-001/bed.jpg", max_bytes=max_bytes).data == data


def test_rewritten_file_has_another_generation(store: FolderStore, tmp_path: Path) -> None:
    path = put(tmp_path / "mine" / "tenant-001" / "detect.onnx", b"old", mtime_ns=1_000_000)
    first = store.read("local", MODEL).generation
    assert not store.changed("local", MODEL, generation=first)

    put(path, b"new", mtime_ns=2_000_000)

    assert store.changed("local", MODEL, generation=first)
    assert store.read("local", MODEL, generation=2_000).data == b"new"
    with pytest.raises(ObjectNotFound):
        store.read("local", MODEL, generation=first)


def test_file_of_the_epoch_has_a_positive_generation(store: FolderStore, tmp_path: Path) -> None:
    put(tmp_path / "photo.jpg", b"", mtime_ns=0)

    assert store.stat("local", "uploads/tenant-001/bed.jpg").generation == 1


def test_write_checks_its_generation_precondition(store: FolderStore, tmp_path: Path) -> None:
    def write(data: bytes, if_generation: int | None = None) -> int:
        return store.write("local", MODEL, data, content_type="", if_generation=if_generation)

    with pytest.raises(ObjectChanged):
        write(b"first", if_generation=17)
    first = write(b"first", if_generation=0)
    with pytest.raises(ObjectChanged):
        write(b"second", if_generation=0)
    write(b"second", if_generation=first)
    write(b"third")

    folder = tmp_path / "mine" / "tenant-001"
    assert (folder / "detect.onnx").read_bytes() == b"third"
    assert [path.name for path in folder.iterdir()] == ["detect.onnx"], "a temporary file is left"


def test_storage_error_names_the_file(store: FolderStore, tmp_path: Path) -> None:
    put(tmp_path / "mine", b"a file where the folder should be")

    with pytest.raises(StorageUnavailable, match=r"detect\.onnx cannot be written"):
        store.write("local", MODEL, b"", content_type="")

    loop = tmp_path / "photo.jpg"
    loop.symlink_to(loop)
    with pytest.raises(StorageUnavailable, match=r"photo\.jpg cannot be read"):
        store.read("local", "uploads/tenant-001/bed.jpg")
