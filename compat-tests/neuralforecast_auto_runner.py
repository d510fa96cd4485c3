#!/usr/bin/env python3
"""A forecasting study logged through the real MLflow client, and every stored value read back.

    neuralforecast_auto_runner.py [TRACKING_URI]

For each data set made from the AirPassengers series: an experiment, in it a parent run, below it one run
per auto-model, below each of these one run per trial with its hyperparameters, the loss of every step,
validation and test errors, the data sets used, and as files the model's checkpoint, its forecasts as CSV and a
plot of them. Then the study is searched for its best trial, which must be the one that the script knows to be
best, and everything that was logged is compared with what the server returns, files byte for byte. In the end the
models of the two best trials are registered, the better one moved to Production in place of the other, and found again.
Needs mlflow (2.x or 3.x), numpy and pandas; uses neuralforecast and matplotlib when they are installed.

What the summary views of the server's database have to show of the studies is appended to the file that
MLFLOW_COMPAT_TEST_STUDIES names, a line of JSON each; see views.py.
"""

import hashlib
import importlib.util
import io
import json
import logging
import math
import os
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from checks import Checks, tracking_uri, unique

TRACKING_URI = tracking_uri()

import mlflow  # noqa: E402 (reads the environment that tracking_uri prepares)
import mlflow.data  # noqa: E402
import pandas as pd  # noqa: E402
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

from files import artifacts_out_of_reach, digests, files_below, folder  # noqa: E402
from forecasters import Series, auto_models, errors  # noqa: E402

CSV = Path(__file__).resolve().parent / "data" / "AirPassengers.csv"
ERROR_KEYS = [f"{part}_{key}" for part in ("val", "test") for key in ("mae", "rmse", "smape")]

CAN_PLOT = importlib.util.find_spec("matplotlib") is not None

checks = Checks()
client = MlflowClient(TRACKING_URI)
HAS_LOGGED_MODELS = hasattr(client, "create_logged_model")


@dataclass
class LoggedRun:
    """A run and everything that was sent to it: what reading it back must return."""

    run_id: str
    name: str
    start_time: Optional[int] = None  # milliseconds; None where the fluent client chose it
    end_time: Optional[int] = None
    status: str = "RUNNING"
    params: Dict[str, str] = field(default_factory=dict)
    tags: Dict[str, str] = field(default_factory=dict)
    points: Dict[str, List[Tuple[float, int, int]]] = field(default_factory=dict)  # key: (value, timestamp, step)
    inputs: List[Tuple[dict, dict]] = field(default_factory=list)  # data set, tags
    files: Dict[str, bytes] = field(default_factory=dict)

    def log_metric(self, key, value, step=0):
        point = (value, int(time.time() * 1000), step)
        client.log_metric(self.run_id, key, *point)
        self.points.setdefault(key, []).append(point)

    def log_errors(self, prefix, values):
        for key, value in values.items():
            self.log_metric(f"{prefix}_{key}", value)

    def log_losses(self, losses):
        """The way of a training loop: the first steps one by one, the rest flushed in batches."""
        started = int(time.time() * 1000)
        points = [(loss, started + 7 * step, step) for step, loss in enumerate(losses)]
        self.points["train_loss"] = points
        for point in points[:5]:
            client.log_metric(self.run_id, "train_loss", *point)
        for first in range(5, len(points), 50):
            client.log_batch(self.run_id, metrics=[Metric("train_loss", *point) for point in points[first : first + 50]])

    def latest(self):
        """Of every metric the value with the highest (step, timestamp), as the server returns it with the run."""
        return {key: stored(max(points, key=lambda point: (point[2], point[1]))[0]) for key, points in self.points.items()}


