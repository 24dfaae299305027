#!/usr/bin/env python3
"""API keys through a real Envoy, told as a story. Run it by `make demo`.

Starts a backend, Latchkey and Envoy (with deploy/envoy/envoy.yaml) on free ports of the loopback interface, creates a
key for an organization and one for a user, and makes requests with them. Every answer is checked: a wrong one ends the
story with exit code 1. Everything that was started is stopped at the end; KEEP=1 leaves it running.

Needs only Python's standard library.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"
ENVOY = ROOT / ".tools/envoy/bin/envoy"
ENVOY_CONFIG = ROOT / "deploy/envoy/envoy.yaml"

# Seconds in which a process has to be ready, or gone.
START_WITHIN = 30
STOP_WITHIN = 10

# More than the limit of the demo, with room for the requests that the story made before.
MOST_REQUESTS = 60

CONFIG = """\
listen: {{grpc: "127.0.0.1:0", http: "127.0.0.1:0", ops: "127.0.0.1:0"}}
store: "sqlite://{folder}/latchkey.db"
drain: {{settle: 100ms, grace: 1s}}
apis:
  - id: api_ai
    name: AI API
    audience: https://api.example.com
    scopes: [read:ai_chats, write:ai_chat, read:ai_analytics, write:ai_analytics, read:ai_workflows]
routes:
  - {{name: health,    path: /healthz, public: true}}
  - {{name: support,   methods: [POST], path: /ai/support,   api: api_ai, scopes: [read:ai_chats],     rate_limit: ai, guard: ai}}
  - {{name: chat,      methods: [POST], path: /ai/chat,      api: api_ai, scopes: [write:ai_chat],     rate_limit: ai}}
  - {{name: analytics, methods: [GET],  path: /ai/analytics, api: api_ai, scopes: [read:ai_analytics], rate_limit: ai}}
guards:
  ai:
    request: {{fields: [message], on_match: sanitize, max_chars: 10000}}
    response: {{fields: ["*"], on_match: reject, max_chars: 50000}}
rate_limits:
  ai: {{limit: 50, window: 15m, per: key, error: AI rate limit exceeded, code: AI_RATE_LIMITED}}
  unauthenticated: {{limit: 50, window: 15m, per: address, error: AI rate limit exceeded, code: AI_RATE_LIMITED}}
"""


class Wrong(Exception):
    """The demo cannot go on: what happened is not what has to happen."""


def expect(what, expected, got):
    if got != expected:
        raise Wrong(f"{what}\n  expected: {expected!r}\n  got:      {got!r}")


# --- what runs ------------------------------------------------------------------------------------------------------


@dataclass
class Processes:
    """What this script started. Only these are ever stopped, each by its own id."""

    folder: Path
    running: list = field(default_factory=list)

    def start(self, name, *command):
        with open(self.log_of(name), "wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for this script, which then stops the others in order.
                start_new_session=True,
            )
        self.running.append((name, process))

    def log_of(self, name):
        return self.folder / f"{name}.log"

    def wait(self, what, ready):
        """What `ready` returns as soon as it is something; gives up when a process has ended, or after a while."""
        end = time.monotonic() + START_WITHIN
        while True:
            found = ready()
            if found:
                return found
            for name, process in self.running:
                if process.poll() is not None:
                    raise Wrong(f"{name} ended with exit code {process.returncode}:\n{self.last_words(name)}")
            if time.monotonic() > end:
                name, _ = self.running[-1]
                raise Wrong(f"{what}: not within {START_WITHIN} s. The log of {name}:\n{self.last_words(name)}")
            time.sleep(0.02)

    def last_words(self, name):
        lines = self.log_of(name).read_text(errors="replace").splitlines()
        return textwrap.indent("\n".join(lines[-20:]) or "(nothing)", "  | ")

    def stop(self):
        # Envoy first: nobody then asks a Latchkey or a backend that is gone.
        while self.running:
            _, process = self.running.pop()
            process.terminate()
            try:
                process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def environment():
    """The environment without what would change Latchkey's configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LATCHKEY")}


def text_of(file):
    return file.read_text().strip() if file.exists() else None


def port_of(address):
    return int(address.rpartition(":")[2])


