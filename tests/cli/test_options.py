"""What argparse reads of the command line, and what it refuses."""

import pytest

from lib.cli.options import make_parser, read_arguments


@pytest.mark.parametrize(
    "words", [["resolve", "001-a", "--did"], ["status", "--che"], ["baseline", "--forg", "001-a"]]
)
def test_no_option_is_guessed_from_its_beginning(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        read_arguments(words)
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stauts"], "there is no command 'stauts'; did you mean status?"),
        (["migrte", "--json"], "there is no command 'migrte'; did you mean migrate?"),
        (["xyzzy"], "there is no command 'xyzzy'\n"),
        (["status", "--chekc"], "there is no option --chekc; did you mean --check?"),
        (["resolve", "1", "--tok-effect"], "no option --tok-effect; did you mean --took-effect?"),
        (["status", "--jsn=postgres://u:hunter2@h/d"], "--jsn; did you mean --json?"),
    ],
)
def test_a_wrong_word_is_an_error_that_names_the_likely_one(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        read_arguments(words)
    told = capsys.readouterr().err
    assert message in told
    assert "hunter2" not in told


def test_a_word_behind_two_hyphens_is_no_option() -> None:
    assert read_arguments(["create", "--", "--json"]).description == ["--json"]


@pytest.mark.parametrize("columns", [30, 60, 80])
def test_the_help_of_all_commands_keeps_to_the_width(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    parser = make_parser()
    lines = parser.format_help().splitlines()
    assert max(map(len, lines)) <= max(columns, 40)
    for name in {parser.get_default("command") for parser in parser.commands.values()}:
        assert [line for line in lines if line.startswith(f"  {name} ")], name


@pytest.mark.parametrize(
    ("command", "applies_files"),
    [("migrate", True), ("validate", True), ("reset", True), ("install", False), ("stop", False)],
)
def test_the_help_explains_the_exit_codes_that_the_command_has(
    command: str, applies_files: bool
) -> None:
    said = " ".join(make_parser().commands[command].format_help().split())
    assert "exit codes: 0 done; 1 " in said
    assert ("3 an applied file was modified" in said) == applies_files


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-c", "select 1"],
        ["--version"],
        ["--help"],
        ["-h", "--json", "--debug"],
        ["--", "-c", "select 1"],
        ["-f", "a b.sql", "--", "x"],
        ["-vX=1", "-At", "-"],
        ["migrate", ""],
    ],
)
def test_all_that_follows_psql_is_passed_on_as_it_is(words: list[str]) -> None:
    arguments = read_arguments(["psql", *words])
    assert arguments.passed_on == words
    assert (arguments.command, arguments.json, arguments.debug) == ("psql", False, False)
