"""Wait until the database's schema is the one of this MLflow. Runs in the MLflow image, before its server.

The server makes missing tables by itself; beside the migrations Job that would be two at once. Reads
MLFLOW_BACKEND_STORE_URI (never printed) and WAIT_S. Relies on alembic's own interface and on where MLflow keeps its
migrations, on no function of MLflow's.
"""

import importlib.util
import os
import sys
import time
from pathlib import Path

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError


def wanted() -> str | None:
    """The newest revision that this MLflow knows."""
    spec = importlib.util.find_spec("mlflow")
    if spec is None or spec.origin is None:
        return None
    config = Config()
    config.set_main_option("script_location", str(Path(spec.origin).parent / "store" / "db_migrations"))
    return ScriptDirectory.from_config(config).get_current_head()


def found(uri: str) -> str | None:
    """The database's revision; None where it has none yet."""
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def main() -> int:
    uri, head = os.environ["MLFLOW_BACKEND_STORE_URI"], wanted()
    if head is None:
        print("error: this image holds no MLflow", file=sys.stderr)
        return 2
    give_up = time.monotonic() + float(os.environ.get("WAIT_S", "1800"))
    while True:
        try:
            revision = found(uri)
            state = f"the schema is at {revision}, this MLflow needs {head}"
        except SQLAlchemyError as error:
            revision, state = None, f"the database does not answer ({type(error).__name__})"
        if revision == head:
            print(f"the schema is at {head}")
            return 0
        if time.monotonic() > give_up:
            print(f"error: {state}; look at the migrations Job", file=sys.stderr)
            return 1
        print(f"waiting: {state}", flush=True)
        time.sleep(float(os.environ.get("PAUSE_S", "3")))


if __name__ == "__main__":
    sys.exit(main())