def start_backend(processes):
    file = processes.folder / "backend.address"
    processes.start("backend", BUILT / "examples/backend", "--listen", "127.0.0.1:0", "--address-file", file)
    return processes.wait("the backend listens", lambda: text_of(file))


def start_latchkey(processes):
    config = processes.folder / "demo.yaml"
    config.write_text(CONFIG.format(folder=processes.folder))
    file = processes.folder / "latchkey.addresses"
    processes.start("latchkey", BUILT / "latchkey", "serve", "-c", config, "--addresses-file", file)
    return json.loads(processes.wait("Latchkey serves", lambda: text_of(file)))


def start_envoy(processes, latchkey, backend):
    """Starts Envoy with the configuration of deploy/, on other ports. Returns its address and the admin's."""
    config = ENVOY_CONFIG.read_text()
    for written, port in [(10000, 0), (9901, 0), (9191, port_of(latchkey)), (8080, port_of(backend))]:
        expect(f"how often {ENVOY_CONFIG.name} has port {written}", 1, config.count(f"port_value: {written}}}"))
        # What is replaced is not looked at again: a free port may be 8080 or 9191 itself.
        config = config.replace(f"port_value: {written}}}", f"port_value: <{port}>}}")
    config = config.replace("port_value: <", "port_value: ").replace(">}", "}")
    file = processes.folder / "envoy.yaml"
    file.write_text(config)
    admin_file = processes.folder / "envoy.admin"
    processes.start(
        "envoy", ENVOY, "-c", file, "--admin-address-path", admin_file,
        "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning",
    )  # fmt: skip

    def listener():
        admin = text_of(admin_file)
        statuses = admin and json.loads(ask_admin(admin, "/listeners?format=json") or "{}").get("listener_statuses")
        return statuses and (f"127.0.0.1:{statuses[0]['local_address']['socket_address']['port_value']}", admin)

    address, admin = processes.wait("Envoy listens", listener)
    healthy = f"latchkey::{latchkey}::health_flags::healthy"
    processes.wait("Envoy finds Latchkey healthy", lambda: healthy in (ask_admin(admin, "/clusters") or ""))
    return address, admin


