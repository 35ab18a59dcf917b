"""A function of the project's own."""

from flask import Flask

app = Flask(__name__)


@app.get("/api/hello")
def hello() -> str:
    return "hello from the project"
