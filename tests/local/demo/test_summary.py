from local.demo.bed_counts import BedCount
from local.demo.comparison import Comparison
from local.demo.plan import Step
from local.demo.summary import bed_lines, error_lines, outcome_table
from tests.local.demo.outcomes import MakeOutcome


def test_table_without_outcomes_has_heads() -> None:
    heads = outcome_table([]).splitlines()[0]
    assert heads == "image  tenant  channel  model generation  verdict  detected / actual  matched  ms"


def test_table_has_a_row_for_each_outcome(make_done: MakeOutcome, make_rejected: MakeOutcome) -> None:
    comparison = Comparison({"plant": 120, "tray": 1}, {"plant": 118, "stone": 2}, {"plant": 117})

    lines = outcome_table([make_done(comparison=comparison), make_rejected()]).splitlines()

    assert [" ".join(line.split()) for line in lines[2:]] == [
        "bed.jpg tenant-001 upload 7 done plant 118/120, tray 0/1, stone 2/0 117 32",
        "bed.jpg tenant-003 upload - rejected - - -",
    ]
    assert len({line.find("tenant") for line in (lines[0], *lines[2:])}) == 1


def test_table_names_the_pipeline_of_a_message(make_done: MakeOutcome) -> None:
    step = Step("message", "tenant-001", "bed.jpg", pipeline="count_plants")
    [line] = outcome_table([make_done(step)]).splitlines()[2:]
    assert "message count_plants" in line


def test_bed_lines_list_outcomes_that_have_beds(make_done: MakeOutcome) -> None:
    counted = make_done(beds=[BedCount("bed 1", 230, 229, 1), BedCount("bed 2", 63, 63, 2)])
    assert bed_lines([make_done(), counted]) == "tenant-001 bed.jpg: bed 1 229/230, bed 2 63/63"
    assert bed_lines([make_done()]) == ""


def test_error_lines_have_status_code_and_text(make_done: MakeOutcome, make_rejected: MakeOutcome) -> None:
    assert error_lines([make_done(), make_rejected()]) == (
        "400 model_not_found: Model 'detect' not found for tenant 'tenant-003'"
    )
