"""Compose, the dashboard, the alerts and the autoscaler's queries, against a real Prometheus that
scrapes a real service.

Usage: python monitoring.py BINARY WORK_FOLDER

Needs promtool and prometheus on the path. Every selector of every query must find series, every
label that a query groups by must be one of theirs, and every query must be evaluated without an
error, those of the dashboard with a result.
"""

import itertools
import json
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.parse

import compose_spec
import yaml

from running import Process, Service, embed_text, free_port, get, png, post, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy/compose"
BINARY, WORK = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])


def check_compose():
    """The files are what Compose takes, and what they name is there."""
    for file in ("compose.yaml", "compose.gpu.yaml"):
        # With the values that variables have where nobody sets them.
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (COMPOSE / file).read_text())
        parsed = compose_spec.PyCompose.from_yaml(text)
        parsed.validate()
        assert parsed.to_dict().keys() >= {"services"}
    composed = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    program = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True)
    known = set(re.findall(r"\[env: (\w+)", program.stdout))
    gpu = yaml.safe_load((COMPOSE / "compose.gpu.yaml").read_text())
    for file in (composed, gpu):
        service = file["services"]["siglip2-embeddings"]
        # TMPDIR is the system's: where temporary files go.
        foreign = set(service["environment"]) - known - {"TMPDIR"}
        assert not foreign, f"the program reads no {foreign}"
        assert (COMPOSE / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    service = composed["services"]["siglip2-embeddings"]
    # Docker waits for the drain and the last spans before it kills.
    drain = int(service["environment"]["DRAIN_TIMEOUT"].removesuffix("s"))
    assert int(service["stop_grace_period"].removesuffix("s")) >= drain + 5
    dockerfile = (ROOT / service["build"]["dockerfile"]).read_text()
    assert service["healthcheck"]["test"][1] in re.search(r"CMD \[(.*)\]", dockerfile)[1]
    for name, service in composed["services"].items():
        assert "build" in service or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE / source).exists(), source
            else:
                assert source in composed["volumes"], source
    source = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    host = urllib.parse.urlsplit(source["datasources"][0]["url"])
    assert host.hostname in composed["services"]
    provider = yaml.safe_load((COMPOSE / "grafana/provisioning/dashboards/siglip2.yaml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert any(v.split(":")[1] == folder for v in composed["services"]["grafana"]["volumes"])
    print("  compose: the files are valid, and what they name is there")


def queries():
    """Every query with its place, and whether it must have a result."""
    dashboard = json.loads((COMPOSE / "grafana/dashboards/siglip2.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) and len(ids) > 20
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "prometheus"
            expr = target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*")
            yield f"dashboard, {panel['title']}", expr, True
    rules = yaml.safe_load((COMPOSE / "prometheus/alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"], False
    scaled = yaml.safe_load(
        (ROOT / "deploy/kubernetes/components/autoscaling/scaledobject.yaml").read_text()
    )
    for trigger in scaled["spec"]["triggers"]:
        # Prometheus here knows no namespaces.
        query = trigger["metadata"]["query"]
        assert query.count('namespace="siglip2"') == query.count("siglip2_"), query
        query = re.sub(r',?namespace="siglip2"', "", query)
        yield f"autoscaler, {trigger['name']}", query, True


def check_alert_tests():
    """promtool's own checks, and that every alert has a test that it fires and one that it does not."""
    folder = COMPOSE / "prometheus"
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]):
        made = subprocess.run(["promtool", *command], cwd=folder, capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
    rules = yaml.safe_load((folder / "alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    tests = yaml.safe_load((folder / "alerts.test.yml").read_text())["tests"]
    quiet = {t["alertname"] for test in tests for t in test["alert_rule_test"] if not t["exp_alerts"]}
    fires = {t["alertname"] for test in tests for t in test["alert_rule_test"] if t["exp_alerts"]}
    assert alerts == quiet == fires, alerts ^ quiet | alerts ^ fires
    print(f"  promtool: {len(alerts)} alerts fire on what they are for, and on nothing else")


def ask(url, path, **parameters):
    """What Prometheus answers."""
    try:
        answer = json.loads(get(url, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
    except OSError as error:
        raise SystemExit(f"{parameters}: {error}") from error
    assert answer["status"] == "success", answer
    return answer["data"]


def check_query(url, place, query, must_have):
    for selector in set(re.findall(r"\b(?:siglip2_\w+|up)(?:\{[^}]*\})?", query)):
        series = ask(url, "series", **{"match[]": selector})
        assert series, f"{place}: no series {selector}"
        labels = set().union(*series)
        for grouped in re.findall(r"\bby \(([^)]*)\)", query):
            missing = set(re.split(r",\s*", grouped)) - labels
            assert not missing, f"{place}: {selector} has no label {missing}"

    def has_result():
        result = ask(url, "query", query=query)["result"]
        # A number that is none says that nothing was divided by nothing.
        return not must_have or any(row["value"][1] != "NaN" for row in result)

    # Rates need two scrapes, and something in between.
    wait_for(f"{place}: a result of {query}", has_result)


def check_table(metrics):
    """docs/operations.md has every metric, and no other."""
    exposed = {
        name + ("_total" if kind == "counter" else "")
        for name, kind in re.findall(r"^# TYPE (\w+) (\w+)", metrics, re.M)
    }
    documented = set(re.findall(r"`(siglip2_\w+)`", (ROOT / "docs/operations.md").read_text()))
    assert exposed == documented, f"docs/operations.md: {exposed ^ documented}"


def load(url, going):
    """Some of everything that the dashboard shows, as long as it goes on."""
    for number in itertools.count():
        if not going.is_set():
            return
        embed_text(url, f"a text {number % 10} {number // 100}")
        body, kind = png(number % 10 + number // 100), {"Content-Type": "image/png"}
        assert post(url, "/embed/image", body, kind)[0] == 200
        assert post(url, "/embed/image", b"no picture", kind)[0] == 400
        time.sleep(0.05)


def check_queries():
    """Everything that is asked of Prometheus."""
    with Service(BINARY, WORK / "service.log", IMAGE_CACHE_BYTES="1MiB") as service:
        settings = yaml.safe_load((COMPOSE / "prometheus/prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        [scrape] = settings["scrape_configs"]
        scrape["static_configs"] = [{"targets": [f"127.0.0.1:{service.port}"]}]
        settings["rule_files"] = [str(COMPOSE / "prometheus/alerts.yml")]
        (WORK / "prometheus.yml").write_text(yaml.safe_dump(settings))
        url = f"http://127.0.0.1:{free_port()}"
        command = ["prometheus", f"--config.file={WORK / 'prometheus.yml'}"]
        command += [f"--web.listen-address={url.removeprefix('http://')}"]
        command += [f"--storage.tsdb.path={WORK / 'tsdb'}"]
        with Process(command, None, log=WORK / "prometheus.log") as prometheus:

            def value(query):
                prometheus.must_live()
                try:
                    result = ask(url, "query", query=query)["result"]
                except SystemExit:
                    return 0
                return float(result[0]["value"][1]) if result else 0

            wait_for("the first scrape", lambda: value("siglip2_engine_up") == 1)
            going = threading.Event()
            going.set()
            client = threading.Thread(target=load, args=(service.url, going))
            client.start()
            count = 0
            try:
                for place, query, must_have in queries():
                    check_query(url, place, query, must_have)
                    count += 1
            finally:
                going.clear()
                client.join()
            check_table(get(service.url, "/metrics"))
            rules = ask(url, "rules")["groups"][0]["rules"]
            assert all(rule["health"] == "ok" for rule in rules), rules
    print(f"  prometheus: {count} queries find what they name")


check_compose()
check_alert_tests()
check_queries()