def stored(value):
    """An infinity is stored as the largest double; everything else comes back as it was sent."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def load_series():
    """The monthly series, and the same passengers by quarter."""
    monthly = pd.read_csv(CSV, parse_dates=["ds"], dtype={"y": float})
    quarterly = monthly.groupby(monthly["ds"].dt.to_period("Q"))["y"].sum()
    quarterly = pd.DataFrame({"ds": quarterly.index.to_timestamp(), "y": quarterly.to_numpy()})
    for frame in (monthly, quarterly):
        frame.insert(0, "unique_id", "AirPassengers")
    return [Series("AirPassengers monthly", monthly, 12, 12, "MS"), Series("AirPassengers quarterly", quarterly, 4, 4, "QS")]


def as_datasets(series: Series):
    """The parts of the series as MLflow data sets: (context, data set)."""
    # MLflow shares data sets of one name and digest; fresh names keep those of earlier studies out.
    name = unique(series.name)
    parts = [("training", series.train), ("validation", series.validation), ("test", series.test)]
    frames = [
        (context, mlflow.data.from_pandas(part.reset_index(drop=True), source=str(CSV), name=f"{name} {context}", targets="y"))
        for context, part in parts
    ]
    values = mlflow.data.from_numpy(series.before_test["y"].to_numpy(), source=str(CSV), name=f"{name} values")
    return [*frames, ("refit", values)]


def run_study(series: Series, library, models):
    """Logs the study of one series; returns the experiment's id, all runs, and the trials by their validation error."""
    experiment = mlflow.set_experiment(unique(series.name))
    mlflow.set_experiment_tags({"series": "AirPassengers", "freq": series.freq})
    datasets = as_datasets(series)
    runs: List[LoggedRun] = []
    trials = []
    with fluent_run(runs, f"auto {series.name}", {"stage": "study", "library": library}) as study:
        log_params(
            study,
            {"horizon": series.horizon, "season": series.season, "freq": series.freq, "models": ",".join(model.name for model in models)},
        )
        for context, dataset in datasets:
            log_input(study, dataset, context)
        if with_files(experiment):
            mlflow.log_artifact(str(CSV), "data")
            study.files[f"data/{CSV.name}"] = CSV.read_bytes()
        for model in models:
            with fluent_run(runs, model.name, {"stage": "model", "model": model.name}, nested=True) as parent:
                log_params(parent, {"model": model.name, "num_samples": model.trials})
                of_model = []
                for number in range(model.trials):
                    trial = model.trial(series, number)
                    run = log_trial(experiment, parent, series, model, number, trial, datasets)
                    runs.append(run)
                    of_model.append((run.latest()["val_mae"], run, trial))
                trials += of_model
                best_error, best, best_trial = min(of_model, key=lambda entry: (math.isnan(entry[0]), entry[0]))
                log_params(parent, {f"best/{key}": value for key, value in best_trial.params.items()})
                parent.tags["best_trial"] = best.run_id
                mlflow.set_tag("best_trial", best.run_id)
                if with_files(experiment):
                    with folder(best.files) as place:
                        mlflow.log_artifacts(str(place), "best")
                    parent.files.update({f"best/{path}": data for path, data in best.files.items()})
                for key in ERROR_KEYS:
                    parent.log_metric(key, best.latest()[key])
                for step in range(len(of_model)):
                    parent.log_metric("best_so_far", min((entry[0] for entry in of_model[: step + 1] if not math.isnan(entry[0]))), step)
        finished = [entry for entry in trials if not math.isnan(entry[0])]
        best_error, best, _ = min(finished, key=lambda entry: entry[0])
        study.log_metric("best_val_mae", best_error)
        study.log_metric("trials", len(trials))
        study.tags["best_run"] = best.run_id
        mlflow.set_tags({"best_run": best.run_id})
    return experiment.experiment_id, runs, trials


class fluent_run:
    """mlflow.start_run that remembers what it set, so that it can be read back."""

    def __init__(self, runs, name, tags, nested=False):
        self.runs, self.name, self.tags, self.nested = runs, name, tags, nested

    def __enter__(self):
        outer = mlflow.active_run()
        self.context = mlflow.start_run(run_name=self.name, tags=self.tags, nested=self.nested)
        active = self.context.__enter__()
        expected = {**self.tags, "mlflow.runName": self.name}
        if outer is not None:
            expected["mlflow.parentRunId"] = outer.info.run_id
        self.logged = LoggedRun(active.info.run_id, self.name, tags=expected)
        self.runs.append(self.logged)
        return self.logged

    def __exit__(self, *error):
        self.logged.status = "FAILED" if error[0] else "FINISHED"
        return self.context.__exit__(*error)


