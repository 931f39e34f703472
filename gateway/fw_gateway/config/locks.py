"""Locks on disk: one file per policy in `locks/` beside the config, earlier ones in `locks/history/`."""

import json
from collections.abc import Mapping
from pathlib import Path

from fw_gateway.config.problems import Problems
from fw_policies.lock import Lock, Unfit, from_dict, to_dict
from fw_policies.spec import Policy

FOLDER, HISTORY, ENDING = "locks", "history", ".lock.json"


def folder(source: str, state_dir: str) -> Path:
    """Where the locks of a config are: beside its file, or in the state directory of the built-in one."""
    return (Path(source).parent if source else Path(state_dir)) / FOLDER


def read(place: Path, policies: Mapping[str, Policy], problems: Problems) -> dict[str, Lock]:
    """The locks of a folder by policy; what cannot be read is a problem, what no longer fits a warning."""
    found: dict[str, Lock] = {}
    for path in sorted(place.glob(f"*{ENDING}")):
        try:
            lock = parse(path)
        except Unfit as fault:
            problems.add((f"{FOLDER}/{path.name}",), str(fault))
            continue
        policy = policies.get(lock.policy)
        if policy is None:
            problems.warnings.append(f"{FOLDER}/{path.name}: there is no policy `{lock.policy}`; the lock is not used.")
        elif policy.digest != lock.version:
            text = f"{FOLDER}/{path.name} was made for version {lock.version} of {lock.policy}, which is now {policy.digest}"
            problems.warnings.append(f"{text}; `fw policy compile {lock.policy}` makes a new one.")
        else:
            found[lock.policy] = lock
    return found


def parse(path: Path) -> Lock:
    """The lock in a file.

    Raises:
        Unfit: it cannot be read, or is none.
    """
    try:
        return from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise Unfit(f"this lock cannot be read: {fault}.") from fault


def write(place: Path, lock: Lock) -> Path:
    """Make `lock` the one that serves its policy, and keep it in the history; its file."""
    text = json.dumps(to_dict(lock), indent=2, ensure_ascii=False) + "\n"
    history = place / HISTORY
    history.mkdir(parents=True, exist_ok=True)
    (history / f"{lock.policy}-{lock.digest}{ENDING}").write_text(text, encoding="utf-8")
    path = place / f"{lock.policy}{ENDING}"
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
    return path


def past(place: Path, policy: str) -> dict[str, Path]:
    """Earlier and present locks of a policy: digest -> file."""
    found = {}
    for path in sorted((place / HISTORY).glob(f"{policy}-*{ENDING}")):
        found[path.name.removeprefix(f"{policy}-").removesuffix(ENDING)] = path
    return found
