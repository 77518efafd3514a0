from __future__ import annotations

from pathlib import Path

import pytest

from freehold.config.load import Loaded, load, rows
from freehold.config.settings import Settings
from freehold.core.errors import ConfigError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(text: str = "", *, environ: dict[str, str] | None = None, overrides: dict[str, object] | None = None) -> Loaded:
    Path("freehold.toml").write_text(text)
    return load(environ=environ or {}, overrides=overrides)


def test_without_a_file_the_defaults_hold() -> None:
    assert load(environ={}) == Loaded(Settings(), {}, None)


def test_the_file_of_the_working_directory_is_read() -> None:
    assert loaded("[server]\nport = 9000").settings.server.port == 9000


def test_later_sources_win() -> None:
    text = '[model]\nname = "file"\nport = 8001\n[server]\nport = 1\n'
    found = loaded(text, environ={"FREEHOLD_MODEL": "environment"}, overrides={"server.port": 3, "model.context": None})
    assert (found.settings.model.name, found.settings.model.port, found.settings.server.port) == ("environment", 8001, 3)


def test_each_key_knows_where_it_came_from() -> None:
    found = loaded(
        "[model]\nport = 8001\n[tools.sql]\nrow_limit = 5\n",
        environ={"OPENAI_BASE_URL": "http://x/v1"},
        overrides={"server.cors_origins": []},
    )
    file = str(Path("freehold.toml").resolve())
    assert found.origins == {
        "model.port": file,
        "tools.sql.row_limit": file,
        "model.base_url": "$OPENAI_BASE_URL",
        "server.cors_origins": "--cors-origins",
    }


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 9001\n")
    assert load(environ={"FREEHOLD_CONFIG": str(other)}).settings.server.port == 9001


def test_an_empty_variable_counts_as_unset() -> None:
    assert loaded(environ={"OPENAI_BASE_URL": ""}).settings.model.base_url is None


def test_rows_show_every_key_and_no_secret() -> None:
    found = loaded(environ={"DATABASE_URL": "postgresql://u:hidden@/d"}, overrides={"server.port": 9000})
    shown = {key: (value, origin) for key, value, origin in rows(found)}
    assert shown["server.port"] == ("9000", "--port")
    assert shown["database.url"] == ("********", "$DATABASE_URL")
    assert shown["redis.url"] == ("", "default")
    assert shown["tools.sql.schemas"] == ('["public"]', "default")
    assert "hidden" not in str(shown)


WRONG_FILES = [
    ("[server]\nprot = 1", 'server.prot: no such key ({file}); did you mean "server.port"?'),
    ("[servr]\nport = 1", 'servr: no such key ({file}); did you mean "server"?'),
    ("port = 9000", 'port: no such key ({file}); did you mean "server.port"?'),
    ("[server]\nbanana = 1", "server.banana: no such key ({file}); valid here: auth, cors_origins, host, port"),
    ("[server]\nport = 70000", "server.port: expected less than or equal to 65535, got 70000 ({file})"),
    ("[server]\nport = 'x'", "server.port: expected a valid integer, unable to parse string as an integer, got 'x' ({file})"),
    ("server = 3", "server: expected a section ([server]), got a number ({file})"),
    ("[stack]\nname = 'My Stack'", "stack.name: expected string should match pattern"),
    ("[stack]\ntarget = 'cloud'", "stack.target: expected 'native' or 'compose', got 'cloud' ({file})"),
    ("[model]\nengine = 'vlm'", "'openai' or 'none', got 'vlm' ({file})"),
    ("[model]\nbase_url = 'gpu:8000'", 'model.base_url: expected a URL such as "http://127.0.0.1:11434/v1", got "gpu:8000"'),
    (
        "[server]\ncors_origins = ['http://a/b']",
        'server.cors_origins: expected an origin such as "http://localhost:3000", got "http://a/b"',
    ),
    ("[worker]\nlease_seconds = 1", "worker.lease_seconds: expected greater than or equal to 2, got 1 ({file})"),
    (
        "[tools]\nenabled = ['shell']",
        "tools.enabled.0: expected 'search_knowledge_base', 'calculate', 'query_database' or 'current_time', got 'shell'",
    ),
    (
        "[knowledge]\nchunk_size = 100\nchunk_overlap = 100",
        "knowledge.chunk_overlap: expected less than knowledge.chunk_size (100), got 100",
    ),
    ("[server]\nhost = '0.0.0.0'\nauth = 'none'", 'server.auth: "none" is allowed on loopback only, but server.host is 0.0.0.0'),
    ("[model]\nengine = 'openai'", 'model.base_url: needed when model.engine is "openai"'),
    ("[server]\nport = 8000", "model.port: expected another port than server.port (8000)"),
    ("[stack]\nservices = ['edge']\n[server]\nauth = 'none'\n[edge]\nhost = '0.0.0.0'", 'server.auth: "none" would let everybody in'),
    ("[stack]\nservices = ['edge']\n[server]\nauth = 'none'\n[edge]\nnames = ['a.example']", 'server.auth: "none" would let everybody in'),
    ("[stack]\ntarget = 'compose'\n[server]\nauth = 'none'", 'server.auth: "none" is for one machine'),
    ("[edge]\ntls = 'files'", 'edge.certificate and edge.key: needed when edge.tls is "files"'),
    ("[edge]\ntls = 'acme'", 'edge.names: needed when edge.tls is "acme"'),
    ("[edge]\nauth = 'basic'", 'edge.users: needed when edge.auth is "basic"'),
    ("[edge]\nexpose = ['grafana']", "edge.names: needed for edge.expose"),
    ("[edge]\nnames = ['a b']", 'edge.names: expected a host name such as "agents.example.com"'),
    ("[edge]\nacme_directory = 'http://ca'", "edge.acme_directory: expected an https URL"),
    ("[server]\npublic_urls = ['agents.example.com']", 'server.public_urls: expected an origin such as "https://agents.example.com"'),
    ("[server]\nport = ", "is not valid TOML"),
]


