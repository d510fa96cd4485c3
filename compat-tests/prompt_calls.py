#!/usr/bin/env python3
"""Prompts through the real MLflow client: registered, loaded, aliased, tagged, searched, linked and deleted.

    prompt_calls.py [TRACKING_URI [SECTION…]]

Works with mlflow 3.x; older clients know prompts from 2.21 on, under other names, and are skipped. What a client has
only in later versions, or the server not at all (logged models), is skipped and said.
"""

import json
import logging
import os
import sys
import time
import warnings

from checks import Checks, tracking_uri, unique

# Loaded prompts would be kept for a minute, and it is the server that is asked here.
os.environ["MLFLOW_ALIAS_PROMPT_CACHE_TTL_SECONDS"] = "0"
os.environ["MLFLOW_VERSION_PROMPT_CACHE_TTL_SECONDS"] = "0"
TRACKING_URI = tracking_uri()

import mlflow  # noqa: E402 (reads the environment that is prepared above)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

MISSING, TAKEN, INVALID = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE"
IS_PROMPT = "mlflow.prompt.is_prompt"
VERSION = tuple(int(part) for part in mlflow.__version__.split(".")[:2])

checks = Checks()
client = MlflowClient(TRACKING_URI, TRACKING_URI)
# The client hides prompts from who asks for models; the store below it says what the server has.
store = client._get_registry_client().store
prompts = getattr(getattr(mlflow, "genai", None), "prompts", None)
sections = []


def section(since=(3, 0)):
    """A part of the test; it is skipped where the client is older."""

    def add(function):
        def run():
            if VERSION < since:
                checks.skip(function.__name__, f"mlflow {mlflow.__version__} cannot do it")
            else:
                function()

        run.__name__ = function.__name__
        sections.append(run)
        return function

    return add


def new_name(stem="prompt"):
    return unique(stem).replace(" ", "-")


def all_of(search, **kwargs):
    found, token = [], None
    while True:
        page = search(page_token=token, **kwargs)
        found += list(page)
        token = page.token
        if not token:
            return found


def eventually(what, expected, find):
    """What the client does in a thread of its own, some time after the call."""
    for _ in range(100):
        found = find()
        if found == expected:
            break
        time.sleep(0.1)
    checks.equal(what, found, expected)


@section()
def versions():
    name = new_name()
    checks.equal("unknown prompt", client.get_prompt(name), None)
    checks.equal("unknown prompt, allowed", prompts.load_prompt(name, version=1, allow_missing=True), None)
    checks.refused("unknown prompt, not allowed", (MISSING, "NOT_FOUND"), prompts.load_prompt, name, version=1)
    texts = ["Forecast {{horizon}} values of {{ series }}.", "Prognose: {{series}} – 乗客 ✈ 😀\n\t\"quoted\" \\ it''s", "x" * 20_000]
    for number, text in enumerate(texts, 1):
        made = prompts.register_prompt(name, text, commit_message=f"change {number}", tags={"author": f"a{number}", "number": str(number)})
        checks.equal(f"number {number}", (made.name, int(made.version), made.template), (name, number, text))
    for number, text in enumerate(texts, 1):
        for how, loaded in (
            ("by version", prompts.load_prompt(name, version=number)),
            ("by URI", prompts.load_prompt(f"prompts:/{name}/{number}")),
            ("by the client", client.get_prompt_version(name, number)),
        ):
            what = f"version {number} {how}"
            checks.equal(what, (loaded.name, int(loaded.version), loaded.template), (name, number, text))
            checks.equal(f"message of {what}", loaded.commit_message, f"change {number}")
            checks.equal(f"tags of {what}", (loaded.tags["author"], loaded.tags["number"]), (f"a{number}", str(number)))
    checks.equal("formatted", prompts.load_prompt(name, version=1).format(horizon=12, series="passengers"), "Forecast 12 values of passengers.")
    checks.equal("variables", prompts.load_prompt(name, version=1).variables, {"horizon", "series"})
    checks.refused("version that is not there", MISSING, client.get_prompt_version, name, 4)
    found = client.get_prompt(name)
    checks.equal("prompt", (found.name, IS_PROMPT in found.tags), (name, False))
    checks.refused("text too long", INVALID, prompts.register_prompt, name, "x" * 100_001)


