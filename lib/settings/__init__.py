"""What the environment asks for: one frozen object, read once.

Opens no connection to PostgreSQL; `aws` asks STS for credentials when a login needs them.
May import: nothing but the floor.
Must not: read os.environ (a mapping is an argument), or print a value.

    variables          every environment variable: its parser, default, help and readers
    providers          what a host name says: the provider, its direct address, its authorities
    pasted_values      the marks of a value that was pasted wrong
    search_path        the schemas that a URL names
    aws                logins to databases at AWS without a stored password
    connection_target  where to connect to, and how to name that place
    connection_url     a database URL, read with care
    tls                what a connection has to prove by TLS
    database_choice    which variable names the database, and why
    loader             every variable, read and checked at once
"""
