"""What is written is true: links, paths, commands, settings and samples are held against the repository.

And what exists is written about: every setting, and every kind of what one can add by adding a file.
"""

import importlib.util
import json
import re
import sys
import time
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from django.conf import settings as django_settings
from django.core.management import get_commands
from django.template import engines
from django.template.loader import get_template
from django.urls import path as url_path
from django.urls import resolve
from segment import analytics

from access.gate import need_of
from access.roles import PERMISSIONS, SPACE_ROLES, WORKSPACE_ROLES
from audiences.conditions import KINDS
from audiences.rules.grammar import parse, sentence
from audiences.rules.operators import OPERATORS
from console.pages import navigation
from destinations.adapters import all_adapters
from personas_site.errors import unknown_api
from personas_site.pipeline import QUEUES
from sources.collect import is_collect
from sources.rules import spec
from spaces.limits import Limits
from spaces.secrets import open_sealed, seal
from tests.documentation import PAGES, ROOT, SAMPLES, Page, Sample, commands, written_files
from tests.house import APPS
from tests.pure import test_adapters, test_conditions
from tests.receiver import receiving
from tests.routes import Route

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = dict(re.findall(r"^([a-z-]+):(.*)$", MAKEFILE, re.MULTILINE))
REFERENCE, OPERATIONS = Page(ROOT / "docs" / "reference.md"), Page(ROOT / "docs" / "operations.md")
SETTING = r"(?:PERSONAS|DATABASE|CLICKHOUSE|REDIS)_[A-Z_]+"
# Between our own processes, or for tests only.
INTERNAL = {"PERSONAS_FAULTS", "PERSONAS_REPORTS", "PERSONAS_SUPERVISED"}
pages = pytest.mark.parametrize("document", PAGES, ids=str)


