from __future__ import annotations

import re
from collections.abc import Callable

Cli = Callable[..., tuple[int, str, str]]


def test_a_key_is_made_listed_and_revoked(cli: Cli) -> None:
    code, out, err = cli("keys", "create", "my laptop")
    assert code == 0
    value = out.strip()
    assert re.fullmatch(r"ak_[A-Za-z0-9_-]{43}", value), "nothing but the key, for scripts to read"
    found = re.search(r"key_[0-9a-f]{24}", err)
    assert found is not None
    key_id = found[0]

    _, out, _ = cli("keys", "list")
    (line,) = [line for line in out.splitlines() if key_id in line]
    assert "my laptop" in line
    assert value[:8] in line
    assert value not in out
    assert line.split()[4:6] == ["-", "-"]

    code, out, _ = cli("keys", "revoke", key_id)
    assert (code, out) == (0, f"Revoked {key_id} (my laptop).\n")
    _, out, _ = cli("keys", "list")
    (line,) = [line for line in out.splitlines() if key_id in line]
    assert re.search(r" - +\d{4}-\d\d-\d\d \d\d:\d\dZ +my laptop$", line)


def test_an_unknown_key_or_project_is_explained(cli: Cli) -> None:
    code, _, err = cli("keys", "revoke", "key_nobody")
    assert (code, err) == (2, "antiphon: there is no key 'key_nobody' in project 'proj_default'\n")
    code, _, err = cli("keys", "create", "x", "--project", "proj_nowhere")
    assert (code, err) == (2, "antiphon: there is no project 'proj_nowhere'\n")
