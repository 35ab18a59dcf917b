"""The schema of a database: what its catalog says of each object, and how two of them differ.

Read in one statement, compared in Python.
May import: settings, database.
Must not: write anything, or keep a definition longer than it is compared: definitions hold secrets.

    schema_objects    an object, a schema, and a change, as values
    identities        what the identity of an object says of others
    comparison        how two schemas differ
    other_ledgers     the ledgers of other migration tools, by name and shape
    exclusions        what is left out: a provider's objects, and what a project ignores
    relation_queries  the SQL for tables and all that belongs to them
    object_queries    the SQL for everything else, kind by kind
    catalog_query     the statement that lists every object of a schema with its definition
    snapshot          the schema of a database, or why it is unknown
    view_texts        views that two versions of the server only print differently
"""
