"""The embedded stores under their supervisor, with stand-ins for the processes of the site."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import clickhouse_connect
import psycopg2
import pytest
import redis
from celery import Celery

from personas_site.embedded import processes, supervisor, valkey
from personas_site.embedded.accounts import StartError, unprivileged
from personas_site.embedded.paths import PROJECT_ROOT, Paths
from personas_site.embedded.processes import Service, spawn, working_in
from personas_site.embedded.supervisor import Supervisor

# A child with a child of its own, which survives its parent's death.
FAMILY = [sys.executable, "-c", "import subprocess, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"]
WITH_A_SITE = f"""
import sys
from pathlib import Path
from personas_site.embedded.processes import Service
from personas_site.embedded.supervisor import Supervisor, stopped_by_signals
site = [Service(name="family", argv={FAMILY!r})]
own = Supervisor(Path(sys.argv[1]), site=site, prepare=["true"])
with stopped_by_signals(own):
    own.start()
    print("ready", flush=True)
    while not own.wait(1.0):
        pass
    own.stop()
"""


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, within=20.0):
    deadline = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return result


@pytest.fixture(scope="module")
def environ():
    ports = {"PERSONAS_CLICKHOUSE_PORT": str(free_port()), "PERSONAS_WEB_PORT": str(free_port())}
    theirs = ("DATABASE_URL", "CLICKHOUSE_URL", "REDIS_URL")
    return {name: value for name, value in os.environ.items() if name not in theirs} | ports


@pytest.fixture(scope="module")
def paths(tmp_path_factory, environ):
    """One folder for all tests here: each finds the stores as the test before left them."""
    return Paths(tmp_path_factory.mktemp("stores") / "var", environ)


def supervised(paths, **kwargs):
    return Supervisor(paths.home, environ=paths.environ, **{"stores_only": True, **kwargs})


class Command:
    """A supervisor in a process of its own."""

    def __init__(self, paths, *, account=None):
        command = Service(name="supervisor", argv=[sys.executable, "-c", WITH_A_SITE, str(paths.home)])
        command = replace(command, account=account, cwd=PROJECT_ROOT)
        ours, theirs = os.pipe()
        self.process = spawn(command, paths.environ, theirs)
        os.close(theirs)
        self.stdout = open(ours)  # noqa: SIM115 - closed in __exit__
        self.output = self.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.stdout.close()


def all_processes(paths):
    """Everything that a supervisor of this home started and that is still there."""
    valkeys = working_in(paths.valkey_data, "valkey-server")
    return {*processes.leftovers(paths.home), *working_in(paths.postgres_data, "postgres"), *valkeys}


def pids(paths):
    with suppress(OSError):
        return json.loads(paths.pids.read_text())
    return {}


def postgres_answers(paths):
    with suppress(psycopg2.OperationalError), closing(psycopg2.connect(paths.database_url)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT current_user")
        return cursor.fetchone() == ("personas_app",)
    return False


def valkey_answers(paths):
    with suppress(redis.ConnectionError), closing(redis.Redis.from_url(paths.redis_cache_url)) as client:
        return client.ping()
    return False


def clickhouse_answers(paths):
    get = clickhouse_connect.get_client
    with suppress(clickhouse_connect.driver.exceptions.Error), closing(get(dsn=paths.clickhouse_url)) as client:
        return client.command("SELECT 1") == 1
    return False


ANSWERS = {"postgres": postgres_answers, "valkey": valkey_answers, "clickhouse": clickhouse_answers}


# The stores


def test_all_three_answer_at_their_urls(paths):
    with supervised(paths):
        assert all(answers(paths) for answers in ANSWERS.values())
        assert pids(paths).keys() == {"supervisor", *ANSWERS}
    assert not all_processes(paths)


def test_the_application_owns_nothing(paths):
    with supervised(paths), closing(psycopg2.connect(paths.database_url)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = user")
        assert cursor.fetchone() == (False, False, False, False)
        cursor.execute("SELECT pg_get_userbyid(datdba), datcollate FROM pg_database WHERE datname = 'personas'")
        assert cursor.fetchone() == ("personas_owner", "C.UTF-8")


def test_what_was_written_is_there_after_a_restart(paths):
    with supervised(paths):
        write_to_each(paths)
    with supervised(paths):
        assert read_from_each(paths) == (1, 1, None)  # Valkey holds nothing that matters


def write_to_each(paths):
    with closing(psycopg2.connect(paths.database_owner_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        cursor.execute("INSERT INTO kept VALUES (1)")
    with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url)) as client:
        client.command("CREATE TABLE IF NOT EXISTS kept (n Int32) ENGINE = MergeTree ORDER BY n")
        client.insert("kept", [[1]], column_names=["n"])
    redis.Redis.from_url(paths.redis_cache_url).set("kept", "1")


def read_from_each(paths):
    with closing(psycopg2.connect(paths.database_owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kept")
        in_postgres = cursor.fetchone()[0]
    with closing(clickhouse_connect.get_client(dsn=paths.clickhouse_url)) as client:
        in_clickhouse = client.command("SELECT count() FROM kept")
    return in_postgres, in_clickhouse, redis.Redis.from_url(paths.redis_cache_url).get("kept")


@pytest.mark.parametrize("url", ["DATABASE_URL", "CLICKHOUSE_URL", "REDIS_URL"])
def test_a_store_with_a_url_is_not_ours(paths, url):
    environ = {**paths.environ, url: "somewhere://else"}
    gone = {"DATABASE_URL": "postgres", "CLICKHOUSE_URL": "clickhouse", "REDIS_URL": "valkey"}[url]
    with Supervisor(paths.home, stores_only=True, environ=environ):
        assert pids(paths).keys() == {"supervisor", *ANSWERS} - {gone}


# What dies


@pytest.mark.parametrize("name", list(ANSWERS))
def test_a_killed_store_comes_back(paths, name):
    said = []
    with supervised(paths, say=said.append) as own:
        before = own.pid(name)
        os.kill(before, signal.SIGKILL)
        until(lambda: own.pid(name) not in (None, before))
        until(lambda: ANSWERS[name](paths))
        assert pids(paths)[name] == own.pid(name)
    assert said == [f"{name} stopped; starting it again"]
    assert not all_processes(paths)


def test_postgres_comes_back_while_its_clients_work(paths):
    """Backends of a killed server still hold its shared memory; no file that says so may be removed."""
    with supervised(paths) as own, closing(psycopg2.connect(paths.database_url)) as connection:
        connection.cursor().execute("SELECT 1")
        before = own.pid("postgres")
        os.kill(before, signal.SIGKILL)
        until(lambda: own.pid("postgres") not in (None, before))
        until(lambda: postgres_answers(paths))


def test_a_dead_services_own_children_end_with_it(paths):
    with supervised(paths, stores_only=False, stores=[], site=[Service(name="family", argv=FAMILY)], prepare=[]) as own:
        until(lambda: len(all_processes(paths)) == 2)
        before = all_processes(paths)
        os.kill(own.pid("family"), signal.SIGKILL)
        until(lambda: len(all_processes(paths)) == 2 and not before & all_processes(paths))
    assert not all_processes(paths)


def test_a_service_that_keeps_dying_is_started_ever_more_rarely_and_says_why(paths):
    said = []
    fails = Service(name="fails", argv=["sh", "-c", "sleep 0.2; echo no such thing; exit 3"], ready_within=0.0)
    with supervised(paths, stores_only=False, stores=[], site=[fails], prepare=[], say=said.append):
        until(lambda: any("again in 1.0 s" in text for text in said))
    assert any("no such thing" in text for text in said)


def test_a_service_that_hangs_is_started_again(paths, monkeypatch):
    monkeypatch.setattr(processes, "ASKED_EVERY", 0.05)
    said, asked, answers = [], [], threading.Event()
    answers.set()

    def ready():
        asked.append(1)
        return answers.is_set()

    hangs = Service(name="hangs", argv=FAMILY, ready=ready, silent_within=0.2)
    with supervised(paths, stores_only=False, stores=[], site=[hangs], prepare=[], say=said.append) as own:
        before = own.pid("hangs")
        until(lambda: len(asked) > 3)
        answers.clear()
        until(lambda: own.pid("hangs") not in (None, before))
        again, so_far = own.pid("hangs"), len(asked)
        until(lambda: len(asked) > so_far + 10)  # it may take its time to start
        assert own.pid("hangs") == again
        assert said == ["hangs does not answer: ending it", "hangs stopped; starting it again"]


def test_a_log_is_cut_while_it_is_written_to(paths, monkeypatch):
    monkeypatch.setattr(supervisor, "LOG_MAX", 1000)
    monkeypatch.setattr(supervisor, "LOGS_CUT_EVERY", 0.1)
    talks = Service(name="talks", argv=["sh", "-c", "while :; do echo a line of it; sleep 0.01; done"])
    log = paths.log("talks")
    with supervised(paths, stores_only=False, stores=[], site=[talks], prepare=[]):
        older = log.with_suffix(".log.1")
        until(lambda: older.exists() and older.read_text().startswith("a line of it\n"))  # it is copied, then cut
        until(lambda: log.stat().st_size and log.read_text().startswith("a line of it\n"))


def test_a_store_that_cannot_start_says_why(paths):
    broken = Service(name="broken", argv=["sh", "-c", "echo the disk is full; exit 1"], ready=lambda: False)
    with pytest.raises(StartError, match=r"broken stopped while starting\n    the disk is full"):
        supervised(paths, stores=[broken]).start()
    with pytest.raises(StartError, match="preparation of the stores failed\n    no such table"):
        supervised(paths, stores_only=False, stores=[], prepare=["sh", "-c", "echo no such table; exit 1"]).start()
    assert not all_processes(paths)


# The workers: Celery's workers and beat as copies of one process

WORKERS_APP = """
import os, pathlib, time
from personas_site.celery import app  # with the settings of the site, but other tasks
app.conf.include = []
app.conf.beat_schedule = {"tick": {"task": "touch", "schedule": 0.2, "args": [os.environ["TICKS"]],
                                   "options": {"queue": "sync"}}}

