"""Reading the log file of a process while the process may still write."""

from pathlib import Path

from local.process_log import ProcessLog


def test_missing_log_file_is_empty(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "log")
    assert (log.lines(), log.entries(), log.fresh_lines(), log.tail()) == ([], [], [], "")


def test_entries_are_the_lines_that_are_json_objects(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "log")
    log.path.write_text('starting\n{"severity": "INFO"}\n[1]\n{"cut of', encoding="utf-8")
    assert log.entries() == [{"severity": "INFO"}]


def test_fresh_lines_returns_complete_lines_once(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "log")
    seen: list[list[str]] = []
    for piece in ("one\ntw", "o\n", "", "thrée\n"):
        with log.path.open("a", encoding="utf-8") as file:
            file.write(piece)
        seen.append(log.fresh_lines())
    assert seen == [["one"], ["two"], [], ["thrée"]]
