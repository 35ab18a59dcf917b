"""What a statement did in the rehearsal, as values."""

from lib.rehearse.statement_facts import FileFacts, RelationLock, StatementFacts


def test_a_file_that_did_not_run_says_why() -> None:
    lock = RelationLock("public.users", "AccessExclusive", until=2)
    facts = FileFacts("001-a", True, (StatementFacts(1, 3, "drop …", locks=(lock,)),), "superuser")
    assert facts.not_rehearsed == "superuser"
    assert facts.statements[0].locks[0].until == 2
