"""What a text of SQL means, as psql and PostgreSQL read it.

Pure: no driver, no files, no environment.
May import: nothing but the floor.
Must not: judge a statement, or know what a migration is.

    lexer                the tokens of SQL, as psql and the server cut them
    splitter             a script cut into statements, as psql cuts it
    statement            one statement: its place, its words, and what is sent for it
    statement_reader     its words and names, read from left to right
    concurrent           the operation of a statement with CONCURRENTLY, and its relation
    concurrent_locks     what statements that can be in no transaction lock
    transaction_control  whether a statement begins or ends a transaction, or refuses one
    session_effects      what a statement leaves behind in its session
    error_position       where in a file an error belongs, and how that line is shown
    redaction            what of a server's message may be shown: no secret, no data of rows
"""
