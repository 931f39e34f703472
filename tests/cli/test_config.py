"""A config is read whole, checked whole, and refused with every reason at once."""

from pathlib import Path

import pytest

from fw_gateway.config import Config, ConfigError, Secret, load
from fw_policies.model import MachinePrice, TokenPrice

STRONG = "q7Zt0vLr4Hn2Xc9Kd1Wm5Ys8"


@pytest.fixture
def write(tmp_path: Path):
    """Writes a config file; its path."""

    def make(text: str) -> str:
        path = tmp_path / "fw.yaml"
        path.write_text(text)
        return str(path)

    return make


def refusal(text: str, write, **env: str) -> str:
    """What the reader says about a bad config."""
    with pytest.raises(ConfigError) as caught:
        load(write(text), env=env)
    return str(caught.value)


ONE = 'models: {m: {deployments: [{provider: vllm, url: "http://127.0.0.1:8000/v1", machine_hour: 1 USD}]}}\n'

BAD = {
    "an unknown top-level key": (ONE + "polices: []", "line 2: polices: unknown key. Did you mean `policies`?"),
    "an unknown server key": (ONE + "server: {prot: 1}", "server.prot: unknown key. Did you mean `port`?"),
    "a text for a number": (ONE + "server: {port: high}", "server.port: must be a port from 0 to 65535, not 'high'"),
    "a boolean port": (ONE + "server: {port: true}", "server.port: must be a port"),
    "a telemetry key that is nearly one": (
        ONE + "telemetry: {text_feature: true}",
        "telemetry.text_feature: unknown key. Did you mean `text_features`?",
    ),
    "a number for a boolean": (ONE + "telemetry: {capture_content: 1}", "must be true or false, not 1"),
    "yes for a boolean, which is a text in YAML 1.2": (
        ONE + "telemetry: {capture_content: yes}",
        "must be true or false, not 'yes'",
    ),
    "a duration without a unit's name": (
        ONE + "server: {drain: 5 fortnights}",
        "server.drain: must be a duration, not '5 fortnights'. Write `30s`",
    ),
    "a size without a known unit": (ONE + "server: {max_body: 32 MB}", "server.max_body: must be a size"),
    "a stand-in that is no model": (ONE + "server: {stand_in: n}", "server.stand_in: there is no model `n`"),
    "an agent of no policy": (ONE + "agents: {bug: nothing}", "agents.bug: there is no policy `nothing`"),
    "agents as a list": (ONE + "agents: [a]", "agents: must be a mapping"),
    "no models": ("server: {}", "models: is missing: there is nothing to serve"),
    "models as a list": ("models: [m]", "models: must be a mapping of model names, not a list"),
    "a model without deployments": ("models: {m: {}}", "models.m.deployments: must list at least one deployment"),
    "a reserved name": ("models: {auto: {deployments: [{provider: openai}]}}", "`auto` cannot be a model's name"),
    "a star in the middle": ('models: {"f*x": {deployments: [{provider: openai}]}}', "`f*x` cannot be a model's name"),
    "an unknown provider": (
        "models: {m: {deployments: [{provider: opnai}]}}",
        "there is no `opnai`. Did you mean `openai`",
    ),
    "no provider": ('models: {m: {deployments: [{url: "http://x"}]}}', "models.m.deployments[0].provider: is missing"),
    "no url where one is needed": (
        "models: {m: {deployments: [{provider: vllm}]}}",
        "url: is missing: vLLM may be anywhere",
    ),
    "a url that is none": (
        "models: {m: {deployments: [{provider: vllm, url: gpu-1}]}}",
        "`gpu-1` is not an http(s) url",
    ),
    "a url with an unreadable port": (
        'models: {m: {deployments: [{provider: vllm, url: "http://x:y"}]}}',
        "is not an http(s) url",
    ),
    "a url that is too long by a route": (
        'models: {m: {deployments: [{provider: vllm, url: "http://x/v1/chat/completions"}]}}',
        "is not a base url. End it before `/chat/completions`",
    ),
    "two deployments of one name": (
        "models: {m: {deployments: [{provider: openai}, {provider: openai}]}}",
        "two deployments are called `m@openai`. Give each a `name`",
    ),
    "money without a unit": (
        'models: {m: {deployments: [{provider: vllm, url: "http://x", machine_hour: 2.1}]}}',
        "machine_hour: must be an amount with its unit, not 2.1. Write `2.10 USD`",
    ),
    "a price by the token": (
        "models: {m: {deployments: [{provider: openai, price: {input: 2 USD, output: 8 USD/Mtok}}]}}",
        "price.input: must be an amount with its unit, not '2 USD'. Write `2 USD/Mtok`",
    ),
    "half a price": (
        "models: {m: {deployments: [{provider: openai, price: {input: 2 USD/Mtok}}]}}",
        "price.output: is missing",
    ),
    "two prices": (
        'models: {m: {deployments: [{provider: vllm, url: "http://x", machine_hour: 1 USD, price: {input: 1 USD/Mtok, output: 1 USD/Mtok}}]}}',
        "give either `price` or `machine_hour`, not both",
    ),
    "a capacity without a unit": (
        'models: {m: {deployments: [{provider: vllm, url: "http://x", capacity: 900}]}}',
        "capacity: must be a rate above 0 with its unit, not 900. Write `900 tokens/s`",
    ),
    "a capacity of somebody else's machines": (
        "models: {m: {deployments: [{provider: openai, capacity: 900 tokens/s}]}}",
        "capacity: OpenAI is not self-hosted",
    ),
    "a capacity that is misspelt": (
        'models: {m: {deployments: [{provider: vllm, url: "http://x", capacty: 900 tokens/s}]}}',
        "capacty: unknown key. Did you mean `capacity`",
    ),
    "an unknown capability": (
        "models: {m: {capabilities: [chat, tool], deployments: [{provider: openai}]}}",
        "there is no `tool`. Did you mean `tools`",
    ),
    "a text for a list": (
        "models: {m: {tags: fast, deployments: [{provider: openai}]}}",
        "must be a list of texts, not a text. Write [fast]",
    ),
    "an unknown embedded model": (
        "models: {m: {deployments: [{provider: embedded}]}}",
        "there is no embedded model `m`",
    ),
    "an embedded model with a url": (
        'models: {smollm2: {deployments: [{provider: embedded, url: "http://x"}]}}',
        "an embedded model has no url",
    ),
    "a policy that is nowhere": (
        ONE + "policies: [codinng]",
        "there is no built-in policy `codinng`. Did you mean `coding`",
    ),
    "a policy file that is not there": (ONE + "policies: [p/none.yaml]", "`p/none.yaml` cannot be read: No such file"),
    "policies as a text": (ONE + "policies: coding", "policies: must be a list of names and files, not a text"),
    "a duplicate key": ("models: {}\nmodels: {}", "is not YAML"),
    "broken YAML": ("models: {", "is not YAML"),
    "an empty file": ("", "is empty. Top-level keys are"),
    "a list": ("- a", "must be a mapping, not a list"),
    "an alias of itself": ("models: &a {m: *a}", "is too large or refers to itself"),
    "aliases that explode": (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
        ),
        "is too large or refers to itself",
    ),
    "a tag that would make an object": ("models: !!python/object:os.system {}", "is not YAML"),
    "a control character": ("models: \0", "is not YAML"),
    "two documents": (ONE + "---\n" + ONE, "holds more than one document"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD.keys())