@section()
def chat():
    name = new_name("chat")
    messages = [{"role": "system", "content": "You forecast {{series}}."}, {"role": "user", "content": "{{question}} – 乗客"}]
    answer = {"type": "object", "properties": {"mae": {"type": "number"}}, "required": ["mae"]}
    prompts.register_prompt(name, messages, response_format=answer)
    loaded = prompts.load_prompt(name, version=1)
    checks.equal("messages", loaded.template, messages)
    checks.equal("response format", loaded.response_format, answer)
    checks.true("is no text", not loaded.is_text_prompt)
    checks.equal("formatted", loaded.format(series="trips", question="How many?")[1], {"role": "user", "content": "How many? – 乗客"})
    checks.equal("as stored", json.loads(store.get_model_version(name, "1").tags["mlflow.prompt.text"]), messages)


@section(since=(3, 8))
def model_config():
    name = new_name("configured")
    config = {"model_name": "gpt-5", "temperature": 0.25, "max_tokens": 100}
    prompts.register_prompt(name, "text", model_config=config)
    loaded = prompts.load_prompt(name, version=1)
    checks.equal("model_config", {key: value for key, value in loaded.model_config.items() if value is not None}, config)
    if hasattr(prompts, "set_prompt_model_config"):
        prompts.set_prompt_model_config(name, 1, {"model_name": "other"})
        checks.equal("changed", prompts.load_prompt(name, version=1).model_config["model_name"], "other")
        prompts.delete_prompt_model_config(name, 1)
        checks.equal("deleted", prompts.load_prompt(name, version=1).model_config, None)


@section()
def aliases():
    name = new_name("aliased")
    for text in ("one", "two", "three"):
        prompts.register_prompt(name, text)
    prompts.set_prompt_alias(name, "production", 1)
    prompts.set_prompt_alias(name, "staging", 3)
    checks.equal("by alias", prompts.load_prompt(f"prompts:/{name}@production").template, "one")
    prompts.set_prompt_alias(name, "production", 2)
    checks.equal("moved", prompts.load_prompt(f"prompts:/{name}@production").template, "two")
    checks.equal("by the client", client.get_prompt_version_by_alias(name, "production").template, "two")
    checks.equal("aliases", client.get_prompt_version(name, 2).aliases, ["production"])
    checks.equal("latest", prompts.load_prompt(f"prompts:/{name}@latest").template, "three")
    prompts.delete_prompt_alias(name, "production")
    checks.refused("deleted", (INVALID, MISSING, "NOT_FOUND"), prompts.load_prompt, f"prompts:/{name}@production")
    checks.refused("reserved", INVALID, prompts.set_prompt_alias, name, "latest", 1)
    checks.refused("for a version that is not there", (MISSING, "NOT_FOUND", INVALID), prompts.set_prompt_alias, name, "x", 9)


@section()
def tags():
    name = new_name("tagged")
    prompts.register_prompt(name, "text")
    client.set_prompt_tag(name, "task", "forecast")
    client.set_prompt_tag(name, "team", "乗客")
    client.set_prompt_version_tag(name, "1", "reviewed", "yes")
    found = client.get_prompt(name).tags
    checks.equal("of the prompt", (found.get("task"), found.get("team")), ("forecast", "乗客"))
    checks.equal("of the version", client.get_prompt_version(name, 1).tags.get("reviewed"), "yes")
    client.delete_prompt_tag(name, "task")
    client.delete_prompt_version_tag(name, "1", "reviewed")
    checks.equal("deleted from the prompt", "task" in client.get_prompt(name).tags, False)
    checks.equal("deleted from the version", "reviewed" in client.get_prompt_version(name, 1).tags, False)
    checks.equal("the text is as it was", client.get_prompt_version(name, 1).template, "text")


@section()
def search():
    stem = new_name("found")
    names = sorted(f"{stem}.{number}" for number in range(5))
    for name in names:
        prompts.register_prompt(name, name)
    client.set_prompt_tag(names[3], "task", "forecast")
    client.create_registered_model(f"{stem}.model")
    client.create_model_version(f"{stem}.model", "s3://bucket/model")

    def found(**kwargs):
        return [prompt.name for prompt in all_of(client.search_prompts, **kwargs)]

    checks.equal("by name", found(filter_string=f"name LIKE '{stem}%'"), names)
    checks.equal("in pages", found(filter_string=f"name LIKE '{stem}%'", max_results=2), names)
    checks.equal("ignoring case", found(filter_string=f"name ILIKE '{stem.upper()}%'"), names)
    checks.equal("by tag", found(filter_string=f"name LIKE '{stem}%' AND tags.task = 'forecast'"), [names[3]])
    checks.equal("none", found(filter_string=f"name = '{stem}'"), [])
    checks.equal("among all", set(names) <= set(found()), True)
    models = [model.name for model in all_of(client.search_registered_models, filter_string=f"name LIKE '{stem}%'")]
    checks.equal("models are no prompts", models, [f"{stem}.model"])
    versions = [version.name for version in all_of(client.search_model_versions, filter_string=f"name LIKE '{stem}%'")]
    checks.equal("versions of models are no prompts", versions, [f"{stem}.model"])
    if VERSION >= (3, 11):
        for text in ("two", "three"):
            prompts.register_prompt(names[0], text)
        checks.equal("versions of a prompt", [version.template for version in client.search_prompt_versions(names[0])], ["three", "two", names[0]])


