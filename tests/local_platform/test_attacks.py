"""Attacks on the local platform: pages in a browser, other users, hostile bytes, planted files."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import stat
import sys
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
import requests

from chatlio_kit.local_platform import CannotServe, ensure_running, running, stop

SECRET_FILE = "client-secret"


def say(platform, data):
    """Send bytes unchanged, and return the answer until the server closes the connection."""
    host, port = platform.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(data)
        answered = b""
        while part := line.recv(65536):
            answered += part
    return answered


def planted(folder):
    """Put modules into a folder that report their import, under names that a server imports."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("orjson", "aiohttp", "lark", "logging", "sqlite3", "re2", "sitecustomize", "usercustomize")
    for name in names:
        text = f"open({str(folder / 'stolen')!r}, 'a').write({name!r})\nraise ImportError('planted')\n"
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder / "stolen"


# Its process.


@pytest.mark.parametrize("path", ["", ".", None], ids=["empty entry", "relative entry", "no PYTHONPATH"])
def test_nothing_in_the_current_folder_is_imported(tmp_path, monkeypatch, path):
    """Modules in the current folder are not run, whatever the import path."""
    stolen = planted(tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "work"), *sys.path])
    if path is None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([path, ""]))
    store = tmp_path / "store"
    try:
        assert requests.get(f"{ensure_running(store).url}/local-platform", timeout=10).status_code == 200
    finally:
        stop(store)
    assert not stolen.exists()


def test_a_source_checkout_runs_without_its_neighbours(tmp_path, monkeypatch):
    """The package is found where the caller found it, even in the current folder; its neighbours are not."""
    checkout = tmp_path / "checkout"
    stolen = planted(checkout)
    source = Path(sys.modules["chatlio_kit"].__file__).parent
    (checkout / "chatlio_kit").symlink_to(source, target_is_directory=True)
    monkeypatch.chdir(checkout)
    store = tmp_path / "store"
    code = (
        f"import sys; sys.path.remove({str(checkout)!r}) if {str(checkout)!r} in sys.path else None; "
        "import orjson, aiohttp, sqlite3, logging, re2; "
        f"sys.path.insert(0, {str(checkout)!r}); "
        "from pathlib import Path; from chatlio_kit.local_platform import ensure_running; "
        f"print(ensure_running(Path({str(store)!r})).url)"
    )
    try:
        done = psutil.Popen([sys.executable, "-P", "-c", code], stdout=-1, text=True)
        url = done.communicate(timeout=60)[0].strip()
        assert requests.get(f"{url}/local-platform", timeout=10).status_code == 200
    finally:
        stop(store)
    assert not stolen.exists()


def test_its_process_knows_no_credential(tmp_path, monkeypatch):
    """Neither the process list nor its environment holds a secret, ours or the store's."""
    monkeypatch.setenv("AEP_CLIENT_SECRET", "p8e-of-a-company")
    monkeypatch.setenv("CHATLIO_KIT_REDACTION_KEY", "a-key-of-a-company")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-cloud-of-a-company")
    store = tmp_path / "store"
    try:
        platform = ensure_running(store)
        process = psutil.Process(json.loads((store / "server.json").read_text())["pid"])
        shown = " ".join([*process.cmdline(), *process.environ().values()])
        folder = process.cwd()
    finally:
        stop(store)
    assert "of-a-company" not in shown
    assert platform.account.client_secret not in shown
    assert Path(folder) == store.resolve()


# Its secret.


