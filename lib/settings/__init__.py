"""What the environment asks for: one frozen object, read once.

Opens no connection to PostgreSQL; `aws` asks STS for credentials when a login needs them.
May import: nothing but the floor.
Must not: read os.environ (a mapping is an argument), or print a value.

    deployment       the commit and the ref that Vercel built
    providers        what a host name says about its provider, its direct address and its certificates
    pasted_values    the marks of a value that was pasted wrong
    search_path      the schemas that a URL names
    connection_url   a database URL, read with care
    aws              logins to databases at AWS without a stored password
    tls              what a connection has to prove by TLS
    database_choice  which variable names the database, and why
    loader           every variable, read and checked at once
"""