def test_a_bad_config_is_refused_with_its_place_and_a_cure(text: str, said: str, write) -> None:
    """Each says what is wrong, where, and what to write instead."""
    assert said in refusal(text, write)


def test_all_problems_are_reported_at_once_with_their_lines(write) -> None:
    """Nobody mends a config one error at a time."""
    text = "server:\n  port: -1\nmodels:\n  m:\n    deployments:\n      - provider: nobody\n      - provider: openai\n        regionn: eu\n"
    said = refusal(text, write)
    assert "3 problems" in said
    assert "line 2: server.port" in said
    assert "line 6: models.m.deployments[0].provider" in said
    assert "line 8: models.m.deployments[1].regionn: unknown key. Did you mean `region`?" in said


@pytest.mark.parametrize("name", ["api_key", "token", "password"])
def test_a_secret_in_the_file_is_refused_and_not_repeated(name: str, write) -> None:
    """The message says why, what to do instead, and does not print the key."""
    said = refusal(f"models: {{m: {{deployments: [{{provider: openai, {name}: sk-very-private}}]}}}}", write)
    assert "a secret must not stand in this file" in said
    assert "key_env: NAME" in said
    assert "sk-very-private" not in said


def test_a_key_put_where_a_variables_name_belongs_is_not_repeated(write) -> None:
    """`key_env: sk-…` is a common slip."""
    said = refusal("models: {m: {deployments: [{provider: openai, key_env: sk-very-private}]}}", write)
    assert "is not the name of an environment variable" in said
    assert "sk-very-private" not in said


