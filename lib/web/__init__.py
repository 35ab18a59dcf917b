"""The two endpoints.

Deployed as functions, so lean: what it imports is loaded on every cold start.
May import: files, settings, plan, database, actions.
Must not: import the command line, or show a detail of the connection.

    endpoint_setup   the environment and the bundle, and the run context of a request
    http_endpoint    HTTP as both endpoints speak it
    status_page      the status as a page, loaded when somebody asks for it
    status_endpoint  GET /api/migration-status
    admin_endpoint   POST /api/migrate
"""