WRONG_FILES += (
    ('[server]\nauth = "oidc"\n', 'oidc.issuer and oidc.audience: needed when server.auth is "oidc"'),
    ('[server]\nauth = "both"\n[oidc]\nissuer = "https://x.example"\n', "oidc.issuer and oidc.audience: needed"),
    ("[quotas]\nruns_per_minute = 0\n", "quotas.runs_per_minute: expected"),
    ("[quotas.organisation]\nruns_per_hour = 5\n", "quotas.organisation.runs_per_hour: no such key"),
    ('[retention]\naudit = "soon"\n', "retention.audit: expected an age"),
    ('[tracing.langfuse]\nbase_url = "langfuse"\n', "tracing.langfuse.base_url: expected a URL such as"),
    ("[models.coder]\nport = 8005\n", "models.coder.name: needed"),
    ("[models.coder]\nnmae = 'x'\n", 'models.coder.nmae: no such key ({file}); did you mean "models.coder.name"?'),
    ("[models.coder-2]\nname = 'x'\n", "models.coder-2.[key]: expected string should match pattern"),
    ("[models.coder]\nname = 'x'\nengine = 'openai'\n", 'models.coder.base_url: needed when models.coder.engine is "openai"'),
    (
        "[model]\ngpus = [0, 1, 2]\ntensor_parallel = 2\nreplicas = 2\n",
        "model.gpus: expected 4 (model.tensor_parallel 2 x model.replicas 2)",
    ),
    ("[model]\ngpus = [0, 0]\n", "model.gpus: expected different GPUs such as [0, 1], got [0, 0]"),
    ("[model]\ncpus = '3-1'\n", 'model.cpus: expected processors such as "0-3" or "0,2,4-7", got "3-1"'),
    ("[model]\ncpus = '0-1'\nreplicas = 3\n", "model.cpus: expected one processor at least for each of 3 replicas"),
    ("[model]\ngpu_memory = 45\n", "model.gpu_memory: expected less than or equal to 0.98"),
)


