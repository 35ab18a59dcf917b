"""The history of another tool, carried on by this runner. Not deployed with the functions.

May import: catalog, database, scratch.
Must not: write anything to a database without being told to, or run the other tool.

    first_file  the first file of a database whose tool has no SQL
"""
