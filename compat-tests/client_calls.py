#!/usr/bin/env python3
"""The tracking calls of the real MLflow client, and what a client must see in answer.

    client_calls.py [TRACKING_URI]

Experiments, runs, params, metrics, tags, data sets, searches, the fluent API and concurrent use, with
whatever mlflow (2.x or 3.x) is installed. Artifacts are in artifact_calls.py; models and the registry are not touched.
"""

import logging
import math
import random
import sys
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from checks import Checks, tracking_uri, unique

TRACKING_URI = tracking_uri()

import mlflow  # noqa: E402 (reads the environment that tracking_uri prepares)
import mlflow.data  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus, RunTag, ViewType  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

INVALID, MISSING, TAKEN = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
NO_RUN = "f" * 32

checks = Checks()
client = MlflowClient(TRACKING_URI)
# The client cuts long batches into allowed ones by itself; the store below it sends what it is given.
store = client._tracking_client.store
sections = []


def section(function):
    sections.append(function)
    return function


def new_experiment(name, **kwargs):
    return client.create_experiment(unique(name), **kwargs)


def new_run(experiment_id=None, **kwargs):
    return client.create_run(experiment_id or new_experiment("calls"), **kwargs).info.run_id


def all_pages(search, **kwargs):
    """Follows page tokens to the end; returns the pages."""
    pages, token = [], None
    while True:
        page = search(page_token=token, **kwargs)
        pages.append(list(page))
        token = page.token
        if not token:
            return pages
        if len(pages) > 10_000:
            raise AssertionError("page tokens never end")


def now():
    return int(time.time() * 1000)


# ---------------------------------------------------------------------------------------------- experiments


@section
def experiments():
    default = client.get_experiment("0")
    checks.equal("experiment 0", (default.experiment_id, default.name), ("0", "Default"))

    name, before = unique("Passagiere – 乗客 ✈"), now()
    experiment_id = client.create_experiment(name, tags={"freq": "MS", "empty": "", "long": "x" * 5000})
    found = client.get_experiment(experiment_id)
    checks.equal("name", found.name, name)
    checks.equal("id", found.experiment_id, experiment_id)
    checks.true("ids are decimal", experiment_id.isdigit() and int(experiment_id) > 0, experiment_id)
    checks.equal("life cycle", found.lifecycle_stage, "active")
    checks.equal("tags", found.tags, {"freq": "MS", "empty": "", "long": "x" * 5000})
    checks.true(
        "artifact location names the experiment", found.artifact_location.rstrip("/").endswith(f"/{experiment_id}"), found.artifact_location
    )
    checks.true(
        "creation time",
        before - 60_000 <= found.creation_time <= found.last_update_time,
        f"{found.creation_time}, {found.last_update_time}",
    )
    by_name = client.get_experiment_by_name(name)
    checks.equal("by name", (by_name.experiment_id, by_name.name, by_name.tags), (experiment_id, name, found.tags))
    checks.equal("unknown name", client.get_experiment_by_name(unique("nobody")), None)

    elsewhere = new_experiment("elsewhere", artifact_location="s3://bucket/of/mine")
    checks.equal("chosen location", client.get_experiment(elsewhere).artifact_location, "s3://bucket/of/mine")
    run = client.create_run(elsewhere)
    checks.equal("run below the chosen location", run.info.artifact_uri, f"s3://bucket/of/mine/{run.info.run_id}/artifacts")

    checks.refused("name taken", TAKEN, client.create_experiment, name)
    checks.refused("name too long", INVALID, client.create_experiment, "n" * 501)
    longest = ("n" * 500)[:-40] + unique("")[-12:] + "e" * 28
    checks.equal("longest name", client.get_experiment(client.create_experiment(longest)).name, longest)
    checks.refused("unknown id", MISSING, client.get_experiment, "999999999999")

    client.set_experiment_tag(experiment_id, "freq", "QS")
    client.set_experiment_tag(experiment_id, "number", 5)
    tags = client.get_experiment(experiment_id).tags
    checks.equal("tag replaced", tags["freq"], "QS")
    checks.equal("tag from a number", tags["number"], "5")
    checks.refused("tag on an unknown experiment", MISSING, client.set_experiment_tag, "999999999999", "a", "b")
    checks.refused("tag value too long", INVALID, client.set_experiment_tag, experiment_id, "freq", "x" * 5001)
    if hasattr(client, "delete_experiment_tag"):
        client.delete_experiment_tag(experiment_id, "freq")
        checks.true("tag deleted", "freq" not in client.get_experiment(experiment_id).tags)
        checks.refused("tag deleted twice", MISSING, client.delete_experiment_tag, experiment_id, "freq")

    renamed = unique("renamed")
    client.rename_experiment(experiment_id, renamed)
    checks.equal("renamed", client.get_experiment(experiment_id).name, renamed)
    checks.equal("old name is free", client.get_experiment_by_name(name), None)
    checks.true("update time", client.get_experiment(experiment_id).last_update_time >= found.last_update_time)
    checks.refused(
        "renamed to a taken name",
        ("BAD_REQUEST", TAKEN, INVALID),
        client.rename_experiment,
        experiment_id,
        client.get_experiment(elsewhere).name,
    )
    checks.refused("unknown experiment renamed", MISSING, client.rename_experiment, "999999999999", unique("x"))


@section
def deletion_of_experiments():
    experiment_id = new_experiment("to be deleted")
    name = client.get_experiment(experiment_id).name
    kept, gone = new_run(experiment_id), new_run(experiment_id)
    client.log_metric(kept, "mae", 1.5)
    client.delete_run(gone)

    client.delete_experiment(experiment_id)
    checks.equal("deleted", client.get_experiment(experiment_id).lifecycle_stage, "deleted")
    checks.equal("still found by name", client.get_experiment_by_name(name).lifecycle_stage, "deleted")
    checks.refused("name stays taken", TAKEN, client.create_experiment, name)
    checks.equal("runs are deleted with it", client.get_run(kept).info.lifecycle_stage, "deleted")
    checks.equal("no active run", len(client.search_runs([experiment_id])), 0)
    checks.equal(
        "deleted runs", {run.info.run_id for run in client.search_runs([experiment_id], run_view_type=ViewType.DELETED_ONLY)}, {kept, gone}
    )
    checks.refused("no new run", INVALID, client.create_run, experiment_id)
    checks.refused("no tag", INVALID, client.set_experiment_tag, experiment_id, "a", "b")
    checks.refused("no metric on its runs", INVALID, client.log_metric, kept, "mae", 2.0)
    checks.refused("not chosen by name", INVALID, mlflow.set_experiment, name)
    checks.refused("deleted twice", MISSING, client.delete_experiment, experiment_id)

    client.restore_experiment(experiment_id)
    checks.equal("restored", client.get_experiment(experiment_id).lifecycle_stage, "active")
    run = client.get_run(kept)
    checks.equal("its run is back", (run.info.lifecycle_stage, run.data.metrics), ("active", {"mae": 1.5}))
    checks.refused("restored twice", MISSING, client.restore_experiment, experiment_id)
    checks.refused("unknown restored", MISSING, client.restore_experiment, "999999999999")
    client.log_metric(kept, "mae", 2.0, step=1)
    checks.equal("its run takes metrics again", client.get_run(kept).data.metrics, {"mae": 2.0})


