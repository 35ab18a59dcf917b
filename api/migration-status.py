"""GET /api/migration-status: public and read-only. Everything is in `lib.web.status_endpoint`."""

from lib.web.status_endpoint import create_status_app

app = create_status_app()