def test_each_store_has_its_own_secret(tmp_path):
    """It is random, kept for the next start, shown nowhere, and readable by its owner alone."""
    with running(tmp_path / "one") as one, running(tmp_path / "two") as two:
        secrets = {one.account.client_secret, two.account.client_secret}
        assert len(secrets) == 2
        assert not [each for each in secrets if len(each) < 40 or each in repr((one, two))]
    with running(tmp_path / "one") as again:
        assert again.account == one.account
    path = tmp_path / "one" / SECRET_FILE
    assert path.read_text() == one.account.client_secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_store_of_an_earlier_version_gets_a_secret(tmp_path, connect):
    """Its contents stay, and the public secret is refused."""
    with running(tmp_path / "store") as platform:
        schema = connect(platform).new_schema()
    (tmp_path / "store" / SECRET_FILE).unlink()
    with running(tmp_path / "store") as platform:
        api = connect(platform)
        answered = api.token(client_secret="local-secret")
        found = api.get(
            api.resource_url(schema), headers={"Accept": "application/vnd.adobe.xed+json; version=1"}
        )
    assert answered["error"] == "invalid_client"
    assert found.status_code == 200


def test_a_running_server_without_a_secret_is_replaced(tmp_path):
    """One that was started by an earlier version ends, and another takes its store."""
    store = tmp_path / "store"
    try:
        first = ensure_running(store)
        (store / SECRET_FILE).unlink()
        second = ensure_running(store)
        assert requests.get(f"{second.url}/local-platform", timeout=10).status_code == 200
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{first.url}/local-platform", timeout=10)
    finally:
        stop(store)
    assert second.account.client_secret not in ("", first.account.client_secret)


@pytest.mark.parametrize("content", ["x" * 43, "short", "", "ä" * 40])
def test_a_secret_that_others_could_read_or_write_is_replaced(tmp_path, content):
    """A file from another user's checkout is not a secret."""
    with running(tmp_path / "store"):
        pass
    path = tmp_path / "store" / SECRET_FILE
    path.write_text(content, encoding="utf-8")
    path.chmod(0o644)
    with running(tmp_path / "store") as platform:
        assert platform.account.client_secret not in ("", content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_tokens_are_not_kept(tmp_path, connect):
    """The store holds digests: a copy of it does not allow calls."""
    with running(tmp_path / "store") as platform:
        token = connect(platform).session.headers["Authorization"].removeprefix("Bearer ")
    kept = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if token.encode() in path.read_bytes()]


# Browsers.


@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:80", "127.0.0.1.attacker.example", "169.254.1.1", "", "0"]
)
@pytest.mark.parametrize(
    "path", ["/local-platform", "/ims/token/v3", "/data/foundation/catalog/dataSets", "/x"]
)
def test_another_hosts_name_is_refused(api, host, path):
    """A page whose name was bound to this machine (DNS rebinding) reads nothing, whatever it knows."""
    assert api.get(api.platform.url + path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]:9000", "LOCALHOST:8080"])
