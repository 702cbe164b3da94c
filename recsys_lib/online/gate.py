"""Before all endpoints of the service: the key, the bounds, the counts; errors as problem+json."""

import hmac
import time
from http import HTTPStatus
from typing import Any

from fastapi import Response
from pydantic import create_model
from starlette.exceptions import HTTPException

LARGEST_BODY = 262_144  # bytes
Problem = create_model("Problem", type=(str, "about:blank"), title=str, status=int, detail=str)


class Gate:
    """Around all endpoints: a key where one is needed, bounds on bodies and on requests at once, metrics."""

    def __init__(self, app: Any, service: Any, key: str | None, at_once: int) -> None:
        self.app, self.service, self.key, self.at_once, self.inside = app, service, key, at_once, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, seen = time.perf_counter(), {"status": 500, "size": 0}

        async def counted() -> Any:
            message = await receive()
            seen["size"] += len(message.get("body", b""))
            if seen["size"] > LARGEST_BODY:
                raise HTTPException(413, f"the body is larger than {LARGEST_BODY:,} bytes")
            return message

        async def watched(message: Any) -> None:
            seen["status"] = message.get("status", seen["status"])
            await send(message)

        answer = self._refuse(scope) or self.app
        self.inside += 1
        try:
            await answer(scope, counted, watched)
        finally:
            self.inside -= 1
            self.service.requests.labels(str(seen["status"])).inc()
            self.service.seconds.observe(time.perf_counter() - started)

    def _refuse(self, scope: Any) -> Response | None:
        headers = dict(scope["headers"])
        if self.key and scope["path"] not in ("/", "/health", "/ready"):
            given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            if not hmac.compare_digest(given, self.key.encode()):
                return problem(401, "send the key as Authorization: Bearer …")
        if self.inside >= self.at_once and scope["path"] != "/health":
            return problem(429, "too many requests at once", {"Retry-After": "1"})
        return None


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error as problem+json (RFC 9457)."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail).model_dump_json()
    return Response(body, status, headers, "application/problem+json")
