#!/usr/bin/env python3
"""The model registry through the real MLflow client: a model logged, registered, staged, aliased, found, loaded, copied, deleted.

    registry_calls.py [TRACKING_URI [SECTION…]]

A scikit-learn model goes all the way, in every form of models:/ that the client knows, and must predict what it predicted
before. Works with mlflow 2.x, where a model is files of a run, and 3.x, where it is a logged model with files of its own.
"""

import importlib.util
import logging
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from checks import Checks, tracking_uri, unique
from files import artifacts_out_of_reach, folder

TRACKING_URI = tracking_uri()

import mlflow  # noqa: E402 (reads the environment that tracking_uri prepares)
import numpy as np  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

INVALID, MISSING, TAKEN = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
HAS_LOGGED_MODELS = hasattr(MlflowClient, "create_logged_model")

checks = Checks()
client = MlflowClient(TRACKING_URI, TRACKING_URI)
sections = []
experiment_id = None


def section(*modules):
    """A part of the test; it is skipped where one of the modules is not installed, or model files are out of reach."""

    def add(function):
        def run():
            missing = [f"there is no {module}" for module in modules if not importlib.util.find_spec(module)]
            if modules and (reason := artifacts_out_of_reach(client.get_experiment(experiment_id).artifact_location)):
                missing.append(reason)
            if missing:
                checks.skip(function.__name__, missing[0])
            else:
                function()

        run.__name__ = function.__name__
        sections.append(run)
        return function

    return add


def new_name(stem="model"):
    return unique(stem)


def new_model(stem="model", versions=0, **kwargs):
    """A registered model with so many versions, whose sources are only names."""
    name = new_name(stem)
    client.create_registered_model(name, **kwargs)
    for number in range(versions):
        client.create_model_version(name, f"s3://bucket/models/{number + 1}")
    return name


def all_of(search, **kwargs):
    """Follows page tokens to the end."""
    found, token = [], None
    while True:
        page = search(page_token=token, **kwargs)
        found += page
        token = page.token
        if not token:
            return found


def numbers(versions):
    return [int(version.version) for version in versions]


def stage(name, version):
    return client.get_model_version(name, str(version)).current_stage


# ------------------------------------------------------------------------------------------- with model files


@lru_cache(maxsize=None)
def regression():
    """A fitted model, what it is asked, and what it says."""
    from sklearn.linear_model import LinearRegression

    random = np.random.default_rng(5)
    inputs = random.normal(size=(60, 3))
    model = LinearRegression().fit(inputs, inputs @ [1.5, -2.0, 0.5] + random.normal(size=60))
    return model, inputs[:10], model.predict(inputs[:10])


def log_regression(**kwargs):
    """Logs the model with the active run, as both generations of clients do; requirements are given, or the client looks for them."""
    place = {"name": "model"} if HAS_LOGGED_MODELS else {"artifact_path": "model"}
    return mlflow.sklearn.log_model(regression()[0], **place, pip_requirements=["scikit-learn"], **kwargs)


def check_loaded(what, uri):
    _, inputs, expected = regression()
    for flavor in (mlflow.pyfunc, mlflow.sklearn):
        try:
            found = flavor.load_model(uri).predict(inputs)
        except MlflowException as error:
            checks.fail(f"{what}: {flavor.__name__} loads {uri}", error)
        else:
            checks.true(f"{what}: {flavor.__name__} predicts from {uri}", np.array_equal(found, expected), f"{found}, expected {expected}")


@section("sklearn")
def registered_while_logged():
    name = new_name("while logged")
    with mlflow.start_run(experiment_id=experiment_id) as run:
        info = log_regression(registered_model_name=name)
    checks.equal("number", str(info.registered_model_version), "1")
    version = client.get_model_version(name, "1")
    checks.equal("run", version.run_id, run.info.run_id)
    checks.equal("status", version.status, "READY")
    checks.equal("stage", version.current_stage, "None")
    for uri in (f"models:/{name}/1", f"models:/{name}/latest", info.model_uri, f"runs:/{run.info.run_id}/model"):
        check_loaded("registered while logged", uri)

    with mlflow.start_run(experiment_id=experiment_id):
        checks.equal("second number", str(log_regression(registered_model_name=name).registered_model_version), "2")
    checks.equal("versions", numbers(client.search_model_versions(f"name = '{name}'")), [2, 1])
    with folder() as place:
        path = mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}/1/MLmodel", dst_path=str(place))
        checks.true("MLmodel names the run", run.info.run_id in Path(path).read_text())


