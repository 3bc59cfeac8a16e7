"""One product for the browser tests, and people who use it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import chromium, tab
from tests.product.product import Product

__all__ = ["chromium", "tab"]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Product]:
    """Start a product, unless there is no browser to look at it."""
    product = Product(tmp_path_factory.mktemp("product"))
    product.start()
    yield product
    product.stop()
    product.end()
