"""POST /api/migrate, with a Bearer token. Everything is in `lib.web`."""

from lib.web import create_migrate_app

app = create_migrate_app()
