"""A whole installation, backed up while it works, goes on somewhere else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.product.product import Product
from tests.product.sources import script
from tests.product.steady_run import SteadyRun

pytestmark = pytest.mark.product


@pytest.fixture
def elsewhere(tmp_path: Path, fresh_product: Product) -> Iterator[Product]:
    """Yield a product that was never started, on a machine that has the same environments."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    made = Product(folder)
    (made.home / "environments").symlink_to(fresh_product.home / "environments")
    yield made
    made.end()


def test_what_was_backed_up_during_a_run_is_there_after_a_restore(
    fresh_product: Product, elsewhere: Product, tmp_path: Path
) -> None:
    done = fresh_product.submit(script("open('outputs/x', 'w').write('kept')\nprint('done')"))
    assert fresh_product.wait_for_end(done)["status"] == "Completed"
    steady = SteadyRun(fresh_product, tmp_path, lines=2500, per_second=100)
    steady.wait_until_printed(100)
    fresh_product.manage("backup", str(tmp_path / "all.tar.gz"))
    steady.check()

    elsewhere.manage("restore", str(tmp_path / "all.tar.gz"))
    elsewhere.start()
    old_token = {"Authorization": f"Bearer {fresh_product.token}"}
    assert elsewhere.call("GET", "/runs", headers=old_token).status_code == 200
    assert elsewhere.run(done)["status"] == "Completed"
    assert elsewhere.log(done) == b"done\n"
    assert elsewhere.call("GET", f"/runs/{done}/files/outputs/x").text == "kept"
    cut_off = elsewhere.wait_for_end(steady.number)
    assert cut_off["status"] == "Failed"
    again = elsewhere.submit(script("print('new')"))
    assert again == steady.number + 1
    assert elsewhere.wait_for_end(again, 120)["status"] == "Completed"
