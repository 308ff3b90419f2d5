"""Pictures at http(s) addresses: downloaded by jobs (never by the service) into a folder that keeps them."""

from cirray.data.downloads.download import Download, download_pictures

__all__ = ["Download", "download_pictures"]
