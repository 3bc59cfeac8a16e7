"""One product for all tests of a session: what a test breaks of it, the next one starts again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.product.product import Product


@pytest.fixture(scope="session")
def shared_product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    made = Product(tmp_path_factory.mktemp("product"))
    yield made
    made.end()


@pytest.fixture
def product(shared_product: Product) -> Product:
    shared_product.start()
    return shared_product


@pytest.fixture
def fresh_product(tmp_path: Path, shared_product: Product) -> Iterator[Product]:
    """Yield a product that nobody used, but for the environments that were built before."""
    folder = tmp_path / "product"
    folder.mkdir()
    made = Product(folder)
    share_environments(shared_product, made)
    made.start()
    yield made
    made.end()


def share_environments(owner: Product, other: Product) -> None:
    """Let a product that was not started yet have the environments that another built."""
    environments = owner.home / "environments"
    environments.mkdir(exist_ok=True)
    (other.home / "environments").symlink_to(environments)
