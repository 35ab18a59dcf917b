"""One connection to PostgreSQL: how it comes about, how SQL gets to the server, and the answers.

Knows nothing of migrations.
May import: settings.
Must not: hold SQL about the ledger.

    sql_composition      SQL put together
    server_error         what the server says when it refuses a statement
    notices              the server's notices, passed on
    send_and_receive     what travels over one connection, until a deadline
    cancel_and_rollback  a connection put in order after a message was cut off
    connection           the two ways in which SQL is sent
    pipeline             many statements in one round trip
    connection_errors    why a connection failed, recognized and quoted
    login                a connection that is retried, and checked
    read_only            why a database accepts no writes
"""
