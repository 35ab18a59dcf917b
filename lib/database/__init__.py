"""One connection to PostgreSQL: how it comes about, how SQL gets to the server, what the server answers.

Knows nothing of migrations.
May import: settings.
Must not: hold SQL about the ledger.

    connection         the two ways in which SQL is sent, within a deadline
    pipeline           many statements in one round trip
    connection_errors  why a connection failed, recognised and quoted
    login              a connection that is retried, and checked
    read_only          why a database accepts no writes
"""
