"""GET /api/migration-status: public and read-only. Everything is in `lib.status_endpoint`."""

from lib.status_endpoint import create_status_app

app = create_status_app()
