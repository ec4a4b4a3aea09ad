# Runs connect.py of docs/protocol.md and prints what it shows, one line per event:
# {"at": milliseconds since 1970, "event": name, "data": payload}.
#
#   GATEWAY=… TOKEN=… PYTHONPATH=… python3 connecting.py FOLDER
#
# Disconnects when standard input ends.

import asyncio
import json
import os
import sys
import time

sys.path.insert(0, sys.argv[1])
from connect import connect


def show(name, event):
    print(json.dumps({"at": time.time() * 1000, "event": name, "data": event}), flush=True)


async def fresh_token():
    return os.environ["TOKEN"]


async def reload_history():
    show("reload", None)


async def main():
    client = await connect(os.environ["GATEWAY"], fresh_token, reload_history, show)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await client.disconnect()


asyncio.run(main())
