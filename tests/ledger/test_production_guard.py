"""The guard: production claims its database, and no other environment migrates it."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from conftest import Bundle, Database

from lib.actions.dry_run import preview
from lib.actions.migrate import migrate
from lib.actions.run_parameters import RunContext
from lib.actions.status import read_status
from lib.errors import (
    GuardError,
)

MakeContext = Callable[..., RunContext]
NEON, ANOTHER = "ep-shop-1.eu-central-1.aws.neon.tech", "ep-preview-2.eu-central-1.aws.neon.tech"


class Met(NamedTuple):
    """How a run reaches the database: environment, host, and whether the server tells its id."""

    environment: str
    host: str = ""
    tells_its_system: bool = True


PRODUCTION, PREVIEW = Met("production"), Met("preview")


class TestTheGuard:
    @pytest.mark.parametrize(
        ("claim", "run", "is_free"),
        [
            pytest.param(None, PREVIEW, True, id="nobody has claimed it"),
            pytest.param(PREVIEW, PREVIEW, True, id="previews share one"),
            pytest.param(PREVIEW, Met("staging"), True, id="only production claims"),
            pytest.param(PREVIEW, PRODUCTION, True, id="production comes second"),
            pytest.param(PRODUCTION, PRODUCTION, True, id="production comes again"),
            pytest.param(PRODUCTION, PREVIEW, False, id="a preview"),
            pytest.param(PRODUCTION, Met("development"), False, id="a laptop"),
            pytest.param(PRODUCTION, Met("staging"), False, id="a custom environment"),
            pytest.param(
                PRODUCTION._replace(host=NEON),
                PREVIEW._replace(host=NEON),
                False,
                id="the same branch",
            ),
            pytest.param(
                PRODUCTION._replace(host=NEON),
                PREVIEW._replace(host=NEON.replace("-1.", "-1-pooler.")),
                False,
                id="the same branch by its pooler",
            ),
            pytest.param(
                PRODUCTION._replace(host=NEON),
                PREVIEW._replace(host=ANOTHER),
                True,
                id="another branch",
            ),
            pytest.param(
                PRODUCTION._replace(host=NEON), PREVIEW, False, id="the branch by a tunnel"
            ),
            pytest.param(PRODUCTION, PREVIEW._replace(host=NEON), False, id="claimed by a tunnel"),
            pytest.param(
                PRODUCTION,
                PREVIEW._replace(tells_its_system=False),
                False,
                id="a role that may not ask for the server",
            ),
            pytest.param(
                PRODUCTION._replace(tells_its_system=False),
                PREVIEW,
                False,
                id="claimed by a role that may not ask for it",
            ),
            pytest.param(
                PRODUCTION._replace(host=NEON, tells_its_system=False),
                PREVIEW._replace(host=ANOTHER, tells_its_system=False),
                True,
                id="another branch of a server that does not tell",
            ),
        ],
    )
    def test_an_environment_may_migrate_what_production_has_not_claimed(
        self,
        make_context: MakeContext,
        bundle: Bundle,
        db: Database,
        claim: Met | None,
        run: Met,
        *,
        is_free: bool,
    ) -> None:
        with db.another_role("in role pg_read_all_data, pg_write_all_data") as lowly:
            db.query("revoke execute on function pg_control_system() from public")

            def context(met: Met) -> RunContext:
                login = db if met.tells_its_system else lowly
                named = login.but(host=met.host, hostaddr="127.0.0.1") if met.host else login
                return make_context(environment=met.environment, target=named.target)

            if claim:
                assert migrate(context(claim)).error is None
            bundle.write("000-a.sql", "create table a (x int)")
            report = migrate(context(run))
            found, planned = read_status(context(run)), preview(context(run))
        assert (report.error is None) is is_free
        assert found.plan.state == ("up-to-date" if is_free else "pending")
        claimed = (
            claim and claim.environment == "production" and not is_free
        ) or run.environment == "production"
        assert found.owner == ("production" if claimed else None)
        if not is_free:
            assert isinstance(report.error, GuardError)
            assert isinstance(planned.obstacle, GuardError)
            for way_out in (
                "a database of its own",
                "MIGRATION_ENVIRONMENT=production",
                "delete from public.schema_mig",
            ):
                assert way_out in str(report.error)

    def test_a_claimed_database_is_refused_to_another_environment(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        assert migrate(make_context(environment="preview")).error is None
        assert migrate(make_context(environment="production")).applied == ()
        assert [(run["environment"], run["outcome"], run["applied"]) for run in db.runs()] == [
            ("preview", "succeeded", ["000-a"]),
            ("production", "succeeded", []),
        ]
        bundle.write("001-b.sql", "create table b (x int)")
        report = migrate(make_context(environment="preview"))
        assert isinstance(report.error, GuardError)
        assert "belongs to production, and this run's environment is preview" in str(report.error)
        assert not db.has("b")
        assert migrate(make_context(environment="production")).error is None

    def test_production_claims_once(self, make_context: MakeContext, db: Database) -> None:
        migrate(make_context(environment="production"))
        migrate(make_context(environment="production"))
        assert len(db.runs()) == 1

    def test_production_that_is_reached_in_another_way_claims_again(
        self, make_context: MakeContext, db: Database
    ) -> None:
        """Through a tunnel it might be a branch of what was claimed by name."""
        by_name = db.but(host=NEON, hostaddr="127.0.0.1").target
        for target in (by_name, by_name, db.target, db.target, by_name, by_name):
            assert migrate(make_context(environment="production", target=target)).error is None
        assert [run["database_fingerprint"].count(":") for run in db.runs()] == [2, 1, 2]
        other_branch = db.but(host=ANOTHER, hostaddr="127.0.0.1").target
        assert migrate(make_context(environment="preview", target=other_branch)).error is None

    def test_a_logical_copy_is_free(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        bundle.write("000-a.sql", "create table a (x int)")
        migrate(make_context(environment="production"))
        name = f"{db.target.database}_copy"
        db.named("postgres").query(f"create database {name} template {db.target.database}")
        try:
            bundle.write("001-b.sql", "create table b (x int)")
            target = db.named(name).target
            assert read_status(make_context(environment="preview", target=target)).owner is None
            assert migrate(make_context(environment="preview", target=target)).error is None
        finally:
            db.query(f"drop database {name} with (force)")

    def test_a_claim_that_was_dropped_frees_the_database(
        self, make_context: MakeContext, bundle: Bundle, db: Database
    ) -> None:
        """A physical copy has the fingerprint of its origin, so its claim has to be dropped."""
        migrate(make_context(environment="production"))
        told = str(migrate(make_context(environment="preview")).error)
        db.query(told[told.index("delete from") :].rstrip("."))
        assert migrate(make_context(environment="preview")).error is None