@app.task(name="touch")
def touch(path):
    new = pathlib.Path(path + ".new")
    new.write_text(str(os.getpid()))
    new.rename(path)

@app.task(name="hold")
def hold(path):
    while not pathlib.Path(path).exists():
        time.sleep(0.05)
"""


@pytest.fixture
def workers(paths, tmp_path):
    """Started on a Celery application of three tasks; the test may import it."""
    (tmp_path / "workers_app.py").write_text(WORKERS_APP)
    names = ("worker-live", "worker-bulk", "worker-sync", "beat")
    argv = [sys.executable, "-m", "personas_site.embedded.workers", "--app", "workers_app:app", *names]
    env = {"PYTHONPATH": str(tmp_path), "REDIS_URL": paths.redis_url, "TICKS": str(tmp_path / "ticks")}
    service = Service(name="workers", argv=argv, env=env, cwd=PROJECT_ROOT, workers=names)
    own = supervised(paths, stores_only=False, site=[service], prepare=[], stores=[valkey.service(paths)])
    with own:
        yield own
    assert not all_processes(paths)


def send(paths, task, path, queue):
    with closing(Celery(broker=paths.redis_url)) as app:
        app.send_task(task, [str(path)], queue=queue)


def test_queues_do_not_wait_for_one_another(workers, paths, tmp_path):
    assert {"workers", "worker-live", "worker-bulk", "worker-sync", "beat", "valkey"} <= pids(paths).keys()
    send(paths, "hold", tmp_path / "let go", "bulk")
    send(paths, "touch", tmp_path / "live", "live")
    until((tmp_path / "live").exists)
    assert int((tmp_path / "live").read_text()) == workers.pid("worker-live")
    until((tmp_path / "ticks").exists)  # beat, and a third worker
    (tmp_path / "let go").touch()


def test_calls_to_destinations_do_not_wait_for_one_another(workers, paths, tmp_path):
    for _ in range(3):
        send(paths, "hold", tmp_path / "let go", "sync")
    send(paths, "touch", tmp_path / "other", "sync")
    until((tmp_path / "other").exists)
    before = workers.pid("worker-sync")
    assert int((tmp_path / "other").read_text()) == before
    os.kill(before, signal.SIGTERM)
    (tmp_path / "let go").touch()
    until(lambda: workers.pid("worker-sync") not in (None, before))
    (tmp_path / "other").unlink()
    send(paths, "touch", tmp_path / "other", "sync")
    until((tmp_path / "other").exists)


@pytest.mark.parametrize("name", ["worker-live", "beat", "workers"])
def test_a_killed_worker_comes_back(workers, paths, tmp_path, name):
    before = workers.pid(name)
    os.kill(before, signal.SIGKILL)
    until(lambda: workers.pid(name) not in (None, before))
    until(lambda: {"worker-live", "worker-sync", "beat"} <= pids(paths).keys())
    (tmp_path / "ticks").unlink(missing_ok=True)
    until((tmp_path / "ticks").exists)
    send(paths, "touch", tmp_path / "live", "live")
    until((tmp_path / "live").exists)


def test_workers_outlive_their_broker(workers, paths, tmp_path):
    """Killed in the middle of tasks, and away for a while; those that were in work end, and new ones are taken."""
    names = ("worker-live", "worker-bulk", "worker-sync", "beat")
    before = {name: workers.pid(name) for name in names}
    for _ in range(2):
        held = [(number, queue) for queue in ("live", "bulk", "sync") for number in range(3)]
        for number, queue in held:
            send(paths, "hold", tmp_path / "let go", queue)
            send(paths, "touch", tmp_path / f"{queue} {number}", queue)
        until((tmp_path / "ticks").exists)
        os.kill(workers.pid("valkey"), signal.SIGKILL)
        until(lambda: valkey_answers(paths))
        (tmp_path / "let go").touch()
        for queue in ("live", "bulk", "sync"):
            # What a worker had taken and not begun may be lost: whoever sends a wake-up sends another.
            until(lambda queue=queue: (send(paths, "touch", tmp_path / queue, queue), (tmp_path / queue).exists())[1])
            (tmp_path / queue).unlink()
        (tmp_path / "ticks").unlink(missing_ok=True)
        until((tmp_path / "ticks").exists)
        (tmp_path / "let go").unlink()
        assert {name: workers.pid(name) for name in names} == before


# The end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_everything(paths, number):
    with Command(paths) as command:
        assert command.output == "ready\n"
        assert {"family", *ANSWERS} <= pids(paths).keys()
        begun = time.monotonic()
        command.process.send_signal(number)
        assert command.process.wait(timeout=20) == 0
        assert time.monotonic() - begun < 10
    assert not all_processes(paths)


def test_a_service_that_ignores_the_signal_is_ended_in_time(paths):
    deaf = Service(name="deaf", argv=["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
    with supervised(paths, stores_only=False, site=[deaf], prepare=[]) as own:
        begun = time.monotonic()
        own.stop()
        assert time.monotonic() - begun < 10
    assert not all_processes(paths)


def test_a_killed_supervisor_leaves_nothing_that_blocks_the_next_start(paths):
    with Command(paths) as command:
        until(lambda: len(all_processes(paths)) > 5)
        command.process.kill()
        command.process.wait()
        with supervised(paths):  # at once, while the old children are still ending
            assert all(answers(paths) for answers in ANSWERS.values())
    assert not all_processes(paths)


def test_children_end_with_a_killed_supervisor(paths):
    """By the kernel's death signal: all but the grandchild, which the next start ends."""
    said = []
    with Command(paths) as command:
        before = {pid for name, pid in pids(paths).items() if name != "supervisor"}
        until(lambda: len(set(processes.leftovers(paths.home)) - before) == 1)
        command.process.kill()
        command.process.wait()
        until(lambda: len(all_processes(paths)) == 1)
    with supervised(paths, say=said.append):
        pass
    assert not all_processes(paths)
    assert len(said) == 1
    assert "left over from an earlier run" in said[0]


