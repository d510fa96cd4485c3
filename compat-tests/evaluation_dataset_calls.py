#!/usr/bin/env python3
"""Evaluation data sets and scorers through the real MLflow client: what is written is read back.

    evaluation_dataset_calls.py [TRACKING_URI [SECTION…]]

Needs mlflow 3.4 or later. What newer clients have (experiments of data sets, deletion of records) is tested with those,
where the server has it.
"""

import json
import logging
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

from checks import Checks, tracking_uri, unique

TRACKING_URI = tracking_uri()
# Newer clients collect spans for this long before they send them; by default for seconds.
os.environ.setdefault("MLFLOW_ASYNC_TRACE_LOGGING_MAX_INTERVAL_MILLIS", "20")

import mlflow  # noqa: E402 (reads the environment that is prepared above)
import pandas as pd  # noqa: E402
import requests  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

try:
    from mlflow.entities import Feedback
    from mlflow.genai import datasets, scorers
    from mlflow.genai.scorers import Guidelines
    from mlflow.genai.scorers.registry import list_scorer_versions
except ImportError as reason:
    datasets, missing = None, str(reason)

checks = Checks()
client = MlflowClient(TRACKING_URI)
sections = []
experiments = []


def section(function):
    sections.append(function)
    return function


def new_dataset(name="questions", **arguments):
    return datasets.create_dataset(name=unique(name), experiment_id=experiments[0], **arguments)


def table(dataset):
    """The records in the order of the answer, as a list of dicts, read anew."""
    return datasets.get_dataset(dataset_id=dataset.dataset_id).to_df().to_dict("records")


def by_question(dataset):
    return {record["inputs"]["q"]: record for record in table(dataset)}


# ------------------------------------------------------------------------------------------- data sets


@section
def life_of_a_dataset():
    name = unique("life")
    made = datasets.create_dataset(name=name, experiment_id=experiments[:2], tags={"env": "test", "v": "1", "ünï": "ç 漢字 😀"})
    checks.equal("name", made.name, name)
    checks.true("id", made.dataset_id.startswith("d-") and len(made.dataset_id) == 34, made.dataset_id)
    checks.equal("experiments", sorted(made.experiment_ids), sorted(experiments[:2]))
    read = datasets.get_dataset(dataset_id=made.dataset_id)
    for field in ("dataset_id", "name", "digest", "tags", "created_time", "last_update_time", "created_by", "last_updated_by"):
        checks.equal(field, getattr(read, field), getattr(made, field))
    checks.equal("tags", {key: read.tags[key] for key in ("env", "v", "ünï")}, {"env": "test", "v": "1", "ünï": "ç 漢字 😀"})
    checks.equal("who made it", read.created_by, read.tags.get("mlflow.user"))
    checks.equal("experiments, read later", sorted(read.experiment_ids), sorted(experiments[:2]))
    checks.equal("no schema and no profile yet", (read.schema, read.profile), (None, None))
    checks.equal("no records yet", len(read.to_df()), 0)

    datasets.set_dataset_tags(dataset_id=made.dataset_id, tags={"env": "prod", "new": "2"})
    datasets.delete_dataset_tag(dataset_id=made.dataset_id, key="v")
    datasets.delete_dataset_tag(dataset_id=made.dataset_id, key="never there")
    tags = datasets.get_dataset(dataset_id=made.dataset_id).tags
    checks.equal("tags changed", (tags.get("env"), tags.get("new"), "v" in tags), ("prod", "2", False))

    twin = datasets.create_dataset(name=name, experiment_id=experiments[0])
    checks.true("another of the same name", twin.dataset_id != made.dataset_id)
    for dataset in (made, twin):
        datasets.delete_dataset(dataset_id=dataset.dataset_id)
        checks.refused("deleted", "RESOURCE_DOES_NOT_EXIST", client.get_dataset, dataset.dataset_id)
        client.delete_dataset(dataset.dataset_id)


