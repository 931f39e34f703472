"""Reading one mapping of the config, key by key: types and units checked, what nobody asked for refused."""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from fw_gateway.config.problems import Path, Problems, near
from fw_policies.model import NANO_USD

T = TypeVar("T")

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "min": Decimal(60), "h": Decimal(3600)}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SECRETS = ("api_key", "apikey", "key", "token", "secret", "password", "access_key")


class Wrong(ValueError):
    """A value that will not do; the second argument says what would."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Section:
    """One mapping of the file. `take` each key that is known, then `close`."""

    def __init__(self, value: Any, path: Path, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self._asked: set[str] = set()
        self._values: Mapping[str, Any] = {}
        if isinstance(value, Mapping):
            self._values = {str(key): item for key, item in value.items()}
        elif value is not None:
            problems.add(path, f"must be a mapping, not {kind(value)}.")

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def take(self, key: str, convert: Callable[[Any], T], default: T) -> T:
        """The value of `key`, converted; `default` when it is absent or wrong (and then it is reported)."""
        self._asked.add(key)
        if self._values.get(key) is None:
            return default
        try:
            return convert(self._values[key])
        except Wrong as wrong:
            self.problems.add((*self.path, key), str(wrong), wrong.hint)
            return default

    def raw(self, key: str) -> Any:
        """The value of `key` as it stands; None when absent."""
        self._asked.add(key)
        return self._values.get(key)

    def close(self) -> None:
        """Report every key that nobody asked for."""
        for key in self._values:
            if key in self._asked:
                continue
            if key.lower() in _SECRETS:
                self.problems.add(
                    (*self.path, key),
                    "a secret must not stand in this file, which is shared and committed.",
                    "Name an environment variable with `key_env: NAME`, or a private file with `key_file: PATH`, and revoke this one.",
                )
            else:
                self.problems.add((*self.path, key), "unknown key.", near(key, self._asked))


def kind(value: Any) -> str:
    """What a YAML value is, in YAML's words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, Mapping) else type(value).__name__


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise Wrong(f"must be a text, not {kind(value) if not isinstance(value, str) else 'empty'}.", "Quote it.")
    return value.strip()


def flag(value: Any) -> bool:
    """True or false, nothing else."""
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false, not {value!r}.")
    return value


def whole(value: Any) -> int:
    """A whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise Wrong(f"must be a whole number above 0, not {value!r}.")
    return value


def port(value: Any) -> int:
    """A TCP port; 0 lets the system choose."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise Wrong(f"must be a port from 0 to 65535, not {value!r}.")
    return value


def texts(value: Any) -> list[str]:
    """A list of texts."""
    if not isinstance(value, list):
        raise Wrong(
            f"must be a list of texts, not {kind(value)}.", f"Write [{value}]." if isinstance(value, str) else ""
        )
    return [text(item) for item in value]


def one_of(choices: Iterable[str]) -> Callable[[Any], str]:
    """A converter that takes one of `choices`."""
    known = tuple(choices)

    def convert(value: Any) -> str:
        name = text(value)
        if name not in known:
            raise Wrong(f"there is no `{name}`.", near(name, known))
        return name

    return convert


def _measure(value: Any, units: Mapping[str, Any], what: str, example: str) -> Decimal:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)", value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise Wrong(f"must be {what}, not {value!r}.", f"Write {example}; units are {', '.join(units)}.")
    return Decimal(match[1]) * Decimal(units[match[2]])


def seconds(value: Any) -> float:
    """A duration above zero: a number of seconds, or a text with a unit."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        number = float(_measure(value, _SECONDS, "a duration", "`30s`"))
    if not 0 < number < 1e9:
        raise Wrong(f"must be above 0 seconds, not {value!r}.")
    return number


def size(value: Any) -> int:
    """A size in bytes: a number, or a text with a unit."""
    if isinstance(value, int) and not isinstance(value, bool):
        return whole(value)
    return whole(int(_measure(value, _BYTES, "a size", "`32 MiB`")))


def tokens_per_second(value: Any) -> float:
    """`900 tokens/s`, above zero."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*tokens?\s*/\s*s", value.strip()) if isinstance(value, str) else None
    if found is None or float(found[1]) <= 0:
        raise Wrong(f"must be a rate above 0 with its unit, not {value!r}.", "Write `900 tokens/s`.")
    return float(found[1])


def _usd(value: Any, suffix: str, example: str) -> int:
    found = re.fullmatch(rf"([0-9]+(?:\.[0-9]+)?)\s*USD{suffix}", value.strip()) if isinstance(value, str) else None
    if found is None:
        raise Wrong(f"must be an amount with its unit, not {value!r}.", f"Write {example}.")
    try:
        nano = Decimal(found[1]) * NANO_USD
    except InvalidOperation:
        raise Wrong(f"{value!r} is not an amount.", f"Write {example}.") from None
    if nano != int(nano):
        raise Wrong(f"{value!r} is finer than a billionth of a dollar.")
    return int(nano)


def usd(value: Any) -> int:
    """`2.10 USD` in nano-USD."""
    return _usd(value, "", "`2.10 USD`")


def usd_per_mtok(value: Any) -> int:
    """`2 USD/Mtok` in nano-USD per million tokens."""
    return _usd(value, r"\s*/\s*Mtok", "`2 USD/Mtok`")
