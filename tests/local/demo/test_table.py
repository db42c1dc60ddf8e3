"""The table on the terminal."""

from local.demo.beds import Bed
from local.demo.comparison import Comparison
from local.demo.plan import Ask
from local.demo.table import beds, errors, table


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


def test_what_was_asked_for_by_name_is_named(done):
    [line] = table([done(Ask("message", "tenant-001", "bed.jpg", pipeline="count_plants"))]).splitlines()[2:]
    assert "message count_plants" in line


def test_beds_are_told_of_those_who_counted(done):
    counted = done(beds=[Bed("bed 1", 230, 229, 1), Bed("bed 2", 63, 63, 2)])
    assert beds([done(), counted]) == "tenant-001 bed.jpg: bed 1 229/230, bed 2 63/63"
    assert beds([done()]) == ""


def test_errors_are_told_with_their_status(done, rejected):
    assert errors([done(), rejected()]) == (
        "400 model_not_found: Model 'detect' not found for tenant 'tenant-003'"
    )