def log_params(run: LoggedRun, params):
    mlflow.log_params(params)
    run.params.update({key: str(value) for key, value in params.items()})


def log_input(run: LoggedRun, dataset, context):
    mlflow.log_input(dataset, context=context)
    run.inputs.append((dataset.to_dict(), {"mlflow.data.context": context}))


def with_files(experiment):
    return artifacts_out_of_reach(experiment.artifact_location) is None


def log_files(run: LoggedRun, series: Series, trial):
    """The checkpoint, the forecasts, and a plot of the last one."""
    name = "checkpoints/last/model.bin"
    with folder({name: trial.checkpoint}) as place:
        client.log_artifact(run.run_id, str(place / name), "checkpoints/last")
    run.files[name] = trial.checkpoint
    forecasts = {
        "validation": series.validation.assign(forecast=trial.validation_forecast),
        "test": series.test.assign(forecast=trial.test_forecast),
    }
    for part, frame in forecasts.items():
        text = frame.to_csv(index=False)
        client.log_text(run.run_id, text, f"forecasts/{part}.csv")
        run.files[f"forecasts/{part}.csv"] = text.encode()
    if CAN_PLOT:
        from matplotlib.figure import Figure

        figure = Figure()
        axes = figure.subplots()
        axes.plot(series.frame["ds"], series.frame["y"])
        axes.plot(forecasts["test"]["ds"], forecasts["test"]["forecast"])
        png = io.BytesIO()
        figure.savefig(png)
        client.log_figure(run.run_id, figure, "plots/test forecast.png")
        run.files["plots/test forecast.png"] = png.getvalue()


def log_trial(experiment, parent: LoggedRun, series: Series, model, number, trial, datasets) -> LoggedRun:
    """A trial goes through MlflowClient alone, as a tuner's or a trainer's logger does it."""
    name = f"{model.name}-{number}"
    params = {key: str(value) for key, value in trial.params.items()}
    tags = {
        "stage": "trial",
        "model": model.name,
        "series": series.name,
        "trial": str(number),
        "mlflow.parentRunId": parent.run_id,
        # The same trial of the same study would have the same fingerprint; servers may refuse the repetition.
        "run_fingerprint": hashlib.sha256(json.dumps([experiment.experiment_id, series.name, model.name, number, params]).encode()).hexdigest(),
    }
    started = int(time.time() * 1000)
    created = client.create_run(experiment.experiment_id, start_time=started, tags=tags, run_name=name)
    run = LoggedRun(created.info.run_id, name, started, tags={**tags, "mlflow.runName": name}, params=params)
    client.log_param(run.run_id, "learning_rate", params["learning_rate"])
    # Repeating an equal value is allowed, so the batch may hold all of them.
    client.log_batch(run.run_id, params=[Param(key, value) for key, value in params.items()])
    inputs = [DatasetInput(Dataset(**dataset.to_dict()), [InputTag("mlflow.data.context", context)]) for context, dataset in datasets]
    client.log_inputs(run.run_id, datasets=inputs)
    run.inputs = [(dataset.to_dict(), {"mlflow.data.context": context}) for context, dataset in datasets]

    run.log_losses(trial.losses)
    run.log_errors("val", errors(series.validation["y"], trial.validation_forecast))
    run.log_errors("test", errors(series.test["y"], trial.test_forecast))
    outcome = {"diverged": str(trial.diverged).lower(), "steps/run": str(len(trial.losses))}
    client.set_tag(run.run_id, "diverged", outcome["diverged"])
    client.log_batch(run.run_id, tags=[RunTag("steps/run", outcome["steps/run"])])
    run.tags.update(outcome)
    if with_files(experiment):
        log_files(run, series, trial)

    run.status = "FAILED" if trial.diverged else "FINISHED"
    run.end_time = int(time.time() * 1000)
    client.set_terminated(run.run_id, status=run.status, end_time=run.end_time)
    return run


