"""What there is to do, as a table of files and ledgers."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from lib.errors import IntegrityError, MigrationFileError, OrderError
from lib.files.folder import MigrationFile, parse
from lib.plan.migration_plan import Plan, make_plan
from lib.plan.migration_states import AppliedMigration

VARIANTS = (
    b"a;\n\nb;\n",
    b"a;\r\n\r\nb;\r\n",
    b"\xef\xbb\xbfa;\n\nb;\n",
    b"\xef\xbb\xbfa;\r\n\r\nb;\r\n",
)
WHEN = datetime(2024, 1, 31, 12, tzinfo=UTC)


def files(*specs: str) -> list[MigrationFile]:
    """Files by version; after a `=` their SQL, after a `@` the environments of their header."""
    return [_file(spec) for spec in specs]


def _file(spec: str) -> MigrationFile:
    name, _, environments = spec.partition("@")
    version, _, sql = name.partition("=")
    header = f"-- Environments: {environments}\n" if environments else ""
    return parse(f"{version}.sql", f"{header}{sql or version}".encode())


def ledger(*specs: str) -> list[AppliedMigration]:
    """Rows as `files` would be applied; after a `?` without a checksum."""
    rows = []
    for spec in specs:
        file = _file(spec.rstrip("?")) if spec[0].isdigit() else None
        checksum = file.checksum if file and not spec.endswith("?") else None
        rows.append(
            AppliedMigration(file.version if file else spec, "Its Name", WHEN, 12, checksum)
        )
    return rows


def plan_of(
    here: Sequence[str],
    applied: Sequence[str] | None,
    *,
    strict_order: bool = False,
    up_to: str | None = None,
) -> Plan:
    rows = None if applied is None else ledger(*applied)
    return make_plan(
        files(*here),
        rows,
        environment="production",
        strict_order=strict_order,
        up_to=_file(up_to) if up_to else None,
    )


STATES = {
    "no ledger and no file": ([], None, "uninitialised"),
    "no ledger and only files for elsewhere": (["000-a@preview"], None, "uninitialised"),
    "no ledger but a file": (["000-a"], None, "pending"),
    "an empty ledger and no file": ([], [], "up-to-date"),
    "everything applied": (["000-a", "001-b"], ["000-a", "001-b"], "up-to-date"),
    "what is left is for elsewhere": (["000-a", "001-b@preview"], ["000-a"], "up-to-date"),
    "applied, and now for elsewhere": (["000-a=1@preview"], ["000-a=1@preview"], "up-to-date"),
    "a row without a checksum": (["000-a=changed"], ["000-a?"], "up-to-date"),
    "a file to apply": (["000-a", "001-b"], ["000-a"], "pending"),
    "a late file": (["000-a", "001-b"], ["001-b"], "pending"),
    "an applied file is gone": (["000-a"], ["000-a", "001-b"], "ahead"),
    "the bundle is empty": ([], ["000-a"], "ahead"),
    "a row of no number": (["000-a"], ["000-a", "baseline"], "ahead"),
    "one gone, one to apply": (["000-a", "002-c"], ["000-a", "001-b"], "pending"),
    "same number, other name, other text": (["000-new=2"], ["000-old=1"], "pending"),
    "modified": (["000-a=changed"], ["000-a"], "modified"),
    "modified, pending and missing": (["000-a=changed", "002-c"], ["000-a", "001-b"], "modified"),
    "renamed": (["000-new=1"], ["000-old=1"], "modified"),
    "renamed, with other zeros": (["0000-old=1"], ["000-old=1"], "modified"),
}


@pytest.mark.parametrize(("here", "applied", "state"), STATES.values(), ids=STATES)
def test_the_state_is_the_first_that_holds(
    here: list[str], applied: list[str] | None, state: str
) -> None:
    assert plan_of(here, applied).state == state


class TestEntries:
    def test_they_are_in_numeric_order_whatever_their_state(self) -> None:
        plan = plan_of(
            ["000-a", "002-c=changed", "010-d@preview", "999-e", "1000-f"],
            ["1000-f", "000-a", "002-c", "001-b", "baseline"],
        )
        assert [(entry.version, entry.state) for entry in plan.entries] == [
            ("baseline", "missing"),
            ("000-a", "applied"),
            ("001-b", "missing"),
            ("002-c", "modified"),
            ("010-d", "skipped"),
            ("999-e", "pending"),
            ("1000-f", "applied"),
        ]
        assert plan.applied_count == 5

    def test_an_applied_one_says_when_and_how_long_and_a_pending_one_does_not(self) -> None:
        applied, pending = plan_of(["000-a", "001-b"], ["000-a"]).entries
        assert (applied.name, applied.applied_at, applied.execution_time_ms) == (
            "Its Name",
            WHEN,
            12,
        )
        assert (pending.name, pending.applied_at, pending.execution_time_ms) == ("B", None, None)

    def test_the_last_one_is_the_last_that_was_applied(self) -> None:
        last = plan_of(["000-a", "001-b"], ["001-b", "000-a"]).last
        assert last
        assert last.version == "000-a"
        assert plan_of(["000-a"], []).last is None
        assert plan_of(["000-a"], None).last is None


def versions(found: Sequence[MigrationFile | AppliedMigration]) -> list[str]:
    return [each.version for each in found]


class TestWhatIsPending:
    def test_all_of_it_in_numeric_order(self) -> None:
        assert versions(plan_of(["000-a", "002-c", "999-d", "1000-e"], ["000-a"]).pending) == [
            "002-c",
            "999-d",
            "1000-e",
        ]

    @pytest.mark.parametrize(
        ("here", "applied", "late"),
        [
            (["000-a", "001-b"], ["001-b"], ["000-a"]),
            (["000-a", "001-b", "002-c", "003-d"], ["000-a", "002-c"], ["001-b"]),
            (["000-a", "001-b"], ["000-a"], []),
            (["0999-a", "1000-b"], ["1000-b"], ["0999-a"]),
            (["1000-a"], ["999-b"], []),
            (["001-a"], ["002-gone"], ["001-a"]),
            (["001-new=2"], ["001-old=1"], []),
            (["000-a", "001-b@preview"], ["002-c"], ["000-a"]),
            (["001-a"], ["baseline"], []),
        ],
    )
    def test_a_file_numbered_below_the_newest_applied_one_is_late(
        self, here: list[str], applied: list[str], late: list[str]
    ) -> None:
        plan = plan_of(here, applied)
        plan.verify()
        assert versions(plan.late) == late
        assert [warning for warning in plan.warnings if "below the newest" in warning] == [
            f"Migration {version} is numbered below the newest applied one; "
            "it is applied now, in its order."
            for version in late
        ]

    def test_in_strict_order_a_late_file_is_an_error(self) -> None:
        plan = plan_of(["000-a", "001-b", "002-c"], ["002-c"], strict_order=True)
        with pytest.raises(
            OrderError, match=r"000-a is numbered below .* MIGRATION_STRICT_ORDER .*\n.*001-b"
        ) as raised:
            plan.verify()
        assert (raised.value.exit_code, raised.value.details()) == (3, {"version": "000-a"})

    def test_in_strict_order_a_file_in_its_order_is_none(self) -> None:
        plan_of(["000-a", "001-b"], ["000-a"], strict_order=True).verify()

    def test_a_file_for_elsewhere_is_skipped_and_not_pending(self) -> None:
        plan = plan_of(["000-a@preview, development", "001-b@production"], [])
        assert versions(plan.pending) == ["001-b"]
        assert [entry.state for entry in plan.entries] == ["skipped", "pending"]


class TestALimit:
    @pytest.mark.parametrize(
        ("applied", "up_to", "due", "beyond"),
        [
            (["000-a"], "001-b", ["001-b"], ["002-c", "1000-d"]),
            (["000-a"], "002-c", ["001-b", "002-c"], ["1000-d"]),
            (["000-a"], "1000-d", ["001-b", "002-c", "1000-d"], []),
            # The limit is applied, and so is a later file: those below are late, as always.
            (["000-a", "002-c"], "002-c", ["001-b"], ["1000-d"]),
            (["000-a", "1000-d"], "001-b", ["001-b"], ["002-c"]),
            (["000-a", "001-b"], "001-b", [], ["002-c", "1000-d"]),
            (None, "000-a", ["000-a"], ["001-b", "002-c", "1000-d"]),
        ],
    )
    def test_files_up_to_it_are_due_and_the_others_stay_pending(
        self, applied: list[str] | None, up_to: str, due: list[str], beyond: list[str]
    ) -> None:
        plan = plan_of(["000-a", "001-b", "002-c", "1000-d"], applied, up_to=up_to)
        assert [file.version for file in plan.due] == due
        assert [file.version for file in plan.beyond] == beyond
        assert {*plan.due, *plan.beyond} == set(plan.pending)

    def test_without_one_all_is_due(self) -> None:
        plan = plan_of(["000-a", "001-b"], [])
        assert (plan.due, plan.beyond) == (plan.pending, ())

    def test_a_file_that_is_skipped_here_limits_the_others(self) -> None:
        plan = plan_of(["000-a", "001-b@preview", "002-c"], [], up_to="001-b")
        assert [file.version for file in plan.due] == ["000-a"]

    def test_a_late_file_behind_it_is_not_said_to_be_applied(self) -> None:
        plan = plan_of(["000-a", "001-b", "002-c", "003-d"], ["003-d"], up_to="001-b")
        assert [text.split()[1] for text in plan.warnings] == ["000-a", "001-b"]

    def test_what_forbids_a_run_forbids_it_behind_the_limit_too(self) -> None:
        modified = plan_of(["000-a", "001-b=changed"], ["001-b"], up_to="000-a")
        with pytest.raises(IntegrityError, match="001-b has been modified"):
            modified.verify()
        late = plan_of(["000-a", "001-b", "002-c"], ["002-c"], up_to="000-a", strict_order=True)
        with pytest.raises(OrderError, match="001-b is numbered below"):
            late.verify()


class TestIntegrity:
    def test_a_modified_file_is_an_error_that_names_it_and_the_way_out(self) -> None:
        plan = plan_of(["000-a=changed", "001-b", "002-c=changed"], ["000-a", "002-c"])
        with pytest.raises(
            IntegrityError,
            match=r"Migration 000-a has been modified after being applied! "
            r"Restore migrations/000-a\.sql",
        ) as raised:
            plan.verify()
        assert "Migration 002-c has been modified after being applied!" in str(raised.value)
        assert (raised.value.exit_code, raised.value.details()) == (3, {"version": "000-a"})
        assert versions(plan.modified) == ["000-a", "002-c"]

    def test_a_renamed_file_is_an_error_with_both_names(self) -> None:
        plan = plan_of(["000-new=1", "001-b"], ["000-old=1", "001-b"])
        with pytest.raises(
            IntegrityError,
            match=r"000-old was .* now 000-new\. Rename .*000-new\.sql back to 000-old\.sql",
        ):
            plan.verify()
        assert [(row.version, file.version) for row, file in plan.renamed] == [
            ("000-old", "000-new")
        ]
        assert plan.missing == ()

    @pytest.mark.parametrize(
        ("here", "applied"),
        [
            (["000-new=2"], ["000-old=1"]),
            (["000-new=1"], ["000-old=1?"]),
            (["000-old=1", "001-new=1"], ["000-old=1"]),
            (["000-new=1"], ["baseline"]),
        ],
        ids=["another text", "no checksum", "the old file is there", "no number"],
    )
    def test_anything_less_is_no_rename(self, here: list[str], applied: list[str]) -> None:
        plan = plan_of(here, applied)
        plan.verify()
        assert plan.renamed == ()

    @pytest.mark.parametrize(
        "text", ["-- only a comment", " ", "/* both\n -- kinds */ -- and\n;", ";"]
    )
    def test_a_text_without_a_statement_proves_no_rename(self, text: str) -> None:
        plan = plan_of([f"001-new={text}", f"000-new={text}"], [f"000-old={text}"])
        plan.verify()
        assert plan.renamed == ()

    def test_the_same_text_under_another_number_is_a_rename_with_three_ways_out(self) -> None:
        plan = plan_of(["004-a", "007-add-note=1"], ["004-a", "005-add-note=1"])
        with pytest.raises(IntegrityError) as raised:
            plan.verify()
        assert str(raised.value).splitlines() == [
            "Migration 005-add-note was applied under that name, and its file is now 007-add-note. "
            "Rename migrations/007-add-note.sql back to 005-add-note.sql.",
            "  Or update the ledger, in every database where it was applied under the old name:",
            "    update public.schema_migrations set version = '007-add-note', name = 'Add Note' "
            "where version = '005-add-note';",
            "  Or, to run the same text once more, put a comment line into the new file.",
        ]
        assert (raised.value.exit_code, plan.missing) == (3, ())

    def test_a_number_that_another_file_has_now_is_no_way_back(self) -> None:
        plan = plan_of(["005-theirs", "006-mine=1"], ["005-mine=1"])
        with pytest.raises(
            IntegrityError,
            match=r"its file is now 006-mine\. It has the same text, "
            r"and its old number is now that of 005-theirs\.",
        ):
            plan.verify()

    def test_equal_files_that_are_both_there_or_both_pending_prove_nothing(self) -> None:
        plan_of(["000-a=1", "001-b=1", "002-c=1"], ["000-a=1"]).verify()
        plan_of(["001-b=1", "002-c=1"], []).verify()

    @pytest.mark.parametrize(
        ("here", "applied", "renamed"),
        [
            (["005-a=1", "006-b=1"], ["003-a=1"], [("003-a", "005-a")]),
            (["005-b=1", "006-a=1"], ["003-a=1"], [("003-a", "006-a")]),
            (["003-c=1", "006-a=1"], ["003-a=1"], [("003-a", "003-c")]),
            (
                ["005-c=1", "006-d=1"],
                ["003-a=1", "004-b=1"],
                [("003-a", "005-c"), ("004-b", "006-d")],
            ),
            (
                ["005-b=1", "006-a=1"],
                ["003-a=1", "004-b=1"],
                [("004-b", "005-b"), ("003-a", "006-a")],
            ),
            (["005-c=1"], ["003-a=1", "004-b=1"], [("003-a", "005-c")]),
        ],
        ids=[
            "by name",
            "by name, not by order",
            "by number first",
            "in order",
            "crossed",
            "one of two rows",
        ],
    )
    def test_each_row_has_one_file_and_each_file_one_row(
        self, here: list[str], applied: list[str], renamed: list[tuple[str, str]]
    ) -> None:
        plan = plan_of(here, applied)
        assert [(row.version, file.version) for row, file in plan.renamed] == renamed

    @pytest.mark.parametrize("here", VARIANTS)
    @pytest.mark.parametrize("stored", VARIANTS)
    def test_a_renamed_file_matches_with_other_line_ends(self, stored: bytes, here: bytes) -> None:
        row = AppliedMigration("000-old", "Old", checksum=hashlib.sha256(stored).hexdigest())
        plan = make_plan([parse("000-new.sql", here)], [row], environment="production")
        assert [(row.version, file.version) for row, file in plan.renamed] == [
            ("000-old", "000-new")
        ]

    def test_several_renames_are_told_at_once_with_both_ways_out_of_each(self) -> None:
        plan = plan_of(
            ["0000-a=1", "0001-b-and-c=2", "0002-new=3", "0003-d=4"],
            ["000-a=1", "001-b=2", "002-old=3x", "003-it=4"],
        )
        with pytest.raises(IntegrityError) as raised:
            plan.verify()
        assert str(raised.value).splitlines() == [
            "Migration 000-a was applied under that name, and its file is now 0000-a. "
            "Rename migrations/0000-a.sql back to 000-a.sql.",
            "Migration 001-b was applied under that name, and its file is now 0001-b-and-c. "
            "Rename migrations/0001-b-and-c.sql back to 001-b.sql.",
            "Migration 003-it was applied under that name, and its file is now 0003-d. "
            "Rename migrations/0003-d.sql back to 003-it.sql.",
            "  Or update the ledger, in every database where it was applied under the old name:",
            "    update public.schema_migrations set version = '0000-a', name = 'A' "
            "where version = '000-a';",
            "    update public.schema_migrations set version = '0001-b-and-c', name = 'B And C' "
            "where version = '001-b';",
            "    update public.schema_migrations set version = '0003-d', name = 'D' "
            "where version = '003-it';",
        ]
        assert raised.value.details() == {"version": "0000-a"}
        assert versions(plan.missing) == ["002-old"]

    def test_the_statement_that_moves_the_ledgers_row_quotes_the_name_that_is_there(self) -> None:
        row = AppliedMigration("000-it's", "Old", checksum=parse("000-new.sql", b"1").checksum)
        with pytest.raises(IntegrityError, match=r"where version = '000-it''s';$"):
            make_plan(files("000-new=1"), [row], environment="production").verify()

    def test_of_several_rows_of_its_number_a_renamed_file_finds_its_own(self) -> None:
        for rows in (["000-first=1", "000-second=2"], ["000-second=2", "000-first=1"]):
            plan = plan_of(["000-new=1"], rows)
            assert [(row.version, file.version) for row, file in plan.renamed] == [
                ("000-first", "000-new")
            ]
            assert versions(plan.missing) == ["000-second"]

    def test_a_renamed_file_for_elsewhere_is_skipped_since_it_would_not_be_run(self) -> None:
        plan = plan_of(["000-new=1@preview"], ["000-old=1@preview"])
        plan.verify()
        assert [(entry.version, entry.state) for entry in plan.entries] == [
            ("000-new", "skipped"),
            ("000-old", "missing"),
        ]
        with pytest.raises(
            IntegrityError, match="000-old is applied, but its file is not in this bundle"
        ):
            plan.verify_complete()

    def test_a_swap_of_two_names_is_two_modifications(self) -> None:
        plan = plan_of(["000-a=2", "001-b=1"], ["000-a=1", "001-b=2"])
        assert versions(plan.modified) == ["000-a", "001-b"]
        assert plan.renamed == ()

    def test_a_missing_file_is_a_warning_and_for_validate_an_error(self) -> None:
        plan = plan_of(["001-b"], ["000-a", "001-b", "002-c", "baseline"])
        plan.verify()
        assert versions(plan.missing) == ["baseline", "000-a", "002-c"]
        assert len(plan.warnings) == 3
        assert all(
            "not in this bundle: the database is ahead" in warning for warning in plan.warnings
        )
        with pytest.raises(
            IntegrityError, match="Migration 000-a is applied, but its file is not in this bundle"
        ) as raised:
            plan.verify_complete()
        assert raised.value.version == "baseline"

    def test_a_pending_file_is_no_fault(self) -> None:
        plan_of(["000-a", "001-b"], ["000-a"]).verify_complete()
        plan_of(["000-a"], None).verify_complete()

    def test_a_modification_is_told_before_a_late_file(self) -> None:
        plan = plan_of(["000-a", "001-b=changed"], ["001-b"], strict_order=True)
        with pytest.raises(IntegrityError, match="001-b has been modified"):
            plan.verify_complete()


class TestTwoProjectsInOneDatabase:
    HINT = "The ledger may hold what another project applied in the same database"
    LEDGERS = "000-create-migration-table"

    @pytest.mark.parametrize(
        ("here", "applied"),
        [
            ([LEDGERS, "001-orders"], [LEDGERS, "001-users", "002-teams"]),
            (["001-orders", "002-items"], ["001-users", "002-teams", "001-orders", "002-items"]),
        ],
        ids=["at first", "ever after"],
    )
    def test_what_is_missing_may_be_another_projects(
        self, here: list[str], applied: list[str]
    ) -> None:
        plan = plan_of(here, applied)
        assert sum(self.HINT in warning for warning in plan.warnings) == 1
        with pytest.raises(
            IntegrityError,
            match=rf"(?s)002-teams is applied, but .*{self.HINT}.* database of its own\.$",
        ):
            plan.verify_complete()

    def test_what_is_modified_may_be_another_projects(self) -> None:
        for applied in (["001-users=2", "002-teams"], ["001-users=2", "002-b=3"]):
            plan = plan_of([self.LEDGERS, "001-users", "002-b"], [self.LEDGERS, *applied])
            with pytest.raises(
                IntegrityError, match=rf"001-users has been modified (?s:.*)\n  {self.HINT}"
            ):
                plan.verify()

    @pytest.mark.parametrize(
        ("here", "applied"),
        [
            ([LEDGERS, "001-a"], [LEDGERS, "001-a", "002-b", "003-c"]),
            (["001-a", "005-theirs"], ["001-a", "005-mine", "005-theirs"]),
            ([LEDGERS], [LEDGERS, "001-a"]),
        ],
        ids=["a rollback", "a merge", "an old branch"],
    )
    def test_a_rollback_is_none(self, here: list[str], applied: list[str]) -> None:
        assert not any(self.HINT in warning for warning in plan_of(here, applied).warnings)

    def test_a_single_modified_file_is_none(self) -> None:
        for here in ([self.LEDGERS, "001-a=changed"], ["001-a=changed", "002-b"]):
            with pytest.raises(IntegrityError, match=r"put the change into a new migration\.$"):
                plan_of(
                    here,
                    [self.LEDGERS, "001-a", "002-b"][: len(here)]
                    if here[0] == self.LEDGERS
                    else ["001-a", "002-b"],
                ).verify()


class TestFaultsOfHeaders:
    def test_of_an_applied_file_are_warnings_and_of_a_pending_one_none_of_the_plans(self) -> None:
        plan = plan_of(["000-a=-- Phase: 1", "001-b=-- Phase: 1"], ["000-a=-- Phase: 1"])
        [warning] = plan.warnings
        assert warning.startswith("migrations/000-a.sql:1: the header's Phase is reserved")
        assert warning.endswith("; a new database would refuse it.")
        plan.verify()
        with pytest.raises(
            MigrationFileError, match=r"^migrations/001-b\.sql:1: the header's Phase is reserved"
        ):
            plan.verify_headers()

    def test_of_a_modified_file_are_not_told_beside_that(self) -> None:
        assert plan_of(["000-a=-- Phase: 1"], ["000-a"]).warnings == ()

    def test_of_a_skipped_file_are_warnings(self) -> None:
        [warning] = plan_of(["000-a=-- Phase: 1@preview"], []).warnings
        assert "000-a.sql:2: the header's Phase is reserved" in warning
        assert "It is skipped here" in warning

    def test_of_many_files_a_few_are_told(self) -> None:
        names = [f"{number:03}-x=-- Phase: 1" for number in range(50)]
        warnings = plan_of(names, names).warnings
        assert len(warnings) == 4
        assert warnings[3].startswith("… and 47 more with the same fault, 50 in all. It is applied")


class TestEnvironments:
    @pytest.mark.parametrize(
        ("names", "environment", "unknown"),
        [
            ("production, preview, development", "production", []),
            ("produciton", "production", ["produciton"]),
            ("prod, preview", "preview", ["prod"]),
            ("staging", "staging", []),
            ("Staging", "staging", []),
            ("staging, qa", "production", ["staging", "qa"]),
        ],
    )
    def test_a_name_that_is_neither_known_nor_current_is_warned_about(
        self, names: str, environment: str, unknown: list[str]
    ) -> None:
        plan = make_plan(files(f"000-a@{names}"), [], environment=environment)
        assert [name for _, name in plan.unknown_environments] == unknown
        assert [warning.partition(",")[0] for warning in plan.warnings] == [
            f"migrations/000-a.sql: its header names the environment {name!r}" for name in unknown
        ]

    def test_it_is_warned_about_on_every_run_also_when_applied(self) -> None:
        assert len(plan_of(["000-a@prod, production"], ["000-a@prod, production"]).warnings) == 1


class TestTenThousandFiles:
    """Untimed; what grew with the square of their number would keep these waiting for minutes."""

    NUMBERS = range(10_000)

    def test_their_numbers_are_compared_as_numbers_whatever_the_width(self) -> None:
        here = [f"{number:03d}-file" for number in self.NUMBERS]
        plan = plan_of(here, here[:9990:-1])
        assert len(plan.pending) == 9991
        assert [file.version for file in plan.pending[999:1001]] == ["999-file", "1000-file"]
        assert plan.late == plan.pending
        assert plan.entries[-1].version == "9999-file"

    def test_when_their_numbers_are_made_wider_each_is_found_again(self) -> None:
        plan = plan_of(
            [f"{number:05d}-file={number}" for number in self.NUMBERS],
            [f"{number:04d}-file={number}" for number in self.NUMBERS],
        )
        assert len(plan.renamed) == 10_000
        assert plan.missing == ()
        with pytest.raises(IntegrityError, match="09999-file"):
            plan.verify()
