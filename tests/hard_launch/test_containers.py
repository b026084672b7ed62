"""The MPC node of a CVM is started and stopped through the container engine, here one on a real socket."""

import asyncio
import json

import pytest
from aiohttp import web

from sharekeeper.adapters.containers import ContainerSupervisor
from sharekeeper.errors import SupervisorFailed


class Engine:
    """A container engine with one container of service `mpc`, as the engine's API shows it."""

    def __init__(self) -> None:
        self.containers = [("f00d", {"com.docker.compose.service": "mpc"})]
        self.running: set[str] = set()
        self.refusal: tuple[int, bytes] | None = None
        self.hangs = False

    async def answer(self, request):
        if self.hangs:
            await asyncio.sleep(60)
        if self.refusal is not None:
            return web.Response(status=self.refusal[0], body=self.refusal[1])
        if request.path == "/containers/json":
            assert request.query["all"] == "true"
            wanted = dict(one.split("=") for one in json.loads(request.query["filters"])["label"])
            found = [name for name, labels in self.containers if labels.items() >= wanted.items()]
            return web.json_response([{"Id": name} for name in found])
        _, _, name, verb = request.path.split("/")
        changed = (name in self.running) is (verb == "stop")
        (self.running.add if verb == "start" else self.running.discard)(name)
        return web.Response(status=204 if changed else 304)


@pytest.fixture
async def engine():
    return Engine()


@pytest.fixture
async def supervisor(engine, tmp_path):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
    yield ContainerSupervisor(tmp_path / "engine.sock", answer_seconds=0.5)
    await runner.cleanup()


async def test_the_node_is_started_once_and_stopped_once(engine, supervisor):
    assert await supervisor.ensure_running() is True
    assert await supervisor.ensure_running() is False
    assert engine.running == {"f00d"}
    assert await supervisor.ensure_stopped() is True
    assert await supervisor.ensure_stopped() is False
    assert engine.running == set()


@pytest.mark.parametrize("names", [(), ("a", "b")])
async def test_without_exactly_one_container_nothing_is_done(engine, supervisor, names):
    engine.containers = [(name, {"com.docker.compose.service": "mpc"}) for name in names]
    with pytest.raises(SupervisorFailed, match=f"there are {len(names)} containers of service 'mpc', not one"):
        await supervisor.ensure_running()
    assert engine.running == set()


async def test_containers_of_other_services_are_left_alone(engine, supervisor):
    engine.containers.insert(0, ("near", {"com.docker.compose.service": "near"}))
    await supervisor.ensure_running()
    assert engine.running == {"f00d"}


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ((500, b'{"message": "no space left"}'), "HTTP 500: no space left"),
        ((403, b"forbidden"), "HTTP 403: forbidden"),
        ((500, b""), "HTTP 500: no reason"),
        ((200, b"{}"), "list cannot be read"),
        ((200, b"<html>"), "list cannot be read"),
        ((200, b"[" + b" " * 2**20 + b"]"), "more than 1048576 bytes"),
    ],
)
async def test_each_refusal_of_the_engine_is_told(engine, supervisor, refusal, words):
    engine.refusal = refusal
    with pytest.raises(SupervisorFailed, match=words):
        await supervisor.ensure_stopped()


async def test_an_engine_that_hangs_costs_its_deadline(engine, supervisor):
    engine.hangs = True
    with pytest.raises(SupervisorFailed, match=r"did not answer within 0\.5 s"):
        await supervisor.ensure_running()


async def test_a_missing_engine_is_told_with_its_cure(tmp_path):
    with pytest.raises(SupervisorFailed, match="the compose file must mount it"):
        await ContainerSupervisor(tmp_path / "none.sock").ensure_running()
