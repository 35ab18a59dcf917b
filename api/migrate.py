"""POST /api/migrate, with a Bearer token. Everything is in `lib.web.admin_endpoint`."""

from lib.web.admin_endpoint import create_migrate_app

app = create_migrate_app()