@section("sklearn")
def registered_later():
    with mlflow.start_run(experiment_id=experiment_id) as run:
        info = log_regression()
    name = new_name("later")
    of_run = f"runs:/{run.info.run_id}/model"
    first = mlflow.register_model(info.model_uri, name, tags={"how": "register_model"})
    second = mlflow.register_model(of_run, name)
    # The client has the server's own address of the files in mind.
    source = f"{client.get_run(run.info.run_id).info.artifact_uri}/model"
    third = client.create_model_version(name, info.model_uri if HAS_LOGGED_MODELS else source, run.info.run_id, description="by hand")
    checks.equal("numbers", numbers([first, second, third]), [1, 2, 3])
    checks.equal("tags", client.get_model_version(name, "1").tags, {"how": "register_model"})
    checks.equal("description", client.get_model_version(name, "3").description, "by hand")
    for version in (first, second, third):
        checks.equal("run", client.get_model_version(name, version.version).run_id, run.info.run_id)
        check_loaded("registered later", f"models:/{name}/{version.version}")
        checks.true("files are somewhere", client.get_model_version_download_uri(name, version.version))
    checks.equal(
        "versions of the run", sorted(numbers(client.search_model_versions(f"run_id = '{run.info.run_id}' and name = '{name}'"))), [1, 2, 3]
    )


@section("sklearn")
def loaded_by_every_name():
    name = new_name("by every name")
    for _ in range(2):
        with mlflow.start_run(experiment_id=experiment_id):
            log_regression(registered_model_name=name)
    client.transition_model_version_stage(name, "1", "Production")
    client.transition_model_version_stage(name, "2", "Staging")
    client.set_registered_model_alias(name, "champion", "1")
    uris = [f"models:/{name}@champion", f"models:/{name}/Production", f"models:/{name}/staging", f"models:/{name}/2", f"models:/{name}/latest"]
    for uri in uris:
        check_loaded("loaded", uri)
    client.set_registered_model_alias(name, "champion", "2")
    check_loaded("alias moved", f"models:/{name}@champion")
    checks.refused("unknown alias", INVALID, mlflow.pyfunc.load_model, f"models:/{name}@nobody")
    checks.refused("unknown version", MISSING, mlflow.pyfunc.load_model, f"models:/{name}/17")

    client.rename_registered_model(name, renamed := new_name("renamed"))
    for uri in (f"models:/{renamed}@champion", f"models:/{renamed}/Production", f"models:/{renamed}/1"):
        check_loaded("renamed", uri)
    checks.refused("old name", MISSING, client.get_registered_model, name)

    copy = client.copy_model_version(f"models:/{renamed}/1", new_name("copied"))
    checks.equal("number of the copy", str(copy.version), "1")
    checks.equal("source of the copy", copy.source, f"models:/{renamed}/1")
    checks.equal("run of the copy", copy.run_id, client.get_model_version(renamed, "1").run_id)
    check_loaded("copied", f"models:/{copy.name}/1")
    again = client.copy_model_version(f"models:/{renamed}@champion", copy.name)
    checks.equal("number of the second copy", str(again.version), "2")
    check_loaded("copied by alias", f"models:/{copy.name}/2")
    twice = client.copy_model_version(f"models:/{copy.name}/2", new_name("copied twice"))
    check_loaded("copy of a copy", f"models:/{twice.name}/1")

    client.delete_registered_model(renamed)
    checks.refused("deleted", MISSING, mlflow.pyfunc.load_model, f"models:/{renamed}/1")
    check_loaded("copy of what was deleted", f"models:/{copy.name}/1")


@section("sklearn")
def logged_models_with_files():
    if not HAS_LOGGED_MODELS:
        checks.skip("logged models with files", f"mlflow {mlflow.__version__} has none")
        return
    name = new_name("logged")
    with mlflow.start_run(experiment_id=experiment_id) as run:
        info = log_regression(params={"alpha": "0.1"}, tags={"kind": "linear"})
        mlflow.log_metric("val_mae", 0.5, model_id=info.model_id)
        mlflow.log_metric("test_mae", 0.75, model_id=info.model_id)
    checks.equal("uri", info.model_uri, f"models:/{info.model_id}")
    check_loaded("logged model", f"models:/{info.model_id}")
    model = client.get_logged_model(info.model_id)
    checks.equal("status", str(model.status), "READY")
    checks.equal("run", model.source_run_id, run.info.run_id)
    checks.equal("params", model.params, {"alpha": "0.1"})
    checks.equal("tag", model.tags.get("kind"), "linear")
    checks.equal("metrics", {metric.key: metric.value for metric in model.metrics}, {"val_mae": 0.5, "test_mae": 0.75})
    checks.equal("output of the run", [output.model_id for output in client.get_run(run.info.run_id).outputs.model_outputs], [info.model_id])

    found = client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run.info.run_id}' AND metrics.val_mae < 0.6")
    checks.equal("found", [entry.model_id for entry in found], [info.model_id])
    found = client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run.info.run_id}' AND metrics.val_mae < 0.4")
    checks.equal("not found", list(found), [])

    version = mlflow.register_model(info.model_uri, name)
    client.transition_model_version_stage(name, version.version, "Production")
    check_loaded("registered", f"models:/{name}/Production")
    checks.equal("still ready", str(client.get_logged_model(info.model_id).status), "READY")
    client.delete_model_version(name, version.version)
    check_loaded("without its version", f"models:/{info.model_id}")
    client.delete_logged_model(info.model_id)
    checks.refused("deleted", MISSING, client.get_logged_model, info.model_id)


