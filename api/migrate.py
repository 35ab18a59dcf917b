"""POST /api/migrate, with a Bearer token. Everything is in `lib.admin_endpoint`."""

from lib.admin_endpoint import create_migrate_app

app = create_migrate_app()