RECORDS = [
    {
        "inputs": {"q": "a", "n": 1, "f": 1.0, "e": 1e22, "list": [1, "x", None], "nested": {"b": True, "a": {}}},
        "outputs": {"answer": "ü 漢字 😀", "score": 0.1},
        "expectations": {"expected": "x", "count": 3},
        "tags": {"hard": "yes"},
        "source": {"source_type": "DOCUMENT", "source_data": {"uri": "s3://b/k", "page": 1}},
    },
    {"inputs": {"q": "b"}, "outputs": "plain text", "expectations": {"expected": "y"}},
    {"inputs": {"q": "c"}, "outputs": [1, 2, 3]},
    {"inputs": {"q": "d", "big": 123456789012345678901234567890, "small": 5e-324}},
]


@section
def records():
    dataset = new_dataset()
    dataset.merge_records([dict(record) for record in RECORDS])
    found = by_question(dataset)
    checks.equal("how many", len(found), len(RECORDS))
    for record in RECORDS:
        stored = found[record["inputs"]["q"]]
        checks.equal("inputs", stored["inputs"], record["inputs"])
        checks.equal("types of inputs", [type(value) for value in stored["inputs"].values()], [type(value) for value in record["inputs"].values()])
        checks.equal("outputs", stored["outputs"], record.get("outputs", {}))
        checks.equal("expectations", stored["expectations"], record.get("expectations"))
        for key, value in record.get("tags", {}).items():
            checks.equal(f"tag {key}", stored["tags"].get(key), value)
        checks.true("id", stored["dataset_record_id"].startswith("dr-") and len(stored["dataset_record_id"]) == 35, stored)
    sources = {record.inputs["q"]: record.source for record in client.get_dataset(dataset.dataset_id).records}
    checks.equal("given source", (found["a"]["source_type"], sources["a"].source_data), ("DOCUMENT", {"uri": "s3://b/k", "page": 1}))
    checks.equal("what the client says of the others", [found[q]["source_type"] for q in "bcd"], ["HUMAN", "CODE", "CODE"])

    read = datasets.get_dataset(dataset_id=dataset.dataset_id)
    schema = json.loads(read.schema)
    checks.equal("schema of inputs", {key: schema["inputs"][key] for key in ("q", "n", "f", "list", "nested")},
                 {"q": "string", "n": "integer", "f": "float", "list": "array", "nested": "object"})
    checks.equal("schema of outputs", schema["outputs"], {"answer": "string", "score": "float"})
    checks.equal("profile", json.loads(read.profile), {"num_records": len(RECORDS)})
    checks.true("digest changes", read.digest != dataset.digest)
    checks.equal("name stays", read.name, dataset.name)


@section
def merging():
    dataset = new_dataset()
    dataset.merge_records([{"inputs": {"q": "a", "x": 1}, "outputs": {"old": "text"}, "expectations": {"one": 1, "two": 2}, "tags": {"t": "1"}}])
    before = by_question(dataset)["a"]
    dataset.merge_records([{"inputs": {"x": 1, "q": "a"}, "expectations": {"two": 22, "three": 3}, "tags": {"u": "2"}}])
    after = by_question(dataset)
    checks.equal("one record", len(after), 1)
    after = after["a"]
    checks.equal("the same record", after["dataset_record_id"], before["dataset_record_id"])
    checks.equal("expectations", after["expectations"], {"one": 1, "two": 22, "three": 3})
    checks.equal("tags", (after["tags"]["t"], after["tags"]["u"]), ("1", "2"))
    checks.equal("outputs stay", after["outputs"], {"old": "text"})
    checks.equal("source stays", after["source_type"], before["source_type"])
    checks.equal("time of creation stays", after["created_time"], before["created_time"])
    dataset.merge_records([{"inputs": {"q": "a", "x": 1}, "outputs": {"new": True}}])
    checks.equal("outputs replaced", by_question(dataset)["a"]["outputs"], {"new": True})
    dataset.merge_records([{"inputs": {"q": "a", "x": 1.0}}])
    checks.equal("1 and 1.0 are different inputs", len(table(dataset)), 2)


