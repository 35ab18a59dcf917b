"""The history of another migration tool, carried on. Not deployed with the functions.

From its files and its records to files and records of ours, with a proof that both make the same.
May import: files, settings, plan, database, catalog, ledger, actions, local, scratch, tools.
Must not: write anything unless asked to, run the other tool, or drop what belongs to it.

    adoption        what becomes of each file, what is in the way, what was done
    tool_folder     the folder in which the tool has its files
    tool_records    its ledger, found and read
    history_source  the files and the records of a tool, judged
    conversion      its migrations made into files of ours
    first_file      the one file of a database whose tool has no SQL
    callers         where the project still calls it
    proof           the files, built, against the database
    written_files   new files in our folder, all or none
    adopting        look, prove, write and record
"""
