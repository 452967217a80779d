"""A real Chromium without a window, driven by the Chrome DevTools Protocol over its WebSocket
(https://chromedevtools.github.io/devtools-protocol/): what a page shows, asks for and complains of."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request

import websocket

# Nothing here takes this long, but for a defect or a very busy machine.
CEILING = 60


class Browser:
    """A browser of its own, with a profile that is thrown away."""

    def __init__(self, program=None):
        program = program or os.environ.get("TOLLGATE_CHROMIUM") or shutil.which("chromium")
        if not program:
            raise SystemExit("there is no Chromium: name one by TOLLGATE_CHROMIUM, or install Debian's package `chromium`")
        self.profile = tempfile.mkdtemp(prefix="tollgate-chromium-")
        self.process = subprocess.Popen(
            [
                program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-default-browser-check",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-default-apps",
                "--disable-extensions",
                "--disable-sync",
                "--metrics-recording-only",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
                "--remote-allow-origins=*",
                f"--user-data-dir={self.profile}",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.port = self._port()

    def _port(self):
        said = os.path.join(self.profile, "DevToolsActivePort")
        until = time.monotonic() + CEILING
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"Chromium ended with {self.process.returncode}")
            try:
                with open(said) as file:
                    lines = file.read().split()
                if lines:
                    return int(lines[0])
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError("Chromium does not say where it listens")

    def page(self):
        """A new tab."""
        url = f"http://127.0.0.1:{self.port}/json/new?about:blank"
        request = urllib.request.Request(url, method="PUT")
        with urllib.request.urlopen(request, timeout=CEILING) as answer:
            told = json.load(answer)
        return Page(told["webSocketDebuggerUrl"])

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    """A tab: it remembers what was asked for over the network, and every complaint."""

    def __init__(self, url):
        self.socket = websocket.create_connection(url, timeout=CEILING, max_size=None)
        self.number = 0
        self.requests = []
        self.complaints = []
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Calls the protocol and gives its answer; takes in what happened meanwhile."""
        self.number += 1
        number = self.number
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._happened(message)

    def _happened(self, message):
        method, told = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    def go(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'", "the page loads")

    def evaluate(self, script):
        """The value of an expression; a promise is awaited."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in got:
            details = got["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return got["result"].get("value")

    def until(self, script, what, ceiling=CEILING):
        """Waits until an expression is true; gives its value."""
        until = time.monotonic() + ceiling
        while True:
            value = self.evaluate(script)
            if value:
                return value
            if time.monotonic() > until:
                raise AssertionError(f"{what}: not within {ceiling} s")
            time.sleep(0.1)

    def size(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def prefers(self, scheme, still=False):
        """`light` or `dark`, as the system would say; and whether things may move."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        features.append({"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"})
        self.call("Emulation.setEmulatedMedia", features=features)

    def click(self, selector):
        """A real click, in the middle of the element."""
        spot = self.evaluate(
            f"""(() => {{ const it = document.querySelector({json.dumps(selector)}); it.scrollIntoView({{block: 'center'}});
            const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=spot[0], y=spot[1], button="left", clickCount=1)

    def key(self, key, code=None, number=0, text=None):
        told = {"key": key, "code": code or key, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", **told, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def write(self, text):
        self.call("Input.insertText", text=text)

    def shoot(self, path, whole=True):
        """A picture of the page."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        got = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as file:
            file.write(base64.b64decode(got["data"]))

    def close(self):
        self.call("Page.close")
        self.socket.close()