def check_search(experiment_id, runs: List[LoggedRun], trials):
    """Searching must find what the script knows."""

    def found(filter_string="", **kwargs):
        return [run.info.run_id for run in client.search_runs([experiment_id], filter_string=filter_string, **kwargs)]

    ranked = sorted((entry for entry in trials if not math.isnan(entry[0])), key=lambda entry: entry[0])
    best = [run.run_id for error, run, _ in ranked if error == ranked[0][0]]
    for filter_string in ("tags.stage = 'trial'", "tags.stage = 'trial' and attributes.status = 'FINISHED'"):
        top = found(filter_string, order_by=["metrics.val_mae ASC"], max_results=1)
        checks.true(f"best trial by order_by ({filter_string})", len(top) == 1 and top[0] in best, f"found {top}, best {best}")
    errors_found = [
        run.data.metrics["val_mae"] for run in client.search_runs([experiment_id], "tags.stage = 'trial'", order_by=["metrics.val_mae ASC"])
    ]
    checks.equal_each(
        "trials ordered by val_mae", errors_found, [error for error, _, _ in ranked] + [math.nan] * (len(trials) - len(ranked))
    )

    for model in sorted({run.tags["model"] for _, run, _ in trials}):
        of_model = [entry for entry in ranked if entry[1].tags["model"] == model]
        mine = [run.run_id for error, run, _ in of_model if error == of_model[0][0]]
        top = found(f"tags.stage = 'trial' and tags.model = '{model}'", order_by=["metrics.val_mae"], max_results=1)
        checks.true(f"best trial of {model}", len(top) == 1 and top[0] in mine, f"found {top}, best {mine}")
        noted = found(f"tags.stage = 'model' and params.model = '{model}'")
        checks.equal(f"run of {model}", len(noted), 1)
        checks.true(f"{model} names its best trial", client.get_run(noted[0]).data.tags.get("best_trial") in mine)
        checks.equal(
            f"{model}: trials below it",
            Counter(found(f"tags.mlflow.parentRunId = '{noted[0]}'")),
            Counter(run.run_id for _, run, _ in trials if run.tags["model"] == model),
        )

    checks.equal(
        "failed trials", Counter(found("attributes.status = 'FAILED'")), Counter(run.run_id for run in runs if run.status == "FAILED")
    )
    for _, run, _ in trials:
        checks.equal(
            "trial by a hyperparameter",
            found(f"tags.stage = 'trial' and params.learning_rate = '{run.params['learning_rate']}'"),
            [run.run_id],
        )
        checks.equal("trial by fingerprint", found(f"tags.run_fingerprint = '{run.tags['run_fingerprint']}'"), [run.run_id])
    dataset_name = runs[0].inputs[0][0]["name"]
    using = Counter(run.run_id for run in runs if run.inputs)
    checks.equal("runs by data set", Counter(found(f"dataset.name = '{dataset_name}'")), using)
    checks.equal(
        "runs by digest and context",
        Counter(found(f"dataset.digest = '{runs[0].inputs[0][0]['digest']}' and dataset.context = 'training'")),
        using,
    )

    # Page by page, newest first, without gaps or repetitions.
    pages, token = [], None
    while True:
        page = client.search_runs(
            [experiment_id], run_view_type=ViewType.ACTIVE_ONLY, max_results=5, order_by=["attributes.start_time DESC"], page_token=token
        )
        pages += page
        token = page.token
        if not token:
            break
    checks.equal("runs over all pages", Counter(run.info.run_id for run in pages), Counter(run.run_id for run in runs))
    checks.equal(
        "start times over all pages", [run.info.start_time for run in pages], sorted((run.info.start_time for run in pages), reverse=True)
    )
    return {run.info.run_id: run for run in pages}


