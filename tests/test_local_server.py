"""Both endpoints and the page on this machine, over real HTTP."""

import json
import threading
import urllib.error
import urllib.request

import pytest
from conftest import Bundle
from werkzeug.serving import make_server

from lib.local_server import Site
from lib.service import MIGRATE_PATH, STATUS_PATH, Service


def test_serve_shows_the_page_and_both_endpoints(service: Service, bundle: Bundle) -> None:
    (bundle.root / "public").mkdir()
    (bundle.root / "public" / "index.html").write_text("<title>Migrations</title>")
    site = Site(service)
    server = make_server("127.0.0.1", 0, site, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        assert b"Migrations" in urllib.request.urlopen(f"{address}/").read()
        assert json.load(urllib.request.urlopen(f"{address}{STATUS_PATH}"))["state"] == "uninitialised"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(f"{address}{MIGRATE_PATH}", method="POST"))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        site.close()
