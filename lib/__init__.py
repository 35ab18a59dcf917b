"""The migration runner. Each room in a line, and who may enter: a module imports only from the rooms above its own.

pure, no I/O but the migrations folder
    errors            what can go wrong, with its data
    duration          500ms, 2s, 10min
    outgoing          what leaves for people: escaped, behind a prefix, without secrets
    header            what a file's leading comments ask of the runner
    migration_files   names, headers and checksums of the files; the folder they lie in
    sql_lexer         a script cut into statements, as psql cuts it
    plan              files and ledger to what is to be done
    subject           what a statement with CONCURRENTLY works on
    statement         one statement: what its words tell of how it has to run
    place             where in a file an error belongs, and how its line is shown
    refusals          what of a file is refused, with the reason and the way out
    comments          another tool's way back, and a header that stands too low
    letters           letters that nobody sees
    own_tables        what a file may not do to the runner's own tables
    script            how a file runs: its mode, its statements
    fingerprint       which database it is, and whether production has claimed it
    read_only         why a database takes no writes, and the way out
    report            what there is to tell, and the JSON documents
    planned_run       the same of a run that has not been
    terminal          the reports as text for people
edges
    provider          what a host's name tells: whose it is, its direct address, its certificates
    pasted            what a value looks like that was pasted wrong
    search_path       the schemas that a URL names
    connection_url    a database URL, read with care
    aws               a login at AWS' databases without a password of one's own
    tls               what a connection's TLS has to prove
    choice            which variable names the database, and why
    settings          the environment, once
    manifest          where Vercel takes the packages of the functions from
    embedded          a PostgreSQL for a machine without one
database
    database          a connection: the runner's own SQL, and a file's
    pipeline          many statements in one flight, each by a message of its own
    unreachable       why a connection failed, recognised and quoted
    login             how a connection comes about, or why not
    trust             whose the runner's tables are, and whether anything in them runs code
    failure           how a refusal of the server's is told
    survey            what one look at a database tells: the ledger, the journal, whose it is
    ledger            the ledger and the journal of runs, written
    lock              one run at a time
    catalog           what the server knows of an index, a partition, a statement under way
    observer          what a statement waits for, seen from a second session
the way through
    job               who asks for what, and who hears of it
    status            the bundle and its database side by side
    session           where files run: how long it waits for a table, how its failures are told
    recovery          where to go on with a file that was left half-way
    statements        a file outside a transaction, each statement on record before it starts
    execution         one file, once, and its ledger row
    runner            plan under the lock, each file once, the outcome as a value
    baseline          files recorded as applied without running them
surfaces, which never import each other
    cli               the command line
    service           what both endpoints share
    status_endpoint   GET /api/migration-status
    admin_endpoint    POST /api/migrate
    local_server      both endpoints and the page on this machine

`tests/test_architecture.py` holds the imports to this map.
"""

# The newest one in CHANGELOG.md.
__version__ = "0.2.0"