@section
def search_of_experiments():
    token = unique("").strip()
    made = {}
    for name, tags in (
        ("alpha", {"kind": "v", "Team": "A"}),
        ("Beta", {"kind": "V"}),
        ("gamma_x", {"k.d": "1", "a/b": "2"}),
        ("gammaYx", {}),
    ):
        made[name] = client.create_experiment(f"{token} {name}", tags={**tags, "token": token})
    deleted = client.create_experiment(f"{token} gone", tags={"token": token})
    client.delete_experiment(deleted)
    mine = f"tags.token = '{token}'"

    def names(filter_string=mine, **kwargs):
        return [experiment.name[len(token) + 1 :] for experiment in client.search_experiments(filter_string=filter_string, **kwargs)]

    table = [
        (f"name = '{token} alpha'", {"alpha"}),
        (f"attribute.name = '{token} alpha'", {"alpha"}),
        (f"name = '{token} ALPHA'", set()),
        (f"name LIKE '{token}%'", {"alpha", "Beta", "gamma_x", "gammaYx"}),
        (f"name LIKE '%{token} gamma_x'", {"gamma_x", "gammaYx"}),
        (f"name ILIKE '%{token} ALPHA'", {"alpha"}),
        (f"{mine} AND name != '{token} alpha'", {"Beta", "gamma_x", "gammaYx"}),
        (f"{mine} AND tags.kind = 'v'", {"alpha"}),
        (f"{mine} and tag.`kind` = 'V'", {"Beta"}),
        (f"{mine} AND tags.kind != 'v'", {"Beta"}),
        (f"{mine} AND tags.kind ILIKE 'V'", {"alpha", "Beta"}),
        (f'{mine} AND tags."kind" = "v"', {"alpha"}),
        (f"{mine} AND tags.k.d = '1'", {"gamma_x"}),
        (f"{mine} AND tags.`a/b` = '2'", {"gamma_x"}),
        (f"{mine} AND tags.kind = 'v' AND tags.Team = 'A'", {"alpha"}),
        (f"{mine} AND creation_time > 0", {"alpha", "Beta", "gamma_x", "gammaYx"}),
        (f"{mine} AND last_update_time < 1", set()),
    ]
    for filter_string, expected in table:
        checks.equal(filter_string, set(names(filter_string)), expected)
    for filter_string in (
        "tags.k = 'v' OR tags.Team = 'A'",
        "(tags.k = 'v')",
        "NOT tags.k = 'v'",
        "name = alpha",
        "name > 'a'",
        "name IN ('a')",
        "attributes.name = 'alpha'",
        "creation_time >= '5'",
        "experiment_id = '1'",
        "metrics.mae > 1",
        "tags.k",
    ):
        checks.refused(filter_string, INVALID, client.search_experiments, filter_string=filter_string)

    checks.equal("order by name", names(order_by=["name ASC"]), ["Beta", "alpha", "gammaYx", "gamma_x"])
    checks.equal("order by name, descending", names(order_by=["name DESC"]), ["gamma_x", "gammaYx", "alpha", "Beta"])
    checks.equal("order by id", names(order_by=["experiment_id"]), ["alpha", "Beta", "gamma_x", "gammaYx"])
    checks.equal(
        "order by creation time", names(order_by=["creation_time DESC", "experiment_id DESC"]), ["gammaYx", "gamma_x", "Beta", "alpha"]
    )
    client.rename_experiment(made["Beta"], f"{token} Beta")
    checks.equal("order by update time", names(order_by=["last_update_time DESC"], max_results=1), ["Beta"])
    for order in ("tags.k", "foo", "name SIDEWAYS", "name, experiment_id"):
        checks.refused(f"order by {order}", INVALID, client.search_experiments, order_by=[order])

    checks.equal("active", set(names(view_type=ViewType.ACTIVE_ONLY)), set(made))
    checks.equal("deleted", set(names(view_type=ViewType.DELETED_ONLY)), {"gone"})
    checks.equal("all", set(names(view_type=ViewType.ALL)), {*made, "gone"})

    pages = all_pages(client.search_experiments, view_type=ViewType.ALL, filter_string=mine, order_by=["name"], max_results=2)
    checks.equal("page sizes", [len(page) for page in pages if page], [2, 2, 1])
    checks.equal("no gaps between pages", [e.name for page in pages for e in page], sorted(f"{token} {name}" for name in (*made, "gone")))
    everything = mlflow.search_experiments(filter_string=mine)
    checks.equal("fluent search", {experiment.experiment_id for experiment in everything}, set(made.values()))
    checks.refused("page token of nobody", INVALID, client.search_experiments, page_token="not a token")
    for size in (0, -1, 50_001):
        checks.refused(f"page of {size}", INVALID, client.search_experiments, max_results=size)


# ------------------------------------------------------------------------------------------------------ runs


