#!/usr/bin/env python3
"""Webhooks through the real MLflow client, and events that arrive at a receiver of this script.

    webhook_calls.py [TRACKING_URI]

The server has to send to this machine over plain HTTP, which by default it does not: start it with
MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https and MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true (MLflow's own server also with
MLFLOW_WEBHOOK_CACHE_TTL=0, or changes take effect late). Works with mlflow 3.3 and later; others, and servers that send nothing here, are skipped.
Signatures are computed by Python's own hmac.
"""

import base64
import hashlib
import hmac
import json
import logging
import queue
import sys
import threading
import time
import uuid
import warnings
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from checks import Checks, tracking_uri, unique

TRACKING_URI = tracking_uri()

import mlflow  # noqa: E402 (reads the environment that tracking_uri prepares)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

INVALID, MISSING = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"
SECRET = "s3cret – 秘密"
PATIENCE = 60

checks = Checks()
client = MlflowClient(TRACKING_URI)
sections = []
made = []


def section(function):
    sections.append(function)
    return function


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it, by path; a path that begins with /fail answers 503 once, then 200."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = {}
        self.counts = {}
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def queue(self, path):
        with self.lock:
            return self.requests.setdefault(path, queue.Queue())

    def count(self, path):
        """How often a path was posted to, this time included."""
        with self.lock:
            self.counts[path] = self.counts.get(path, 0) + 1
            return self.counts[path]

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fails = self.path.startswith("/fail") and self.server.count(self.path) == 1
        self.server.queue(self.path).put((dict(self.headers.items()), body))
        self.send_response(503 if fails else 200)
        self.end_headers()
        self.wfile.write(b"taken")

    def log_message(self, *_):
        pass


receiver = Receiver()


def new_webhook(path, events, **kwargs):
    webhook = client.create_webhook(name="hook-" + uuid.uuid4().hex[:12], url=receiver.url(path), events=events, **kwargs)
    made.append(webhook.webhook_id)
    return webhook


def names(webhook):
    return sorted(f"{event.entity.value}.{event.action.value}" for event in webhook.events)


def next_event(path, secret=None):
    """The next event that arrives; its headers and its signature are checked."""
    headers, body = receiver.queue(path).get(timeout=PATIENCE)
    headers = {name.lower(): value for name, value in headers.items()}
    delivery, timestamp = headers.get("x-mlflow-delivery-id", ""), headers.get("x-mlflow-timestamp", "")
    checks.equal("content type", headers.get("content-type"), "application/json")
    checks.equal("delivery id is a uuid4", uuid.UUID(delivery).version, 4)
    checks.true("timestamp in seconds", abs(time.time() - int(timestamp)) < 600, timestamp)
    if secret is None:
        checks.true("not signed", "x-mlflow-signature" not in headers)
    else:
        signed = f"{delivery}.{timestamp}.{body.decode()}".encode()
        expected = "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
        checks.equal("signature", headers.get("x-mlflow-signature"), expected)
    event = json.loads(body)
    happened = datetime.fromisoformat(event["timestamp"])
    checks.true("time of the event", abs(datetime.now(timezone.utc) - happened) < timedelta(minutes=10), event["timestamp"])
    checks.equal("offset of that time", happened.utcoffset(), timedelta(0))
    checks.equal("keys of the event", sorted(event), ["action", "data", "entity", "timestamp"])
    return f"{event['entity']}.{event['action']}", event["data"]


def next_events(path, count, secret=None):
    """The next events in any order, which MLflow's own server leaves open."""
    return sorted((next_event(path, secret) for _ in range(count)), key=lambda event: (event[0], json.dumps(event[1], sort_keys=True)))


@section
def life_of_a_webhook():
    webhook = new_webhook("/life", ["model_version.created", "registered_model.created"], description="first", secret=SECRET, status="DISABLED")
    checks.equal("events", names(webhook), ["model_version.created", "registered_model.created"])
    checks.equal("description", webhook.description, "first")
    checks.equal("status", str(webhook.status), "DISABLED")
    checks.equal("no secret", webhook.secret, None)
    read = client.get_webhook(webhook.webhook_id)
    checks.equal("read again", (read.name, read.url, read.description, names(read)), (webhook.name, webhook.url, "first", names(webhook)))

    later = new_webhook("/life", ["prompt.created"], status="DISABLED")
    listed, token = [], None
    while True:
        page = client.list_webhooks(max_results=1, page_token=token)
        listed += [each.webhook_id for each in page]
        token = page.token
        if not token or len(listed) > 10_000:
            break
    checks.equal("newest first", [each for each in listed if each in made[-2:]], [later.webhook_id, webhook.webhook_id])

    changed = client.update_webhook(webhook.webhook_id, name="renamed", events=["prompt_tag.set"], status="DISABLED")
    checks.equal("changed", (changed.name, names(changed), changed.description), ("renamed", ["prompt_tag.set"], "first"))
    checks.equal("status kept", str(changed.status), "DISABLED")

    client.delete_webhook(later.webhook_id)
    checks.refused("deleted", MISSING, client.get_webhook, later.webhook_id)
    checks.refused("deleted twice", MISSING, client.delete_webhook, later.webhook_id)
    checks.refused("name", INVALID, client.create_webhook, "a/b", receiver.url("/x"), ["prompt.created"])
    checks.refused("scheme", INVALID, client.create_webhook, "a", "ftp://127.0.0.1/", ["prompt.created"])


