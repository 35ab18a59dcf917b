"""What only a laptop needs. Not deployed with the functions.

Imported when asked for.
May import: files, settings, web.
Must not: run where VERCEL or CI is set without having been asked.

    server_folder    where the embedded PostgreSQL of a project has its files
    server_address   the port and the password of the embedded PostgreSQL, and which URLs mean it
    cluster_files    the files of the embedded PostgreSQL, and who may read them
    stand_ins        extensions in SQL, in place of two that the wheel leaves out
    supabase         roles, schemas and tables of Supabase in an embedded database
    embedded_server  a PostgreSQL for a machine without one
    psql_session     psql on the embedded database
    env_file         the line of `.env.local` that gives its URL to the application
    new_migration    the next file, from a description or from SQL of another tool
    web_server       both endpoints on this machine, as Vercel would serve them
"""
