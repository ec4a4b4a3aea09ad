"""Telnyx's own SDK for Python: sends, retrieves, is refused and throttled, and checks webhooks; says what it sees.

    TELNYX_BASE_URL=http://…/v2 TELNYX_API_KEY=… TELNYX_PUBLIC_KEY=… python3 telnyx_sdk.py

Ends when standard input ends. Prints one line per event:
{"at": milliseconds since 1970, "event": name, "data": payload}.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from telnyx import APIStatusError, Telnyx

FROM = "+12025550100"
client = Telnyx(max_retries=0)
speaking = threading.Lock()


def say(event, data):
    with speaking:
        print(json.dumps({"at": time.time() * 1000, "event": event, "data": data}), flush=True)


class Webhooks(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        try:
            event = client.webhooks.unwrap(body, headers=dict(self.headers))
            say("webhook", {"event_type": event.data.event_type, "id": event.data.payload.id})
            self.send_response(200)
        except Exception as error:
            say("unverified", str(error))
            self.send_response(401)
        self.end_headers()

    def log_message(self, *_):
        pass


def send(sdk, to, **more):
    return sdk.messages.send(from_=FROM, to=to, text="Service at ten", **more)


def refused(what, request):
    try:
        say("accepted", {"what": what, "answer": request().to_dict(mode="json")})
    except APIStatusError as error:
        code = error.response.json()["errors"][0]["code"]
        say("refused", {"what": what, "name": type(error).__name__, "status": error.status_code, "code": code})


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhooks)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    webhook_url = f"http://127.0.0.1:{server.server_port}/webhooks"
    sent = send(client, "+12025550101", webhook_url=webhook_url, use_profile_webhooks=False)
    say("sent", sent.to_dict(mode="json"))
    say("retrieved", client.messages.retrieve(sent.data.id).to_dict(mode="json"))
    refused("stop", lambda: send(client, "+12025550102"))
    refused("number", lambda: send(client, "2025550101"))
    refused("unknown", lambda: client.messages.retrieve("00000000-0000-4000-8000-000000000000"))
    refused("key", lambda: send(Telnyx(api_key="OTHER", max_retries=0), "+12025550101"))
    refused("throttled", lambda: send(client, "+12025550107"))
    say("patient", send(Telnyx(max_retries=2), "+12025550107").to_dict(mode="json"))
    sys.stdin.read()


main()
