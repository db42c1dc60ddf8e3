"""Format rows of text cells as a table with aligned columns."""

from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]], alignments: str, *, rule: bool = False, indent: str = "") -> str:
    """Return the rows as lines of text, with two spaces between the columns.

    Args:
        rows: The rows, the heads first. Each row has as many cells as there are alignments.
        alignments: One character for each column: `<` aligns it to the left, `>` to the right.
        rule: Draw a line of hyphens under the first row.
        indent: What each line begins with.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            f"{cell:{alignment}{width}}" for cell, alignment, width in zip(row, alignments, widths, strict=True)
        )
        for row in rows
    ]
    if rule:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(f"{indent}{line.rstrip()}" for line in lines)