def test_everything_killed_at_once_starts_again(paths):
    with Command(paths) as command:
        for pid in (command.process.pid, *pids(paths).values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with supervised(paths):
            assert all(answers(paths) for answers in ANSWERS.values())


def test_a_lock_file_that_names_a_stranger_does_not_stop_postgres(paths):
    """In a container process numbers repeat: the number of the dead server may be ours."""
    with supervised(paths):
        note = (paths.postgres_data / "postmaster.pid").read_text().split("\n", 1)[1]
    (paths.postgres_data / "postmaster.pid").write_text(f"{os.getpid()}\n{note}")
    with supervised(paths):
        assert postgres_answers(paths)


# Starts that are refused


def test_a_second_start_says_who_is_there(paths):
    with supervised(paths), pytest.raises(StartError, match=f"already running in {paths.home}: pid {os.getpid()},"):
        supervised(paths).start()
    with supervised(paths, stores=[]):
        pass


@pytest.mark.parametrize("setting", ["PERSONAS_CLICKHOUSE_PORT", "PERSONAS_WEB_PORT"])
def test_a_taken_port_is_named_with_its_setting(tmp_path, environ, setting):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "personas_site.up"]
        env = {**environ, setting: str(port), "PERSONAS_HOME": str(tmp_path / "var")}
        done = subprocess.run(command, env=env, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == f"personas: port {port} is taken by another program; set {setting} to a free one\n"
    assert {path.name for path in (tmp_path / "var").iterdir()} == {"lock"}  # no data was opened


def test_a_port_that_is_none(tmp_path, environ):
    own = Supervisor(tmp_path / "var", stores_only=True, environ={**environ, "PERSONAS_CLICKHOUSE_PORT": "http"})
    with pytest.raises(StartError, match="PERSONAS_CLICKHOUSE_PORT must be a port number"):
        own.start()


# Other folders, other users


def test_a_long_path_with_odd_characters(tmp_path, environ):
    paths = Paths(tmp_path / "a folder, çalled 100% ?so&" / ("x" * 100), environ)
    with supervised(paths):
        assert all(answers(paths) for answers in ANSWERS.values())
        assert not paths.sockets.is_relative_to(paths.home)
    assert not paths.sockets.exists()


def test_a_stranger_cannot_prepare_our_folder_of_sockets(tmp_path, environ):
    paths = Paths(tmp_path / ("x" * 120), environ)
    paths.sockets.mkdir(mode=0o777)
    paths.sockets.chmod(0o777)
    try:
        with pytest.raises(StartError, match="not a folder of ours alone"):
            supervised(paths).start()
    finally:
        paths.sockets.rmdir()


def test_the_token_is_ours_alone_and_made_once(tmp_path):
    code = "import sys; from pathlib import Path; from personas_site.embedded.paths import Paths"
    argv = [sys.executable, "-c", f"{code}; print(Paths(Path(sys.argv[1])).clickhouse_token)", str(tmp_path / "var")]
    racers = [subprocess.Popen(argv, cwd=PROJECT_ROOT, stdout=subprocess.PIPE) for _ in range(6)]
    assert len({racer.communicate()[0] for racer in racers}) == 1
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["clickhouse.token"]
    assert (tmp_path / "var" / "clickhouse.token").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_with_a_long_path_and_a_missing_locale(environ):
    """As `nobody`, in a folder of its own, with a language this machine does not have."""
    user = unprivileged(Path(sys.executable).resolve(), PROJECT_ROOT / "manage.py")
    home = tempfile.mkdtemp(prefix="personas-user-")
    os.chown(home, user.uid, user.gid)
    environ = {**environ, "HOME": home, "LANG": "xx_XX.UTF-8", "LC_ALL": "xx_XX.UTF-8"}
    paths = Paths(Path(home) / ("y" * 110), environ)
    try:
        with Command(paths, account=user) as command:
            assert command.output == "ready\n"
            assert {os.stat(f"/proc/{pid}").st_uid for pid in pids(paths).values()} == {user.uid}
            command.process.send_signal(signal.SIGINT)
            assert command.process.wait(timeout=20) == 0
        assert not all_processes(paths)
    finally:
        shutil.rmtree(home)


@pytest.mark.skipif(os.getuid() != 0, reason="only as root does PostgreSQL run as somebody else")
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_as_root_postgres_runs_as_nobody(environ, mode):
    """Also below a folder that only root may enter, and without opening that folder to anybody."""
    folder = Path(tempfile.mkdtemp(prefix="personas-root-"))
    folder.chmod(mode)
    try:
        paths = Paths(folder / "var", environ)
        with supervised(paths) as own:
            assert postgres_answers(paths)
            assert os.stat(f"/proc/{own.pid('postgres')}").st_uid == pwd.getpwnam("nobody").pw_uid
        assert folder.stat().st_mode & 0o777 == mode
    finally:
        shutil.rmtree(folder)
