"""Limits of a server, and the answer to a request that is past one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bigfoot.config.problems import Problem
from bigfoot.types import Seconds

RESTART_SECONDS = 10
"""After which a server that was stopped may be there again."""


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Args:
        requests: at once, from the first byte of an upload to the answer; further ones are refused with 429.
        megabytes: of an upload.
        seconds: of audio in an upload.
        timeout: from the first byte of an upload to its last, and again from there to the answer.
        grace: for requests in flight when the server is stopped; then they get 503.
        streams: at once; further ones are refused with 429.
        idle: in which a stream sends nothing, before it is closed.
    """

    requests: int = 64
    megabytes: float = 100.0
    seconds: Seconds = 7200.0
    timeout: Seconds = 300.0
    grace: Seconds = 60.0
    streams: int = 16
    idle: Seconds = 30.0

    @property
    def bytes(self) -> int:
        """Of an upload."""
        return round(self.megabytes * 1e6)

    def find_problems(self) -> Iterator[Problem]:
        """Find limits with which nothing could be served.

        Examples:
            >>> [problem.key for problem in Limits(requests=0).find_problems()]
            ['--max-requests']
        """
        options = {
            "--max-requests": self.requests, "--max-megabytes": self.megabytes, "--max-seconds": self.seconds,
            "--timeout": self.timeout, "--grace": self.grace, "--max-streams": self.streams, "--idle": self.idle,
        }  # fmt: skip
        for option, value in options.items():
            if not value > 0:
                yield Problem(option, "out_of_range", f"should be above 0, and is {value:g}")


class RefusedError(Exception):
    """A request that gets an error in place of a transcript.

    Args:
        status: of HTTP.
        code: for programs.
        message: for people.
        param: field of the request that is wrong.
        retry_after: seconds until it may be tried again.
    """

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    def to_dict(self) -> dict[str, dict[str, str | None]]:
        """Return the body, as OpenAI's clients read it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def stopping_error() -> RefusedError:
    """Return the answer to what a server has no time for any more."""
    return RefusedError(503, "stopping", "the server is being stopped; try again", retry_after=RESTART_SECONDS)
