#!/usr/bin/env python3
"""Logged models through the real MLflow client: made, measured, searched, loaded, deleted; what is written is read back.

    logged_model_calls.py [TRACKING_URI [SECTION…]]

Needs mlflow 3. scikit-learn is used where it is installed. What MLflow's own server gets wrong is not asked of it.
"""

import importlib.util
import logging
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

from checks import Checks, tracking_uri, unique
from files import artifacts_out_of_reach, files_below, folder

TRACKING_URI = tracking_uri()

import mlflow  # noqa: E402 (reads the environment that is prepared above)
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import requests  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

checks = Checks()
client = MlflowClient(TRACKING_URI)
sections = []
experiment_id = None
artifacts_missing = None


def section(*needs):
    """A part of the test; it is skipped where a module is not installed, or files (needs "files") are out of reach."""

    def add(function):
        def run():
            missing = [module for module in needs if module != "files" and not importlib.util.find_spec(module)]
            if missing:
                checks.skip(function.__name__, f"there is no {missing[0]}")
            elif "files" in needs and artifacts_missing:
                checks.skip(function.__name__, artifacts_missing)
            else:
                function()

        run.__name__ = function.__name__
        sections.append(run)
        return function

    return add


def is_mlflows_own():
    """Whether this is MLflow's own server, the reference, whose mistakes are not asked of anybody."""
    server = requests.get(f"{TRACKING_URI}/health", timeout=60).headers.get("Server", "")
    return server.lower().startswith(("uvicorn", "gunicorn", "werkzeug", "waitress"))


def new_experiment():
    return client.create_experiment(unique("logged models"))


def names(models):
    return [model.name for model in models]


def points(model):
    return sorted((point.key, point.value, point.timestamp, point.step, point.dataset_name, point.dataset_digest, point.run_id)
                  for point in model.metrics or [])


def measure(run_id, model_id, key, value, step=0, timestamp=1_700_000_000_000, dataset=(None, None)):
    client.log_metric(run_id, key, value, timestamp=timestamp, step=step, model_id=model_id,
                      dataset_name=dataset[0], dataset_digest=dataset[1])


@section()
def create_and_get():
    run = client.create_run(experiment_id)
    params = {f"p{number}": str(number) for number in range(250)}
    model = client.create_logged_model(
        experiment_id, name="forecaster 漢", source_run_id=run.info.run_id, tags={"team@x": "😀", "t": "x"}, params=params, model_type="AutoNHITS")
    read = client.get_logged_model(model.model_id)
    for one in (model, read):
        checks.equal("name", one.name, "forecaster 漢")
        checks.equal("type", one.model_type, "AutoNHITS")
        checks.equal("run", one.source_run_id, run.info.run_id)
        checks.equal("experiment", one.experiment_id, experiment_id)
        checks.equal("status", one.status.value, "PENDING")
        checks.true("times", one.creation_timestamp > 0 and one.last_updated_timestamp >= one.creation_timestamp)
        checks.true("location", one.artifact_location.endswith(f"/models/{one.model_id}/artifacts"), one.artifact_location)
    checks.equal("params", read.params, params)
    checks.equal("tags", read.tags, {"team@x": "😀", "t": "x"})
    checks.equal("metrics", read.metrics or [], [])

    unnamed = client.create_logged_model(experiment_id)
    checks.true("a made-up name", len(unnamed.name.split("-")) == 3, unnamed.name)
    for name in ("a/b", "a:b", "a.b", "a%b", 'a"b', "a'b"):
        checks.refused(f"the name {name}", "INVALID_PARAMETER_VALUE", client.create_logged_model, experiment_id, name=name)
    checks.refused("no such experiment", "RESOURCE_DOES_NOT_EXIST", client.create_logged_model, "987654321")
    checks.refused("no such model", "RESOURCE_DOES_NOT_EXIST", client.get_logged_model, "m-" + "0" * 32)