def test_the_machines_own_names_are_taken(api, host):
    """A port that is forwarded has another number."""
    assert api.get(f"{api.platform.url}/local-platform", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8888"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_web_pages_are_refused(api, headers):
    """A page's requests do nothing, and no answer lets a page read it."""
    flow = api.new_flow()
    for method, url in (
        ("GET", f"{api.platform.url}/local-platform"),
        ("POST", f"{api.platform.url}/ims/token/v3"),
        ("POST", flow["options"]["inletUrl"]),
        ("DELETE", f"{api.flow_service}/flows/{flow['id']}"),
        ("OPTIONS", f"{api.flow_service}/flows"),
    ):
        answered = api.call(method, url, headers=headers, json={} if method == "POST" else None)
        assert answered.status_code == 403
        assert not [name for name in answered.headers if name.lower().startswith("access-control")]
    assert api.get(f"{api.flow_service}/flows/{flow['id']}").status_code == 200


# Hostile requests.


def test_a_request_that_never_comes_is_closed(tmp_path):
    """Neither headers nor a body that drip in keep a connection, and others are answered meanwhile."""
    with running(tmp_path / "store", header_seconds=0.3, body_seconds=0.3) as platform:
        assert say(platform, b"GET /local-platform HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ") == b""
        started = (
            b"POST /ims/token/v3 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\ngrant"
        )
        assert say(platform, started).startswith(b"HTTP/1.1 408 ")
        assert requests.get(f"{platform.url}/local-platform", timeout=10).status_code == 200


def test_a_body_that_is_too_large_is_refused_unread(api):
    """Each call has a limit, and refuses before it reads."""
    token = f"{api.platform.url}/ims/token/v3"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert requests.post(token, data="a=" + "x" * 70_000, headers=form, timeout=10).status_code == 413
    assert requests.post(token, data="&".join("abc"[:1] * 500), headers=form, timeout=10).status_code == 400
    body = b'{"a":"' + b"x" * 16_000_000 + b'"}'
    large = api.call(
        "POST", f"{api.flow_service}/flows", data=body, headers={"Content-Type": "application/json"}
    )
    assert large.status_code == 413


def test_a_compressed_bomb_is_not_unpacked(api):
    """A small body that expands to a gigabyte is refused without unpacking."""
    bomb = gzip.compress(bytes(50_000_000), compresslevel=9)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    for url in (f"{api.flow_service}/flows", f"{api.platform.url}/collection/x", f"{api.platform.url}/x"):
        assert api.call("POST", url, data=bomb, headers=headers).status_code == 415


@pytest.mark.parametrize("depth", [120, 300, 900, 100_000])
def test_deep_json_is_refused(api, caplog, depth):
    """No body may be nested more deeply than a schema; none causes a server error."""
    lists, objects = "[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth
    headers = {"Content-Type": "application/json"}
    for body in (lists, objects, f'{{"title":"Deep","properties":{objects}}}'):
        for method, url in (
            ("POST", f"{api.registry}/tenant/schemas"),
            ("POST", f"{api.catalog}/dataSets?requestDataSource=true"),
            ("POST", f"{api.data_prep}/mappingSets/preview"),
        ):
            assert api.call(method, url, data=body, headers=headers).status_code == 400
    flow = api.new_flow()
    inlet = flow["options"]["inletUrl"]
    chosen = {**headers, "x-adobe-flow-id": flow["id"]}
    assert api.call("POST", inlet, data=objects, headers=chosen).status_code == 400
    batch = inlet.replace("/collection/", "/collection/batch/")
    answered = api.call("POST", batch, data=f'{{"messages":[{objects},{{"id":"1"}}]}}', headers=chosen)
    assert answered.status_code in (207, 400)
    if answered.status_code == 207:
        assert [each.get("status") for each in answered.json()["responses"]] == [400, None]
    assert "Traceback" not in caplog.text


EVIL = ["(a+)+$", "(a|a)*$", "(.*a){20}$", "([a-z]+)*\\d", "a?" * 40 + "a" * 40]


@pytest.mark.parametrize("pattern", EVIL)
def test_no_pattern_of_a_filter_freezes_it(api, pattern):
    """A nested repetition takes the time of the text's length; others are answered."""
    schema = api.new_schema()
    api.new_dataset(schema, name="a" * 60 + "!")
    answered = api.get(f"{api.catalog}/dataSets", params={"property": f"name~^{pattern}"})
    assert answered.status_code == 200


@pytest.mark.parametrize("pattern", ["(", "(a)\\1", "(?=a)a", "a" * 2000, "[z-a]", "a{1001}", "*"])
def test_a_pattern_that_cannot_be_matched_in_time_is_refused(api, pattern):
    """With Catalog's own 400."""
    api.new_dataset(api.new_schema())
    answered = api.get(f"{api.catalog}/dataSets", params={"property": f"name~{pattern}"})
    assert (answered.status_code, answered.json()["title"]) == (400, "BadRequestError")


@pytest.mark.parametrize("pattern", EVIL)
def test_no_pattern_of_a_mapping_freezes_it(api, pattern):
    """Mappings match untrusted strings with untrusted patterns."""
    schema = api.new_schema()
    for function in ("matches_regex", "extract_regex", "explode"):
        source = f'{function}(note, "{pattern.replace(chr(92), chr(92) * 2)}")'
        mapping = {"sourceType": "EXPRESSION", "source": source, "destination": "_acmechat.note"}
        body = {"data": [{"note": "a" * 60 + "!"}], "mappingSet": api.mapping_set_body(schema, [mapping])}
        assert api.post(f"{api.data_prep}/mappingSets/preview", body).status_code in (200, 400)


def test_a_mapping_builds_no_endless_string(api):
    """Repeated replacement would fill the memory from a few hundred characters."""
    source = "note"
    for _ in range(12):
        source = f'replacestr({source}, "a", "{"a" * 99}")'
    mapping = {"sourceType": "EXPRESSION", "source": source, "destination": "_acmechat.note"}
    body = {"data": [{"note": "a"}], "mappingSet": api.mapping_set_body(api.new_schema(), [mapping])}
    (row,) = api.post(f"{api.data_prep}/mappingSets/preview", body).json()
    assert "too long" in row["errors"][0]["exception"]


NUMBERS = ["9" * 19, "9" * 30, "9" * 5000, "²", "٣", "-1", "1e3", "0x1", ""]


@pytest.mark.parametrize("number", NUMBERS)
def test_no_number_breaks_a_list(api, number):
    """Digits of other scripts and numbers beyond any list are answered, never a failure."""
    number = quote(number)
    for path in (
        f"{api.catalog}/dataSets?limit={number}",
        f"{api.catalog}/dataSets?start={number}",
        f"{api.catalog}/batches?createdAfter={number}",
        f"{api.catalog}/batches?start={number}&limit={number}",
        f"{api.flow_service}/flows?limit={number}",
        f"{api.data_prep}/mappingSets?limit={number}&start={number}",
        f"{api.data_prep}/mappingSets/{'0' * 32}?version={number}",
        f"{api.registry}/tenant/schemas?orderby=title&limit={number}",
        f"{api.export}/batches/x/files?limit={number}",
    ):
        headers = {"Accept": "application/vnd.adobe.xed-id+json"} if "schemas" in path else {}
        assert api.get(path, headers=headers).status_code in (200, 400, 404)


@pytest.mark.parametrize("content", [{"offset": -5, "query": []}, {"offset": 1e400, "query": []},
                                     {"offset": 0, "query": [[1, 2]]}, {"offset": 0, "query": [["limit"]]},
                                     [], 7, {"offset": "9" * 5000, "query": []}])  # fmt: skip
def test_a_forged_continuation_token_is_refused(api, content):
    """It is untrusted, so it is checked like any input."""
    token = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    answered = api.get(f"{api.flow_service}/flows", params={"continuationToken": token})
    assert answered.status_code in (200, 400)


PLACES = ["../client-secret", "..%2fclient-secret", "..%5cclient-secret", "%2e%2e%2fplatform.sqlite3",
          "....//client-secret", "%00", "/etc/passwd", "..%252fclient-secret"]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_no_path_leads_out_of_the_lake(api, place):
    """Batches are looked up by id, files by their two names."""
    secret = api.platform.account.client_secret
    for path in (
        f"/files/{place}-1?path=part-00000.parquet",
        f"/files/{place}-1",
        f"/batches/{place}/failed?path={place}",
        f"/batches/{place}/meta?path=row_errors/{place}",
        f"/datasets/{place}/preview",
    ):
        lines = [f"GET /data/foundation/export{path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in api.session.headers.items() if name != "Connection"]
        answered = say(api.platform, "\r\n".join([*lines, "", ""]).encode())
        assert answered.split()[1] in (b"400", b"404")
        assert secret.encode() not in answered
        assert b"SQLite format" not in answered


def test_a_files_name_in_the_query_is_one_of_two(api, event):
    """Only a batch's own files are served."""
    flow = api.new_flow()
    assert api.send(flow, [event(1)]).status_code == 207
    api.wait_for_records(flow, 1)
    (batch_id,) = api.batches(flow, "success")
    for name in ("../client-secret", "/etc/passwd", f"{batch_id}.parquet", "part-00000.parquet/../x", "\x00"):
        answered = api.get(f"{api.export}/files/{batch_id}-1", params={"path": name})
        assert answered.status_code == 404


def test_line_ends_do_not_reach_the_answers_headers(api):
    """Request contents are echoed only in JSON."""
    for value in ("x%0d%0aSet-Cookie:%20a=b", "x%0aX-A:%20b"):
        answered = api.get(f"{api.catalog}/dataSets/{value}")
        assert answered.status_code == 404
        assert not {"Set-Cookie", "X-A"} & set(answered.headers)


def test_links_name_only_this_machine(api):
    """An answer's links follow the Host header, which can name the loopback interface only."""
    answered = api.get(
        f"{api.registry}/tenant/schemas", headers={"Accept": "application/vnd.adobe.xed-id+json"}
    ).json()
    assert answered["_links"]["global_schemas"]["href"].startswith(api.platform.url)


@pytest.mark.parametrize("debugging", [False, True])
def test_the_log_never_holds_a_token(tmp_path, monkeypatch, debugging):
    """Broken requests with a token in them, at every level: the log names the fault and not the request."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1" if debugging else "")
    store = tmp_path / "store"
    try:
        platform = ensure_running(store)
        for broken in (
            b"GET /inlet-of-somebody HTTP/1.1\r\nAuthorization: Bearer token-of-somebody\x00\r\n\r\n",
            b"GET /collection/inlet-of-somebody\x01 HTTP/9.9\r\n\r\n",
            b"token-of-somebody /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nToken-Of-Somebody token-of-somebody\r\n\r\n",
            b"POST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\ntoken-of-somebody\r\n",
            b"GET /" + b"token-of-somebody" * 1000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        ):
            say(platform, broken)
        query = {"client_secret": platform.account.client_secret, "client_id": "token-of-somebody"}
        requests.post(f"{platform.url}/ims/token/v3", params=query, timeout=10)
    finally:
        stop(store)
    log = (store / "server.log").read_text()
    assert "of-somebody" not in log.lower()
    assert platform.account.client_secret not in log


# Planted files.


@pytest.mark.parametrize("name", ["server.log", "server.lock", "starting.lock", "server.json.unfinished"])
def test_a_planted_link_is_not_followed(tmp_path, name):
    """A store from another user's checkout does not make the server write elsewhere."""
    store, precious = tmp_path / "store", tmp_path / "precious"
    precious.write_text("kept")
    with running(store):
        pass
    (store / name).unlink(missing_ok=True)
    (store / name).symlink_to(precious)
    with pytest.raises((OSError, CannotServe)):
        ensure_running(store)
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "http://127.0.0.1.evil.example:80", "file:///x", 7])
def test_a_planted_address_is_not_asked(tmp_path, monkeypatch, url):
    """``server.json`` may name only a port of this machine."""
    asked = []
    monkeypatch.setattr(
        "http.client.HTTPConnection.connect", lambda self: asked.append(self.host) or self.undone()
    )
    store = tmp_path / "store"
    store.mkdir(mode=0o700)
    (store / "server.json").write_text(json.dumps({"pid": 1, "url": url, "instance": "x", "thread": False}))
    monkeypatch.setattr("chatlio_kit.local_platform.server.process._spawn", _no_server)
    with pytest.raises(CannotServe, match="not now"):
        ensure_running(store)
    assert asked == []


def _no_server(*_):
    raise CannotServe("not now")


def test_a_folder_that_others_see_is_closed_or_refused(tmp_path):
    """An empty one or a store becomes private; a folder with other files is left as it is."""
    empty, shared = tmp_path / "empty", tmp_path / "shared"
    for folder in (empty, shared):
        folder.mkdir()
        folder.chmod(0o777)
    (shared / "notes.txt").write_text("ours")
    with running(empty):
        assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    empty.chmod(0o755)
    with running(empty):
        assert stat.S_IMODE(empty.stat().st_mode) == 0o700
    with pytest.raises(CannotServe, match="open to other users"), running(shared):
        pass
    assert stat.S_IMODE(shared.stat().st_mode) == 0o777


def test_folders_on_the_way_to_a_store_are_private(tmp_path):
    """Missing parents of a store are created private too."""
    with running(tmp_path / "state" / "deep" / "local"):
        pass
    for folder in (tmp_path / "state", tmp_path / "state" / "deep"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
