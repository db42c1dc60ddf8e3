"""The environment variables of a function's process."""

import pytest

from local.function_server import function_environment


def test_function_inherits_settings_but_no_framework_variables() -> None:
    given = {"CONFIDENCE_THRESHOLD": "0.5", "DEBUG": "1", "PORT": "80", "FUNCTION_SIGNATURE_TYPE": "event"}
    environment = function_environment("process_upload", given)
    assert environment["CONFIDENCE_THRESHOLD"] == "0.5"
    assert environment["K_SERVICE"] == "process-upload"
    assert not environment.keys() & {"DEBUG", "PORT", "FUNCTION_SIGNATURE_TYPE"}


@pytest.mark.parametrize(
    ("given", "no_proxy"),
    [({}, "127.0.0.1,localhost"), ({"NO_PROXY": "a,b"}, "a,b,127.0.0.1,localhost")],
)
def test_function_reaches_emulators_without_proxy(given: dict[str, str], no_proxy: str) -> None:
    environment = function_environment("process_upload", given)
    assert environment["no_proxy"] == environment["NO_PROXY"] == no_proxy
