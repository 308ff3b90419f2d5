"""Catalogs and product feeds: read from whatever file a shop has, column by column."""

from cirray.data.catalog.entry import Catalog, Entry, WebPicture
from cirray.data.catalog.pictures import local_pictures, with_local_pictures
from cirray.data.catalog.read import describe_attributes, read_catalog

__all__ = [
    "Catalog",
    "Entry",
    "WebPicture",
    "describe_attributes",
    "local_pictures",
    "read_catalog",
    "with_local_pictures",
]
