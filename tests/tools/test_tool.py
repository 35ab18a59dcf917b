"""The values of another tool: none shows the text of a file by itself."""

from lib.tools.tool import ToolFile, ToolMigration


def test_the_text_of_a_file_is_not_shown_by_repr() -> None:
    file = ToolFile("1", "1.sql", b"create role a password 'hunter2'")
    migration = ToolMigration("1", "1.sql", "a", "create role a password 'hunter2'")
    assert "hunter2" not in repr(file) + repr(migration)
