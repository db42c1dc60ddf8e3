import pytest

from benchmarks.page import keep, written
from benchmarks.table import Figure, Table

TABLE = Table("Detection", [Figure("pixels in", 1.04, limit=1.05)], [("row", "ms"), ("a", "1"), ("a", "2")])
MARKED = "# Costs\n\n<!-- measured: detect -->\nold\n<!-- end -->\n\nProse.\n"


@pytest.mark.parametrize("page", ["", "# Costs\n", "<!-- measured: nothing -->\nold\n<!-- end -->\n"])
def test_a_page_without_a_place_for_what_was_measured_stays_as_it_is(tmp_path, page):
    keep("detect", TABLE, "a machine", tmp_path)
    assert written(page, tmp_path) == page


def test_a_table_is_written_between_its_marks_and_nothing_else_changes(tmp_path):
    keep("detect", TABLE, "a machine\nits packages", tmp_path)
    page = written(MARKED, tmp_path)
    assert page.startswith("# Costs\n\n<!-- measured: detect -->\n")
    assert page.endswith("<!-- end -->\n\nProse.\n")
    assert "old" not in page
    assert "| pixels in | 1.04 | 1.05 | yes |" in page
    assert "| a | 1 |\n|  | 2 |" in page
    assert "a machine · its packages" in page


def test_written_twice_it_is_the_same_page(tmp_path):
    keep("detect", TABLE, "a machine", tmp_path)
    once = written(MARKED, tmp_path)
    assert written(once, tmp_path) == once