@section
def from_a_table():
    dataset = new_dataset()
    frame = pd.DataFrame(
        {
            "inputs": [{"q": f"question {number}"} for number in range(30)],
            "expectations": [{"answer": number, "ratio": number / 3} for number in range(30)],
        }
    )
    dataset.merge_records(frame)
    found = by_question(dataset)
    checks.equal_each("expectations", [found[f"question {number}"]["expectations"] for number in range(30)], frame["expectations"])
    checks.true("what is missing there", all(record["outputs"] == {} for record in found.values()))


@section
def missing_values():
    dataset = new_dataset()
    dataset.merge_records(pd.DataFrame({"inputs": [{"q": "a", "x": float("nan")}, {"q": "b", "x": 1.5}], "expectations": [{"y": float("inf")}, {"y": float("nan")}]}))
    found = by_question(dataset)
    checks.equal("inputs", [found[q]["inputs"]["x"] for q in "ab"], [float("nan"), 1.5])
    checks.equal("expectations", [found[q]["expectations"]["y"] for q in "ab"], [float("inf"), float("nan")])
    dataset.merge_records([{"inputs": {"x": float("nan"), "q": "a"}, "outputs": "known again"}])
    checks.equal("known again", (len(table(dataset)), by_question(dataset)["a"]["outputs"]), (2, "known again"))


@section
def many_records():
    dataset = new_dataset()
    dataset.merge_records([{"inputs": {"q": f"{number}", "text": "x" * 100}, "expectations": {"answer": number}} for number in range(2500)])
    found = by_question(dataset)
    checks.equal("how many, over three pages", len(found), 2500)
    checks.true("each has its own", all(found[f"{number}"]["expectations"] == {"answer": number} for number in range(2500)))


@section
def refusals():
    dataset = new_dataset()
    checks.refused("unknown data set", "RESOURCE_DOES_NOT_EXIST", client.get_dataset, "d-" + "0" * 32)
    checks.refused("tags of an unknown data set", "RESOURCE_DOES_NOT_EXIST", client.set_dataset_tags, "d-" + "0" * 32, {"k": "v"})
    checks.refused("record without inputs", "INVALID_PARAMETER_VALUE", dataset.merge_records, [{"outputs": "x"}])
    checks.refused("kind of source", "INVALID_PARAMETER_VALUE", dataset.merge_records, [{"inputs": {"q": 1}, "source": {"source_type": "MARS", "source_data": {}}}])
    checks.refused("filter", "INVALID_PARAMETER_VALUE", client.search_datasets, filter_string="bogus = 'x'")
    checks.refused("order", "INVALID_PARAMETER_VALUE", client.search_datasets, order_by=["bogus"])
    checks.equal("nothing was written", len(table(dataset)), 0)