@section
def tests():
    webhook = new_webhook("/test", ["model_version.created", "prompt_alias.deleted"], secret=SECRET, status="DISABLED")
    for event in (None, "prompt_version.created", "registered_model.created", "model_version_tag.deleted"):
        result = client.test_webhook(webhook.webhook_id, event=event)
        checks.equal("result", (result.success, result.response_status, result.response_body), (True, 200, "taken"))
        name, data = next_event("/test", SECRET)
        checks.equal("event", name, event or "model_version.created")
        checks.true("an example", data.get("name", "").startswith("example"), data)


@section
def models():
    webhook = new_webhook(
        "/models",
        ["registered_model.created", "model_version.created", "model_version_tag.set", "model_version_tag.deleted",
         "model_version_alias.created", "model_version_alias.deleted"],
        secret=SECRET,
    )
    name = unique("model")
    client.create_registered_model(name, tags={"a": "b"}, description="d")
    checks.equal(
        "model", next_event("/models", SECRET), ("registered_model.created", {"name": name, "tags": {"a": "b"}, "description": "d"}))
    run_id = uuid.uuid4().hex
    client.create_model_version(name, source="s3://bucket/model", run_id=run_id, tags={"c": "d"}, description="é")
    checks.equal("version", next_event("/models", SECRET), ("model_version.created", {
        "name": name, "version": "1", "source": "s3://bucket/model", "run_id": run_id, "tags": {"c": "d"}, "description": "é"}))
    client.set_model_version_tag(name, "1", "key", "value")
    checks.equal(
        "tag", next_event("/models", SECRET), ("model_version_tag.set", {"name": name, "version": "1", "key": "key", "value": "value"}))
    client.delete_model_version_tag(name, "1", "key")
    checks.equal("tag deleted", next_event("/models", SECRET), ("model_version_tag.deleted", {"name": name, "version": "1", "key": "key"}))
    client.set_registered_model_alias(name, "best", "1")
    checks.equal(
        "alias", next_event("/models", SECRET), ("model_version_alias.created", {"name": name, "alias": "best", "version": "1"}))
    client.delete_registered_model_alias(name, "best")
    checks.equal("alias deleted", next_event("/models", SECRET), ("model_version_alias.deleted", {"name": name, "alias": "best"}))

    client.update_webhook(webhook.webhook_id, secret="another", status="ACTIVE")
    client.create_registered_model(unique("model"))
    checks.equal("signed with the new secret", next_event("/models", "another")[0], "registered_model.created")


@section
def prompts():
    new_webhook("/prompts", ["prompt.created", "prompt_version.created", "prompt_alias.created", "prompt_version_tag.set"])
    name = "prompt-" + uuid.uuid4().hex[:12]
    mlflow.set_registry_uri(TRACKING_URI)
    mlflow.genai.register_prompt(name=name, template="Hello {{name}}!", commit_message="first", tags={"task": "greeting"})
    events = dict(next_events("/prompts", 2))
    checks.equal("prompt", events.get("prompt.created", {}).get("name"), name)
    version = events.get("prompt_version.created", {})
    checks.equal("version", (version.get("name"), version.get("version"), version.get("template")), (name, "1", "Hello {{name}}!"))
    checks.equal("commit message", version.get("description"), "first")
    checks.true("no internal tags", not any(tag.startswith("mlflow.prompt.") for tag in version.get("tags", {})), version)
    mlflow.genai.set_prompt_alias(name, alias="best", version=1)
    while True:
        event, data = next_event("/prompts")
        # Clients of some versions set tags of their own on the way.
        if event == "prompt_alias.created":
            break
    checks.equal("alias", data, {"name": name, "alias": "best", "version": "1"})


@section
def retry():
    new_webhook("/fail", ["registered_model.created"], secret=SECRET)
    name = unique("model")
    client.create_registered_model(name)
    first, second = next_event("/fail", SECRET), next_event("/fail", SECRET)
    checks.equal("sent again", (first[1]["name"], second), (name, first))


@section
def silence():
    webhook = new_webhook("/silence", ["registered_model.created"], status="DISABLED")
    client.create_registered_model(unique("model"))
    client.update_webhook(webhook.webhook_id, status="ACTIVE")
    name = unique("model")
    client.create_registered_model(name)
    checks.equal("what happened before is not sent", next_event("/silence")[1]["name"], name)


def clean_up():
    for webhook_id in made:
        try:
            client.delete_webhook(webhook_id)
        except MlflowException as error:
            if error.error_code != MISSING:
                raise
    made.clear()


def out_of_reach():
    """Why events cannot arrive here, or None."""
    if not hasattr(client, "create_webhook"):
        return f"mlflow {mlflow.__version__} has no webhooks"
    try:
        new_webhook("/", ["registered_model.created"], status="DISABLED")
    except MlflowException as error:
        return f"the server sends nothing to {receiver.url('/')}: {error}"
    clean_up()
    return None


def main():
    warnings.filterwarnings("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(TRACKING_URI)
    print(f"mlflow {mlflow.__version__}, server {TRACKING_URI}, receiver {receiver.url('/')}")
    if reason := out_of_reach():
        checks.skip("webhook_calls.py", reason)
    else:
        checks.run(sections, clean_up)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