@section()
def change_and_delete():
    model_id = client.create_logged_model(experiment_id, name="changing", tags={"keep": "1", "change": "old"}).model_id
    client.set_logged_model_tags(model_id, {"change": "new", "a b": "c"})
    client.delete_logged_model_tag(model_id, "keep")
    checks.equal("tags", client.get_logged_model(model_id).tags, {"change": "new", "a b": "c"})
    checks.refused("a tag that is gone", "RESOURCE_DOES_NOT_EXIST", client.delete_logged_model_tag, model_id, "keep")
    client.log_model_params(model_id, {f"q{number}": str(number) for number in range(120)})
    checks.equal("params", len(client.get_logged_model(model_id).params), 120)
    checks.refused("another value", ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"), client.log_model_params, model_id, {"q1": "other"})
    checks.equal("the value that stays", client.get_logged_model(model_id).params["q1"], "1")
    for status in ("READY", "FAILED", "READY"):
        checks.equal(f"finalized as {status}", client.finalize_logged_model(model_id, status).status.value, status)
    client.delete_logged_model(model_id)
    client.delete_logged_model(model_id)
    checks.refused("a deleted model", "RESOURCE_DOES_NOT_EXIST", client.get_logged_model, model_id)
    found = client.search_logged_models([experiment_id], filter_string="name = 'changing'")
    checks.equal("not found any more", names(found), [])


@section()
def metrics():
    run_id = client.create_run(experiment_id).info.run_id
    model_id = client.create_logged_model(experiment_id, name="measured", source_run_id=run_id).model_id
    measure(run_id, model_id, "mae", 0.5, step=1, dataset=("etth1", "d1"))
    measure(run_id, model_id, "mae", 0.25, step=2)
    measure(run_id, model_id, "mae", 0.25, step=2)
    time = 1_700_000_000_000
    expected = [("mae", 0.25, time, 2, None, None, run_id), ("mae", 0.5, time, 1, "etth1", "d1", run_id)]
    checks.equal_each("points", points(client.get_logged_model(model_id)), expected)
    checks.equal("latest of the run", client.get_run(run_id).data.metrics, {"mae": 0.25})
    checks.equal("history of the run", [point.value for point in client.get_metric_history(run_id, "mae")], [0.5, 0.25])
    checks.refused("another value", "BAD_REQUEST", measure, run_id, model_id, "mae", 9.0, 2)
    measure(run_id, model_id, "nan", float("nan"))
    checks.equal("NaN of the model", [point.value for point in client.get_logged_model(model_id).metrics if point.key == "nan"], [0.0])
    checks.equal("NaN of the run", [point.value for point in client.get_metric_history(run_id, "nan")], [float("nan")])
    if not is_mlflows_own():
        checks.refused("no such model", "RESOURCE_DOES_NOT_EXIST", measure, run_id, "m-" + "0" * 32, "never", 1.0)
        checks.true("nothing of it", "never" not in client.get_run(run_id).data.metrics)


@section()
def fluent():
    mlflow.set_experiment(experiment_id=experiment_id)
    data = mlflow.data.from_pandas(pd.DataFrame({"y": [1.0, 2.0]}), name="validation set")
    with mlflow.start_run() as run:
        model = mlflow.initialize_logged_model(name="fluent", params={"h": "24"}, tags={"t": "x"}, model_type="forecaster")
        mlflow.log_input(data, context="validation", model=mlflow.entities.LoggedModelInput(model.model_id))
        mlflow.log_metric("mae", 0.5, step=3, model_id=model.model_id, dataset=data)
        mlflow.log_metrics({"rmse": 0.75, "smape": 10.0}, step=3, model_id=model.model_id, dataset=data)
        mlflow.log_model_params({"late": "1"}, model_id=model.model_id)
        mlflow.finalize_logged_model(model.model_id, "READY")
    read = mlflow.get_logged_model(model.model_id)
    checks.equal("status", read.status.value, "READY")
    checks.equal("params", read.params, {"h": "24", "late": "1"})
    checks.equal(
        "points", sorted((point.key, point.value, point.step, point.dataset_name, point.dataset_digest) for point in read.metrics),
        [("mae", 0.5, 3, data.name, data.digest), ("rmse", 0.75, 3, data.name, data.digest), ("smape", 10.0, 3, data.name, data.digest)])
    seen = client.get_run(run.info.run_id)
    checks.equal("input of the run", [one.model_id for one in seen.inputs.model_inputs], [model.model_id])
    checks.equal("metrics of the run", seen.data.metrics, {"mae": 0.5, "rmse": 0.75, "smape": 10.0})
    checks.equal("last logged model", mlflow.last_logged_model().model_id, model.model_id)


@section()
def active_model():
    mlflow.set_experiment(experiment_id=experiment_id)
    name = "active"
    with mlflow.set_active_model(name=name) as model:
        checks.equal("made and active", mlflow.get_active_model_id(), model.model_id)
        with mlflow.start_run():
            mlflow.log_metric("score", 1.5)
        checks.equal("its metrics", [(point.key, point.value) for point in mlflow.get_logged_model(model.model_id).metrics], [("score", 1.5)])
    with mlflow.set_active_model(name=name) as again:
        checks.equal("found by its name", again.model_id, model.model_id)
    with mlflow.set_active_model(model_id=model.model_id) as again:
        checks.equal("found by its id", again.name, name)


@section("files")
def external_model():
    model = mlflow.create_external_model(
        name="external", experiment_id=experiment_id, model_type="agent", params={"temperature": "0.1"}, tags={"stage": "dev"})
    checks.equal("status", model.status.value, "READY")
    read = mlflow.get_logged_model(model.model_id)
    checks.equal("type", read.model_type, "agent")
    checks.equal("params", read.params, {"temperature": "0.1"})
    checks.equal("tag", read.tags["stage"], "dev")


@section()
def search():
    experiment, other = new_experiment(), new_experiment()
    run_id = client.create_run(experiment).info.run_id
    ids = {}
    for number, name in enumerate(("a", "b", "c", "d")):
        ids[name] = client.create_logged_model(
            other if name == "d" else experiment, name=name, source_run_id=run_id if name == "a" else None, model_type="ts" if number else "rnn",
            params={"h": str(24 * number)}, tags={"env": "prod" if number % 2 else "dev", "k.d": "1"}).model_id
    client.finalize_logged_model(ids["b"], "READY")
    for name, value, dataset in (("a", 0.9, ("etth1", "d1")), ("b", 0.5, ("etth2", "d2")), ("c", 0.7, ("etth1", "d1"))):
        measure(run_id, ids[name], "acc", value, dataset=dataset)
    measure(run_id, ids["b"], "acc", 0.95, step=1, timestamp=1_700_000_000_001)

    def find(filter_string=None, order=None, **more):
        order_by = [{"field_name": order or "name", "ascending": True}] if not isinstance(order, list) else order
        return names(client.search_logged_models([experiment, other], filter_string=filter_string, order_by=order_by, **more))

    for filter_string, expected in {
        None: "abcd", "name = 'a'": "a", "attributes.name != 'a'": "bcd", "name IN ('a', 'd')": "ad", "name NOT IN ('a')": "bcd",
        "name LIKE 'A'": "", "name ILIKE 'A'": "a", "model_type = 'ts'": "bcd", "tags.env = 'prod'": "bd", "tags.`k.d` = '1'": "abcd",
        "tags.env != 'prod' AND model_type LIKE 't%'": "c", "params.h = '24'": "b", "params.h IN ('0', '48')": "ac", "params.none = 'x'": "",
        "metrics.acc > 0.93": "b", "metrics.acc > 0.6 AND metrics.acc < 0.92": "abc", "metrics.acc <= 0.5": "b",
        f"source_run_id = '{run_id}'": "a", "creation_timestamp > 0": "abcd", "last_updated_timestamp_ms > 1": "abcd",
        f"model_id = '{ids['c']}'": "c", f"experiment_id = '{other}'": "d", "status = 2": "b",
    }.items():
        checks.equal(f"filter {filter_string}", "".join(find(filter_string)), expected)
    for filter_string in ("name = 'a' OR name = 'b'", "name > 'a'", "name IS NULL", "metrics.acc", "params.h > 1", "metric.acc > 1"):
        checks.refused(f"filter {filter_string}", "INVALID_PARAMETER_VALUE", find, filter_string)

    def by(field, ascending=True, **more):
        return "".join(find(order=[{"field_name": field, "ascending": ascending, **more}]))

    checks.equal("by metric", by("metrics.acc"), "cabd")
    checks.equal("by metric, descending", by("metrics.acc", False), "bacd")
    checks.equal("by metric on a data set", by("metrics.acc", dataset_name="etth1", dataset_digest="d1"), "cadb")
    checks.equal("by name, descending", by("name", False), "dcba")
    checks.equal("by creation", by("creation_timestamp"), "abcd")
    checks.equal("the latest first", "".join(names(client.search_logged_models([experiment, other]))), "dcba")
    checks.refused("by a param", "INVALID_PARAMETER_VALUE", by, "params.h")
    checks.equal("with a data set", "".join(find(datasets=[{"dataset_name": "etth1", "dataset_digest": "d1"}])), "ac")
    checks.equal("metric on a data set", "".join(find("metrics.acc > 0.8", datasets=[{"dataset_name": "etth1", "dataset_digest": "d1"}])), "a")
    checks.equal("data set without its digest", "".join(find("metrics.acc > 0.6", datasets=[{"dataset_name": "etth1"}])), "")
    if not is_mlflows_own():
        checks.equal("status by its name", "".join(find("status = 'READY'")), "b")

    page = client.search_logged_models([experiment, other], max_results=3)
    checks.equal("first page", "".join(names(page)), "dcb")
    rest = client.search_logged_models([experiment, other], max_results=3, page_token=page.token)
    checks.equal("second page", ("".join(names(rest)), rest.token), ("a", None))
    checks.refused(
        "the token of another search", "INVALID_PARAMETER_VALUE", client.search_logged_models, [experiment], max_results=3, page_token=page.token)
    frame = mlflow.search_logged_models(experiment_ids=[experiment], filter_string="params.h = '24'")
    checks.equal("as a table", list(frame["name"]), ["b"])


@section("sklearn", "files")
def scikit_learn():
    from sklearn.linear_model import LinearRegression

    mlflow.set_experiment(experiment_id=experiment_id)
    x = np.arange(24.0).reshape(12, 2)
    model = LinearRegression().fit(x, x @ [2.0, -1.0] + 3.0)
    with mlflow.start_run() as run:
        # With requirements given, the client does not import everything anew to find them.
        info = mlflow.sklearn.log_model(model, name="model", pip_requirements=["scikit-learn"], params={"fit_intercept": "True"}, step=7)
        mlflow.log_metric("mae", 0.5, model_id=info.model_id)
    checks.equal("its uri", info.model_uri, f"models:/{info.model_id}")
    logged = mlflow.get_logged_model(info.model_id)
    checks.equal("status", logged.status.value, "READY")
    checks.equal("run", logged.source_run_id, run.info.run_id)
    checks.equal("params", logged.params, {"fit_intercept": "True"})
    checks.equal("metrics", [(point.key, point.value) for point in logged.metrics], [("mae", 0.5)])
    checks.equal("output of the run", [(one.model_id, one.step) for one in client.get_run(run.info.run_id).outputs.model_outputs], [(info.model_id, 7)])
    for uri in (info.model_uri, f"runs:/{run.info.run_id}/model"):
        checks.equal(f"predictions of {uri}", list(mlflow.sklearn.load_model(uri).predict(x)), list(model.predict(x)))
        checks.equal(f"predictions of {uri} as a function", list(mlflow.pyfunc.load_model(uri).predict(x)), list(model.predict(x)))
    with folder() as place:
        loaded = files_below(mlflow.artifacts.download_artifacts(artifact_uri=info.model_uri, dst_path=str(place)))
        checks.true("its files", {"MLmodel", "model.pkl", "requirements.txt"} <= set(loaded), sorted(loaded))
    listed = {file.path for file in client.list_logged_model_artifacts(info.model_id)}
    checks.true("files in the list", {"MLmodel", "model.pkl"} <= listed, sorted(listed))


@section("files")
def files_of_a_model():
    model_id = client.create_logged_model(experiment_id, name="files").model_id
    with folder() as place:
        (place / "data" / "deep").mkdir(parents=True)
        contents = {"MLmodel": b"flavors: {}\n", "data/weights.bin": os.urandom(100_000), "data/deep/a b.txt": "äöü".encode()}
        for path, data in contents.items():
            (place / path).write_bytes(data)
        client.log_model_artifacts(model_id, str(place))
        (place / "extra.txt").write_bytes(b"extra")
        client.log_model_artifact(model_id, str(place / "extra.txt"))
    contents["extra.txt"] = b"extra"
    client.finalize_logged_model(model_id, "READY")
    checks.equal("in the root", [(file.path, file.is_dir) for file in client.list_logged_model_artifacts(model_id)],
                 [("MLmodel", False), ("data", True), ("extra.txt", False)])
    checks.equal("in a folder", [(file.path, file.is_dir, file.file_size) for file in client.list_logged_model_artifacts(model_id, "data")],
                 [("data/deep", True, None), ("data/weights.bin", False, 100_000)])
    with folder() as place:
        loaded = files_below(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model_id}", dst_path=str(place)))
        # Newer clients add a file of their own.
        checks.equal("as they were", {path: loaded.get(path) for path in contents}, contents)


@section()
def at_once():
    run_ids = [client.create_run(experiment_id).info.run_id for _ in range(4)]
    model_id = client.create_logged_model(experiment_id, name="wanted by all").model_id

    def work(number):
        for step in range(10):
            measure(run_ids[number % 4], model_id, f"of {number}", float(step), step=step)
            client.set_logged_model_tags(model_id, {f"{number}": f"{step}"})
        client.log_model_params(model_id, {f"p{number}": f"{number}"})
        client.finalize_logged_model(model_id, "READY")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    model = client.get_logged_model(model_id)
    checks.equal("points", sorted((point.key, point.value) for point in model.metrics),
                 sorted((f"of {number}", float(step)) for number in range(8) for step in range(10)))
    checks.equal("params", model.params, {f"p{number}": f"{number}" for number in range(8)})
    checks.equal("tags", {key: model.tags[key] for key in map(str, range(8))}, {f"{number}": "9" for number in range(8)})


def end_runs():
    while mlflow.active_run():
        mlflow.end_run()


def main():
    global experiment_id, artifacts_missing
    warnings.filterwarnings("ignore", category=UserWarning)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(TRACKING_URI)
    if not hasattr(client, "create_logged_model"):
        checks.skip("logged_model_calls.py", f"mlflow {mlflow.__version__} has no logged models")
        return checks.finish()
    experiment_id = new_experiment()
    location = client.get_experiment(experiment_id).artifact_location
    artifacts_missing = artifacts_out_of_reach(location)
    print(f"mlflow {mlflow.__version__}, server {TRACKING_URI}, files in {location}")
    checks.run([part for part in sections if part.__name__ in sys.argv[2:] or not sys.argv[2:]], end_runs)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
