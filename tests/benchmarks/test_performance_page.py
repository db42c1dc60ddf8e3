from pathlib import Path

import pytest

from benchmarks.performance_page import save_table, with_saved_tables
from benchmarks.table import Figure, Table

TABLE = Table("Detection", [Figure("pixels in", 1.04, limit=1.05)], [("row", "ms"), ("a", "1"), ("a", "2")])
MARKED = "# Costs\n\n<!-- measured: detect -->\nold\n<!-- end -->\n\nProse.\n"


@pytest.mark.parametrize(
    "page",
    ["", "# Costs\n", "<!-- measured: nothing -->\nold\n<!-- end -->\n"],
    ids=["empty page", "no markers", "markers of another table"],
)
def test_page_without_markers_of_the_table_is_unchanged(tmp_path: Path, page: str) -> None:
    save_table("detect", TABLE, "a machine", tmp_path)

    assert with_saved_tables(page, tmp_path) == page


def test_table_replaces_the_text_between_its_markers(tmp_path: Path) -> None:
    save_table("detect", TABLE, "a machine\nits packages", tmp_path)

    page = with_saved_tables(MARKED, tmp_path)

    assert page.startswith("# Costs\n\n<!-- measured: detect -->\n")
    assert page.endswith("<!-- end -->\n\nProse.\n")
    assert "old" not in page
    assert "| pixels in | 1.04 | 1.05 | yes |" in page
    assert "| a | 1 |\n|  | 2 |" in page
    assert "a machine · its packages" in page


def test_writing_the_page_twice_changes_nothing(tmp_path: Path) -> None:
    save_table("detect", TABLE, "a machine", tmp_path)
    once = with_saved_tables(MARKED, tmp_path)
    assert with_saved_tables(once, tmp_path) == once
