"""What squawk says beyond the rehearsal: squawk itself, installed beside the interpreter."""

import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lib.rehearse.lint import OFF, LintReport, lint
from lib.rehearse.statement_facts import FileFacts, StatementFacts
from lib.review.rules import ANSWERED_BY, RULES

V = "007-change"
LONG = "a" * 70
# One statement for each rule of squawk's that is on by default.
EVERY_RULE = f"""alter table t drop column a;
alter table t rename column a to b;
alter table t alter column a type bigint;
alter table t add column x int not null;
create index i on t (a);
alter table t add constraint f foreign key (a) references u (id);
drop table u cascade;
create table q (id serial, n varchar(10), c char(3), t timestamp, j json);
alter type mood rename value 'a' to 'b';
alter table t alter column a set not null;
alter table t drop constraint c;
alter table t alter column a drop default;
alter table t alter column a drop not null;
drop type mood;
truncate t cascade;
vacuum full t;
drop database x;
create index concurrently i2 on t (a);
drop index i;
alter type mood add value 'x';
alter table t set schema s;
drop function f;
drop schema s;
drop domain d;
drop extension e;
drop sequence s;
drop view v;
alter table t alter a drop expression;
alter table t detach partition p;
reindex table t;
alter domain d add constraint c check (value > 0);
create domain d2 as int check (value > 0);
alter table t add constraint u unique (a);
alter table t add column id serial primary key;
alter table t rename to tt;
alter table t alter a set generated always;
create table {LONG} (id int);
update t set a = 1, a = 2;
begin;
"""


def facts(*lines: int) -> FileFacts:
    statements = tuple(StatementFacts(at, line, "") for at, line in enumerate(lines, 1))
    return FileFacts(V, True, statements)


def found(report: LintReport) -> list[tuple[str, int]]:
    assert report.not_linted is None
    return [(each.rule, each.line) for each in report.findings]


def test_what_was_rehearsed_is_answered_by_the_rehearsal() -> None:
    text = f"drop table a;\n\ndrop table b;\ncreate index {LONG} on c (d);\n"
    assert found(lint({V: text}, [facts(1, 3, 4)])) == [("identifier-too-long", 4)]


def test_where_nothing_was_seen_squawk_is_heard() -> None:
    text = "drop table a;\n\n\ndrop\n table b;\n"
    assert found(lint({V: text}, [facts(1)])) == [("ban-drop-table", 4)]
    report = lint({V: "select 1;", "008-next": "drop table c;"}, [facts(1)])
    assert [(each.version, each.line, each.severity) for each in report.findings] == [
        ("008-next", 1, "warn")
    ]


def test_every_rule_of_squawk_is_kept_answered_or_off() -> None:
    squawk = shutil.which("squawk", path=Path(sys.executable).parent)
    assert squawk
    options = ("--reporter=json", "--assume-in-transaction", "--stdin-filepath=a.sql")
    done = subprocess.run([squawk, *options], input=EVERY_RULE, capture_output=True, text=True)
    asked = {each["rule_name"] for each in json.loads(done.stdout)}
    assert asked <= {*RULES, *ANSWERED_BY, *OFF}
    assert len(asked) > 40, sorted(asked)
    assert not {rule for rule, _ in found(lint({V: EVERY_RULE}, []))} & set(OFF)


def test_what_squawk_cannot_read_counts_where_the_server_has_not_read_it() -> None:
    text = "drop table a;\nselect 1 fro 2;"
    assert found(lint({V: text}, [facts(1, 2)])) == []
    assert found(lint({V: text}, [facts(1)])) == [("syntax-error", 2)]


def test_tables_that_a_pending_file_makes_are_exempt() -> None:
    texts = {
        V: "create table made (id int);",
        "008-next": "create index i on made (id);\ncreate index i on other (id);",
    }
    assert found(lint(texts, [])) == [("require-concurrent-index-creation", 2)]


def test_comments_for_squawk_keep_working() -> None:
    text = "-- squawk-ignore ban-drop-table\ndrop table a;\ndrop table b;"
    assert found(lint({V: text}, [])) == [("ban-drop-table", 3)]


def test_data_of_copy_is_no_sql() -> None:
    text = "copy t from stdin;\n1\ndrop table a;\n\\.\n\ndrop table b;\n"
    assert found(lint({V: text}, [])) == [("ban-drop-table", 6)]


def test_windows_line_ends_and_letters_of_two_bytes_move_no_line() -> None:
    text = "select 'äöü—';\r\n/* é\r\n */ drop table a;\r\n"
    assert found(lint({V: text}, [])) == [("ban-drop-table", 3)]


def test_a_name_is_never_an_option() -> None:
    assert found(lint({"--config=x": "drop table a;"}, [])) == [("ban-drop-table", 1)]


def test_settings_in_the_folder_switch_nothing_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["ban-drop-table"]\n')
    monkeypatch.chdir(tmp_path)
    assert found(lint({V: "drop table a;"}, [])) == [("ban-drop-table", 1)]


def test_a_text_that_crashes_squawk_is_a_line_and_the_others_are_linted() -> None:
    report = lint({V: f"select {'(' * 200_000}", "008-next": "drop table a;"}, [])
    assert report.not_linted is None or report.not_linted.startswith(f"not linted: {V}: squawk")
    assert [each.version for each in report.findings] == ["008-next"]


def program(folder: Path, script: str) -> Path:
    path = folder / "squawk"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo '\x1b[1mpanic'; echo boom >&2; exit 134", "squawk ended with 134: boom"),
        ("echo '{}'", "squawk's answer is not what this version reads"),
        ("echo '[1]'", "squawk's answer is not what this version reads"),
        ("exec sleep 60", "squawk took too long"),
    ],
)
def test_a_squawk_that_fails_is_a_line(tmp_path: Path, script: str, reason: str) -> None:
    report = lint({V: "select 1;"}, [], program=program(tmp_path, script), limit=0.5)
    assert report == LintReport((), f"not linted: {V}: {reason}")


def test_squawk_gets_nothing_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_secret")
    kept = tmp_path / "environment"
    script = f"/usr/bin/env > {kept}; echo '[]'"
    assert lint({V: "select 1;"}, [], program=program(tmp_path, script)) == LintReport()
    assert "GITHUB_TOKEN" not in kept.read_text()


def test_without_squawk_a_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert lint({V: "drop table a;"}, []) == LintReport(
        (), "not linted: pip install -r requirements-local.txt brings squawk"
    )


def test_nothing_pending_asks_nothing(tmp_path: Path) -> None:
    assert lint({}, [], program=tmp_path / "missing") == LintReport()


def test_the_document_of_a_finding_is_clean(tmp_path: Path) -> None:
    said = [{"rule_name": "ban-drop-table", "line": 0, "message": "\x1b[1mso", "help": None}]
    path = program(tmp_path, f"echo '{json.dumps(said)}'")
    [finding] = lint({V: "drop table a;"}, [], program=path).findings
    assert "\x1b" not in json.dumps(finding.to_dict(), ensure_ascii=False)