@section
def searching():
    word = unique("search").replace(" ", "-")
    made = {
        name: datasets.create_dataset(name=f"{name}-{word}", experiment_id=experiment, tags={"k": tag})
        for name, experiment, tag in (
            ("alpha", experiments[0], "a"), ("beta", experiments[1], "b"), ("gamma", experiments[:2], "a"), ("Alpha2", experiments[0], "b"))
    }

    def search(filter_string, experiment_ids=None, order_by=("name ASC",)):
        found = client.search_datasets(experiment_ids=experiment_ids, filter_string=filter_string, order_by=list(order_by))
        return [dataset.name.removesuffix(f"-{word}") for dataset in found if dataset.name.endswith(word)]

    mine = f"name LIKE '%{word}'"
    for filter_string, expected in (
        (mine, ["Alpha2", "alpha", "beta", "gamma"]),
        (f"name = 'alpha-{word}'", ["alpha"]),
        (f"name ILIKE 'ALPHA%{word}'", ["Alpha2", "alpha"]),
        (f"{mine} AND name != 'alpha-{word}'", ["Alpha2", "beta", "gamma"]),
        (f"{mine} AND tags.k = 'a'", ["alpha", "gamma"]),
        (f"{mine} AND tags.k != 'a'", ["Alpha2", "beta"]),
        (f"{mine} AND tags.k LIKE 'a%'", ["alpha", "gamma"]),
        (f"{mine} AND created_time > 1000", ["Alpha2", "alpha", "beta", "gamma"]),
        (f"{mine} AND last_update_time < 1000", []),
        (f"{mine} AND created_by = 'nobody at all'", []),
    ):
        # Databases of other servers may order by their locale.
        checks.equal(filter_string, sorted(search(filter_string)), expected)
    checks.equal("of one experiment", sorted(search(mine, [experiments[1]])), ["beta", "gamma"])
    checks.equal("of any of two", sorted(search(mine, experiments[:2])), ["Alpha2", "alpha", "beta", "gamma"])
    checks.equal("of another", search(mine, [experiments[2]]), [])
    checks.equal("by time", search(mine, order_by=["created_time ASC"]), ["alpha", "beta", "gamma", "Alpha2"])
    checks.equal("by time, latest first", search(mine, order_by=["created_time DESC"]), ["Alpha2", "gamma", "beta", "alpha"])

    names, token = [], None
    while True:
        page = client.search_datasets(experiment_ids=experiments[:2], filter_string=mine, order_by=["created_time ASC"], max_results=3, page_token=token)
        names += [dataset.name for dataset in page]
        token = page.token
        if not token:
            break
    checks.equal("in pages", names, [made[name].name for name in ("alpha", "beta", "gamma", "Alpha2")])
    recent = datasets.search_datasets(experiment_ids=experiments[0], order_by=["created_time DESC"], max_results=5)
    checks.true("without a filter, those of the last days", {made["Alpha2"].dataset_id, made["gamma"].dataset_id} <= {dataset.dataset_id for dataset in recent})


def has_route(method, route, **arguments):
    """Whether the server has it: MLflow 3.6 has not all that newer clients call."""
    answer = requests.request(method, f"{TRACKING_URI}/api/3.0/mlflow/{route}", timeout=60, **arguments)
    return answer.headers.get("content-type", "").startswith("application/json")


@section
def experiments_of_a_dataset():
    if tuple(map(int, mlflow.__version__.split(".")[:2])) < (3, 7):
        checks.skip("experiments_of_a_dataset", "the client knows no route for it")
        return
    dataset = new_dataset()
    if not has_route("POST", f"datasets/{dataset.dataset_id}/add-experiments", json={}):
        checks.skip("experiments_of_a_dataset", "the server cannot add data sets to experiments")
        return
    changed = client.add_dataset_to_experiments(dataset.dataset_id, experiments[1:])
    checks.equal("added", sorted(changed.experiment_ids), sorted(experiments))
    changed = client.remove_dataset_from_experiments(dataset.dataset_id, [experiments[0], experiments[2]])
    checks.equal("removed", datasets.get_dataset(dataset_id=dataset.dataset_id).experiment_ids, [experiments[1]])
    checks.refused("unknown experiment", "RESOURCE_DOES_NOT_EXIST", client.add_dataset_to_experiments, dataset.dataset_id, ["999999999"])
    checks.refused("unknown data set", "RESOURCE_DOES_NOT_EXIST", client.add_dataset_to_experiments, "d-" + "0" * 32, [experiments[0]])


@section
def deleting_records():
    dataset = new_dataset()
    if not hasattr(dataset, "delete_records"):
        checks.skip("deleting_records", "the client cannot delete records")
        return
    if not has_route("DELETE", f"datasets/{dataset.dataset_id}/records", json={}):
        checks.skip("deleting_records", "the server cannot delete records")
        return
    dataset.merge_records([{"inputs": {"q": f"{number}"}} for number in range(5)])
    found = by_question(dataset)
    checks.equal("deleted", dataset.delete_records([found["1"]["dataset_record_id"], found["3"]["dataset_record_id"]]), 2)
    checks.equal("deleted again", dataset.delete_records([found["1"]["dataset_record_id"]]), 0)
    checks.equal("left", sorted(by_question(dataset)), ["0", "2", "4"])
    checks.equal("profile", datasets.get_dataset(dataset_id=dataset.dataset_id).profile, '{"num_records": 3}')


