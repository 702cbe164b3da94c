"""Thousands of requests made from the OpenAPI description: no 5xx, and nothing that breaks its schema."""

import itertools
import time
from collections import Counter

import pytest
from shops import publish_tiny

from recsys_lib.online.serving import make_app

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed (make test does it)")
from fastapi.testclient import TestClient  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402

FEWEST = 2_000
MODES = schemathesis.GenerationMode


def test_generated_requests_get_no_5xx(tmp_path):
    publish_tiny(tmp_path)
    app = make_app(tmp_path, f"sqlite:///{tmp_path / 'events.sqlite'}")
    statuses = Counter()
    with TestClient(app):
        until = time.monotonic() + 20
        while app.state.service.shop is None:
            assert time.monotonic() < until
            time.sleep(0.05)
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) == 9
        for operation, mode in itertools.product(operations, (MODES.POSITIVE, MODES.NEGATIVE)):
            if mode is MODES.NEGATIVE and operation.path in ("/health", "/ready", "/metrics"):
                continue  # nothing to get wrong

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=220, deadline=None, database=None, derandomize=True,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def send(case):
                response = case.call()
                statuses[response.status_code] += 1
                if mode is MODES.POSITIVE:  # noqa: B023
                    case.validate_response(response)

            send()
    assert sum(statuses.values()) >= FEWEST, statuses
    assert not [status for status in statuses if status >= 500], statuses
    assert min(statuses[200], statuses[422] + statuses[404]) > 300, statuses
