"""What counts as the same, of what files make and what a database has. Without a server."""

from lib.adopt.proof import compared
from lib.catalog.schema_objects import ObjectKey, Snapshot

VIEW = ObjectKey("view", "app.names")


def schema(**objects: str) -> Snapshot:
    """Objects by kind and identity, as in `table__app_users`."""
    keys = {name: ObjectKey(*name.replace("_", " ", 1).split(" ", 1)) for name in objects}
    return Snapshot(
        {ObjectKey(k.kind, k.identity.replace("_", ".")): objects[n] for n, k in keys.items()},
        180000,
    )


EMPTY = schema(schema_public="")


def differences(made: Snapshot, found: Snapshot) -> list[str]:
    return [f"{each.identity} {each.change}" for each in compared(EMPTY, made, found).differences]


def test_only_the_schemas_that_the_files_touch_are_in_question() -> None:
    made = schema(table_app_users="a")
    found = schema(table_app_users="a", table_app_more="b", table_other_x="c", schema_other="")
    assert differences(made, found) == ["app.more added"]


def test_the_other_schemas_of_the_database_are_named() -> None:
    made = schema(schema_app="", table_app_users="a")
    found = schema(
        schema_app="",
        table_app_users="a",
        table_x_a="b",
        table_x_b="b",
        privilege_y_a="b",
        table_z_a="b",
    )
    assert compared(EMPTY, made, found).notes == (
        "Not compared, since the files make nothing in these schemas of the database: x (2 "
        "objects), z (1 object).",
    )


def test_what_was_there_before_the_files_may_be_missing() -> None:
    before = schema(schema_public="", table_app_before="a", table_app_changed="a")
    made = schema(table_app_before="a", table_app_changed="b", table_app_made="c")
    assert [each.identity for each in compared(before, made, EMPTY).differences] == [
        "app.changed",
        "app.made",
    ]


def test_what_is_in_no_schema_is_in_question_if_the_files_make_it() -> None:
    made = schema(extension_citext="1.6", publication_p="x")
    assert differences(made, schema(extension_citext="1.5", extension_neon="1")) == ["p removed"]


def test_owners_and_privileges_are_not() -> None:
    made = schema(table_app_users="a", owner_app_users="one")
    found = schema(table_app_users="a", owner_app_users="other")
    assert differences(made, found) == []


def test_line_ends_are_no_difference() -> None:
    made, found = schema(function_app_f="a\r\nb"), schema(function_app_f="a\nb")
    assert differences(made, found) == []


def test_views_that_two_versions_print_differently_are_no_difference() -> None:
    made, found = schema(view_app_names="new"), schema(view_app_names="old")
    assert differences(made, found) == ["app.names changed"]
    assert compared(EMPTY, made, found, {VIEW}).is_equal