def check_stored(experiment_id, logged: LoggedRun, searched):
    """Compares everything that was logged to the run with what the server returns for it."""
    run = client.get_run(logged.run_id)
    name = logged.name
    for read, way in ((run, "get_run"), (searched, "search_runs")):
        at = f"{name} ({way})"
        checks.equal(f"{at}: experiment", read.info.experiment_id, experiment_id)
        checks.equal(f"{at}: name", read.info.run_name, name)
        checks.equal(f"{at}: status", read.info.status, logged.status)
        checks.equal(f"{at}: life cycle", read.info.lifecycle_stage, "active")
        if logged.start_time is not None:
            checks.equal(f"{at}: start", read.info.start_time, logged.start_time)
            checks.equal(f"{at}: end", read.info.end_time, logged.end_time)
        else:
            checks.true(f"{at}: ends after its start", read.info.end_time >= read.info.start_time)
        checks.equal(f"{at}: param keys", set(read.data.params), set(logged.params))
        for key, value in logged.params.items():
            checks.equal(f"{at}: param {key}", read.data.params.get(key), value)
        for key, value in logged.tags.items():
            checks.equal(f"{at}: tag {key}", read.data.tags.get(key), value)
        extra = [key for key in read.data.tags if key not in logged.tags and not key.startswith("mlflow.")]
        checks.equal(f"{at}: tags nobody set", extra, [])
        checks.equal(f"{at}: metric keys", set(read.data.metrics), set(logged.points))
        for key, value in logged.latest().items():
            checks.equal(f"{at}: metric {key}", read.data.metrics.get(key), value)
        checks.equal(f"{at}: data sets", by_digest(read_inputs(read)), by_digest(logged.inputs))
    for key, points in logged.points.items():
        history = sorted(
            ((m.value, m.timestamp, m.step) for m in client.get_metric_history(logged.run_id, key)), key=lambda point: (point[2], point[1])
        )
        expected = sorted(((stored(value), at, step) for value, at, step in points), key=lambda point: (point[2], point[1]))
        checks.equal_each(f"{name}: history of {key}", history, expected)


def check_files(logged: LoggedRun):
    """Downloads all files of the run and compares them with what was uploaded."""
    found = {}
    if logged.files:
        with folder() as place:
            mlflow.artifacts.download_artifacts(run_id=logged.run_id, dst_path=str(place))
            found = digests(files_below(place))
    expected = digests(logged.files)
    checks.equal(f"{logged.name}: files", sorted(found), sorted(expected))
    for path in expected:
        checks.equal(f"{logged.name}: {path}", found.get(path), expected[path])
    folders = sorted({(path.split("/")[0], True) for path in expected})
    checks.equal(f"{logged.name}: folders", [(entry.path, entry.is_dir) for entry in client.list_artifacts(logged.run_id)], folders)


class Forecaster(mlflow.pyfunc.PythonModel):
    """What a trial has learned, as a model that clients load."""

    def __init__(self, forecast):
        self.forecast = forecast

    def predict(self, context, model_input, params=None):
        return self.forecast[: len(model_input)]


def log_forecaster(logged: LoggedRun, trial):
    """Logs the model of a trial, with its errors where the client knows models to have some; returns its URI."""
    with mlflow.start_run(run_id=logged.run_id):
        info = mlflow.pyfunc.log_model(
            **({"name": "model"} if HAS_LOGGED_MODELS else {"artifact_path": "model"}),
            python_model=Forecaster(trial.test_forecast),
            pip_requirements=["numpy"],
        )
    if HAS_LOGGED_MODELS:
        for key in ERROR_KEYS:
            client.log_metric(logged.run_id, key, logged.latest()[key], model_id=info.model_id)
    return info.model_uri


