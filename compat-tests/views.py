#!/usr/bin/env python3
"""What the summary views of the database show of studies, compared with what the studies were told.

    views.py BACKEND_STORE_URI STUDIES

STUDIES is the file in which neuralforecast_auto_runner.py has noted what the views have to show. The database is
read past the server: sqlite:///file, or postgresql://… with PSQL (default: psql). On PostgreSQL the views have to be
refreshed before.
"""

import json
import os
import sqlite3
import subprocess
import sys

from checks import Checks

EXPERIMENT = "SELECT total_runs, completed_runs, failed_runs FROM mv_experiment_summary WHERE experiment_id = {experiment_id}"

MODELS_IN_PRODUCTION = """
    SELECT r.run_uuid, {columns}
    FROM model_registry v
    JOIN mv_model_performance p ON p.model_id = v.model_id OR p.registry_id = v.registry_id
    JOIN runs r ON r.run_id = p.run_id
    WHERE v.registered_model_name = '{registered_model_name}' AND v.current_stage = 'production'
"""


def rows(database, sql):
    if database.startswith("sqlite:"):
        with sqlite3.connect(database[len("sqlite:///") :]) as connection:
            return [[str(value) for value in row] for row in connection.execute(sql)]
    psql = [os.environ.get("PSQL", "psql"), "--no-psqlrc", "--quiet", "--csv", "--tuples-only", database, "--command", sql]
    return [line.split(",") for line in subprocess.run(psql, check=True, capture_output=True, text=True).stdout.splitlines()]


def main():
    database, studies = sys.argv[1:]
    checks = Checks()
    with open(studies) as file:
        for study in map(json.loads, file):
            name, errors = study["registered_model_name"], study["errors"]
            found = rows(database, EXPERIMENT.format(**study))
            checks.equal(f"experiment of {name}", [[int(value) for value in row] for row in found], [study["runs"]])
            found = rows(database, MODELS_IN_PRODUCTION.format(columns=", ".join(f"p.{column}" for column in errors), **study))
            if checks.equal(f"runs of {name}", [row[0].replace("-", "") for row in found], [study["run_id"]]):
                checks.equal(f"errors of {name}", dict(zip(errors, map(float, found[0][1:]))), errors)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
