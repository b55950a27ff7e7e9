"""A browser without a window, which nothing leads to the network."""

import shutil
import tempfile

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--force-device-scale-factor=1",
)


def missing():
    """Say what is missing for a browser; None where nothing is."""
    for name in ("chromium", "chromedriver"):
        if shutil.which(name) is None:
            return f"no {name} (Debian: apt-get install chromium chromium-driver)"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "no selenium (extra `test`)"
    return None


def start():
    """Start Chromium; whoever calls this ends it by `quit`."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tempfile.mkdtemp(prefix='jaxadv-browser-')}")
    # no name is looked up, so that whatever a page asked for would fail, and be told
    options.add_argument(
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
    )
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, Service(shutil.which("chromedriver")))
