"""Counting of checks, and the connection, that the client scripts of this folder share."""

import math
import os
import sys
import time
import traceback
import uuid


def tracking_uri() -> str:
    """The server under test: first argument, else MLFLOW_TRACKING_URI, else the default address."""
    uri = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    # A run or an experiment chosen by the caller's shell would redirect the fluent calls.
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.pop(name, None)
    # Should a server answer 5xx or nothing at all, seven retries with back-off would hide it for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return uri.rstrip("/")


def unique(name: str) -> str:
    """A name that no earlier pass over the same server has used."""
    return f"{name} {uuid.uuid4().hex[:12]}"


def same(left, right) -> bool:
    """Equality of what was written and what was read: exact, and NaN equals NaN."""
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    return left == right


class Checks:
    """Counts what held and reports what did not; a failed check never ends the script."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = 0

    def true(self, what, condition, detail=""):
        if condition:
            self.passed += 1
        else:
            self.fail(what, detail)
        return bool(condition)

    def equal(self, what, found, expected):
        return self.true(what, same(found, expected), f"expected {shorten(expected)}, found {shorten(found)}")

    def equal_each(self, what, found, expected):
        """One check per element, so that the summary says how many stored values were compared."""
        found, expected = list(found), list(expected)
        if len(found) != len(expected):
            self.fail(what, f"expected {len(expected)} values, found {len(found)}")
        for position, (one, other) in enumerate(zip(found, expected)):
            self.equal(f"{what} [{position}]", one, other)

    def refused(self, what, codes, call, *args, **kwargs):
        """The call must raise MlflowException with one of the error codes (a name or several)."""
        from mlflow.exceptions import MlflowException

        codes = (codes,) if isinstance(codes, str) else codes
        try:
            answer = call(*args, **kwargs)
        except MlflowException as error:
            return self.true(
                what, error.error_code in codes and str(error), f"expected {' or '.join(codes)}, found {error.error_code}: {error}"
            )
        return self.fail(what, f"expected {' or '.join(codes)}, found the answer {shorten(answer)}")

    def fail(self, what, detail=""):
        self.failed += 1
        print(f"FAILED {what}: {detail}", flush=True)
        return False

    def skip(self, what, reason):
        self.skipped += 1
        print(f"skipped: {what} ({reason})", flush=True)

    def run(self, sections, clean_up):
        """Calls each function, then clean_up, and prints what it added; one that raises has failed."""
        for section in sections:
            before, start = (self.passed, self.failed), time.monotonic()
            try:
                section()
            except Exception:
                self.fail(section.__name__, traceback.format_exc())
            clean_up()
            passed, failed = self.passed - before[0], self.failed - before[1]
            print(f"{section.__name__}: {passed} passed, {failed} failed ({time.monotonic() - start:.1f} s)", flush=True)

    def finish(self) -> int:
        """Prints the summary line; the value is the process' exit code."""
        counts = [f"{self.passed} checks passed"]
        counts += [f"{count} {what}" for what, count in (("failed", self.failed), ("skipped", self.skipped)) if count]
        print(", ".join(counts))
        return 1 if self.failed or not (self.passed or self.skipped) else 0


def shorten(value) -> str:
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + "…"
