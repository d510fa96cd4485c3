#!/usr/bin/env python3
"""Plays recorded conversations of MLflow clients against a server: wire.py BASE_URL REPLAYER_FOLDER [--also FILE] [GROUP ...]

REPLAYER_FOLDER holds the program `replay` with its scenarios. The groups that this server has, or those that are named,
are played twice in a row, because a server must not mind what an earlier client left behind. A scenario that
wire-not-yet.txt names is skipped when nothing but the requests named there fails, and failed when it passes: then its
line has to go. FILE is one more of its kind.
Ends with the line `N passed, N failed, N skipped`.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

GROUPS = ["experiments", "runs", "metrics", "params-tags", "search-runs", "search-experiments", "inputs", "outputs", "cli", "server",
          "artifacts-proxy", "artifacts-multipart", "logged-models", "models", "registry", "model-versions", "aliases", "prompts",
          "webhooks", "autolog", "optuna", "neuralforecast", "evaluation", "evaluation-datasets",
          "scorers", "traces-v3", "traces-v2", "assessments", "otlp"]
ROUNDS = 2
HERE = os.path.dirname(os.path.abspath(__file__))


def read_not_yet(path):
    """{scenario: (compiled pattern of the requests that are not built yet, reason)}"""
    not_yet = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                name, requests, reason = line.split(None, 2)
                not_yet[name] = (re.compile(requests), reason.strip())
    return not_yet


def play(base_url, folder, groups):
    """The results of one round, a dict per scenario."""
    with tempfile.TemporaryDirectory() as place:
        results = os.path.join(place, "results.json")
        command = [sys.executable, os.path.join(folder, "replay"), base_url, "--json", results]
        for group in groups:
            command += ["--only", group]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if not os.path.exists(results):
            raise SystemExit("the replayer gave no results:\n" + run.stdout)
        with open(results, encoding="utf-8") as file:
            played = json.load(file)
    if played["broken"]:
        raise SystemExit("the server went away: " + played["broken"])
    return played["scenarios"]


def judge(result, not_yet):
    """('passed' | 'failed' | 'skipped', what to say about it)"""
    failures = [failure for failure in result["failures"] if not failure.get("skipped")]
    if result["name"] not in not_yet:
        return ("failed", None) if result["failures"] else ("passed", None)
    requests, reason = not_yet[result["name"]]
    if not result["failures"]:
        return "failed", "passes: take it off wire-not-yet.txt"
    if any(not requests.search(failure["request"]) for failure in failures):
        return "failed", "fails elsewhere than wire-not-yet.txt says"
    return "skipped", reason


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    base_url, folder, *groups = sys.argv[1:]
    not_yet = read_not_yet(os.path.join(HERE, "wire-not-yet.txt"))
    if groups[:1] == ["--also"]:
        not_yet.update(read_not_yet(groups[1]))
        del groups[:2]
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for number in range(1, ROUNDS + 1):
        for result in play(base_url, folder, groups or GROUPS):
            verdict, remark = judge(result, not_yet)
            counts[verdict] += 1
            if verdict == "skipped":
                print("skipped: round %d, %s (%s)" % (number, result["name"], remark))
            elif verdict == "failed":
                print("failed: round %d, %s%s" % (number, result["name"], ": " + remark if remark else ""))
                for failure in result["failures"]:
                    if not failure.get("skipped"):
                        print("    step %d  %s" % (failure["step"], failure["request"]))
                        for difference in failure["diffs"][:6]:
                            print("        " + difference)
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