def test_keys_come_from_the_environment(write) -> None:
    """By the provider's usual variable, or by one that the deployment names."""
    path = write("models: {m: {deployments: [{provider: openai}, {provider: openai, name: b, key_env: TEAM_B}]}}")
    config = load(path, env={"OPENAI_API_KEY": "sk-1", "TEAM_B": "sk-2"})
    assert [endpoint.key and endpoint.key.reveal() for endpoint in config.endpoints] == ["sk-1", "sk-2"]
    assert config.blocked == {}
    assert "sk-1" not in repr(config)


def test_a_deployment_without_its_key_is_kept_and_blocked(write) -> None:
    """It stays a candidate that EXPLAIN can name; it is no error."""
    config = load(write("models: {m: {deployments: [{provider: openai}]}}"), env={})
    assert config.blocked == {"m@openai": "no_credential"}
    assert config.endpoints[0].key is None


def test_a_key_file_must_be_private(write, tmp_path: Path) -> None:
    """Readable by everyone: refused, with the command that mends it. Private: read."""
    secret = tmp_path / "key"
    secret.write_text("sk-9\n")
    path = "models: {m: {deployments: [{provider: openai, key_file: key}]}}"
    secret.chmod(0o644)
    assert f"chmod 600 {secret}" in refusal(path, write)
    secret.chmod(0o600)
    key = load(write(path), env={}).endpoints[0].key
    assert key is not None
    assert key.reveal() == "sk-9"


def test_a_secret_never_prints_itself() -> None:
    """Not by repr, str or format."""
    secret = Secret("sk-private")
    assert "sk-private" not in f"{secret} {secret!r} {secret!s}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
@pytest.mark.parametrize("key", ["", "x"])
def test_loopback_needs_no_key_and_takes_any(host: str, key: str) -> None:
    """Nobody else can reach it."""
    assert load(None, env={"FW_HOST": host, "FW_API_KEY": key}).server.host == host


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "there is none"),
        ("short", "it has 5 characters"),
        ("a" * 40, "it repeats"),
        ("my-secret-password-1234", "a word that is tried first"),
    ],
)
def test_a_listener_that_others_reach_needs_a_strong_key(key: str, reason: str) -> None:
    """Refused with the reason and a command that makes a good one; the key itself is not repeated."""
    with pytest.raises(ConfigError) as caught:
        load(None, env={"FW_API_KEY": key}, host="0.0.0.0")
    assert reason in str(caught.value)
    assert "export FW_API_KEY=" in str(caught.value)
    assert not key or key not in str(caught.value)


def test_a_strong_key_opens_the_listener() -> None:
    """24 random characters do."""
    assert load(None, env={"FW_API_KEY": STRONG}, host="0.0.0.0").server.host == "0.0.0.0"


