"""A Chromium that a test drives: the DevTools protocol over a pipe, one JSON message after the other."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)


class Browser:
    """One tab."""

    def __init__(self, profile: Path) -> None:
        assert BROWSER is not None
        theirs, self._to = os.pipe()
        self._from, theirs_too = os.pipe()
        # The protocol is on the descriptors 3 and 4.
        command = ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{theirs_too}', "bash", BROWSER, *_FLAGS]
        command += [f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(command, pass_fds=(theirs, theirs_too), stderr=subprocess.DEVNULL)
        os.close(theirs)
        os.close(theirs_too)
        self._events: list[dict[str, Any]] = []
        self._rest, self._number, self._session = b"", 0, {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            received = os.read(self._from, 2**16)
            assert received, "the browser ended"
            self._rest += received
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def value(self, code: str) -> Any:
        """What an expression of JavaScript is."""
        return self.call("Runtime.evaluate", expression=code, returnByValue=True)["result"].get("value")

    def wait(self, code: str, seconds: float = 60) -> None:
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.value(code):
            assert time.monotonic() < end, f"never true: {code}"
            time.sleep(0.2)

    def reported(self, method: str) -> list[dict[str, Any]]:
        """The events of one kind so far."""
        return [event for event in self._events if event["method"] == method]

    def upload(self, file: Path) -> None:
        """Into the first field for files."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=field, files=[str(file)])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
