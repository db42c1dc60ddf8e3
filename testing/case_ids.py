"""Names parametrized cases by their values, also where these are lists or objects."""

MAX_CHARACTERS = 48


def case_id(value: object) -> str:
    """Return a short, printable id of a value, for `ids=` of `pytest.mark.parametrize`."""
    return ascii(value)[:MAX_CHARACTERS]
