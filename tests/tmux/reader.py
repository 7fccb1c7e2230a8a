"""Reads its terminal raw and writes down every read, a line each; the first line says that it is ready.

Started as ``python -IS reader.py LOG``. Waits for the terminal to answer before it says so, so that
brackets are on by then.
"""

import json
import os
import sys
import termios
import tty


def main(log: str) -> None:
    tty.setraw(0, termios.TCSANOW)
    os.write(1, b"\x1b[?2004h\x1b[5n")
    early = b""
    while b"\x1b[0n" not in early:
        early += os.read(0, 4096)
    with open(log, "a", encoding="ascii") as file:
        file.write('{"ready": true}\n')
        file.flush()
        while data := os.read(0, 65536):
            file.write(json.dumps({"read": data.hex()}) + "\n")
            file.flush()


main(sys.argv[1])