@section
def at_once():
    if requests.get(f"{TRACKING_URI}/openapi/v1.json", timeout=60).status_code != 200:
        checks.skip("at_once", "MLflow's own server refuses or loses records that come at once")
        return
    made = client.create_dataset(name=unique("at once"), experiment_id=experiments[0])

    def work(number):
        own = client.get_dataset(made.dataset_id)
        own.merge_records([{"inputs": {"q": f"{shared}"}, "expectations": {f"c{number}": number}} for shared in range(20)])
        own.merge_records([{"inputs": {"q": f"of {number}"}}])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    found = by_question(made)
    checks.equal("each once", len(table(made)), 26)
    checks.true("all have left their mark", all(found[f"{shared}"]["expectations"] == {f"c{number}": number for number in range(6)} for shared in range(20)))


# ------------------------------------------------------------------------------------------- scorers


@section
def versions_of_scorers():
    asks_for_configs = tuple(map(int, mlflow.__version__.split(".")[:2])) >= (3, 9)
    if asks_for_configs and not has_route("GET", "scorers/online-configs", params={"scorer_ids": "x"}):
        checks.skip("versions_of_scorers", "the server lacks what this client asks about scorers")
        return
    experiment = client.create_experiment(unique("scorers"))
    for text in ("Be polite.", "Be brief."):
        Guidelines(name="manners", guidelines=[text], model="openai:/gpt-4o-mini").register(experiment_id=experiment)
    Guidelines(name="Tone", guidelines=["ü 漢字 😀"], model="openai:/gpt-4o-mini").register(experiment_id=experiment)
    checks.equal("listed", sorted(scorer.name for scorer in scorers.list_scorers(experiment_id=experiment)), ["Tone", "manners"])
    checks.equal("latest", scorers.get_scorer(name="manners", experiment_id=experiment).guidelines, ["Be brief."])
    checks.equal("first", scorers.get_scorer(name="manners", experiment_id=experiment, version=1).guidelines, ["Be polite."])
    checks.equal("characters", scorers.get_scorer(name="Tone", experiment_id=experiment).guidelines, ["ü 漢字 😀"])
    checks.equal("versions", [(scorer.guidelines, version) for scorer, version in list_scorer_versions(name="manners", experiment_id=experiment)],
                 [(["Be polite."], 1), (["Be brief."], 2)])
    checks.refused("unknown version", "RESOURCE_DOES_NOT_EXIST", scorers.get_scorer, name="manners", experiment_id=experiment, version=9)
    checks.refused("unknown scorer", "RESOURCE_DOES_NOT_EXIST", scorers.get_scorer, name="absent", experiment_id=experiment)
    checks.refused("unknown experiment", "RESOURCE_DOES_NOT_EXIST", scorers.list_scorers, experiment_id="999999999")

    scorers.delete_scorer(name="manners", experiment_id=experiment, version=1)
    checks.equal("without the first", [version for _, version in list_scorer_versions(name="manners", experiment_id=experiment)], [2])
    scorers.delete_scorer(name="manners", experiment_id=experiment, version="all")
    checks.refused("deleted", "RESOURCE_DOES_NOT_EXIST", scorers.get_scorer, name="manners", experiment_id=experiment)
    checks.equal("left", [scorer.name for scorer in scorers.list_scorers(experiment_id=experiment)], ["Tone"])


# ------------------------------------------------------------------------------------------- evaluation


