"""Schemas apart from their database: built on a scratch server, or dumped. Not deployed.

For `schema.sql`, for the comparison of a database with its files, and for adoptions.
May import: sql, files, settings, database, catalog, ledger, drift, actions, local.
Must not: write to any database but its own, or leave anything of it behind.

    scratch_server   a fresh server from the embedded binaries, gone after its use
    chain            files applied there by the runner itself
    schema_dump      what they have made as SQL, by pg_dump, the same on every machine
    schema_file      schema.sql: what it has to hold, and whether it does
    files_drift      how a database differs from what its applied files make
    tls_relay        a port behind which a server is reached over TLS
    database_dump    the schema of a live database, by pg_dump
    surroundings     what a database holds beside the schema of a project
    dump_privileges  what a dump says of roles
    dump_cleaning    from a dump to a file that another server accepts
"""
