"""One run of `moorage rpc`: from the settings on the command line to printed answers and an exit code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
from google.protobuf.message import Message
from msgspec import Struct, structs

from moorage.base.log import SecretScrubber
from moorage.base.units import UnitError, parse_duration
from moorage.cli.logs import LogSettings
from moorage.cli.printing import print_data
from moorage.cli.rpc_call import RETRIED, Caller
from moorage.cli.rpc_flags import Flag, parse_map
from moorage.cli.rpc_json import BadRequest, parse_json, to_json
from moorage.cli.rpc_request import build_requests
from moorage.rpc.endpoint import EndpointError, parse_client_endpoint
from moorage.spec.convert import from_proto
from moorage.spec.errors import CsiError
from moorage.spec.redact import secret_values
from moorage.spec.responses import response_problems
from moorage.spec.rules import Rpc

DEFAULT_TIMEOUT: Final = "60s"


class Settings(Struct, frozen=True, kw_only=True):
    """What may be given at every level of the command; None means not given."""

    endpoint: str | None = None
    timeout: str | None = None
    output: str | None = None
    secrets_file: str | None = None
    metadata: tuple[str, ...] | None = None
    retry: bool | None = None
    check: bool | None = None

    def overlaid(self, values: Mapping[str, Any]) -> Settings:
        """These settings with those that were given nearer to the method on top; metadata adds up."""
        given = {name: value for name, value in values.items() if value is not None and value != ()}
        if "metadata" in given:
            given["metadata"] = (*(self.metadata or ()), *given["metadata"])
        return structs.replace(self, **given)


def run_calls(
    rpc: Rpc,
    settings: Settings,
    *,
    json_text: str | None,
    flags: Sequence[tuple[Flag, Sequence[str]]],
    positional: Sequence[str],
    paging: bool,
) -> int:
    """Make the calls and print the answers; the exit code is 1 when `--check` found something.

    Raises CsiError at the first call that fails, and click.UsageError for what cannot be called.
    """
    try:
        timeout_s = parse_duration(settings.timeout or DEFAULT_TIMEOUT)
        if timeout_s <= 0:
            raise BadRequest(f"timeout {settings.timeout} is not positive; write, for example, 30s")
        values = parse_json(_read_text(json_text)) if json_text is not None else {}
        secrets = _secrets(settings, rpc)
        metadata = _metadata(settings)
        address = settings.endpoint or os.environ.get("CSI_ENDPOINT", "")
        if not address:
            raise BadRequest("no driver is named; use --endpoint unix:///run/csi/csi.sock or set CSI_ENDPOINT")
        endpoint = parse_client_endpoint(address)
        requests = build_requests(rpc, values=values, flags=flags, positional=positional, secrets=secrets)
    except (BadRequest, UnitError, EndpointError) as error:
        raise click.UsageError(str(error), click.get_current_context(silent=True)) from None
    session = _Session(rpc, settings, timeout_s=timeout_s, paging=paging)
    LogSettings.in_force().apply(default_level="warning", scrubber=session.scrubber)
    return asyncio.run(session.run(Caller(endpoint, metadata=metadata), requests))


class _Session:
    def __init__(self, rpc: Rpc, settings: Settings, *, timeout_s: float, paging: bool) -> None:
        self._rpc = rpc
        self._settings = settings
        self._timeout_s = timeout_s
        self._paging = paging
        self.scrubber = SecretScrubber()
        self._problems = 0
        self._several = False
        self._pages: list[dict[str, Any]] = []

    async def run(self, caller: Caller, requests: Sequence[Message]) -> int:
        self._several = len(requests) > 1
        try:
            for request in requests:
                with self.scrubber.hiding(secret_values(from_proto(request))):
                    try:
                        async for response in self._responses(caller, request):
                            self._print(response)
                    finally:  # what came before a failure is told too
                        self._print_pages()
        except CsiError as error:
            if error.code in RETRIED and not self._settings.retry and not self._rpc.streaming:
                error.message += " (not final: --retry repeats the call until the timeout)"
            raise
        finally:
            await caller.close()
        return 1 if self._problems else 0

    async def _responses(self, caller: Caller, request: Any) -> AsyncIterator[Message]:
        if self._rpc.streaming:
            async for message in caller.stream(self._rpc, request, timeout_s=self._timeout_s):
                yield message
            return
        while True:
            response: Any = await caller.unary(
                self._rpc, request, timeout_s=self._timeout_s, retry=bool(self._settings.retry)
            )
            yield response
            token = getattr(response, "next_token", "")
            if not self._paging or not token:
                return
            request.starting_token = token

    def _print(self, response: Message) -> None:
        data = to_json(response, scrub=self.scrubber)
        in_parts = self._rpc.streaming or self._paging
        if in_parts and self._settings.output == "table":
            self._pages.append(data)
        else:
            print_data(
                data,
                self._settings.output or "json",
                lines=self._rpc.streaming,
                one_of_many=in_parts or self._several,
            )
        if self._settings.check:
            for problem in response_problems(self._rpc, from_proto(response)):
                self._problems += 1
                click.echo(f"{self._rpc.name}: {self.scrubber(problem)}", err=True)

    def _print_pages(self) -> None:
        """One table for all parts of an answer, so that there is one heading and columns do not jump."""
        pages, self._pages = self._pages, []
        if pages:
            print_data(joined(pages), "table")


def joined(pages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The parts of an answer as one: lists one behind the other, and of all else what the last part says."""
    whole: dict[str, Any] = {}
    for page in pages:
        whole = {
            **{key: value for key, value in whole.items() if isinstance(value, list)},
            **{key: [*whole.get(key, ()), *value] if isinstance(value, list) else value for key, value in page.items()},
        }
    return whole


def _read_text(argument: str) -> str:
    if argument == "-":
        return sys.stdin.read()
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"file {argument[1:]!r} cannot be read ({_reason(error)})") from None


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8"


def _secrets(settings: Settings, rpc: Rpc) -> dict[str, str]:
    if settings.secrets_file is not None:
        source = settings.secrets_file
        return parse_secrets(_read_text(source if source == "-" else f"@{source}"))
    text = os.environ.get("X_CSI_SECRETS", "")
    if not text or not rpc.secret_fields:
        return {}
    try:
        return parse_map([text])
    except BadRequest:
        raise BadRequest("X_CSI_SECRETS is not of the form KEY=VALUE,KEY=VALUE") from None


def parse_secrets(text: str) -> dict[str, str]:
    """Secrets from a JSON object of strings, or from KEY=VALUE lines. Raises BadRequest, which quotes nothing."""
    if text.lstrip().startswith("{"):
        try:
            values = json.loads(text)
        except ValueError:
            raise BadRequest("the secrets file is not valid JSON") from None
        if not all(isinstance(value, str) for value in values.values()):
            raise BadRequest("every value in the secrets file must be a string; put it in quotes")
        return dict(values)
    secrets = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            raise BadRequest(f"line {number} of the secrets file is not KEY=VALUE, and the file is no JSON object")
        secrets[key.strip()] = value
    return secrets


def _metadata(settings: Settings) -> dict[str, str]:
    metadata = parse_map(settings.metadata or ())
    for key, value in metadata.items():
        if key != key.lower() or not key.isascii() or not value.isprintable() or key.endswith("-bin"):
            raise BadRequest(f"metadata {key!r} must be a lower-case ASCII name with a printable value")
    return metadata