@section()
def kept_apart():
    prompt, model = new_name("a-prompt"), new_name("a-model")
    prompts.register_prompt(prompt, "text")
    client.create_registered_model(model)
    # The server refuses some of these and the client the others.
    for what, call, arguments in (
        ("model of a prompt's name", client.create_registered_model, (prompt,)),
        ("prompt of a model's name", prompts.register_prompt, (model, "text")),
    ):
        try:
            checks.fail(what, f"answered {call(*arguments)}")
        except MlflowException as error:
            checks.true(what, error.error_code in (TAKEN, INVALID), error)
    checks.equal("the model has no versions", list(client.search_model_versions(f"name = '{model}'")), [])


@section(since=(3, 7))
def of_experiments():
    experiment_id, other = (client.create_experiment(unique("prompts")) for _ in range(2))
    name = new_name("of-experiments")

    def ids():
        return store.get_registered_model(name).tags.get("_mlflow_experiment_ids")

    mlflow.set_experiment(experiment_id=experiment_id)
    prompts.register_prompt(name, "text")
    eventually("registered in an experiment", f",{experiment_id},", ids)
    found = [prompt.name for prompt in client.search_prompts(filter_string=f"experiment_id = '{experiment_id}'")]
    checks.equal("found by its experiment", found, [name])
    mlflow.set_experiment(experiment_id=other)
    prompts.load_prompt(name, version=1)
    eventually("loaded in another", f",{experiment_id},{other},", ids)
    found = [prompt.name for prompt in client.search_prompts(filter_string=f"experiment_id = '{other}'")]
    checks.equal("found by the other", found, [name])


@section()
def linked():
    name = new_name("linked")
    prompts.register_prompt(name, "one")
    version = prompts.register_prompt(name, "two")
    experiment_id = client.create_experiment(unique("prompts"))
    run_id = client.create_run(experiment_id).info.run_id
    client.link_prompt_version_to_run(run_id, f"prompts:/{name}/1")
    client.link_prompt_version_to_run(run_id, version)
    expected = [{"name": name, "version": "1"}, {"name": name, "version": "2"}]
    checks.equal("to a run", json.loads(client.get_run(run_id).data.tags["mlflow.linkedPrompts"]), expected)
    mlflow.set_experiment(experiment_id=experiment_id)
    with mlflow.start_run() as run:
        prompts.load_prompt(name, version=2)
    links = json.loads(client.get_run(run.info.run_id).data.tags.get("mlflow.linkedPrompts", "[]"))
    checks.equal("loaded within a run", links, expected[1:])
    try:
        model = client.create_logged_model(experiment_id, name="app")
    except MlflowException as error:
        if error.get_http_status_code() != 404:
            raise
        checks.skip("linked to a logged model", "the server does not have logged models yet")
        return
    client.link_prompt_version_to_model(name, "1", model.model_id)
    checks.equal("to a logged model", json.loads(client.get_logged_model(model.model_id).tags["mlflow.linkedPrompts"]), expected[:1])


@section()
def deletion():
    name = new_name("deleted")
    for text in ("one", "two"):
        prompts.register_prompt(name, text)
    client.delete_prompt_version(name, "2")
    checks.refused("version", MISSING, client.get_prompt_version, name, 2)
    checks.equal("numbers are not used again", int(prompts.register_prompt(name, "three").version), 3)
    client.delete_prompt_version(name, "1")
    client.delete_prompt_version(name, "3")
    client.delete_prompt(name)
    checks.equal("prompt", client.get_prompt(name), None)
    checks.equal("not found", list(client.search_prompts(filter_string=f"name = '{name}'")), [])
    checks.equal("starts anew", int(prompts.register_prompt(name, "text").version), 1)


def end_runs():
    while mlflow.active_run():
        mlflow.end_run()


def main():
    warnings.filterwarnings("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(TRACKING_URI)
    mlflow.set_registry_uri(TRACKING_URI)
    print(f"mlflow {mlflow.__version__}, server {TRACKING_URI}")
    checks.run([part for part in sections if part.__name__ in sys.argv[2:] or not sys.argv[2:]], end_runs)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