def samples(*languages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("sample", [each for each in SAMPLES if each.language in languages], ids=str)


def settings() -> set[str]:
    code = "\n".join(path.read_text() for app in APPS for path in (ROOT / app).rglob("*.py"))
    return set(re.findall(rf'"({SETTING})"', code)) - INTERNAL


@pytest.mark.parametrize("setting", sorted(settings()))
def test_every_setting_is_in_operations(setting: str) -> None:
    assert f"`{setting}`" in OPERATIONS.text


@pages
def test_a_page_names_no_setting_that_does_not_exist(document: Page) -> None:
    assert {code for code in document.codes if re.fullmatch(SETTING, code)} <= settings()


@pytest.mark.parametrize("kind", [*KINDS, *OPERATORS, *all_adapters(), *SPACE_ROLES, *WORKSPACE_ROLES])
def test_every_kind_is_in_the_reference(kind: str) -> None:
    assert f"`{kind}`" in REFERENCE.text


@pages
def test_links_lead_somewhere(document: Page) -> None:
    """To a file, and to a heading of it. Pages of the site lead to nothing outside of it, and none to other hosts."""
    for link in document.links:
        file, _, heading = link.partition("#")
        target = (document.path.parent / file).resolve() if file else document.path
        assert target.is_file(), link
        assert not document.path.is_relative_to(ROOT / "docs") or target.is_relative_to(ROOT / "docs"), link
        assert not heading or heading in Page(target).anchors, link


def test_every_page_of_the_documentation_is_in_the_site() -> None:
    def listed(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for each in entry.values() if isinstance(entry, dict) else entry:  # type: ignore[attr-defined]
                yield from listed(each)

    nav = list(listed(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(nav) == [str(page.path.relative_to(ROOT / "docs")) for page in PAGES if "docs" in page.path.parts]


FILE = re.compile(r"(?:[\w.*<>-]+/)*[\w.*<>-]+\.(?:py|md|toml|ya?ml|sh|html|css|js|sql|svg|in|lock)|(?:[\w.*<>-]+/)+")
OURS = [path for path in ROOT.iterdir() if path.name not in {".git", ".venv", ".venv-docs", "site", "var"}]
FOLDERS = {path.name for top in OURS if top.is_dir() for path in (top, *top.rglob("*")) if path.is_dir()}
FILES = {path.name for top in OURS for path in ((top, *top.rglob("*")) if top.is_dir() else (top,))}
NOT_KEPT = {"var/", "site/"}  # in no checkout


def exists(name: str) -> bool:
    """A path from the root, in which <…> and * stand for anything; or the bare name of any file or folder of ours."""
    if "/" not in name.rstrip("/"):
        return any(fnmatch(other, name.rstrip("/")) for other in (FOLDERS if name.endswith("/") else FILES))
    return any(ROOT.glob(re.sub(r"<\w+>", "*", name)))


@pages
def test_files_that_a_page_names_exist(document: Page) -> None:
    """But those that a walk has one write, and those of any app."""
    named = {code for code in document.codes if FILE.fullmatch(code) and not code.startswith("<")}
    assert sorted(name for name in named - NOT_KEPT - set(written_files()) if not exists(name)) == []


@pages
def test_modules_and_what_is_in_them_exist(document: Page) -> None:
    for code in set(document.codes) - set(PERMISSIONS):
        if re.fullmatch(rf"(?:{'|'.join(APPS)})(?:\.\w+)+", code):
            module, _, name = code.rpartition(".")
            try:
                assert importlib.util.find_spec(code) or hasattr(importlib.import_module(module), name), code
            except ModuleNotFoundError:
                owner, _, kind = module.rpartition(".")
                assert hasattr(getattr(importlib.import_module(owner), kind), name), code


def test_every_make_target_says_what_it_does() -> None:
    assert {name for name, rest in TARGETS.items() if "##" not in rest} == set()


def is_checked(words: list[str]) -> bool:
    """Whether we know this command; what it names is there then."""
    match words:
        case ["make", *rest]:
            for word in rest:
                name, _, value = word.partition("=")
                assert name in TARGETS or name.isupper() or word == "…", word
                assert name != "BENCH" or (ROOT / "benchmarks" / f"{value}.py").is_file(), word
        case ["curl", *rest]:
            check_call(rest)
        case ["docker", "compose", verb, *rest]:
            names = [word for word in rest if not word.startswith("-")]
            services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
            assert set(names if verb in {"start", "stop"} else names[:1]) <= set(services), words
            if "manage.py" in rest:
                is_checked(rest[rest.index("manage.py") - 1 :])
        case ["python" | ".venv/bin/python", "manage.py", command, *_]:
            assert command in get_commands(), command
        case ["python" | ".venv/bin/python", "-m", module, *rest]:
            assert importlib.util.find_spec(module), module
            tested = [word for word in rest if word.startswith("tests/")]
            assert [word for word in tested if not (ROOT / word).exists()] == []
        case ["celery", "-A", "personas_site.celery:app", *rest]:
            assert "-Q" not in rest or rest[rest.index("-Q") + 1] in {*QUEUES, "<queue>"}, words
        case _:
            return False
    return True


def check_call(words: list[str]) -> None:
    """The address of a curl is one of ours and takes the method; its body is JSON, and of an event one we take."""
    (address,) = (word for word in words if word.startswith("http"))
    body = words[words.index("-d") + 1] if "-d" in words else None
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if body else "GET"
    path = re.sub(r"^https?://[^/]+", "", address).partition("?")[0]
    assert takes(path, method), f"{method} {path}"
    if body:
        json.loads(body)
        if is_collect(path):
            assert_taken(path, body.encode())


def takes(path: str, method: str) -> bool:
    match = resolve(path)
    if match.url_name == "collect":  # one view for whatever is sent; it dispatches by itself
        return method == "POST"
    return (
        match.func is not unknown_api
        and match.url_name != "profile-api-unknown"
        and method in Route(path, "", match.func, ()).methods
    )


def assert_taken(path: str, body: bytes) -> None:
    request = spec.Request(1, path.rpartition("/")[2], body, received_at=int(time.time() * 1000))
    messages = list(spec.parse(request, correct_clocks=True))
    assert messages
    assert [message for message in messages if not isinstance(message, spec.Message)] == []


@samples("bash")
def test_commands_of_a_sample_are_there(sample: Sample) -> None:
    for words in commands(sample):
        assert is_checked(words), f"nobody checks {words}"


@pages
def test_commands_in_a_sentence_are_there(document: Page) -> None:
    for code in document.codes:
        is_checked(code.split())


def test_we_know_every_language_of_the_samples() -> None:
    assert {sample.language for sample in SAMPLES} <= {"bash", "python", "json", "toml", "html", "text"}


@samples("python")
def test_a_python_sample_compiles(sample: Sample) -> None:
    compile(sample.text, str(sample), "exec")


def sample_of(page: str, words: str) -> str:
    (text,) = (sample.text for sample in SAMPLES if sample.page == page and words in sample.text)
    return text


def test_the_sample_of_a_library_sends_an_event_that_we_take() -> None:
    with receiving() as receiver:
        exec(sample_of("README.md", "segment").replace("127.0.0.1:8000", receiver.place))
        analytics.shutdown()
    (call,) = receiver.got
    assert takes(call.path, "POST")
    assert_taken(call.path, call.body)


def test_the_key_that_operations_makes_is_one(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    exec(sample_of("docs/operations.md", "Fernet"))
    monkeypatch.setattr(django_settings, "FIELD_KEYS", [capsys.readouterr().out.strip()])
    assert open_sealed(seal("secret")) == "secret"


def json_codes() -> Iterator[tuple[str, object]]:
    """(page, value) of every JSON object in a sample or in backticks, but for the examples of properties."""
    for sample in SAMPLES:
        if sample.language == "json":
            yield sample.page, json.loads(sample.text)
    for page in PAGES:
        for code in page.codes:
            if code.startswith("{"):
                try:
                    yield str(page), json.loads(code)
                except ValueError:  # a pattern, such as {"all": [node, …]}
                    continue


def test_definitions_are_read_by_the_grammar_and_say_what_the_page_says() -> None:
    definitions = [
        (page, value) for page, value in json_codes() if isinstance(value, dict) and {"all", "any", "kind"} & set(value)
    ]
    assert definitions
    texts = {str(page): " ".join(re.sub("^> ", "", page.text, flags=re.MULTILINE).split()) for page in PAGES}
    for page, definition in definitions:
        assert sentence(parse(definition)) in texts[page]


def test_limits_are_read_by_the_product() -> None:
    limits = [value for _, value in json_codes() if isinstance(value, dict) and "workspace" in value]
    assert limits
    for value in limits:
        Limits(json.dumps(value))


# The walks of CONTRIBUTING.md, done as they say.


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with the files that the walks have one write."""
    for name, text in written_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def load(folder: Path, name: str) -> ModuleType:
    module_name = name.removesuffix(".py").replace("/", ".")
    found = importlib.util.spec_from_file_location(module_name, folder / name)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules[module_name] = module  # dataclasses look there for the types of their fields
    try:
        found.loader.exec_module(module)
    finally:
        del sys.modules[module_name]
    return module


def cases(folder: Path, kinds: str) -> Iterator[tuple[str, dict]]:
    """(kind, case) of the golden files that a walk has one write."""
    files = list((folder / "tests" / "golden" / kinds).glob("*.toml"))
    assert files
    for file in files:
        for case in tomllib.loads(file.read_text())["case"]:
            yield file.stem, case


def test_the_destination_of_the_walk_sends_what_its_golden_file_says(written: Path, monkeypatch) -> None:
    for kind, case in cases(written, "adapters"):
        adapter = load(written, f"destinations/adapters/{kind}.py").adapter
        assert adapter.kind == kind
        assert kind not in all_adapters()
        monkeypatch.setattr(test_adapters, "adapter_of", lambda _, adapter=adapter: adapter)
        test_adapters.test_an_adapter_sends_what_its_golden_file_says(kind, case)
        test_adapters.test_what_the_schema_takes_is_what_the_parser_takes(kind, case)


def test_the_condition_of_the_walk_is_what_its_golden_file_says(written: Path, monkeypatch) -> None:
    for kind, case in cases(written, "conditions"):
        assert kind not in KINDS
        monkeypatch.setitem(KINDS, kind, load(written, f"audiences/conditions/{kind}.py").condition)
        test_conditions.test_a_condition_is_what_its_golden_file_says(kind, case)
        test_conditions.test_what_a_condition_says_of_itself_reads_back_the_same(kind, case)
        test_conditions.test_a_kind_is_named_as_its_file(kind)


def test_the_page_of_the_walk_states_a_need_and_has_its_place(written: Path) -> None:
    merges = load(written, "identity/pages/views/merges.py")
    (pattern,) = eval(sample_of("CONTRIBUTING.md", "path(").strip(), {"path": url_path, "merges": merges})
    (place,) = eval(sample_of("CONTRIBUTING.md", '"Merges", "profiles"').strip(), vars(navigation))
    assert need_of(pattern.callback, "GET") == place.need == "space.read"
    assert pattern.name == place.name


@samples("html")
def test_a_template_of_a_walk_uses_templates_that_exist(sample: Sample) -> None:
    engines["django"].from_string(sample.text)
    named = re.findall(r"{% (?:include|extends) \"(.+?)\"", sample.text)
    assert named
    for name in named:
        get_template(name)