@section
def runs():
    experiment_id = new_experiment("runs")
    run = client.create_run(
        experiment_id,
        start_time=1234567890123,
        tags={"a": "b", "mlflow.user": "ann", "mlflow.note.content": "## Ünïcode 乗客"},
        run_name="first flight",
    )
    checks.equal("life cycle", run.info.lifecycle_stage, "active")
    run_id = run.info.run_id
    checks.true("run ids are 32 hex digits", len(run_id) == 32 and int(run_id, 16) >= 0, run_id)
    for read, way in ((run, "create_run"), (client.get_run(run_id), "get_run"), (client.search_runs([experiment_id])[0], "search_runs")):
        checks.equal(
            f"{way}: info",
            (read.info.run_id, read.info.experiment_id, read.info.run_name, read.info.status, read.info.start_time),
            (run_id, experiment_id, "first flight", "RUNNING", 1234567890123),
        )
        checks.equal(f"{way}: user", read.info.user_id, "ann")
        checks.equal(f"{way}: end", read.info.end_time, None)
        checks.equal(
            f"{way}: tags",
            read.data.tags,
            {"a": "b", "mlflow.user": "ann", "mlflow.note.content": "## Ünïcode 乗客", "mlflow.runName": "first flight"},
        )
        checks.equal(f"{way}: params and metrics", (read.data.params, read.data.metrics), ({}, {}))
        checks.true(f"{way}: artifact uri", read.info.artifact_uri.endswith(f"/{run_id}/artifacts"), read.info.artifact_uri)

    named_by_tag = client.create_run(experiment_id, tags={"mlflow.runName": "by tag"})
    checks.equal("name from the tag", named_by_tag.info.run_name, "by tag")
    unnamed = client.get_run(new_run(experiment_id))
    checks.true(
        "a run without name gets one",
        unnamed.info.run_name and unnamed.data.tags["mlflow.runName"] == unnamed.info.run_name,
        unnamed.info.run_name,
    )
    checks.refused("two names", INVALID, client.create_run, experiment_id, tags={"mlflow.runName": "one"}, run_name="other")
    checks.refused("unknown experiment", MISSING, client.create_run, "999999999999")
    checks.true("start time chosen by the client", abs(unnamed.info.start_time - now()) < 3_600_000)

    client.update_run(run_id, name="second flight")
    read = client.get_run(run_id)
    checks.equal(
        "renamed", (read.info.run_name, read.data.tags["mlflow.runName"], read.info.status), ("second flight", "second flight", "RUNNING")
    )
    client.set_tag(run_id, "mlflow.runName", "third flight")
    checks.equal("renamed by tag", client.get_run(run_id).info.run_name, "third flight")
    client.log_batch(run_id, tags=[RunTag("mlflow.runName", "fourth flight")])
    checks.equal("renamed by a batch", client.get_run(run_id).info.run_name, "fourth flight")

    for status in ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"):
        other = new_run(experiment_id, run_name=status)
        client.update_run(other, status=status)
        checks.equal(f"status {status}", client.get_run(other).info.status, status)
        checks.equal(
            f"status {status} is searchable",
            [
                r.info.run_name
                for r in client.search_runs([experiment_id], f"attributes.status = '{status}' and attributes.run_name = '{status}'")
            ],
            [status],
        )
    client.set_terminated(run_id)
    read = client.get_run(run_id)
    checks.equal("finished", read.info.status, "FINISHED")
    checks.true("end time by the client", abs(read.info.end_time - now()) < 3_600_000)
    client.set_terminated(run_id, status="KILLED", end_time=1234567899999)
    checks.equal("killed later", (client.get_run(run_id).info.status, client.get_run(run_id).info.end_time), ("KILLED", 1234567899999))
    client.update_run(run_id, status="RUNNING")
    client.log_metric(run_id, "again", 1.0)
    checks.equal("running again", (client.get_run(run_id).info.status, client.get_run(run_id).data.metrics), ("RUNNING", {"again": 1.0}))

    child = client.create_run(experiment_id, tags={"mlflow.parentRunId": run_id})
    grandchild = client.create_run(experiment_id, tags={"mlflow.parentRunId": child.info.run_id})
    checks.equal("parent", client.get_parent_run(child.info.run_id).info.run_id, run_id)
    checks.equal("parent's parent", client.get_parent_run(client.get_parent_run(grandchild.info.run_id).info.run_id).info.run_id, run_id)
    checks.equal("no parent", client.get_parent_run(run_id), None)
    checks.equal(
        "children by tag",
        [r.info.run_id for r in client.search_runs([experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")],
        [child.info.run_id],
    )

    for what, call in unknown_run_calls():
        checks.refused(f"{what} of an unknown run", MISSING, *call)


def unknown_run_calls(run_id=NO_RUN):
    return [
        ("get_run", (client.get_run, run_id)),
        ("delete_run", (client.delete_run, run_id)),
        ("restore_run", (client.restore_run, run_id)),
        *writes(run_id),
    ]


def writes(run_id):
    """Every call that changes a run, for runs that must refuse it."""
    return [
        ("log_metric", (client.log_metric, run_id, "m", 1.0)),
        ("log_param", (client.log_param, run_id, "p", "1")),
        ("set_tag", (client.set_tag, run_id, "t", "1")),
        ("delete_tag", (client.delete_tag, run_id, "mlflow.runName")),
        ("log_batch", (client.log_batch, run_id, [Metric("m", 1.0, 1, 0)], [Param("p", "1")], [RunTag("t", "1")])),
        ("log_inputs", (client.log_inputs, run_id, [DatasetInput(Dataset("d", "1", "local", "{}"), [])])),
        ("set_terminated", (store.update_run_info, run_id, RunStatus.FINISHED, now(), None)),
    ]


@section
def deletion_of_runs():
    experiment_id = new_experiment("deleted runs")
    run_id, other = new_run(experiment_id, run_name="gone"), new_run(experiment_id, run_name="kept")
    client.log_batch(run_id, [Metric("mae", 1.5, 1000, 0)], [Param("lr", "0.1")], [RunTag("t", "1")])
    client.delete_run(run_id)
    read = client.get_run(run_id)
    checks.equal(
        "still readable",
        (read.info.lifecycle_stage, read.data.metrics, read.data.params, read.data.tags["t"]),
        ("deleted", {"mae": 1.5}, {"lr": "0.1"}, "1"),
    )
    checks.equal("history still readable", [point.value for point in client.get_metric_history(run_id, "mae")], [1.5])
    for what, call in writes(run_id):
        checks.refused(f"{what} on a deleted run", INVALID, *call)
    checks.equal("nothing was written", client.get_run(run_id).to_dictionary(), read.to_dictionary())

    def found(view):
        return {run.info.run_name for run in client.search_runs([experiment_id], run_view_type=view)}

    checks.equal("active", found(ViewType.ACTIVE_ONLY), {"kept"})
    checks.equal("deleted", found(ViewType.DELETED_ONLY), {"gone"})
    checks.equal("all", found(ViewType.ALL), {"gone", "kept"})
    client.delete_run(run_id)
    client.restore_run(run_id)
    client.restore_run(run_id)
    checks.equal("restored", found(ViewType.ACTIVE_ONLY), {"gone", "kept"})
    client.log_metric(run_id, "mae", 1.25, step=1)
    checks.equal("takes metrics again", client.get_run(run_id).data.metrics, {"mae": 1.25})
    checks.equal("the other one was never touched", client.get_run(other).info.lifecycle_stage, "active")


# ------------------------------------------------------------------------------------------- params and tags


@section
def params():
    run_id = new_run()
    values = {
        "lr": 0.1,
        "tiny": 1e-300,
        "hidden size": 64,
        "flag": True,
        "none": None,
        "list": [1, "2", {"three": 3.0}],
        "path/with.dots-and_more": "a/b",
        "größe": "größer",
        "empty": "",
        "quotes": 'it\'s "quoted" \\ and\nbroken\tover lines',
        "longest": "x" * 6000,
        "emoji": "😀" * 6000,
        "k" * 250: "longest key",
    }
    for key, value in list(values.items())[:6]:
        client.log_param(run_id, key, value)
    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in list(values.items())[6:]])
    expected = {key: str(value) for key, value in values.items()}
    checks.equal("params", client.get_run(run_id).data.params, expected)

    client.log_param(run_id, "lr", 0.1)
    client.log_batch(run_id, params=[Param("lr", "0.1"), Param("new", "1")])
    checks.refused("changed value", INVALID, client.log_param, run_id, "lr", 0.2)
    checks.refused(
        "changed value in a batch",
        INVALID,
        client.log_batch,
        run_id,
        [Metric("m", 1.0, 1, 0)],
        [Param("fresh", "1"), Param("lr", "0.2")],
        [RunTag("t", "1")],
    )
    checks.refused("key twice in a batch", INVALID, client.log_batch, run_id, [], [Param("twice", "1"), Param("twice", "2")])
    read = client.get_run(run_id)
    checks.equal("refused batches left nothing", read.data.params, {**expected, "new": "1"})
    checks.equal("refused batches left no metric and no tag", (read.data.metrics, "t" in read.data.tags), ({}, False))
    client.log_param(run_id, "cut", "y" * 6001)
    checks.equal("too long values are cut", client.get_run(run_id).data.params["cut"], "y" * 6000)
    client.log_param(run_id, "cut", "y" * 6002)
    for key in ("k" * 251, "a//b", "/a", "../a", "a/../b", "a#b", "tab\tkey", ""):
        checks.refused(f"param key {key[:10]!r}", INVALID, client.log_param, run_id, key, "1")
        checks.refused(f"metric key {key[:10]!r}", INVALID, client.log_metric, run_id, key, 1.0)
        checks.refused(f"tag key {key[:10]!r}", INVALID, client.set_tag, run_id, key, "1")


@section
def tags():
    run_id = new_run(run_name="tags")
    client.set_tag(run_id, "stage", "trial")
    client.set_tag(run_id, "stage", "final")
    client.set_tag(run_id, "number", 7)
    client.log_batch(
        run_id,
        tags=[RunTag("a/b", "1"), RunTag("empty", ""), RunTag("unicode", "乗客 ✈ \u2028"), RunTag("twice", "1"), RunTag("twice", "2")],
    )
    client.set_tag(run_id, "longest", "z" * 8000)
    expected = {
        "mlflow.runName": "tags",
        "stage": "final",
        "number": "7",
        "a/b": "1",
        "empty": "",
        "unicode": "乗客 ✈ \u2028",
        "twice": "2",
        "longest": "z" * 8000,
    }
    checks.equal("tags", client.get_run(run_id).data.tags, expected)
    client.delete_tag(run_id, "stage")
    expected.pop("stage")
    checks.equal("tag deleted", client.get_run(run_id).data.tags, expected)
    checks.refused("tag deleted twice", MISSING, client.delete_tag, run_id, "stage")
    client.set_tag(run_id, "longest", "z" * 8001)
    checks.equal("too long values are cut", client.get_run(run_id).data.tags["longest"], "z" * 8000)


# --------------------------------------------------------------------------------------------------- metrics


@section
def metrics():
    run_id = new_run()
    biggest = sys.float_info.max
    values = {
        "third": 1 / 3,
        "tiny": 5e-324,
        "biggest": biggest,
        "negative": -biggest,
        "zero": 0.0,
        "exact": 0.1 + 0.2,
        "nan": math.nan,
        "inf": math.inf,
        "-inf": -math.inf,
        "int": 12345678901234567,
    }
    for number, (key, value) in enumerate(values.items()):
        if number % 2:
            client.log_metric(run_id, key, value, timestamp=1000 + number, step=number)
        else:
            client.log_batch(run_id, metrics=[Metric(key, value, 1000 + number, number)])
    expected = {**values, "inf": biggest, "-inf": -biggest, "int": float(12345678901234567)}
    checks.equal("latest values", client.get_run(run_id).data.metrics, expected)
    for number, key in enumerate(values):
        checks.equal(f"history of {key}", points(run_id, key), [(expected[key], 1000 + number, number)])
    checks.equal("unknown key", points(run_id, "nothing"), [])

    # Of several points the one with the highest step counts, then the latest time, then the larger value.
    for what, sent, latest in (
        ("step before time", [(1.0, 9, 5), (9.0, 99, 0)], 1.0),
        ("time within a step", [(1.0, 20, 5), (9.0, 10, 5)], 1.0),
        ("value at one time", [(1.0, 20, 5), (9.0, 20, 5), (3.0, 20, 5)], 9.0),
        ("negative steps", [(1.0, 20, -5), (2.0, 10, -1)], 2.0),
        ("late points", [(float(step), 100 + step, step) for step in (3, 9, 1, 7, 5)], 9.0),
        ("nan last", [(1.0, 1, 0), (math.nan, 2, 1)], math.nan),
        ("number after nan", [(math.nan, 1, 0), (1.0, 2, 1)], 1.0),
        ("far steps", [(1.0, 1, 2**62), (2.0, 1, 0), (3.0, 1, -(2**62))], 1.0),
    ):
        for way in ("one by one", "in a batch"):
            key = f"{what} {way}"
            if way == "one by one":
                for value, timestamp, step in sent:
                    client.log_metric(run_id, key, value, timestamp=timestamp, step=step)
            else:
                client.log_batch(run_id, metrics=[Metric(key, *point) for point in sent])
            checks.equal(f"latest: {key}", client.get_run(run_id).data.metrics.get(key), latest)
            checks.equal(f"history: {key}", points(run_id, key), sorted(sent, key=lambda point: (point[1], point[2], point[0])))

    for _ in range(2):
        client.log_metric(run_id, "resent", 1.5, timestamp=77, step=3)
        client.log_batch(run_id, metrics=[Metric("resent", 1.5, 77, 3), Metric("resent", 2.5, 78, 4)])
    checks.equal("a point sent again is one point", points(run_id, "resent"), [(1.5, 77, 3), (2.5, 78, 4)])
    checks.refused("negative timestamp", INVALID, client.log_metric, run_id, "m", 1.0, timestamp=-1)
    before = now()
    client.log_metric(run_id, "default time", 1)
    ((value, timestamp, step),) = points(run_id, "default time")
    checks.equal("default step", (value, step), (1.0, 0))
    checks.true("default time", before - 1 <= timestamp <= now() + 1, timestamp)


def points(run_id, key):
    return [(point.value, point.timestamp, point.step) for point in client.get_metric_history(run_id, key)]


@section
def batches():
    run_id = new_run()
    # As the client sends it: cut into requests that the server allows.
    client.log_batch(
        run_id,
        [Metric(f"m{number % 7}", number / 3, 1000 + number, number) for number in range(2500)],
        [Param(f"p{number}", str(number)) for number in range(250)],
        [RunTag(f"t{number}", str(number)) for number in range(150)],
    )
    read = client.get_run(run_id)
    checks.equal("2500 metrics", read.data.metrics, {f"m{number % 7}": number / 3 for number in range(2500)})
    for key in range(7):
        checks.equal(
            f"history of m{key}",
            points(run_id, f"m{key}"),
            [(number / 3, 1000 + number, number) for number in range(2500) if number % 7 == key],
        )
    checks.equal("250 params", read.data.params, {f"p{number}": str(number) for number in range(250)})
    checks.equal(
        "150 tags",
        {key: value for key, value in read.data.tags.items() if key.startswith("t")},
        {f"t{number}": str(number) for number in range(150)},
    )

    def batch(metrics, params, tags):
        return (
            [Metric(f"k{n}", float(n), 1, 0) for n in range(metrics)],
            [Param(f"k{n}", str(n)) for n in range(params)],
            [RunTag(f"k{n}", str(n)) for n in range(tags)],
        )

    for size in ((1000, 0, 0), (0, 100, 0), (0, 0, 100), (800, 100, 100), (0, 0, 0)):
        run_id = new_run(run_name="full")
        store.log_batch(run_id, *batch(*size))
        read = client.get_run(run_id)
        checks.equal(f"batch of {size}", (len(read.data.metrics), len(read.data.params), len(read.data.tags) - 1), size)
    run_id = new_run(run_name="empty")
    for size in ((1001, 0, 0), (0, 101, 0), (0, 0, 101), (801, 100, 100)):
        checks.refused(f"batch of {size}", INVALID, store.log_batch, run_id, *batch(*size))
    many, none, _ = batch(10, 0, 0)
    checks.refused(
        "one bad metric among ten",
        INVALID,
        store.log_batch,
        run_id,
        [*many, Metric("late", 1.0, -5, 0)],
        [Param("p", "1")],
        [RunTag("t", "1")],
    )
    checks.refused(
        "one bad key among ten", INVALID, store.log_batch, run_id, [*many, Metric("a//b", 1.0, 5, 0)], [Param("p", "1")], [RunTag("t", "1")]
    )
    read = client.get_run(run_id)
    checks.equal(
        "refused batches left nothing", (read.data.metrics, read.data.params, read.data.tags), ({}, {}, {"mlflow.runName": "empty"})
    )


@section
def long_history():
    run_id, count = new_run(), 26_000
    sent = [(math.sin(number), 1_700_000_000_000 + 40 * number, number) for number in range(count)]
    order = list(range(0, count, 1000))
    random.Random(7).shuffle(order)
    for first in order:
        client.log_batch(run_id, metrics=[Metric("loss", *point) for point in sent[first : first + 1000]])
    checks.equal("more points than a page holds", points(run_id, "loss"), sent)
    checks.equal("latest of them", client.get_run(run_id).data.metrics, {"loss": sent[-1][0]})
    pages = all_pages(lambda page_token: store.get_metric_history(run_id, "loss", max_results=9_999, page_token=page_token))
    checks.equal("sizes of smaller pages", [len(page) for page in pages if page], [9_999, 9_999, 6_002])
    checks.equal("no gaps between pages", [(point.value, point.timestamp, point.step) for page in pages for point in page], sent)
    checks.refused("page token of nobody", INVALID, store.get_metric_history, run_id, "loss", max_results=10, page_token="not a token")


# ------------------------------------------------------------------------------------------------- data sets


def dataset_input(name, digest, context=None, **tags):
    tags = {**({"mlflow.data.context": context} if context else {}), **tags}
    return DatasetInput(
        Dataset(
            name,
            digest,
            "local",
            '{"uri": "air.csv"}',
            '{"mlflow_colspec": [{"type": "double", "name": "y", "required": true}]}',
            '{"num_rows": 144}',
        ),
        [InputTag(key, value) for key, value in tags.items()],
    )


def inputs_of(run):
    return sorted(
        (entry.dataset.name, entry.dataset.digest, {tag.key: tag.value for tag in entry.tags}) for entry in run.inputs.dataset_inputs
    )


@section
def datasets():
    token, experiment_id = unique("").strip(), new_experiment("data sets")
    first, second = new_run(experiment_id, run_name="first"), new_run(experiment_id, run_name="second")
    train, test = dataset_input(f"air {token}", "d1", "training", fold="1"), dataset_input(f"air {token}", "d2", "test")
    client.log_inputs(first, [train, test])
    client.log_inputs(first, [train])
    client.log_inputs(second, [dataset_input(f"air {token}", "d1")])
    expected = [
        (f"air {token}", "d1", {"mlflow.data.context": "training", "fold": "1"}),
        (f"air {token}", "d2", {"mlflow.data.context": "test"}),
    ]
    checks.equal("inputs", inputs_of(client.get_run(first)), expected)
    checks.equal("inputs of the other run", inputs_of(client.get_run(second)), [(f"air {token}", "d1", {})])
    checks.equal(
        "inputs in a search",
        {run.info.run_name: inputs_of(run) for run in client.search_runs([experiment_id])},
        {"first": expected, "second": [(f"air {token}", "d1", {})]},
    )
    stored = client.get_run(first).inputs.dataset_inputs[0].dataset
    checks.equal(
        "source, schema and profile",
        (stored.source_type, stored.source, stored.schema, stored.profile),
        (train.dataset.source_type, train.dataset.source, train.dataset.schema, train.dataset.profile),
    )

    for filter_string, expected in (
        (f"dataset.name = 'air {token}'", {"first", "second"}),
        (f"datasets.name LIKE 'air%{token}'", {"first", "second"}),
        ("dataset.digest = 'd2'", {"first"}),
        ("dataset.digest IN ('d2', 'd3')", {"first"}),
        ("dataset.context = 'training'", {"first"}),
        ("dataset.context = 'training' AND dataset.digest = 'd2'", {"first"}),
        ("dataset.context = 'nothing'", set()),
        (f"dataset.name = 'air {token}' AND attributes.run_id = '{second}'", {"second"}),
    ):
        checks.equal(filter_string, {run.info.run_name for run in client.search_runs([experiment_id], filter_string)}, expected)
    for filter_string in ("dataset.source = 'x'", "dataset.name > 'x'", "dataset = 'x'"):
        checks.refused(filter_string, INVALID, client.search_runs, [experiment_id], filter_string)
    for what, bad in (
        ("long name", Dataset("n" * 501, "d", "local", "{}")),
        ("long digest", Dataset("n", "d" * 37, "local", "{}")),
        ("long source", Dataset("n", "d", "local", "s" * 65536)),
    ):
        checks.refused(f"data set with a {what}", INVALID, client.log_inputs, second, [DatasetInput(bad, [])])
    checks.equal("refused inputs left nothing", len(client.get_run(second).inputs.dataset_inputs), 1)

    if hasattr(client, "log_outputs"):
        from mlflow.entities import LoggedModelInput, LoggedModelOutput

        used, made = "m-" + "a" * 32, "m-" + "b" * 32
        client.log_inputs(second, models=[LoggedModelInput(used)])
        client.log_outputs(second, [LoggedModelOutput(made, step=3)])
        run = client.get_run(second)
        checks.equal("model inputs", [entry.model_id for entry in run.inputs.model_inputs], [used])
        checks.equal("model outputs", [(entry.model_id, entry.step) for entry in run.outputs.model_outputs], [(made, 3)])


# -------------------------------------------------------------------------------------------- search of runs


@section
def search_of_runs():
    experiment_id, elsewhere = new_experiment("search"), new_experiment("search elsewhere")
    nan = math.nan
    fixture = {
        # name: start, end, status, user, metrics, params, tags
        "Anna": (
            100,
            900,
            "FINISHED",
            "u1",
            {"mae": 0.9, "loss": 0.1, "val loss": 5.0, "test/mae": 1.0},
            {"lr": "0.1", "batch size": "x", "p.dot": "v", "Model": "AutoNHITS"},
            {"t": "one", "team/x": "q", "k.d": "1"},
        ),
        "Ben": (200, 800, "FAILED", "u2", {"mae": 0.5, "loss": nan}, {"lr": "0.01"}, {"t": "two"}),
        "Cleo": (300, None, "RUNNING", "U1", {"mae": 0.9}, {"lr": "0.1%"}, {"t": "One"}),
        "Dora": (400, 700, "KILLED", "u1", {"loss": -1.0}, {}, {"t": "it's"}),
        "Emil": (500, None, "SCHEDULED", "u1", {"mae": nan}, {"lr": "a_b"}, {"t": 'a"b'}),
        "F_x": (50, 60, "FINISHED", "u1", {"mae": 0.2}, {"lr": "axb"}, {}),
    }
    ids = {}
    for name, (start, end, status, user, metrics, params, tags) in fixture.items():
        ids[name] = new_run(experiment_id, start_time=start, run_name=name, tags={**tags, "mlflow.user": user})
        client.log_batch(
            ids[name], [Metric(key, value, 1, 0) for key, value in metrics.items()], [Param(key, value) for key, value in params.items()]
        )
        if end:
            client.set_terminated(ids[name], status=status, end_time=end)
        else:
            client.update_run(ids[name], status=status)
    # The latest value counts: an earlier, better one must not match.
    client.log_metric(ids["F_x"], "mae", 5.0, timestamp=0, step=-1)
    ids["deleted"] = new_run(experiment_id, run_name="deleted", tags={"t": "one"})
    client.delete_run(ids["deleted"])
    ids["other"] = new_run(elsewhere, run_name="other", tags={"t": "one"})

    def names(filter_string="", experiments=(experiment_id,), **kwargs):
        return [run.info.run_name for run in client.search_runs(list(experiments), filter_string, **kwargs)]

    everybody = "Anna Ben Cleo Dora Emil F_x"
    table = [
        ("", everybody),
        ("metrics.mae > 0.5", "Anna Cleo"),
        ("metric.mae >= 0.9", "Anna Cleo"),
        ("metrics.mae <= .5 AND metrics.mae > 0.1", "Ben F_x"),
        ("metrics.mae != 0.9 AND metrics.mae > 0.1", "Ben F_x"),
        ("metrics.mae = 0.9", "Anna Cleo"),
        ("metrics.mae > 5e-1", "Anna Cleo"),
        ("metrics.loss < -0.5", "Dora"),
        ("metrics.loss>-1 and metrics.loss < 1 and metrics.loss != 0", "Anna"),
        ("metrics.missing > 0", ""),
        ("metrics.`val loss` = 5", "Anna"),
        ('metrics."val loss" >= 5 AND metrics.`test/mae` = 1', "Anna"),
        ("metrics.mae > 0.5 and params.lr = '0.1'", "Anna"),
        ("params.lr = '0.1'", "Anna"),
        ('param.lr = "0.1"', "Anna"),
        ("parameters.lr = '0.1'", "Anna"),
        ("params.lr != '0.1'", "Ben Cleo Emil F_x"),
        ("params.lr LIKE '0.1%'", "Anna Cleo"),
        ("params.lr LIKE 'a_b'", "Emil F_x"),
        ("params.lr ILIKE 'A_B'", "Emil F_x"),
        ("params.lr like '%.01'", "Ben"),
        ("params.lr = ''", ""),
        ("params.p.dot = 'v'", "Anna"),
        ("params.`batch size` = 'x'", "Anna"),
        ("params.Model ILIKE 'auto%'", "Anna"),
        ("tags.t = 'one'", "Anna"),
        ("tag.t != 'one'", "Ben Cleo Dora Emil"),
        ("tags.t ILIKE 'ONE'", "Anna Cleo"),
        ('tags.t = "it\'s"', "Dora"),
        ("tags.t = 'a\"b'", "Emil"),
        ("tags.k.d = '1'", "Anna"),
        ("tags.`team/x` = 'q'", "Anna"),
        ("tags.mlflow.runName = 'Anna'", "Anna"),
        ("tags.`mlflow.user` LIKE 'u%'", "Anna Ben Dora Emil F_x"),
        ("attributes.status = 'FINISHED'", "Anna F_x"),
        ("status = 'FINISHED'", "Anna F_x"),
        ("attribute.status != 'FINISHED'", "Ben Cleo Dora Emil"),
        ("run.status ILIKE 'fin%'", "Anna F_x"),
        ("status = 'finished'", ""),
        ("run_name = 'Anna'", "Anna"),
        ("attributes.run_name LIKE 'F_x'", "F_x"),
        ("run_name LIKE 'f%'", ""),
        ("run_name ILIKE 'f_X'", "F_x"),
        ("attributes.`Run name` = 'Anna'", "Anna"),
        ("start_time >= 200 AND start_time <= 300", "Ben Cleo"),
        ("attributes.start_time > 299", "Cleo Dora Emil"),
        ("created > 299", "Cleo Dora Emil"),
        ("end_time < 1000", "Anna Ben Dora F_x"),
        ("end_time != 900", "Ben Dora F_x"),
        ("user_id LIKE 'u%'", "Anna Ben Dora Emil F_x"),
        ("attributes.user_id ILIKE 'U1'", "Anna Cleo Dora Emil F_x"),
        ("artifact_uri LIKE '%artifacts'", everybody),
        (f"run_id = '{ids['Ben']}'", "Ben"),
        (f"run_id IN ('{ids['Anna']}','{ids['Cleo']}')", "Anna Cleo"),
        (f"attributes.run_id NOT IN ('{ids['Anna']}', '{ids['Cleo']}')", "Ben Dora Emil F_x"),
        (f"run_id in ('{ids['Anna']}')", "Anna"),
        ("status = 'FINISHED' and params.lr LIKE '0%' AND tags.t = 'one' and metrics.loss < 1", "Anna"),
    ]
    for filter_string, expected in table:
        checks.equal(filter_string or "no filter", sorted(names(filter_string)), expected.split())
    for filter_string in (
        "metrics.mae > 0.5 OR params.lr = '0.1'",
        "(metrics.mae > 0.5)",
        "NOT metrics.mae > 0.5",
        "metrics.mae > '0.5'",
        "metrics.mae > NaN",
        "metrics.a/b = 1",
        "metrics.mae == 0.9",
        "metrics.mae <> 0.9",
        "metrics.mae BETWEEN 0 AND 1",
        "metrics.mae IN (0.9)",
        "metrics.mae",
        "0.5 < metrics.mae",
        "mae > 0.5",
        "Metrics.mae > 0.5",
        "params.lr = 0.1",
        "params.lr > '0.1'",
        "params.lr IN ('0.1')",
        "params.lr = `0.1`",
        "tags.t = 'one",
        "tags.t = 'one'; DROP TABLE runs",
        "tags.t = 'one' -- comment",
        "status = FINISHED",
        "status IN ('FINISHED')",
        "start_time > '200'",
        "experiment_id = '1'",
        "lifecycle_stage = 'active'",
        "run_id IN ()",
        "run_id IN ('a', 5)",
    ):
        checks.refused(filter_string, INVALID, client.search_runs, [experiment_id], filter_string)

    def ordered(*order):
        return " ".join(names(order_by=list(order)))

    for order, expected in (
        (["metrics.mae DESC", "start_time ASC"], "Anna Cleo Ben F_x Emil Dora"),
        (["metrics.mae ASC", "start_time ASC"], "F_x Ben Anna Cleo Emil Dora"),
        (["metrics.mae"], "F_x Ben Cleo Anna Emil Dora"),  # ties: the later start first
        (["metrics.loss ASC"], "Dora Anna Ben Emil Cleo F_x"),
        (["metrics.loss DESC"], "Anna Dora Ben Emil Cleo F_x"),
        (["params.lr"], "Ben Anna Cleo Emil F_x Dora"),
        (["params.lr DESC"], "F_x Emil Cleo Anna Ben Dora"),
        (["tags.t"], "Cleo Emil Dora Anna Ben F_x"),
        (["attributes.end_time DESC", "run_name"], "Anna Ben Dora F_x Cleo Emil"),
        (["end_time", "run_name"], "F_x Dora Ben Anna Cleo Emil"),
        (["status", "metrics.mae DESC"], "Ben Anna F_x Dora Cleo Emil"),
        (["attributes.run_name DESC"], "F_x Emil Dora Cleo Ben Anna"),
        (["start_time ASC"], "F_x Anna Ben Cleo Dora Emil"),
        (["created DESC"], "Emil Dora Cleo Ben Anna F_x"),
        (["metrics.`val loss` DESC", "start_time"], "Anna F_x Ben Cleo Dora Emil"),
        ([], "Emil Dora Cleo Ben Anna F_x"),
        (["metrics.unknown"], "Emil Dora Cleo Ben Anna F_x"),
    ):
        checks.equal(f"order by {order}", ordered(*order), expected)
    for order in ("metrics.mae DESCENDING", "metrics.mae, metrics.loss", "metrics.val loss", "foo", "experiment_id", "dataset.name"):
        checks.refused(f"order by {order}", INVALID, client.search_runs, [experiment_id], order_by=[order])

    both = (experiment_id, elsewhere)
    checks.equal("two experiments", Counter(names(experiments=both)), Counter([*everybody.split(), "other"]))
    checks.equal("two experiments, filtered", Counter(names("tags.t = 'one'", experiments=both)), Counter(["Anna", "other"]))
    checks.equal("deleted ones", names(run_view_type=ViewType.DELETED_ONLY), ["deleted"])
    checks.equal(
        "all of them", Counter(names("tags.t = 'one'", experiments=both, run_view_type=ViewType.ALL)), Counter(["Anna", "other", "deleted"])
    )
    checks.equal("unknown experiment", names(experiments=["999999999999"]), [])
    checks.equal("no experiment", len(client.search_runs([])), 0)

    for order in (["metrics.mae DESC"], ["params.lr"], ["attributes.start_time"], None):
        whole = [run.info.run_id for run in client.search_runs([experiment_id], order_by=order)]
        for size in (1, 2, 3, 4, 6):
            pages = all_pages(
                lambda page_token: client.search_runs([experiment_id], order_by=order, max_results=size, page_token=page_token)
            )
            checks.equal(f"pages of {size} by {order}", [run.info.run_id for page in pages for run in page], whole)
            checks.true(f"pages of {size} are full", all(len(page) == size for page in pages[:-2]))
    checks.refused("page token of nobody", INVALID, client.search_runs, [experiment_id], page_token="not a token")
    for size in (0, -1, 50_001):
        checks.refused(f"page of {size}", INVALID, client.search_runs, [experiment_id], max_results=size)


# -------------------------------------------------------------------------------------------- the fluent API


@section
def fluent():
    name = unique("fluent")
    experiment = mlflow.set_experiment(name)
    checks.equal("set_experiment creates", client.get_experiment_by_name(name).experiment_id, experiment.experiment_id)
    checks.equal("set_experiment finds", mlflow.set_experiment(name).experiment_id, experiment.experiment_id)
    checks.equal("set_experiment by id", mlflow.set_experiment(experiment_id=experiment.experiment_id).name, name)
    mlflow.set_experiment_tags({"series": "air", "count": 144})
    mlflow.set_experiment_tag("freq", "MS")
    checks.equal("experiment tags", client.get_experiment(experiment.experiment_id).tags, {"series": "air", "count": "144", "freq": "MS"})

    frame = pd.DataFrame({"ds": pd.date_range("1949-01-01", periods=3, freq="MS"), "y": [112.0, 118.0, 132.0]})
    # MLflow shares data sets of one name and digest; fresh names keep those of earlier passes out.
    by_frame = mlflow.data.from_pandas(frame, source="air.csv", name=unique("frame"), targets="y")
    by_array = mlflow.data.from_numpy(np.arange(12.0).reshape(3, 4), targets=np.arange(3), name=unique("array"))
    before = now()
    with mlflow.start_run(run_name="outer", tags={"stage": "study"}, description="all about it") as outer:
        checks.equal("active run", mlflow.active_run().info.run_id, outer.info.run_id)
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"model": "AutoNHITS", "h": 12, "nested": {"a": 1}})
        mlflow.log_metric("mae", 2)
        mlflow.log_metric("mae", 1.5, step=1)
        mlflow.log_metrics({"rmse": 3.5, "smape": 0.25}, step=4)
        mlflow.set_tag("one", 1)
        mlflow.set_tags({"two": "2", "mlflow.note.content": "changed"})
        mlflow.log_input(by_frame, context="training")
        mlflow.log_input(by_array)
        with mlflow.start_run(run_name="inner", nested=True) as inner:
            mlflow.log_metric("mae", 7.0)
        checks.equal("back in the outer run", mlflow.active_run().info.run_id, outer.info.run_id)
        checks.equal("still running", client.get_run(outer.info.run_id).info.status, "RUNNING")
    checks.equal("last active run", mlflow.last_active_run().info.run_id, outer.info.run_id)
    run = mlflow.get_run(outer.info.run_id)
    checks.equal("finished", (run.info.status, run.info.run_name, run.info.experiment_id), ("FINISHED", "outer", experiment.experiment_id))
    checks.true("times", before - 1 <= run.info.start_time <= run.info.end_time <= now() + 1)
    checks.equal("params", run.data.params, {"lr": "0.1", "model": "AutoNHITS", "h": "12", "nested": "{'a': 1}"})
    checks.equal("metrics", run.data.metrics, {"mae": 1.5, "rmse": 3.5, "smape": 0.25})
    checks.equal("history", [(value, step) for value, _, step in points(run.info.run_id, "mae")], [(2.0, 0), (1.5, 1)])
    checks.equal(
        "tags",
        {key: run.data.tags.get(key) for key in ("stage", "one", "two", "mlflow.note.content", "mlflow.runName")},
        {"stage": "study", "one": "1", "two": "2", "mlflow.note.content": "changed", "mlflow.runName": "outer"},
    )
    checks.true("the client's own tags", {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= run.data.tags.keys(), run.data.tags)
    checks.equal(
        "inputs",
        inputs_of(run),
        [(by_array.name, by_array.digest, {}), (by_frame.name, by_frame.digest, {"mlflow.data.context": "training"})],
    )
    for entry, dataset in zip(sorted(run.inputs.dataset_inputs, key=lambda entry: entry.dataset.name), (by_array, by_frame)):
        checks.equal(f"data set {dataset.name}", {key: getattr(entry.dataset, key) for key in dataset.to_dict()}, dataset.to_dict())
    checks.equal("parent", mlflow.get_parent_run(inner.info.run_id).info.run_id, outer.info.run_id)

    try:
        with mlflow.start_run(run_name="broken") as broken:
            raise RuntimeError("on purpose")
    except RuntimeError:
        pass
    checks.equal("a run that raises fails", client.get_run(broken.info.run_id).info.status, "FAILED")
    mlflow.start_run(run_id=broken.info.run_id)
    checks.equal("taken up again", client.get_run(broken.info.run_id).info.status, "RUNNING")
    mlflow.log_metric("mae", 9.0)
    mlflow.delete_tag("mlflow.source.name")
    mlflow.end_run("KILLED")
    read = client.get_run(broken.info.run_id)
    checks.equal(
        "ended as killed", (read.info.status, read.data.metrics, "mlflow.source.name" in read.data.tags), ("KILLED", {"mae": 9.0}, False)
    )
    checks.equal("no active run", mlflow.active_run(), None)
    mlflow.delete_run(broken.info.run_id)
    checks.refused("a deleted run is not taken up", ("INTERNAL_ERROR", INVALID), mlflow.start_run, run_id=broken.info.run_id)
    checks.refused("an unknown run is not taken up", MISSING, mlflow.start_run, run_id=NO_RUN)

    table = mlflow.search_runs(experiment_names=[name], order_by=["metrics.mae ASC"])
    checks.equal("rows", list(table["run_id"]), [outer.info.run_id, inner.info.run_id])
    checks.equal("metric column", list(table["metrics.mae"]), [1.5, 7.0])
    checks.equal("metric that one run lacks", list(table["metrics.rmse"]), [3.5, math.nan])
    checks.equal("param column", (table["params.lr"][0], table["params.lr"][1]), ("0.1", None))
    checks.equal("tag column", list(table["tags.mlflow.runName"]), ["outer", "inner"])
    checks.equal("status column", list(table["status"]), ["FINISHED", "FINISHED"])
    checks.equal(
        "start times",
        [int(at.timestamp() * 1000 + 0.5) for at in table["start_time"]],
        [client.get_run(i).info.start_time for i in table["run_id"]],
    )
    as_list = mlflow.search_runs([experiment.experiment_id], "metrics.mae < 5", output_format="list")
    checks.equal("as a list", [run.info.run_id for run in as_list], [outer.info.run_id])
    checks.equal("at most", len(mlflow.search_runs([experiment.experiment_id], max_results=1)), 1)
    checks.true("nothing found", mlflow.search_runs([experiment.experiment_id], "metrics.mae > 1000").empty)

    if hasattr(mlflow, "flush_async_logging"):
        with mlflow.start_run(run_name="asynchronous") as run:
            operations = [mlflow.log_metric("loss", step / 8, step=step, synchronous=False) for step in range(200)]
            operations.append(mlflow.log_params({"a": 1, "b": 2}, synchronous=False))
            operations.append(mlflow.set_tags({"c": "3"}, synchronous=False))
            for operation in operations:
                operation.wait()
            mlflow.flush_async_logging()
        read = client.get_run(run.info.run_id)
        checks.equal(
            "logged in the background",
            (sorted((s, v) for v, _, s in points(run.info.run_id, "loss")), read.data.params, read.data.tags["c"]),
            ([(step, step / 8) for step in range(200)], {"a": "1", "b": "2"}, "3"),
        )


# ------------------------------------------------------------------------------------------------ concurrency


@section
def concurrency():
    threads = 8

    def together(work):
        """Calls work(0), work(1), … at the same moment; a refusal counts as its error code."""
        start = threading.Barrier(threads)

        def attempt(number):
            start.wait()
            try:
                return work(number)
            except MlflowException as error:
                return error.error_code

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(attempt, range(threads)))

    experiment_id = new_experiment("concurrent")
    run_id = new_run(experiment_id)
    own = [new_run(experiment_id) for _ in range(threads)]

    def log(number):
        for step in range(20):
            client.log_metric(run_id, "shared", number + step / 100, timestamp=1000 + number, step=step)
            client.log_metric(own[number], "own", step / 3, timestamp=step, step=step)
            client.set_tag(run_id, f"tag{number}", str(step))
        client.log_batch(run_id, [Metric(f"of{number}", float(n), n, n) for n in range(100)], [Param(f"p{number}", str(number))])
        return "done"

    checks.equal("writers", together(log), ["done"] * threads)
    checks.equal(
        "shared history",
        points(run_id, "shared"),
        [(number + step / 100, 1000 + number, step) for number in range(threads) for step in range(20)],
    )
    read = client.get_run(run_id)
    checks.equal("latest", read.data.metrics, {"shared": threads - 1 + 0.19, **{f"of{number}": 99.0 for number in range(threads)}})
    checks.equal("params", read.data.params, {f"p{number}": str(number) for number in range(threads)})
    checks.equal("tags", [read.data.tags[f"tag{number}"] for number in range(threads)], ["19"] * threads)
    for number in range(threads):
        checks.equal(f"history of thread {number}", points(own[number], "own"), [(step / 3, step, step) for step in range(20)])
        checks.equal(f"batch of thread {number}", points(run_id, f"of{number}"), [(float(n), n, n) for n in range(100)])

    name = unique("wanted by all")
    answers = together(lambda _: client.create_experiment(name))
    winners = [answer for answer in answers if answer.isdigit()]
    checks.equal("one experiment is created", (len(winners), answers.count(TAKEN)), (1, threads - 1))
    checks.equal("by its name", client.get_experiment_by_name(name).experiment_id, winners[0] if winners else None)

    made = together(lambda number: client.create_run(experiment_id, run_name=f"r{number}").info.run_id)
    checks.equal("runs created at once", len({*made}), threads)
    checks.equal("all are found", {run.info.run_id for run in client.search_runs([experiment_id])}, {run_id, *own, *made})

    same_point = together(lambda _: client.log_metric(run_id, "same", 1.0, timestamp=5, step=5) or "done")
    checks.equal("one point from everybody", (same_point, points(run_id, "same")), (["done"] * threads, [(1.0, 5, 5)]))
    same_param = together(lambda _: client.log_param(run_id, "agreed", "yes") and "done")
    checks.equal("one param from everybody", (same_param, client.get_run(run_id).data.params["agreed"]), (["done"] * threads, "yes"))
    answers = together(lambda number: client.log_param(run_id, "contested", str(number)) and str(number))
    winners = [answer for answer in answers if answer != INVALID]
    checks.equal("one value of a contested param", winners, [client.get_run(run_id).data.params["contested"]])


def end_runs():
    while mlflow.active_run():
        mlflow.end_run()


def main():
    warnings.filterwarnings("ignore", category=UserWarning)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(TRACKING_URI)
    print(f"mlflow {mlflow.__version__}, server {TRACKING_URI}")
    checks.run(sections, end_runs)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