# ----------------------------------------------------------------------------------------- registered models


@section()
def registered_models():
    name, before = new_name("Modell – モデル"), int(time.time() * 1000)
    made = client.create_registered_model(name, tags={"task": "forecasting", "empty": ""}, description="first ✈")
    checks.equal("name", made.name, name)
    found = client.get_registered_model(name)
    checks.equal("description", found.description, "first ✈")
    checks.equal("tags", found.tags, {"task": "forecasting", "empty": ""})
    checks.true("times", before - 60_000 <= found.creation_timestamp <= found.last_updated_timestamp)
    checks.equal("no versions", list(found.latest_versions or []), [])
    checks.refused("taken", TAKEN, client.create_registered_model, name)
    checks.refused("no name", INVALID, client.create_registered_model, "")
    checks.refused("unknown", MISSING, client.get_registered_model, new_name())

    client.update_registered_model(name, description="second")
    checks.equal("described anew", client.get_registered_model(name).description, "second")
    client.set_registered_model_tag(name, "task", "ranking")
    client.set_registered_model_tag(name, "number", 5)
    checks.equal("tags set", client.get_registered_model(name).tags, {"task": "ranking", "empty": "", "number": "5"})
    client.delete_registered_model_tag(name, "empty")
    checks.equal("tag deleted", client.get_registered_model(name).tags, {"task": "ranking", "number": "5"})
    checks.refused("tag of an unknown model", MISSING, client.set_registered_model_tag, new_name(), "a", "b")

    other = new_model()
    checks.refused("renamed to a taken name", TAKEN, client.rename_registered_model, name, other)
    client.rename_registered_model(name, renamed := new_name("renamed"))
    checks.equal("renamed", client.get_registered_model(renamed).description, "second")
    checks.refused("old name", MISSING, client.get_registered_model, name)
    checks.equal("old name is free", client.create_registered_model(name).name, name)
    client.delete_registered_model(renamed)
    checks.refused("deleted", MISSING, client.get_registered_model, renamed)
    checks.refused("deleted twice", MISSING, client.delete_registered_model, renamed)


@section()
def versions():
    name = new_model(versions=2)
    run = client.create_run(experiment_id).info.run_id
    made = client.create_model_version(
        name, "s3://bucket/models/3", run, tags={"fold": "3"}, run_link="https://example.org/run", description="third"
    )
    checks.equal("number", str(made.version), "3")
    found = client.get_model_version(name, "3")
    for field, expected in [
        ("name", name), ("source", "s3://bucket/models/3"), ("run_id", run), ("run_link", "https://example.org/run"),
        ("description", "third"), ("tags", {"fold": "3"}), ("current_stage", "None"), ("status", "READY"),
    ]:
        checks.equal(field, getattr(found, field), expected)
    checks.equal("download uri", client.get_model_version_download_uri(name, "3"), "s3://bucket/models/3")
    checks.refused("version of an unknown model", MISSING, client.create_model_version, new_name(), "s3://bucket/x")
    checks.refused("unknown version", MISSING, client.get_model_version, name, "17")
    checks.refused("no number", INVALID, client.get_model_version, name, "one")

    client.update_model_version(name, "3", description="described anew")
    client.set_model_version_tag(name, "3", "fold", "4")
    client.set_model_version_tag(name, "3", "score", 0.5)
    found = client.get_model_version(name, "3")
    checks.equal("described anew", found.description, "described anew")
    checks.equal("tags set", found.tags, {"fold": "4", "score": "0.5"})
    client.delete_model_version_tag(name, "3", "fold")
    checks.equal("tag deleted", client.get_model_version(name, "3").tags, {"score": "0.5"})

    client.delete_model_version(name, "3")
    checks.refused("deleted", MISSING, client.get_model_version, name, "3")
    checks.refused("deleted twice", MISSING, client.delete_model_version, name, "3")
    checks.equal("its number is not used again", str(client.create_model_version(name, "s3://bucket/models/4").version), "4")
    checks.equal("versions", numbers(client.search_model_versions(f"name = '{name}'")), [4, 2, 1])


