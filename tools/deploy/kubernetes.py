"""The manifests under deploy/kubernetes: their schemas, what must agree in them, and their very
commands, settings and probes, run as processes in the containers' stead.

Usage: python kubernetes.py BINARY WORK_FOLDER
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import threading

import kubernetes_validate
import yaml

from running import Process, embed_text, environment, free_port, png, status, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "deploy/kubernetes"
BINARY, WORK = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
# Kinds that are not Kubernetes' own; check-deploy validates them with npm's schemas.
CUSTOM = ("ScaledObject", "PodMonitor", "PrometheusRule")


def kustomize(folder):
    """The documents of an overlay, as kubectl makes them."""
    made = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


def of_kind(documents, kind):
    found = [document for document in documents if document["kind"] == kind]
    assert len(found) == 1, f"{kind}: {len(found)} instead of one"
    return found[0]


def validate(documents):
    for document in documents:
        if document["kind"] not in CUSTOM:
            kubernetes_validate.validate(document, "1.34", strict=True)


def variables():
    """Every variable that the program reads."""
    program = subprocess.run([BINARY, "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"\[env: (\w+)", program.stdout))


def settings_of(documents, container):
    """The environment of a container."""
    env = {}
    for source in container.get("envFrom", []):
        name = source["configMapRef"]["name"]
        [found] = [d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"] == name]
        env |= found["data"]
    return env | {variable["name"]: variable["value"] for variable in container.get("env", [])}


def check_pod(pod, documents, known):
    """What every pod must keep, whatever it is for."""
    [container] = pod["containers"]
    env = settings_of(documents, container)
    foreign = set(env) - known - {"JOB_COMPLETIONS", "TMPDIR"}
    assert not foreign, f"the program reads no {foreign}"
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]
    # As many threads as the pod may use, and no more.
    assert container["resources"]["limits"]["cpu"] == container["resources"]["requests"]["cpu"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) <= {volume["name"] for volume in pod["volumes"]}
    for name in ("HF_HOME", "ENGINES", "TMPDIR"):
        if name in env:
            assert env[name].startswith(tuple(mounts.values())), f"{name} is on no volume"
    return container, env


def check_agreement(documents, known):
    """What two documents say of the same thing."""
    deployment = of_kind(documents, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    container, env = check_pod(pod, documents, known)
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        of_kind(documents, "Service")["spec"]["selector"],
        of_kind(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        of_kind(documents, "PodMonitor")["spec"]["selector"]["matchLabels"],
        pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector and selector.items() <= labels.items(), selector
    [port] = container["ports"]
    assert str(port["containerPort"]) == env["API_PORT"]
    named = [
        of_kind(documents, "Service")["spec"]["ports"][0]["targetPort"],
        of_kind(documents, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["port"],
        of_kind(documents, "NetworkPolicy")["spec"]["ingress"][0]["ports"][0]["port"],
        *(container[kind]["httpGet"]["port"] for kind in PROBES),
    ]
    assert set(named) == {port["name"]}, named
    # The autoscaler alone owns the number of pods.
    assert "replicas" not in deployment["spec"]
    target = of_kind(documents, "ScaledObject")["spec"]["scaleTargetRef"]
    assert target["name"] == deployment["metadata"]["name"]
    # The drain is never cut off: preStop, the drain, the last spans.
    drain = int(re.fullmatch(r"(\d+)s", env["DRAIN_TIMEOUT"])[1])
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + 5
    # A claim that is named is there.
    for volume in pod["volumes"]:
        if claim := volume.get("persistentVolumeClaim"):
            assert of_kind(documents, "PersistentVolumeClaim")["metadata"]["name"] == claim["claimName"]


PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def image_of(dockerfile):
    """Entry point and environment of an image, as its Dockerfile says."""
    text = (ROOT / dockerfile).read_text()
    last = text[text.rindex("\nFROM ") :]
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", last, re.M)[1])
    joined = re.search(r"^ENV ((?:.*\\\n)*.*)$", last, re.M)[1].replace("\\\n", " ")
    return entry, dict(pair.split("=", 1) for pair in joined.split())


def confined(command, writable):
    """The command as the pod's user, without capabilities, on a root that nobody can write to.

    Only root can arrange that; others run it as it is.
    """
    if os.geteuid() != 0:
        print("  (not root: without the pod's user and read-only root)")
        return command
    mount = (
        'set -e; for folder in "$@"; do [ "$folder" = -- ] && break; '
        'mount --bind "$folder" "$folder"; done; '
        "mount -o remount,bind,ro /; "
        'while [ "$1" != -- ]; do shift; done; shift; '
        "exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs "
        '--bounding-set=-all --inh-caps=-all "$@"'
    )
    return ["unshare", "--mount", "--propagation", "private", "bash", "-c", mount, "bash",
            *map(str, writable), "--", *map(str, command)]


def stand_in(programs):
    """A folder of programs, as an image has them in /usr/local/bin."""
    programs.mkdir(parents=True)
    shutil.copy(BINARY, programs / "siglip2-embeddings")
    for script in ("entrypoint", "healthy"):
        shutil.copy(ROOT / "docker" / script, programs)
    build = programs / "build-engine"
    build.write_text('#!/bin/sh\necho "built $*" >>"$(dirname "$0")/../data/built"\nexit 1\n')
    for program in programs.iterdir():
        program.chmod(0o755)


def moved(text, mounts):
    """A path of the container as one of this machine."""
    for inside, outside in mounts.items():
        text = re.sub(rf"(?<![\w/]){re.escape(inside)}(?=/|$)", str(outside), text)
    return text


def run_deployment(overlay, dockerfile):
    """Starts what the overlay starts, in a folder in place of the volume and with the demo model."""
    documents = kustomize(HERE / overlay)
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    entry, env = image_of(dockerfile)
    env |= settings_of(documents, container)
    folder = WORK / overlay.replace("/", "-")
    stand_in(folder / "bin")
    data = folder / "data"
    data.mkdir()
    if os.geteuid() == 0:
        os.chown(data, 10001, 10001)
    [place] = [m["mountPath"] for m in container["volumeMounts"] if m["name"] == "data"]
    mounts = {place: data}
    port = free_port()
    env = {name: moved(value, mounts) for name, value in env.items()}
    env |= {"API_PORT": str(port), "MODEL_NAME": "demo", "API_HOST": "127.0.0.1"}
    env |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    command = container.get("command") or [*entry, *container.get("args", [])]
    command[0] = folder / "bin" / command[0]
    process = Process(
        confined(command, [data]), environment(env), cwd=data, log=folder / "log"
    )
    return process, container, env, f"http://127.0.0.1:{port}"


def probe(container, kind, url):
    path = container[kind]["httpGet"]["path"]
    return status(url, path, container[kind]["timeoutSeconds"]) == 200


def check_cpu():
    """Probes, then a pod's end under load: preStop, SIGTERM, and no request is lost."""
    process, container, _, url = run_deployment("overlays/cpu", "Dockerfile.cpu")
    with process:
        for kind in PROBES:
            wait_for(kind, lambda kind=kind: process.must_live() and probe(container, kind, url))
        balanced, answers = threading.Event(), []
        balanced.set()

        def client(number):
            while balanced.is_set():
                answers.append(embed_text(url, f"a red circle {number} {len(answers)}"))

        clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
        for thread in clients:
            thread.start()
        # In place of `preStop: sleep`: the endpoints lose the pod while it still answers. Only
        # the pause itself is shortened.
        wait_for("answers", lambda: process.must_live() and len(answers) > 50)
        assert probe(container, "readinessProbe", url)
        balanced.clear()
        for thread in clients:
            thread.join()
        code = process.stop()
        assert code == 0, f"exit code {code}:\n{process.said()[-4000:]}"
        assert set(answers) == {200}, set(answers)
        print(f"  cpu: probes pass, {len(answers)} requests answered until the end, exit code 0")


