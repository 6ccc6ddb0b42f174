"""Pages and API of imports: uploading, columns, the check, who may, and what is masked."""

import base64
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from access.models import AuditEntry
from imports import running
from imports.models import ProfileImport
from imports.services import LARGEST_PART
from spaces.clock import clock
from tests.page_checks import look, sign_in
from tests.sample_rows import make_import

pytestmark = pytest.mark.django_db
FILE = b"email,plan\nada@example.com,pro\nnobody,free\n"


@pytest.fixture
def base(cast):
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/imports"


@pytest.fixture
def api(cast):
    return f"/api/spaces/{cast.space.public_id}/imports"


def worked(profile_import):
    while running.advance(profile_import.pk, clock):
        pass
    profile_import.refresh_from_db()
    return profile_import


def upload(name, content):

    return {"file": SimpleUploadedFile(name, content), "charset": "utf-8", "delimiter": ""}


def test_a_file_is_uploaded_checked_and_started_without_any_script(cast, base):
    window = cast.window("admin")
    page = window.post(base, upload("customers.csv", FILE), follow=True)
    one = ProfileImport.objects.get()
    assert page.redirect_chain == [(f"{base}/{one.public_id}", 302)]
    assert "ada@example.com" in page.content.decode()
    columns = {"use-0": "identifier:email", "use-1": "trait:text", "name-1": "Plan", "do": "check"}
    assert window.post(f"{base}/{one.public_id}", columns).status_code == 302
    assert worked(one).columns[1] == {"use": "trait", "name": "Plan", "type": "text"}
    page = window.get(f"{base}/{one.public_id}").content.decode()
    assert "Import 1 row" in page
    assert "This is no e-mail address." in page
    rejected = window.get(f"{base}/{one.public_id}?format=csv")
    assert b"".join(rejected.streaming_content).decode().splitlines() == [
        "row,reason,email,plan",
        "3,email: This is no e-mail address.,nobody,free",
    ]
    assert window.post(f"{base}/{one.public_id}", {"do": "start"}).status_code == 302
    assert worked(one).state == "done"
    assert "Undo the import" in window.get(f"{base}/{one.public_id}").content.decode()
    actions = AuditEntry.objects.filter(workspace=cast.workspace, action__startswith="import.")
    assert [entry.action for entry in actions.order_by("id")] == ["import.created", "import.checked", "import.started"]
    assert "ada@example.com" not in json.dumps(list(actions.values_list("detail", flat=True)))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"a\0b", "NUL"),
        ("Zoë".encode("latin-1"), "This is not UTF-8"),
        (b"email,email\na,b\n", "are both called"),
        (b"email\n", "There is no row below the header."),
        (b"", "The submitted file is empty."),
        (b"x" * (LARGEST_PART + 1), "Without JavaScript a file may have 5 MB."),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(cast, base, content, error):
    answer = cast.window("admin").post(base, upload("x.csv", content))
    assert answer.status_code == 422
    assert error in answer.content.decode()
    assert not ProfileImport.objects.exists()


def test_columns_that_cannot_be_are_said_beside_the_choice(cast, base):
    one = make_import(cast.space)
    columns = {"use-0": "trait:text", "name-0": "email", "use-1": "ignored", "name-1": "", "do": "check"}
    answer = cast.window("admin").post(f"{base}/{one.public_id}", columns)
    assert answer.status_code == 422
    assert "email is an identifier of this space" in answer.content.decode()


def test_whoever_may_not_see_personal_data_sees_none_of_it(cast, base, api):
    one = make_import(cast.space)
    running_check = {"columns": one.columns}
    assert cast.call("admin", "POST", f"{api}/{one.public_id}/check", running_check).status_code == 202
    worked(one)
    page = cast.window("read_only").get(f"{base}/{one.public_id}").content.decode()
    shown = [cast.call("read_only", "GET", f"{api}/{one.public_id}/{part}") for part in ("preview", "problems")]
    for text in (page, *(answer.content.decode() for answer in shown)):
        assert "ada@example.com" not in text
        assert "•••" in text or "\\u2022" in text
    assert cast.window("read_only").get(f"{base}/{one.public_id}?format=csv").status_code == 403
    assert cast.call("user", "GET", f"{api}/{one.public_id}/rejected").status_code == 403
    assert cast.call("user", "POST", api, {"name": "x.csv"}).status_code == 403


def test_the_api_takes_a_file_in_parts_and_does_all_the_rest(cast, api):
    answer = cast.call("admin", "POST", api, {"name": "customers.csv"})
    one = f"{api}/{answer.json()['data']['profileImport']['id']}"

    def part(offset, content):
        body = {"offset": offset, "content": base64.b64encode(content).decode()}
        return cast.call("admin", "POST", f"{one}/parts", body)

    for page in ("preview", "rejected", "problems"):
        assert cast.call("admin", "GET", f"{one}/{page}").status_code == 200  # of a file that is not complete
    assert part(0, FILE[:20]).json()["data"]["profileImport"]["received"] == 20
    assert part(0, FILE[:20]).status_code == 200
    assert part(30, b"x").status_code == 409
    assert part(20, FILE[20:]).status_code == 200
    whole = cast.call("admin", "POST", f"{one}/complete").json()["data"]["profileImport"]
    assert whole["columns"][0] == {"use": "identifier", "name": "email", "type": "text"}
    wrong = cast.call("admin", "POST", f"{one}/check", {"columns": [{"use": "ignored"}, {"use": "ignored"}]})
    assert wrong.json()["errors"][0]["field"] == "columns[0]"
    assert cast.call("admin", "POST", f"{one}/start").status_code == 409
    assert cast.call("admin", "POST", f"{one}/check", {"columns": whole["columns"]}).status_code == 202
    worked(ProfileImport.objects.get())
    checked = cast.call("admin", "GET", one).json()["data"]["profileImport"]
    assert (checked["state"], checked["check"]["good"], checked["rules"]) == ("checked", 1, {"email": 1})
    rows = json.loads(b"".join(cast.call("admin", "GET", f"{one}/rejected").streaming_content))["data"]["rows"]
    assert rows == [{"row": 3, "reason": "email: This is no e-mail address.", "values": ["nobody", "free"]}]
    assert cast.call("admin", "POST", f"{one}/start").status_code == 202
    assert cast.call("admin", "POST", f"{one}/cancel").json()["data"]["profileImport"]["state"] == "cancelled"
    assert cast.call("admin", "POST", f"{one}/undo").status_code == 202
    template = cast.call("read_only", "GET", f"{api}/template").json()["data"]["columns"]
    assert template[:2] == ["user_id", "email"]


@pytest.mark.django_db(transaction=True)
def test_a_large_file_is_uploaded_in_parts_by_the_page(page, live_server, room, tmp_path):
    sign_in(page, live_server, room)
    path = tmp_path / "large.csv"
    path.write_text("user_id,plan\n" + "".join(f"user-{place},{'x' * 90}\n" for place in range(60_000)))
    page.goto(f"{live_server.url}/w/{room.workspace.slug}/s/{room.dev.slug}/imports")
    page.set_input_files("input[type=file]", str(path))
    page.click("form[data-upload] button")
    page.wait_for_url("**/imports/imp_*")
    one = ProfileImport.objects.get(name="large.csv")
    assert (one.size, one.parts.count(), one.state) == (path.stat().st_size, 2, "uploaded")
    assert look(page, page.url) == []