@pytest.mark.parametrize(("text", "message"), WRONG_FILES, ids=[text.replace("\n", " ") for text, _ in WRONG_FILES])
def test_a_wrong_file_is_explained(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert message.format(file=Path("freehold.toml").resolve()) in caught.value.message


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("[server]\nprot = 1\n[worker]\ncount = 0\n")
    assert [line.split(":")[0] for line in caught.value.message.splitlines()] == ["server.prot", "worker.count"]


def test_a_wrong_variable_is_named_not_the_file() -> None:
    with pytest.raises(ConfigError, match=r"model\.base_url: expected a URL .*\(\$OPENAI_BASE_URL\)"):
        loaded(environ={"OPENAI_BASE_URL": "gpu"})


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("[database]\nurl = ['postgresql://u:hidden@/d']\n")
    assert "database.url" in caught.value.message and "hidden" not in str(caught.value)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file at") as caught:
        load(tmp_path / "none.toml", environ={})
    assert caught.value.hint


def test_a_file_that_is_not_text_is_one_error(tmp_path: Path) -> None:
    Path("freehold.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(environ={})


def test_a_value_where_a_section_belongs_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"expected a section \(\[server\]\)"):
        loaded("server = 3", overrides={"server.port": 9})


def test_services_asked_for_on_the_command_line_are_added_to_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "freehold.toml"
    path.write_text('[stack]\nservices = ["edge"]')
    loaded = load(path, services=["monitoring", "edge"], environ={})
    assert loaded.settings.stack.services == ("edge", "monitoring")
    assert loaded.origins["stack.services"] == "--with"
    with pytest.raises(ConfigError, match=r"stack\.services\.1: expected 'edge', 'gateway'.*got 'monitor' \(--with\)"):
        load(path, services=["monitor"], environ={})


def test_traces_to_a_langfuse_of_ones_own_need_no_database_of_the_stack() -> None:
    given = {
        "LANGFUSE_BASE_URL": "https://lf.lan/",
        "LANGFUSE_PUBLIC_KEY": "pk",
        "LANGFUSE_SECRET_KEY": "sk",
        "DATABASE_URL": "postgresql://db",
    }
    settings = loaded('[stack]\nservices = ["tracing"]\n[tracing]\nbackend = "langfuse"\n', environ=given).settings
    assert settings.tracing.langfuse.base_url == "https://lf.lan"
    assert settings.tracing.langfuse.secret_key and "sk" not in repr(settings.tracing.langfuse.secret_key)


def test_an_overlay_is_laid_over_the_file_key_by_key() -> None:
    Path("freehold.production.toml").write_text('[server]\nport = 9100\n[tools.sql]\nschemas = ["sales"]\n')
    found = loaded(
        '[server]\nport = 9000\nhost = "::1"\n[tools.sql]\nschemas = ["a", "b"]\nrow_limit = 5\n', environ={"FREEHOLD_ENV": "production"}
    )
    assert (found.settings.server.port, found.settings.server.host) == (9100, "::1")
    assert (found.settings.tools.sql.schemas, found.settings.tools.sql.row_limit) == (("sales",), 5)
    base, over = (str(Path(name).resolve()) for name in ("freehold.toml", "freehold.production.toml"))
    assert {key: found.origins[key] for key in ("server.port", "server.host", "tools.sql.schemas", "tools.sql.row_limit")} == {
        "server.port": over,
        "server.host": base,
        "tools.sql.schemas": over,
        "tools.sql.row_limit": base,
    }
    assert found.overlay == Path(over)


def test_an_overlay_alone_is_enough_and_the_environment_wins_over_it(tmp_path: Path) -> None:
    (tmp_path / "freehold.test.toml").write_text('[model]\nname = "overlay"\nport = 8001\n')
    found = load(environ={"FREEHOLD_ENV": "test", "FREEHOLD_MODEL": "environment"})
    assert (found.settings.model.name, found.settings.model.port) == ("environment", 8001)


def test_an_overlay_lies_beside_the_file_that_was_named(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "stack.toml").write_text("[server]\nport = 1\n")
    (tmp_path / "conf" / "stack.test.toml").write_text("[server]\nport = 2\n")
    assert load(tmp_path / "conf" / "stack.toml", environ={"FREEHOLD_ENV": "test"}).settings.server.port == 2


@pytest.mark.parametrize(("name", "message"), [("missing", "no configuration file for the environment"), ("../up", "expected lower-case")])
def test_an_overlay_that_cannot_be_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded(environ={"FREEHOLD_ENV": name})


def test_a_further_model_may_be_set_by_the_environment_alone() -> None:
    found = loaded(
        environ={
            "FREEHOLD_MODEL_SMALL_CODER_BASE_URL": "http://gpu:8001/v1",
            "FREEHOLD_MODEL_SMALL_CODER_NAME": "qwen",
            "FREEHOLD_MODEL_SMALL_CODER_API_KEY": "hidden",
        }
    )
    model = found.settings.models["small-coder"]
    assert (model.base_url, model.name, found.settings.model.name) == ("http://gpu:8001/v1", "qwen", "auto")
    shown = {key: (value, origin) for key, value, origin in rows(found)}
    assert shown["models.small-coder.api_key"] == ("********", "$FREEHOLD_MODEL_SMALL_CODER_API_KEY")
