"""The schema of a database: what its catalog says of each object, and how two of them differ.

Read in one statement, compared in Python.
May import: database.
Must not: write anything, or keep a definition longer than it is compared: definitions hold secrets.

    schema_objects  an object, a schema, and a change, as values
    comparison      how two schemas differ
    other_ledgers   the ledgers of other migration tools, by name and shape
    catalog_query   the SQL that lists every object of a schema with its definition
    snapshot        the schema of a database, or why it is unknown
"""
