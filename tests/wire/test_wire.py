"""The tables of wire cases against the real binary: every row whole, octet by
octet, and split at each of its first 200 offsets, with one verdict in all of
them. cases.tsv is a given set; more.tsv is ours, of the same classes. (P03, P07)

    RETRYWITH=build/retrywith python3 -m pytest tests/wire [-k HD]
"""
from pathlib import Path

import pytest

from judge import check_known
from row import load
from theatre import TOLD, Theatre

HERE = Path(__file__).parent
ROWS = {row.id: row for row in [*load(HERE / "cases.tsv"), *load(HERE / "more.tsv", given=False)]}


@pytest.fixture(scope="session")
def results(request, tmp_path_factory):
    """All rows that were chosen, played at once: two processes keep the proxy busy."""
    ids = {item.callspec.params["id"] for item in request.session.items if hasattr(item, "callspec")
           and item.path == Path(__file__)}
    for row in ROWS.values():
        check_known(row)
    theatre = Theatre(tmp_path_factory.mktemp("wire"))
    found = theatre.perform([ROWS[id] for id in ROWS if id in ids])
    yield found
    theatre.close()


@pytest.mark.parametrize("id", ROWS)
def test_row(results, id):
    verdicts, wrong = results[id]
    assert not wrong, f"{len(wrong)} problems of {ROWS[id].raw[:200]}\n" + "\n".join(wrong[:TOLD])
    assert len(verdicts) == 1, {v: cuts[:TOLD] for v, cuts in verdicts.items()}
