"""What deployed code can use of a database, and what a change means for it. Not deployed.

Deployed code keeps running during a deploy and after it, and a rollback brings it back. What it may
use must stay until no code does: expand now, contract later.
May import: database, review.
Must not: know which file or statement makes a change, or write anything.

    type_changes      whether deployed code can bear another type
    code_view         all that code can use of a database, and a change of it, as values
    code_view_query   the same, read from a database
    relation_changes  what becomes of tables and views, their columns, keys and rights
    code_changes      what becomes of all that deployed code can use
"""