def test_arguments_win_over_the_environment_and_that_over_the_file(write) -> None:
    """Host, port and state folder."""
    path = write(ONE + "server: {port: 1, state_dir: s}")
    assert load(path, env={}).server.port == 1
    assert load(path, env={"FW_PORT": "2"}).server.port == 2
    assert load(path, env={"FW_PORT": "2"}, port=0).server.port == 0
    assert load(path, env={}).server.state_dir == str(Path(path).parent / "s")
    assert load(path, env={"FW_STATE_DIR": "/x"}).server.state_dir == "/x"
    assert load(path, env={"FW_TRACES_FILE": "/t.jsonl"}).telemetry.traces_file == "/t.jsonl"


def test_a_bad_port_in_the_environment_is_named() -> None:
    """The variable is in the message."""
    with pytest.raises(ConfigError, match="FW_PORT"):
        load(None, env={"FW_PORT": "http"})


FULL = """
server: {port: 9000, max_body: 1 MiB, max_timeout: 2min, drain: 5, max_in_flight: 7}
models:
  qwen:
    tags: [tools]
    context: 32768
    deployments:
      - {provider: vllm, url: "http://gpu-1:8000/v1/", machine_hour: 2.10 USD, region: eu, zone: rack-1, ttft_limit: 3s, capacity: 900 tokens/s}
      - {provider: fireworks, model: accounts/fireworks/models/qwen, price: {input: 0.5 USD/Mtok, output: 2 USD/Mtok, cached_input: 0.05 USD/Mtok}}
  "fx-*": {deployments: [{provider: openai_compatible, url: "https://fx.example/v1", traceparent: true}]}
agents: {bugbot: default}
telemetry: {service_name: gw, environment: prod}
"""


@pytest.fixture
def full(write) -> Config:
    """A config that says a little of everything."""
    return load(write(FULL), env={"FIREWORKS_API_KEY": "k"})


def test_a_full_config_becomes_what_it_says(full: Config) -> None:
    """Units become seconds, bytes and nano-USD."""
    assert (full.server.port, full.server.max_body, full.server.max_timeout, full.server.drain) == (
        9000,
        1024**2,
        120.0,
        5.0,
    )
    gpu, fireworks, pattern = full.endpoints
    assert gpu.target.deployment == "qwen@gpu-1"
    assert gpu.url == "http://gpu-1:8000/v1"
    assert gpu.target.price == MachinePrice(2_100_000_000)
    assert (gpu.target.region, gpu.target.zone, gpu.ttft_limit, gpu.stall_limit) == ("eu", "rack-1", 3.0, 60.0)
    assert gpu.traceparent
    assert (gpu.capacity, fireworks.capacity) == (900.0, None)
    assert gpu.target.context == fireworks.target.context == 32768
    assert fireworks.target.upstream_model == "accounts/fireworks/models/qwen"
    assert fireworks.target.price == TokenPrice(500_000_000, 2_000_000_000, 50_000_000)
    assert not fireworks.traceparent
    assert fireworks.target.tags == {"tools"}
    assert pattern.forward_name
    assert pattern.traceparent
    assert full.agents == {"bugbot": "default"}
    assert full.telemetry.service_name == "gw"


def test_the_digest_follows_what_was_decided_and_no_secret(write) -> None:
    """The same config gives the same digest in every process; a key does not change it, a price does."""
    first = load(write(FULL), env={"FIREWORKS_API_KEY": "k"}).digest
    assert load(write(FULL), env={"FIREWORKS_API_KEY": "other"}).digest == first
    assert load(write(FULL.replace("2.10", "2.11")), env={"FIREWORKS_API_KEY": "k"}).digest != first
    assert len(first) == 12


