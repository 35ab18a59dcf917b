"""GET /api/migration-status: public and read-only. Everything is in `lib.web`."""

from lib.web import create_status_app

app = create_status_app()