def ask_admin(admin, path):
    """Envoy's answer; nothing while it does not answer yet."""
    connection = http.client.HTTPConnection(admin, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        return text if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def management_client(folder, address):
    """Who may use the key API: the holder of the token that the first start of Latchkey has made."""
    return Client(address, {"TOKEN": text_of(folder / "latchkey.db.management-token")})


def create_key(management, variable, name, owner):
    """Creates a key with the call that a program for Kinde's key API makes."""
    body = {"name": name, "api_id": "api_ai", "scope_ids": ["read:ai_chats", "write:ai_chat"], **owner}
    headers = ["content-type: application/json", "Authorization: Bearer $TOKEN"]
    answer = management.send("POST", "/api/v1/api_keys", headers, json.dumps(body), True)
    expect("status", 201, answer.status)
    expect("code", "API_KEY_CREATED", answer.json()["code"])
    created = answer.json()["api_key"]
    say(f"HTTP 201: {created['id']}, its secret is in ${variable} from here on")
    return created


def verify_key(management, variable, key_id, owner):
    """Verifies a key as a program would that has it from a caller; that needs no token."""
    client = Client(management.address, {variable: management.keys[variable]})
    body = '{"api_key": "$' + variable + '"}'
    answer = client.send("POST", "/api/v1/api_keys/verify", ["content-type: application/json"], body, True)
    show(answer)
    verified = answer.json()
    expected = {"is_valid": True, "key_id": key_id, "status": "active", "org_code": None, "user_id": None, **owner}
    expect("what verify says", expected, {name: verified.get(name) for name in expected})


def run_keys(folder, http, *arguments):
    """`latchkey keys` over HTTP."""
    arguments = ["keys", *arguments, "--url", f"http://{http}", "--token-file", "latchkey.db.management-token"]
    command("latchkey " + " ".join(arguments))
    done = subprocess.run(
        [str(BUILT / "latchkey"), *arguments], cwd=folder, env=environment(), capture_output=True, text=True, timeout=30
    )
    if done.returncode != 0:
        raise Wrong(f"latchkey keys: exit code {done.returncode}\n{textwrap.indent(done.stderr, '  | ')}")
    for line in done.stdout.splitlines():
        say(line)


# --- requests -------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    def json(self):
        try:
            return json.loads(self.text)
        except ValueError:
            raise Wrong(f"the body is JSON\n  got: {self.text[:500]!r}") from None


@dataclass
class Client:
    """Makes requests, and says how curl would make them."""

    address: str
    # The keys by the variable that stands for them on the screen.
    keys: dict

    def post(self, path, *headers, show=True, body='{"message": "Hello"}'):
        return self.send("POST", path, ["content-type: application/json", *headers], body, show)

    def get(self, path, *headers):
        return self.send("GET", path, headers, None, True)

    def send(self, method, path, headers, body, show):
        if show:
            command(self.as_curl(path, headers, body))
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.putrequest(method, path)
            for header in headers:
                name, _, value = header.partition(": ")
                connection.putheader(name, self.with_key(value))
            if body is not None:
                connection.putheader("content-length", str(len(self.with_key(body).encode())))
            connection.endheaders(body and self.with_key(body).encode())
            answer = connection.getresponse()
            try:
                text = answer.read()
            except http.client.IncompleteRead as cut:
                # A stream that the guard ended.
                text = cut.partial
            return Answer(answer.status, answer.headers, text.decode(errors="replace"))
        except (OSError, http.client.HTTPException) as error:
            raise Wrong(f"{method} {path}: no answer: {error!r}") from error
        finally:
            connection.close()

    def with_key(self, value):
        for variable, key in self.keys.items():
            value = value.replace(f"${variable}", key)
        return value

    def as_curl(self, path, headers, body):
        lines = [f"curl -i http://{self.address}{path}"]
        lines += [f'-H "{header}"' for header in headers]
        if body is not None:
            # What the shell has to fill in stands between double quotes.
            lines.append("-d " + (json.dumps(body) if "$" in body else f"'{body}'"))
        return " \\\n       ".join(lines)


# --- the screen -----------------------------------------------------------------------------------------------------


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def chapter(title):
    chapter.number += 1
    print("\n" + paint("1", f"{chapter.number}. {title}"), flush=True)


chapter.number = 0


def command(line):
    print(paint("36", f"   $ {line}"), flush=True)


def say(line):
    print(f"   {line}", flush=True)


def show(answer, *headers):
    """The status, some headers, and the body of an answer that Latchkey gave."""
    say(paint("32" if answer.status == 200 else "33", f"HTTP {answer.status}"))
    for name in headers:
        say(f"{name}: {answer.headers.get(name, '(absent)')}")
    say(answer.text.strip())


# --- the story ------------------------------------------------------------------------------------------------------


def story(client, org_key_id, user_key_id):
    """The requests, each with what has to come of it."""
    org = "Authorization: Bearer $ORG_KEY"
    user = "x-api-key: $USER_KEY"

    chapter("A public route needs no key")
    expect("status", 200, reached_backend(client, client.get("/healthz"))[0])

    chapter("The organization's key passes; the backend learns whose it is, and never sees the key")
    _, seen = reached_backend(client, client.post("/ai/support", org))
    expect_tenant(seen, org_key_id, {"x-auth-org-code": "org_acme", "x-auth-context-owner": "org:org_acme"})

    chapter("The user's key passes too, in the other place where keys may be")
    _, seen = reached_backend(client, client.post("/ai/chat", user))
    expect_tenant(seen, user_key_id, {"x-auth-user-id": "user_ada", "x-auth-context-owner": "user:user_ada"})

    chapter("Without a key: 401")
    answer = client.post("/ai/support")
    show(answer, "www-authenticate")
    expect_denial(answer, 401, "MISSING_API_KEY", "Missing API key")
    expect("www-authenticate", 'Bearer realm="latchkey"', answer.headers["www-authenticate"])

    chapter("With a wrong key: 401")
    answer = client.post("/ai/support", "Authorization: Bearer lk_wrong")
    show(answer, "www-authenticate")
    expect_denial(answer, 401, "INVALID_API_KEY", "Invalid API key")

    chapter("With a good key that lacks the scope: 403")
    answer = client.get("/ai/analytics", org)
    show(answer, "www-authenticate")
    expect_denial(answer, 403, "INSUFFICIENT_SCOPE", "Insufficient scope: read:ai_analytics")

    chapter("A forged tenant header does not get through, nor does another spelling of it")
    forged = ["x-auth-org-code: org_evil", "x.auth.org.code: org_evil"]
    _, seen = reached_backend(client, client.post("/ai/support", org, *forged))
    expect_tenant(seen, org_key_id, {"x-auth-org-code": "org_acme", "x-auth-context-owner": "org:org_acme"})

    chapter("Nor does it make a user's key one of an organization")
    _, seen = reached_backend(client, client.post("/ai/support", user, *forged))
    expect_tenant(seen, user_key_id, {"x-auth-user-id": "user_ada", "x-auth-context-owner": "user:user_ada"})

    chapter("Written with underscores, as some servers read it too, Envoy itself refuses it: 400")
    answer = client.post("/ai/support", org, "x_auth_org_code: org_evil")
    show(answer)
    expect("status", 400, answer.status)

    chapter("A script does not reach the AI")
    answer = client.post("/ai/support", user, body='{"message": "Hi<script>alert(1)</script> there"}')
    reached_backend(client, answer)
    say(f"  body: {answer.json()['body']}")
    expect("the body that the backend saw", '{"message": "Hi there"}', answer.json()["body"])

    chapter("What no AI should say does not reach the caller: 502")
    answer = client.post("/ai/support", user, body='{"message": "Hello", "misbehave": true}')
    show(answer)
    expect_denial(answer, 502, "HARMFUL_OUTPUT", "AI response contains potentially harmful content")

    chapter("Nor when it comes as a stream, which ends there")
    answer = client.post("/ai/support", user, body='{"message": "Hello", "misbehave": true, "stream": true}')
    show(answer)
    expect("the stream ends with an error event", True, "event: error" in answer.text)
    expect("the script is in the answer", False, "script" in answer.text)

    chapter("Nor does more than 10,000 characters go in: 400")
    answer = client.post("/ai/support", user, show=False, body=json.dumps({"message": "x" * 10_001}))
    show(answer)
    expect_denial(answer, 400, "INPUT_TOO_LONG", "Input too long")

    chapter("A key may make 50 requests in 15 minutes; then: 429")
    answer, passed = until_limited(client, org)
    say(f"({passed} requests like this one passed)")
    show(answer, "retry-after", "ratelimit", "ratelimit-policy")
    expect_denial(answer, 429, "AI_RATE_LIMITED", "AI rate limit exceeded")
    retry_after = answer.headers.get("retry-after", "")
    expect("Retry-After is a number of seconds", True, retry_after.isdigit() and int(retry_after) > 0)

    chapter("The user's key has a count of its own")
    reached_backend(client, client.post("/ai/chat", user))


def until_limited(client, key):
    """The first answer that is not 200, and how many were."""
    for passed in range(MOST_REQUESTS):
        answer = client.post("/ai/chat", key, show=passed == 0)
        if answer.status != 200:
            return answer, passed
    raise Wrong(f"a 429 within {MOST_REQUESTS} requests\n  got: 200 each time")


def reached_backend(client, answer):
    """Checks that the backend answered, and that no key got to it. Returns the status and the headers that it saw."""
    if answer.status != 200:
        raise Wrong(f"status\n  expected: 200\n  got:      {answer.status} {answer.text[:500]}")
    say(paint("32", "HTTP 200"))
    seen = [(name, value) for name, value in answer.json()["headers"]]
    say("The backend saw:")
    for name, value in seen:
        if name.startswith("x-auth-"):
            say(f"  {name}: {value}")
    for name in ["authorization", "x-api-key"]:
        expect(f"what the backend saw of {name}", [], [value for seen_name, value in seen if seen_name == name])
        say(f"  {name}: (absent)")
    for variable, key in client.keys.items():
        expect(f"the backend's answer has ${variable} in it", False, key in answer.text)
    return answer.status, seen


def expect_tenant(seen, key_id, owner):
    """The tenant headers that the backend saw, under any spelling, are these and no others, each once."""
    tenant = sorted((name, value) for name, value in seen if is_tenant_header(name))
    scopes = [value for name, value in tenant if name == "x-auth-scopes"]
    expect("scopes", [["read:ai_chats", "write:ai_chat"]], [sorted(value.split(" ")) for value in scopes])
    others = [(name, value) for name, value in tenant if name != "x-auth-scopes"]
    expect("tenant headers", sorted({"x-auth-key-id": key_id, **owner}.items()), others)


def is_tenant_header(name):
    return name.lower().replace("_", "-").replace(".", "-").startswith("x-auth-")


def expect_denial(answer, status, code, error):
    expect("status", status, answer.status)
    body = answer.json()
    expect("code", code, body.get("code"))
    expect("error", error, body.get("error"))
    expect("the body has a request_id", True, bool(body.get("request_id")))


# --- all of it ------------------------------------------------------------------------------------------------------


def tell(processes):
    """Starts everything and tells the story. Returns the client, and Envoy's admin address."""
    backend = start_backend(processes)
    addresses = start_latchkey(processes)
    envoy, admin = start_envoy(processes, addresses["grpc"], backend)
    print(f"A client calls Envoy ({envoy}). Envoy asks Latchkey ({addresses['grpc']}) about each request,")
    print(f"and sends what may pass to an AI backend ({backend}) that echoes what it receives.")

    folder = processes.folder
    management = management_client(folder, addresses["http"])
    chapter("Two keys: one of an organization (B2B), one of a user (B2C)")
    say(f"$TOKEN is the management token that the first start has written to {folder / 'latchkey.db.management-token'}")
    org_key = create_key(management, "ORG_KEY", "Acme support bot", {"org_code": "org_acme"})
    user_key = create_key(management, "USER_KEY", "Ada at home", {"user_id": "user_ada"})

    chapter("Who is it? What Envoy will ask for, a program can ask for too")
    management.keys |= {"ORG_KEY": org_key["key"], "USER_KEY": user_key["key"]}
    verify_key(management, "ORG_KEY", org_key["id"], {"org_code": "org_acme"})
    verify_key(management, "USER_KEY", user_key["id"], {"user_id": "user_ada"})

    client = Client(envoy, {"ORG_KEY": org_key["key"], "USER_KEY": user_key["key"]})
    story(client, org_key["id"], user_key["id"])

    chapter("A key that is revoked is refused from the next request on: 401")
    run_keys(folder, addresses["http"], "revoke", org_key["id"])
    answer = client.post("/ai/chat", "Authorization: Bearer $ORG_KEY")
    show(answer)
    expect_denial(answer, 401, "INVALID_API_KEY", "Invalid API key")
    return client, admin


def leave_running(processes, client, admin):
    """Says how to talk to what goes on running, and how to stop it."""
    folder = processes.folder
    for variable, key in client.keys.items():
        # The folder is for this user only, and so are the files.
        with open(folder / variable, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(key)
    print("\n" + paint("1", "It goes on running."))
    print("Talk to it:")
    for variable in client.keys:
        print(f"   export {variable}=$(cat {folder / variable})")
    print("   " + client.as_curl("/ai/chat", ["x-api-key: $USER_KEY"], '{"message": "Hello", "stream": true}'))
    print(f"   {BUILT / 'latchkey'} keys list -c {folder / 'demo.yaml'}")
    print(f"   Envoy's admin interface: http://{admin}/   logs and files: {folder}")
    say_how_to_stop(processes)


def say_how_to_stop(processes):
    # Of one that has ended the number may be another's by now.
    pids = " ".join(str(process.pid) for _, process in reversed(processes.running) if process.poll() is None)
    print("Stop it:")
    print(f"   kill {pids}; rm -r {processes.folder}")


def main():
    # A kill of this script stops what it started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes = Processes(Path(tempfile.mkdtemp(prefix="latchkey-demo-")))
    keep = os.environ.get("KEEP", "") not in ("", "0")
    try:
        client, admin = tell(processes)
        if keep:
            leave_running(processes, client, admin)
        print("\n" + paint("32;1", "Every answer was as it has to be."))
        return 0
    except Wrong as wrong:
        print("\n" + paint("31;1", "The demo failed: ") + str(wrong), file=sys.stderr)
        if keep:
            print(f"\nWhat is left of it, for a look at the logs: {processes.folder}")
            say_how_to_stop(processes)
        return 1
    except KeyboardInterrupt:
        keep = False
        print("\nstopped", file=sys.stderr)
        return 130
    finally:
        if not keep:
            # A second Ctrl-C must not leave anything behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            processes.stop()
            shutil.rmtree(processes.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