def test_with_no_file_the_embedded_model_serves_and_eight_closed_ones_wait() -> None:
    """They are candidates, priced, current, and excluded until there is a key."""
    config = load(None, env={})
    embedded, *closed = config.endpoints
    assert embedded.embedded == "smollm2"
    assert config.server.stand_in == "smollm2"
    assert len(closed) == 8
    assert set(config.blocked) == {endpoint.target.deployment for endpoint in closed}
    assert all(isinstance(endpoint.target.price, TokenPrice) for endpoint in closed)
    assert all(endpoint.target.deprecated_on is None for endpoint in closed)
    assert len({endpoint.target.provider for endpoint in closed}) >= 4
    assert {"coding", "sre", "support", "default"} <= set(config.policies)
    assert any("an hour of this machine is taken to cost 0.05 USD" in text for text in config.assumptions)


def test_a_key_in_the_environment_lets_a_closed_model_serve() -> None:
    """Nothing else has to be written."""
    assert "gpt-6-luna@openai" not in load(None, env={"OPENAI_API_KEY": "k"}).blocked


def test_a_bridged_provider_is_blocked_until_litellm_is_there() -> None:
    """Its key alone is not enough, and the warning says so."""
    config = load(None, env={"GEMINI_API_KEY": "k"})
    bridged = next(endpoint.target.deployment for endpoint in config.endpoints if endpoint.row.name == "gemini")
    assert config.blocked[bridged] == "no_bridge"
    assert any("reached through litellm" in text for text in config.warnings)
    config = load(None, env={"GEMINI_API_KEY": "k", "FW_LITELLM_PYTHON": "/venv/bin/python"})
    assert bridged not in config.blocked


def test_a_model_that_is_about_to_be_retired_is_a_warning(write) -> None:
    """The date is said."""
    config = load(write("models: {gpt-5: {deployments: [{provider: openai}]}}"), env={})
    assert any("gpt-5@openai" in text and "2026-12-11" in text for text in config.warnings)


def test_a_bad_policy_file_is_a_config_error_that_names_the_file_and_the_line(write, tmp_path: Path) -> None:
    """The same message that `fw policy check` gives."""
    (tmp_path / "p.yaml").write_text("policy: p\nbaseline: m\ndefault:\n  minimise: cost\n")
    said = refusal(ONE + "policies: [p.yaml]", write)
    assert "p.yaml: default.minimise" in said
    assert "minimize" in said
    assert "line 4" in said


def test_a_policy_whose_baseline_is_no_model_is_refused(write, tmp_path: Path) -> None:
    """Nothing could serve it; with a stand-in it is a warning."""
    (tmp_path / "p.yaml").write_text("policy: p\nbaseline: nobody\ndefault: {minimize: cost}\n")
    assert "there is no model `nobody`" in refusal(ONE + "policies: [p.yaml]", write)
    config = load(write(ONE + "policies: [p.yaml]\nserver: {stand_in: m}"), env={})
    assert any("there is no model `nobody`" in text for text in config.warnings)


def test_without_a_default_policy_the_first_model_is_the_baseline(write) -> None:
    """`auto` works with models alone, and the assumption is said."""
    config = load(write(ONE), env={})
    assert config.policies["default"].baseline == "m"
    assert any("no policy is called `default`" in text for text in config.assumptions)


def test_the_documented_config_is_a_good_one(write, tmp_path: Path) -> None:
    """The example in docs/config.md is read as it stands."""
    page = (Path(__file__).parents[2] / "docs" / "config.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "fw").write_text(STRONG)
    (tmp_path / "secrets" / "fw").chmod(0o600)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "support.yaml").write_text(
        "policy: support\nbaseline: gpt-6-luna\ndefault: {minimize: cost}\n"
    )
    config = load(write(text), env={})
    assert [endpoint.target.deployment for endpoint in config.endpoints] == [
        "qwen3-coder-30b@gpu-1",
        "qwen3-coder-30b@fireworks",
        "gpt-6-luna@openai",
        "fx-*@openai_compatible",
        "smollm2@embedded",
    ]
    assert config.server.api_key is not None