@section()
def stages():
    name = new_model(versions=3)
    checks.equal("at first", [stage(name, number) for number in (1, 2, 3)], ["None"] * 3)
    moved = client.transition_model_version_stage(name, "1", "production")
    checks.equal("moved", moved.current_stage, "Production")
    client.transition_model_version_stage(name, "2", "Staging", archive_existing_versions=True)
    checks.equal("another stage is left alone", [stage(name, number) for number in (1, 2, 3)], ["Production", "Staging", "None"])
    client.transition_model_version_stage(name, "2", "Production", archive_existing_versions=True)
    checks.equal("the one before is archived", [stage(name, number) for number in (1, 2, 3)], ["Archived", "Production", "None"])
    client.transition_model_version_stage(name, "3", "Production")
    checks.equal("two in production", [stage(name, number) for number in (1, 2, 3)], ["Archived", "Production", "Production"])
    checks.refused("unknown stage", INVALID, client.transition_model_version_stage, name, "1", "Retired")
    checks.refused("unknown version", MISSING, client.transition_model_version_stage, name, "17", "Staging")

    client.transition_model_version_stage(name, "2", "Staging")
    latest = {version.current_stage: int(version.version) for version in client.get_latest_versions(name)}
    checks.equal("newest of each stage", latest, {"Archived": 1, "Staging": 2, "Production": 3})
    checks.equal("newest of some stages", numbers(client.get_latest_versions(name, ["Production"])), [3])
    checks.equal("with the model", sorted(numbers(client.get_registered_model(name).latest_versions)), [1, 2, 3])


@section()
def aliases():
    name = new_model(versions=2)
    client.set_registered_model_alias(name, "champion", "1")
    client.set_registered_model_alias(name, "challenger", "2")
    client.set_registered_model_alias(name, "best", "1")
    checks.equal("by alias", str(client.get_model_version_by_alias(name, "champion").version), "1")
    checks.equal(
        "of the model",
        {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()},
        {"champion": "1", "challenger": "2", "best": "1"},
    )
    checks.equal("of the version", sorted(client.get_model_version(name, "1").aliases), ["best", "champion"])
    client.set_registered_model_alias(name, "champion", "2")
    checks.equal("moved", str(client.get_model_version_by_alias(name, "champion").version), "2")
    client.delete_registered_model_alias(name, "challenger")
    checks.refused("deleted", INVALID, client.get_model_version_by_alias, name, "challenger")
    for alias in ("latest", "v1", "no/slash"):
        checks.refused(f"alias {alias}", INVALID, client.set_registered_model_alias, name, alias, "1")
    checks.refused("to an unknown version", MISSING, client.set_registered_model_alias, name, "other", "17")
    client.rename_registered_model(name, renamed := new_name("renamed"))
    checks.equal("after renaming", str(client.get_model_version_by_alias(renamed, "champion").version), "2")


@section()
def searches():
    stem = unique("search").replace(" ", "-")
    names = [f"{stem}-{letter}" for letter in "bacd"]
    for place, name in enumerate(names):
        client.create_registered_model(name, tags={"group": stem, "even": str(place % 2 == 0)})
    run = client.create_run(experiment_id).info.run_id
    for place in range(5):
        client.create_model_version(names[0], f"s3://bucket/{stem}/{place}", run if place < 2 else None, tags={"place": str(place), "group": stem})

    def models(filter_string, **kwargs):
        return [model.name for model in client.search_registered_models(filter_string, **kwargs)]

    checks.equal("by name", models(f"name = '{names[1]}'"), [names[1]])
    checks.equal("by pattern", models(f"name LIKE '{stem}-%'"), sorted(names))
    checks.equal("ignoring case", models(f"name ILIKE '{stem.upper()}-%'"), sorted(names))
    checks.equal("by tag", models(f"tags.group = '{stem}' and tags.even = 'True'"), sorted([names[0], names[2]]))
    checks.equal("descending", models(f"name LIKE '{stem}-%'", order_by=["name DESC"]), sorted(names, reverse=True))
    checks.equal("page by page", [m.name for m in all_of(client.search_registered_models, filter_string=f"name LIKE '{stem}-%'", max_results=3)], sorted(names))
    checks.refused("bad filter", INVALID, client.search_registered_models, "color = 'red'")
    client.update_registered_model(names[2], description="newest change")
    checks.equal("by change", models(f"name LIKE '{stem}-%'", order_by=["last_updated_timestamp DESC"])[0], names[2])

    def found(filter_string, **kwargs):
        return numbers(client.search_model_versions(filter_string, **kwargs))

    checks.equal("versions by name", sorted(found(f"name = '{names[0]}'")), [1, 2, 3, 4, 5])
    checks.equal("versions by run", sorted(found(f"run_id = '{run}'")), [1, 2])
    checks.equal("versions by source", found(f"source_path = 's3://bucket/{stem}/3'"), [4])
    checks.equal("versions by tag", found(f"tags.group = '{stem}' and tags.place = '2'"), [3])
    checks.equal("versions in order", found(f"name = '{names[0]}'", order_by=["version_number ASC"]), [1, 2, 3, 4, 5])
    pages = all_of(client.search_model_versions, filter_string=f"name = '{names[0]}'", max_results=2, order_by=["version_number ASC"])
    checks.equal("versions page by page", numbers(pages), [1, 2, 3, 4, 5])