def check_registry(experiment_id, series: Series, trials):
    """Registers the two best models, moves them to Production one after the other, and finds the better one."""
    finished = sorted((entry for entry in trials if not math.isnan(entry[0])), key=lambda entry: entry[0])
    name = unique(series.name)
    versions = []
    for _, logged, trial in reversed(finished[:2]):
        version = mlflow.register_model(log_forecaster(logged, trial), name, tags={"trial": logged.name})
        client.transition_model_version_stage(name, version.version, "Production", archive_existing_versions=True)
        client.set_registered_model_alias(name, "champion", version.version)
        versions.append(str(version.version))
    client.update_registered_model(name, description=f"The best model of experiment {experiment_id}")
    client.set_registered_model_tag(name, "experiment", experiment_id)

    _, best, trial = finished[0]
    at = f"model of {series.name}"
    found = client.search_registered_models(f"tags.experiment = '{experiment_id}'")
    checks.equal(f"{at}: registered model", [model.name for model in found], [name])
    found = client.search_model_versions(f"name = '{name}'")
    stages = {str(version.version): version.current_stage for version in found}
    checks.equal(f"{at}: stages", stages, {versions[0]: "Archived", versions[1]: "Production"})
    found = client.search_model_versions(f"name = '{name}' and tags.trial = '{best.name}'")
    checks.equal(f"{at}: by tag", [(str(version.version), version.run_id) for version in found], [(versions[1], best.run_id)])
    found = client.get_latest_versions(name, ["Production"])
    checks.equal(f"{at}: by stage", [str(version.version) for version in found], [versions[1]])
    champion = client.get_model_version_by_alias(name, "champion")
    checks.equal(f"{at}: by alias", (str(champion.version), champion.run_id), (versions[1], best.run_id))
    for uri in (f"models:/{name}/Production", f"models:/{name}@champion", f"models:/{name}/{versions[1]}"):
        forecast = mlflow.pyfunc.load_model(uri).predict(series.test)
        checks.equal_each(f"{at}: forecast of {uri}", list(forecast), list(trial.test_forecast))
    return name, best


def note_for_views(experiment_id, runs: List[LoggedRun], name, best: LoggedRun):
    """Says what the summary views have to show."""
    if not (path := os.environ.get("MLFLOW_COMPAT_TEST_STUDIES")):
        return
    statuses = Counter(run.status for run in runs)
    columns = [key.replace("val_", "validation_") for key in ERROR_KEYS]
    study = {
        "experiment_id": experiment_id,
        "runs": [len(runs), statuses["FINISHED"], statuses["FAILED"]],
        "registered_model_name": name,
        "run_id": best.run_id,
        "errors": dict(zip(columns, (best.latest()[key] for key in ERROR_KEYS))),
    }
    with open(path, "a") as file:
        file.write(json.dumps(study) + "\n")


def read_inputs(run):
    fields = ("name", "digest", "source_type", "source", "schema", "profile")
    return [
        ({key: getattr(entry.dataset, key) for key in fields}, {tag.key: tag.value for tag in entry.tags})
        for entry in run.inputs.dataset_inputs
    ]


def by_digest(inputs):
    return sorted(((dataset["name"], dataset["digest"], dataset, tags) for dataset, tags in inputs), key=lambda entry: entry[:2])


def main():
    warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
    # Stages are deprecated, and are used all the same.
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*registry stages.*")
    for name in ("mlflow", "pytorch_lightning", "lightning", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(TRACKING_URI)
    library, models = auto_models()
    print(f"mlflow {mlflow.__version__}, models of {library}, server {TRACKING_URI}")
    if not CAN_PLOT:
        checks.skip("plots", "there is no matplotlib")
    for series in load_series():
        experiment_id, runs, trials = run_study(series, library, models)
        found = check_search(experiment_id, runs, trials)
        for run in runs:
            if checks.true(f"{run.name} was found", run.run_id in found):
                check_stored(experiment_id, run, found[run.run_id])
        reason = artifacts_out_of_reach(client.get_experiment(experiment_id).artifact_location)
        if reason:
            checks.skip(f"files of {series.name}", reason)
        else:
            for run in runs:
                check_files(run)
            note_for_views(experiment_id, runs, *check_registry(experiment_id, series, trials))
        best = min((entry for entry in trials if not math.isnan(entry[0])), key=lambda entry: entry[0])
        points = sum(len(points) for run in runs for points in run.points.values())
        sizes = [len(data) for run in runs for data in run.files.values()]
        print(
            f"{series.name}: experiment {experiment_id}, {len(runs)} runs, {points} points, {len(sizes)} files of "
            f"{sum(sizes) / 1e6:.1f} MB; best {best[1].name} "
            f"with validation mae {best[0]:.3f}, test mae {best[1].latest()['test_mae']:.3f}"
        )
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