@section
def evaluation():
    """A function over the records of a data set, scored; then its traces as the records of another, scored again."""

    @scorers.scorer
    def right(outputs, expectations):
        return outputs["answer"] == expectations["answer"]

    @scorers.scorer
    def length(outputs, inputs):
        return Feedback(value=len(outputs["answer"]) / 10, rationale=f"of {inputs['q']}", metadata={"k": "v"})

    @scorers.scorer
    def broken(outputs):
        raise ValueError("no score é")

    @scorers.scorer
    def spans(trace):
        return len(trace.data.spans)

    @mlflow.trace
    def predict(q):
        with mlflow.start_span("within", span_type="LLM"):
            return {"answer": q.upper() if q != "c" else "wrong"}

    experiment = mlflow.set_experiment(unique("evaluation")).experiment_id
    dataset = datasets.create_dataset(name=unique("evaluated"), experiment_id=experiment)
    dataset.merge_records([{"inputs": {"q": q}, "expectations": {"answer": q.upper(), "list": [1.0, "é"]}} for q in ("a", "b", "c", "é")])
    result = mlflow.genai.evaluate(data=dataset, predict_fn=predict, scorers=[right, length, broken, spans])
    expected = {"right/mean": 0.75, "length/mean": 0.2, "spans/mean": 2.0}
    checks.equal("metrics", {key: round(value, 9) for key, value in result.metrics.items()}, expected)
    run = client.get_run(result.run_id)
    checks.equal("metrics of the run", {key: round(value, 9) for key, value in run.data.metrics.items()}, expected)
    checks.equal("data set of the run", [each.dataset.name for each in run.inputs.dataset_inputs], [dataset.name])
    traces = mlflow.search_traces(run_id=result.run_id, return_type="list", **scope(experiment))
    checks.equal("traces of the run", sorted(json.loads(trace.data.request)["q"] for trace in traces), ["a", "b", "c", "é"])
    for trace in traces:
        q = json.loads(trace.data.request)["q"]
        answer = q.upper() if q != "c" else "wrong"
        checks.equal("answer", json.loads(trace.data.response), {"answer": answer})
        checks.equal("spans", sorted(span.name for span in trace.data.spans), ["predict", "within"])
        found = {assessment.name: assessment for assessment in trace.info.assessments}
        checks.equal("assessments", sorted(found), ["answer", "broken", "length", "list", "right", "spans"])
        checks.equal("values", [found[name].value for name in ("answer", "length", "list", "right", "spans")],
                     [q.upper(), len(answer) / 10, [1.0, "é"], q != "c", 2.0])
        checks.equal("why", (found["length"].rationale, found["length"].metadata["k"], found["broken"].error.error_message), (f"of {q}", "v", "no score é"))
        checks.true("of the run", all(each.metadata["mlflow.assessment.sourceRunId"] == result.run_id for each in found.values()))
    if len(traces) != 4:
        return
    again = datasets.create_dataset(name=unique("from traces"), experiment_id=experiment)
    again.merge_records(traces)
    found = by_question(again)
    checks.equal("records of traces", {q: record["expectations"] for q, record in found.items()}, {q: {"answer": q.upper(), "list": [1.0, "é"]} for q in ("a", "b", "c", "é")})
    checks.equal("where they come from", {record["source_type"] for record in found.values()}, {"TRACE"})
    frame = mlflow.search_traces(run_id=result.run_id, **scope(experiment))
    checks.equal("traces scored", mlflow.genai.evaluate(data=frame, scorers=[spans]).metrics, {"spans/mean": 2.0})


def scope(experiment):
    """The argument that names an experiment; newer clients warn of the older one."""
    return {"locations": [experiment]} if tuple(map(int, mlflow.__version__.split(".")[:2])) >= (3, 5) else {"experiment_ids": [experiment]}


def clean_up():
    """Nothing is left open between the sections."""


def main():
    warnings.filterwarnings("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(TRACKING_URI)
    print(f"mlflow {mlflow.__version__}, server {TRACKING_URI}")
    if datasets is None:
        checks.skip("evaluation_dataset_calls.py", f"mlflow {mlflow.__version__} has no evaluation data sets: {missing}")
        return checks.finish()
    experiments.extend(client.create_experiment(unique("evaluation")) for _ in range(3))
    checks.run([part for part in sections if part.__name__ in sys.argv[2:] or not sys.argv[2:]], clean_up)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
