"""SQL traits and warehouses as people and scripts use them."""

import re
from html import unescape

import pytest

from access.models import AuditEntry
from audiences import sql_runs, sql_traits
from audiences.models import SqlTrait, Warehouse
from spaces.clock import clock
from tests import warehouses
from tests.factories_audiences import World

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct-horse"


@pytest.fixture
def shop(monkeypatch):
    with warehouses.postgresql() as place:
        warehouses.allow(monkeypatch, place)
        warehouses.execute(place, "CREATE TABLE people AS SELECT 'u1' AS user_id, 'gold' AS tier, 'u1@x.org' AS email2")
        yield place | {"password": PASSWORD}


@pytest.fixture
def api(cast):
    def call(method, path, body=None, *, status=200, who="owner"):
        answer = cast.call(who, method, f"/api/spaces/{cast.space.public_id}/{path}", body)
        assert answer.status_code == status, answer.content
        assert PASSWORD not in answer.content.decode()
        return answer.json()["data"] if status < 300 else answer.json()["errors"][0]

    return call


def words(answer):
    assert PASSWORD not in answer.content.decode()
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())))


def test_everything_by_the_api(cast, api, shop):
    body = {"kind": "postgresql", "name": "Shop", "settings": shop}
    warehouse = api("POST", "warehouses", body, status=201)["warehouse"]
    assert warehouse["settings"]["password"] == "••••••••"
    assert api("POST", f"warehouses/{warehouse['id']}/test")["test"] == {"ok": True, "message": ""}
    query = "SELECT user_id, tier FROM people"
    preview = api("POST", "sql-traits/previews", {"warehouseId": warehouse["id"], "query": query})["preview"]
    assert preview == {"type": "user_id", "rows": [{"identifier": "u1", "known": False, "traits": {"tier": "gold"}}]}
    wrong = api("POST", "sql-traits/previews", {"warehouseId": warehouse["id"], "query": "SELECT 1"}, status=422)
    assert "No column says whom" in wrong["message"]
    body = {"name": "Tiers", "warehouseId": warehouse["id"], "query": query, "every": "week", "weekday": 6}
    assert api("POST", "sql-traits", body | {"timeZone": "Mars"}, status=422)["field"] == "timeZone"
    trait = api("POST", "sql-traits", body, status=201)["sqlTrait"]
    sql_runs.run(SqlTrait.objects.get().pk, clock)
    run = api("GET", f"sql-traits/{trait['id']}/runs")["runs"][0]
    assert (run["state"], run["rows"], run["unknown"]) == ("done", 1, 1)
    assert api("GET", f"sql-traits/{trait['id']}")["sqlTrait"]["traits"] == ["tier"]
    assert "Tiers" in api("DELETE", f"warehouses/{warehouse['id']}", status=409)["message"]
    api("PATCH", f"sql-traits/{trait['id']}", {"enabled": False})
    assert sql_runs.due(clock.now()) == []
    api("DELETE", f"sql-traits/{trait['id']}")
    api("DELETE", f"warehouses/{warehouse['id']}")
    assert not Warehouse.objects.exists()
    entries = AuditEntry.objects.filter(action__startswith="warehouse").values_list("action", "detail")
    assert {action for action, _ in entries} == {"warehouse.created", "warehouse.deleted"}
    assert PASSWORD not in str(list(entries))


def test_what_is_another_spaces_is_not_there(cast, api, shop):
    stored = warehouses.make_warehouse(cast.other_space, shop)
    api("GET", f"warehouses/{stored.public_id}", status=404)
    body = {"name": "T", "warehouseId": stored.public_id, "query": "SELECT 1"}
    assert api("POST", "sql-traits", body, status=422)["field"] == "warehouseId"
    assert api("POST", "sql-traits/previews", body | {"name": None}, status=422)


def test_a_warehouse_is_connected_and_a_query_is_written_and_run(cast, base, shop):
    world = World(cast.space)
    world.did("u1", "Seen")
    admin, user = cast.browser("admin"), cast.browser("user")
    assert "No warehouse yet" in words(user.get(f"{base}/sql-traits"))
    assert user.post(f"{base}/warehouses/new?kind=postgresql", {}).status_code == 403
    filled = {f"settings-{name}": str(value) for name, value in shop.items()}
    answer = admin.post(f"{base}/warehouses/new?kind=postgresql", {"name": "Shop", **filled}, follow=True)
    assert "Shop answers." in words(answer)
    query = "SELECT user_id, tier, email2 AS email FROM people"
    form = {
        "name": "Tiers",
        "query": query,
        "every": "day",
        "at": "06:30",
        "weekday": "0",
        "time_zone": "Europe/Berlin",
    }
    form |= {"most_nulled": "20", "warehouse": Warehouse.objects.get().public_id}
    page = words(user.post(f"{base}/sql-traits/new", form | {"act": "preview"}))
    assert "user_id Known here tier email u1 Yes gold" in page
    assert "u1@x.org" not in page  # nor is it an admin's to see here: this person may not see personal data
    assert not SqlTrait.objects.exists()
    page = words(user.post(f"{base}/sql-traits/new", form | {"act": "save", "time_zone": "Mars"}))
    assert "Select a valid choice" in page
    answer = user.post(f"{base}/sql-traits/new", form | {"act": "save"}, follow=True)
    assert "every day at 06:30 (Europe/Berlin)" in words(answer)
    trait = SqlTrait.objects.get()
    sql_runs.run(trait.pk, clock)
    url = f"{base}/sql-traits/{trait.public_id}"
    assert "Done 1 0 0 1 0" in words(user.get(url))
    warehouses.execute(shop, "DELETE FROM people")
    user.post(url, {"do": "run"})
    sql_runs.run(trait.pk, clock)
    assert "Run it all the same" in words(user.get(url))
    user.post(url, {"do": "approve"})
    sql_runs.run(trait.pk, clock)
    assert "Run it all the same" not in words(user.get(url))
    changed = form | {"act": "save", "every": "hour", "name": "Levels"}
    assert user.post(f"{url}/edit", changed).status_code == 302
    assert "every hour, 30 minutes past" in words(user.get(f"{base}/sql-traits"))
    assert user.post(url, {"confirm": "wrong"}).status_code == 422
    assert user.post(url, {"confirm": "Levels"}).status_code == 302


def test_a_warehouse_that_does_not_answer_says_why_and_keeps_its_password(cast, base, shop):
    admin = cast.browser("admin")
    filled = {f"settings-{name}": str(value) for name, value in shop.items()} | {"settings-database": "nowhere"}
    answer = admin.post(f"{base}/warehouses/new?kind=postgresql", {"name": "Shop", **filled}, follow=True)
    assert 'database "nowhere" does not exist' in words(answer)
    stored = Warehouse.objects.get()
    page = admin.get(f"{base}/warehouses/{stored.public_id}").content.decode()
    stamps = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page))
    fixed = {"name": "Shop", **filled, "settings-database": "shop", "settings-password": "••••••••", **stamps}
    answer = admin.post(f"{base}/warehouses/{stored.public_id}", fixed, follow=True)
    assert "Shop answers." in words(answer)
    stored.refresh_from_db()
    assert sql_traits.settings_of(stored).password == PASSWORD
