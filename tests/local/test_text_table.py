from local.text_table import format_table

ROWS = [("image", "ms"), ("a.jpg", "7"), ("long-name.jpg", "1200")]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert format_table(ROWS, "<>").splitlines() == [
        "image            ms",
        "a.jpg             7",
        "long-name.jpg  1200",
    ]


def test_lines_have_no_trailing_spaces() -> None:
    assert format_table([("a", "wide head"), ("b", "c")], "<<").splitlines() == ["a  wide head", "b  c"]


def test_rule_is_drawn_under_the_heads() -> None:
    assert format_table(ROWS, "<>", rule=True).splitlines()[1] == "-------------  ----"


def test_indent_begins_every_line() -> None:
    assert [line[:3] for line in format_table(ROWS, "<>", indent="  ").splitlines()] == ["  i", "  a", "  l"]


def test_table_with_heads_alone() -> None:
    assert format_table([("image", "ms")], "<>") == "image  ms"
