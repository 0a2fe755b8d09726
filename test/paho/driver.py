"""Runs one module of the Paho interoperability suite and prints one JSON object a line for each test.

Usage: driver.py DIRECTORY MODULE HOST PORT [TEST...]
The suite reads its own command line when started directly, which gets in the way of unittest's; so its globals are
set here instead.
"""
import importlib
import io
import json
import logging
import signal
import sys
import time
import traceback
import unittest
from contextlib import redirect_stdout

TOPICS = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
# Some tests wait in a loop for what a broker may never send; the longest that ends takes about 30 seconds.
TEST_SECONDS_MAX = 90
WILD_TOPICS = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")


class LineResult(unittest.TestResult):
    """Prints each test's outcome as soon as it is known."""

    def __init__(self, out, said):
        super().__init__()
        self.out = out
        self.said = said
        self.started = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.said.seek(0)
        self.said.truncate()
        signal.alarm(TEST_SECONDS_MAX)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def report(self, test, outcome, error=None):
        # A failure before the first test has the id "setUpClass (module.Test)".
        name = test.id().split(" ")[0].split(".")[-1]
        detail = "" if error is None else "".join(traceback.format_exception(*error))
        if error is not None:
            detail = self.said.getvalue() + detail
        seconds = round(time.monotonic() - self.started, 1)
        line = {"test": name, "outcome": outcome, "seconds": seconds, "detail": detail}
        print(json.dumps(line), file=self.out, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.report(test, "pass")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.report(test, "fail", error)

    def addError(self, test, error):
        super().addError(test, error)
        self.report(test, "fail", error)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.report(test, "skip")


def give_up(_signal, _frame):
    raise TimeoutError("still running after %d seconds" % TEST_SECONDS_MAX)


def main():
    signal.signal(signal.SIGALRM, give_up)
    directory, module_name, host, port, *names = sys.argv[1:]
    sys.path.insert(0, directory)
    module = importlib.import_module(module_name)
    logging.getLogger().setLevel(logging.ERROR)
    module.host, module.port = host, int(port)
    module.topics, module.wildtopics = TOPICS, WILD_TOPICS
    module.nosubscribe_topics = ("test/nosubscribe",)
    module.topic_prefix = "client_test5/"
    loader = unittest.defaultTestLoader
    if names:
        suite = loader.loadTestsFromNames([name for name in names if hasattr(module.Test, name)], module.Test)
    else:
        suite = loader.loadTestsFromTestCase(module.Test)
    # What the tests print and the tracebacks they catch themselves explain a failure.
    said = io.StringIO()
    out, sys.stderr = sys.stdout, said
    with redirect_stdout(said):
        result = suite.run(LineResult(out, said))
    return 0 if result.wasSuccessful() else 1


sys.exit(main())
