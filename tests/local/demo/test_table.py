"""The table on the terminal."""

from local.demo.comparison import Comparison
from local.demo.table import errors, table


def test_a_table_without_answers_is_its_head():
    assert (
        table([]).splitlines()[0]
        == "image  tenant  asked by  model generation  verdict  found / there  matched  ms"
    )


def test_a_line_for_each_answer(done, rejected):
    seen = Comparison({"plant": 120, "tray": 1}, {"plant": 118, "stone": 2}, {"plant": 117})
    lines = table([done(comparison=seen), rejected()]).splitlines()
    assert [" ".join(line.split()) for line in lines[2:]] == [
        "bed.jpg tenant-001 upload 7 done plant 118/120, tray 0/1, stone 2/0 117 32",
        "bed.jpg tenant-003 upload - rejected - - -",
    ]
    assert len({line.find("tenant") for line in (lines[0], *lines[2:])}) == 1


def test_errors_are_told_with_their_status(done, rejected):
    assert errors([done(), rejected()]) == (
        "400 model_not_found: Model 'detect' not found for tenant 'tenant-003'"
    )