def check_gpu():
    """Without a GPU: the engine is to be built, and the pod ends rather than use the CPU."""
    process, _, env, _ = run_deployment("overlays/gpu", "Dockerfile")
    with process:
        code = process.child.wait(120)
    built = (WORK / "overlays-gpu/data/built").read_text()
    assert f"--out {env['ENGINES']} --keep" in built and "--precision fp16" in built, built
    assert code == 2, f"exit code {code}:\n{process.said()[-4000:]}"
    print("  gpu: builds its engine on the volume; ends with code 2 where there is no GPU")


def check_bulk(known):
    """All indexes of the Job; one of them is killed and replaced, as Kubernetes would."""
    documents = kustomize(HERE / "bulk")
    validate(documents)
    job = of_kind(documents, "Job")
    pod = job["spec"]["template"]["spec"]
    container, env = check_pod(pod, documents, known)
    count = job["spec"]["completions"]
    assert env["JOB_COMPLETIONS"] == str(count), "JOB_COMPLETIONS is not completions"
    [rule] = [r for r in job["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in r]
    assert rule["onExitCodes"]["containerName"] == container["name"]

    folder = WORK / "bulk"
    stand_in(folder / "bin")
    photos = folder / "data/photos"
    photos.mkdir(parents=True)
    names = set()
    for tar in range(2 * count):
        with tarfile.open(photos / f"{tar:05}.tar", "w") as file:
            for number in range(40):
                path = folder / f"{tar:05}{number:03}.png"
                path.write_bytes(png(tar * 1000 + number))
                file.add(path, path.name)
                path.unlink()
                names.add(path.stem)
    mounts = {m["mountPath"]: folder / m["mountPath"].strip("/") for m in container["volumeMounts"]}
    for place in mounts.values():
        place.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            os.chown(place, 10001, 10001)
    env = {name: moved(value, mounts) for name, value in env.items()} | {"MODEL_NAME": "demo"}
    command = [moved(word, mounts) for word in container["command"] + container.get("args", [])]
    command[0] = folder / "bin" / command[0]

    def start(index, attempt, command=command, **more):
        env_here = environment(env | {"JOB_COMPLETION_INDEX": str(index)} | more)
        return Process(
            confined(command, mounts.values()), env_here, log=folder / f"log-{index}-{attempt}"
        )

    first = start(0, 0)
    wait_for("a shard is begun", lambda: first.must_live() and any((folder / "data").glob("out/_embed/*")))
    first.kill()
    for attempt in (1, 2):  # the second finds all done
        pods = [start(index, attempt) for index in range(count)]
        for index, process in enumerate(pods):
            code = process.child.wait(300)
            assert code == 0, f"index {index}, exit code {code}:\n{process.said()[-4000:]}"
    import pyarrow.dataset as ds

    table = ds.dataset(sorted(map(str, (folder / "data/out").glob("part-*.parquet")))).to_table()
    keys = table["key"].to_pylist()
    assert len(keys) == len(set(keys)) and set(keys) == names, f"{len(keys)} of {len(names)} rows"
    assert table["error"].null_count == len(names) and table["embedding"].null_count == 0
    print(f"  bulk: {len(names)} pictures by {count} indexes, one killed: nothing lost, nothing twice")


def main():
    known = variables()
    rules = (ROOT / "deploy/compose/prometheus/alerts.yml").read_text()
    custom = []
    for overlay in ("overlays/cpu", "overlays/gpu"):
        documents = kustomize(HERE / overlay)
        validate(documents)
        check_agreement(documents, known)
        assert of_kind(documents, "PrometheusRule")["spec"] == yaml.safe_load(rules)
        custom += [document for document in documents if document["kind"] in CUSTOM]
        print(f"  {overlay}: {len(documents)} documents are valid and agree")
    # The component that no overlay has, in one that has it.
    keys = HERE / "overlays/.keys"
    keys.mkdir()
    try:
        (keys / "kustomization.yaml").write_text(
            "resources: [../cpu]\ncomponents: [../../components/api-keys]\nnamespace: siglip2\n"
        )
        documents = kustomize(keys)
    finally:
        shutil.rmtree(keys)
    validate(documents)
    [container] = of_kind(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert container["env"] == [{"name": "API_KEYS_FILE", "value": "/keys/keys"}]
    assert "/keys" in mounted and "/data" in mounted
    custom += [document for document in documents if document["kind"] in CUSTOM]
    (WORK / "custom.json").write_text(json.dumps(custom))
    check_cpu()
    check_gpu()
    check_bulk(known)


main()