@section()
def logged_models():
    if not HAS_LOGGED_MODELS:
        checks.skip("logged models", f"mlflow {mlflow.__version__} has none")
        return
    run = client.create_run(experiment_id).info.run_id
    model = client.create_logged_model(experiment_id, name="net", source_run_id=run, tags={"a": "1"}, params={"depth": "3"}, model_type="AutoNHITS")
    checks.equal("pending", str(model.status), "PENDING")
    checks.equal("type", model.model_type, "AutoNHITS")
    client.log_metric(run, "val_mae", 2.0, step=0, model_id=model.model_id)
    client.log_metric(run, "val_mae", 1.0, step=1, model_id=model.model_id)
    checks.equal("finalized", str(client.finalize_logged_model(model.model_id, "READY").status), "READY")
    client.set_logged_model_tags(model.model_id, {"a": "2", "b": "3"})
    client.delete_logged_model_tag(model.model_id, "b")
    found = client.get_logged_model(model.model_id)
    checks.equal("tag", found.tags.get("a"), "2")
    checks.true("tag deleted", "b" not in found.tags)
    checks.equal("params", found.params, {"depth": "3"})
    checks.equal("values of all steps", sorted(metric.value for metric in found.metrics if metric.key == "val_mae"), [1.0, 2.0])
    checks.equal("the run has it too", client.get_run(run).data.metrics, {"val_mae": 1.0})

    group = [client.create_logged_model(experiment_id, name=f"of-{place}", tags={"group": run}) for place in range(5)]
    for place, member in enumerate(group):
        client.log_metric(run, "test_mae", float(place), model_id=member.model_id)
    ranked = client.search_logged_models([experiment_id], filter_string=f"tags.`group` = '{run}'", order_by=[{"field_name": "metrics.test_mae", "ascending": False}])
    checks.equal("by metric", [entry.name for entry in ranked], ["of-4", "of-3", "of-2", "of-1", "of-0"])
    checks.equal("by value", [entry.name for entry in client.search_logged_models([experiment_id], filter_string=f"tags.`group` = '{run}' AND metrics.test_mae > 3")], ["of-4"])
    checks.refused("unknown", MISSING, client.get_logged_model, "m-" + "0" * 32)


@section()
def at_once():
    name = new_model()
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda number: client.create_model_version(name, f"s3://bucket/{number}"), range(48)))
    checks.equal("numbers", sorted(numbers(made)), list(range(1, 49)))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: client.set_registered_model_alias(name, "champion", str(number)), range(1, 33)))
    champion = client.get_model_version_by_alias(name, "champion")
    checks.true("one champion", "champion" in champion.aliases)
    holders = [number for number in range(1, 33) if "champion" in client.get_model_version(name, str(number)).aliases]
    checks.equal("no other", holders, [int(champion.version)])
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: client.transition_model_version_stage(name, str(number), "Production", archive_existing_versions=True), range(1, 17)))
    production = [number for number in range(1, 17) if stage(name, number) == "Production"]
    checks.true("somebody is in production", production)


def end_runs():
    while mlflow.active_run():
        mlflow.end_run()


def main():
    global experiment_id
    # Stages are deprecated, and are used all the same.
    warnings.filterwarnings("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(TRACKING_URI)
    mlflow.set_registry_uri(TRACKING_URI)
    experiment_id = client.create_experiment(unique("registry"))
    print(f"mlflow {mlflow.__version__}, server {TRACKING_URI}")
    checks.run([part for part in sections if part.__name__ in sys.argv[2:] or not sys.argv[2:]], end_runs)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
